"""What staff enter for an account of Wechaty: where its puppet service is, and how slowly it writes."""

from __future__ import annotations

import re
import ssl
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.pasted import PastedField, without_invisible
from channels_wechat.wire.addresses import parse_address

ON, OFF = "on", "off"
HOUR = RegexValidator(r"^([01]\d|2[0-3]):[0-5]\d$", _("Enter a time of day as 22:30."))
NAME = RegexValidator(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$", _("This is no name of a server."))
PORT = re.compile(r":\d{1,5}$")
LONGEST_PAUSE = 3600.0
# Least and most of a pause, and what the form calls them.
PAUSES = (("account_least", "account_most"), ("room_least", "room_most"))
RISK = _(
    "WeChat forbids programs that use an ordinary person's account. WeChat may restrict this account or ban it for ever, with its "
    "contacts, its groups and its money, and nobody can undo that. The allowed ways are WeCom (an AI bot in a group, customer service) "
    "and, for one-to-one chats, WeChat's own iLink. Use an account whose loss you can bear."
)


class EndpointField(PastedField):
    """`host:port`. A whole address is refused, because there is no path and no scheme."""

    def to_python(self, value: Any) -> str:
        text = super().to_python(value)
        if not text:
            return text
        if "/" in text or "@" in text or not PORT.search(text):
            raise ValidationError(_now("Enter host and port, like puppet.example.com:8788."))
        parse_address(f"https://{text}")
        return text


class CertificateField(PastedField):
    """Certificates in PEM, in several lines, with words around them as tools print them."""

    def to_python(self, value: Any) -> str:
        text = without_invisible(str(value or "")).replace("\r\n", "\n")
        if not text:
            return ""
        if "PRIVATE KEY" in text:
            raise ValidationError(_now("There is a private key in it: enter the certificate only."))
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError):
            raise ValidationError(
                _now("This is no certificate: copy all of it, from -----BEGIN CERTIFICATE----- on.")
            ) from None
        return text


def _pause(label: Any, initial: float, help_text: Any = "") -> forms.FloatField:
    return forms.FloatField(
        label=label, initial=initial, required=False, min_value=0, max_value=LONGEST_PAUSE, help_text=help_text
    )


class WechatyCredentials(CredentialsForm):
    """The token goes to the directory (the account's API address) and to the service, whose fields are `places`."""

    secrets = frozenset({"token"})
    sent = frozenset({"token"})
    places = frozenset({"endpoint", "tls", "ca", "server_name"})

    token = PastedField(
        label=_("Token"),
        max_length=256,
        help_text=_(
            "The token that the puppet service was started with (WECHATY_TOKEN). Whoever knows it can use the account."
        ),
    )
    endpoint = EndpointField(
        label=_("Address of the puppet service"),
        max_length=260,
        required=False,
        help_text=_(
            "Host and port, like puppet.example.com:8788. Empty: the directory of Wechaty (the API address above) is asked for the token. "
            "A host inside your own network must stand in ALLOWED_PRIVATE_HOSTS."
        ),
    )
    tls = forms.ChoiceField(
        label=_("TLS"),
        choices=[(ON, _("The service speaks TLS")), (OFF, _("No TLS: only within your own network"))],
        initial=ON,
        required=False,
        help_text=_(
            "Without a certificate of its own the service uses one whose private key is public: then TLS hides nothing from whoever "
            "is on the way."
        ),
    )
    ca = CertificateField(
        label=_("Certificate authority"),
        max_length=10_000,
        required=False,
        widget=forms.Textarea({"rows": 4}),
        help_text=_("In PEM, where the service has a certificate of its own. Empty: the one of the Wechaty community."),
    )
    server_name = PastedField(
        label=_("Server name"),
        max_length=253,
        required=False,
        validators=[NAME],
        help_text=_(
            "The name in the service's certificate. Empty: what stands before the last underscore of the token, as Wechaty does; a service "
            "without a certificate of its own has the name “insecure”."
        ),
    )
    account_least = _pause(_("Pause between two messages: least"), 1.0, _("Seconds. Empty: no pause."))
    account_most = _pause(
        _("Pause between two messages: most"), 3.0, _("Seconds. Each pause is a random one between the two.")
    )
    room_least = _pause(
        _("Pause within one chat: least"), 2.0, _("Seconds between two messages to the same group or person.")
    )
    room_most = _pause(_("Pause within one chat: most"), 6.0, _("Seconds. Empty: no pause."))
    quiet_from = PastedField(
        label=_("Quiet hours from"),
        max_length=5,
        required=False,
        initial="23:30",
        validators=[HOUR],
        help_text=_(
            "Nothing is sent from this time of day on, by this server's clock; what waits is sent afterwards. Empty: none."
        ),
    )
    quiet_to = PastedField(label=_("Quiet hours to"), max_length=5, required=False, initial="07:00", validators=[HOUR])
    daily = forms.IntegerField(
        label=_("Messages in 24 hours"),
        initial=300,
        required=False,
        min_value=1,
        max_value=100_000,
        help_text=_("At most so many; further ones wait. Empty: no limit."),
    )
    knows_risk = forms.BooleanField(
        label=_("I know the risk"),
        help_text=RISK,
        error_messages={"required": _("Without this the account cannot be added.")},
    )

    def clean(self) -> dict[str, Any]:
        """Require pairs that belong together. A form that does not say so means TLS."""
        cleaned = super().clean() or self.cleaned_data
        if "tls" not in self.errors:
            cleaned["tls"] = cleaned.get("tls") or ON
        for least, most in PAUSES:
            self._check_pause(least, most)
        begin, end = cleaned.get("quiet_from"), cleaned.get("quiet_to")
        if not self.errors and bool(begin) != bool(end):
            self.add_error("quiet_to", _("Enter both times, or neither."))
        elif begin and begin == end:
            self.add_error("quiet_to", _("The quiet hours end when they begin."))
        return cleaned

    def _check_pause(self, least: str, most: str) -> None:
        shortest, longest = self.cleaned_data.get(least), self.cleaned_data.get(most)
        if longest is not None and (shortest or 0) > longest:
            self.add_error(most, _("This is less than the least pause."))
        elif shortest and longest is None and most not in self.errors:
            self.cleaned_data[most] = shortest
