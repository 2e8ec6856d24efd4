"""What staff enter for a connection of their own: where deliveries go, and a secret for each direction."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.pasted import PastedField, clean_pasted
from channels_wechat.wire.addresses import parse_address

# As Standard Webhooks writes a secret, and how many bytes it says one has.
SECRET_PREFIX = "whsec_"  # noqa: S105
LEAST_BYTES, MOST_BYTES = 24, 64
# A secret and the one before it, while the other side changes over.
MOST_SECRETS = 2
SEPARATOR = ","
_NAME = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", _("Letters, digits, dots and hyphens, 64 at most."))


class SecretsField(PastedField):
    """One secret, or the new one and the one before it, separated by a comma."""

    def to_python(self, value: Any) -> str:
        secrets = [clean_pasted(part) for part in str(value or "").split(SEPARATOR)]
        found = [secret for secret in secrets if secret]
        if len(found) > MOST_SECRETS:
            raise ValidationError(_now("Two secrets at most: the new one and the one before it."))
        for secret in found:
            _check_secret(secret)
        return SEPARATOR.join(found)


def _check_secret(secret: str) -> None:
    """Raises ValidationError, which never repeats the secret."""
    try:
        size = len(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not secret.startswith(SECRET_PREFIX) or not LEAST_BYTES <= size <= MOST_BYTES:
        words = {"least": LEAST_BYTES, "most": MOST_BYTES}
        raise ValidationError(_now("A secret is whsec_ followed by %(least)d to %(most)d bytes in base64.") % words)


class AddressField(PastedField):
    """An http or https address without a query; whether the guard lets it through is checked by the account's form."""

    def to_python(self, value: Any) -> str:
        text = super().to_python(value)
        if text:
            parse_address(text)
        return text


class WebhookAccountCredentials(CredentialsForm):
    """A secret for each direction: with one for both, whoever sees a delivery of ours could post it back to us as a message."""

    secrets = frozenset({"inbound_secret", "outbound_secret"})
    # Secrets sign, and are sent nowhere.
    sent = frozenset[str]()
    addresses = frozenset({"address"})

    connection = PastedField(
        label=_("Name of the connection"),
        max_length=64,
        validators=[_NAME],
        help_text=_("A short name that tells this connection from others, like wechat-sales."),
    )
    address = AddressField(
        label=_("Address of your receiver"),
        max_length=500,
        help_text=_("Signed deliveries are posted there, and to no other address: redirects are not followed."),
    )
    inbound_secret = SecretsField(
        label=_("Secret of messages"),
        max_length=300,
        help_text=_(
            "By which your gateway signs what it posts here (Standard Webhooks, whsec_…). To change it without a gap, enter the new"
            " and the old one separated by a comma, and later the new one alone."
        ),
    )
    outbound_secret = SecretsField(
        label=_("Secret of deliveries"),
        max_length=300,
        help_text=_(
            "By which deliveries to your receiver are signed: another one. Two, separated by a comma, both sign."
        ),
    )
    own_id = PastedField(
        label=_("ID of the account itself"),
        max_length=200,
        required=False,
        help_text=_(
            "The account's own ID at your gateway, where it has one: a group message that mentions it is addressed to the agent, and"
            " what it says itself is no question."
        ),
    )
    format = forms.ChoiceField(
        label=_("Format of answers"),
        choices=[("text", _("Plain text")), ("markdown", _("Markdown, as the agent writes it"))],
        initial="text",
    )
    text_bytes = forms.IntegerField(
        label=_("Longest text, in bytes"),
        min_value=200,
        max_value=60_000,
        initial=2000,
        help_text=_("Longer answers are cut into parts. A Chinese character has three bytes."),
    )
    repetitions = forms.ChoiceField(
        label=_("After a time-out"),
        choices=[
            ("ask", _("The delivery is uncertain, and a person decides")),
            ("repeat", _("It is sent again: the receiver drops a webhook-id that it has had before, for a day")),
        ],
        initial="ask",
        help_text=_("Choose the second only where your receiver does so; else people may read an answer twice."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        inbound, outbound = (split_secrets(cleaned.get(f"{way}_secret")) for way in ("inbound", "outbound"))
        if set(inbound) & set(outbound):
            text = _now("Each direction needs a secret of its own, or a delivery could be posted back as a message.")
            self.add_error("outbound_secret", text)
        return cleaned


def split_secrets(entered: str | None) -> list[str]:
    return [secret for secret in (entered or "").split(SEPARATOR) if secret]
