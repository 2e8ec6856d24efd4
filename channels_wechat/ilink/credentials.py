"""What an iLink account keeps: what the scan told, and who may talk to an agent."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.pasted import PastedField, clean_pasted
from channels_wechat.ilink.addresses import trusted_base_url


def _check_base_url(address: str) -> None:
    if not trusted_base_url(address):
        raise ValidationError(_("Only an address of Tencent, with https. For a proxy there is the API address."))


class IlinkCredentials(CredentialsForm):
    secrets = frozenset({"bot_token"})
    sent = frozenset({"bot_token"})

    user_id = PastedField(
        label=_("Who scanned"),
        max_length=128,
        help_text=_("The id of the WeChat user whose bot this is; a scan tells it. Each person has one bot at a time."),
    )
    bot_id = PastedField(label=_("Bot ID"), max_length=128, help_text=_("A scan tells it."))
    bot_token = PastedField(
        label=_("Token"),
        max_length=2048,
        help_text=_(
            "A scan tells it. Where it is lost, WeChat may refuse a new login for days: keep a backup of the database."
        ),
    )
    base_url = PastedField(
        label=_("Address that WeChat named"),
        max_length=300,
        required=False,
        validators=[_check_base_url],
        help_text=_("A scan tells it. Empty: the usual one. An API address, where one is entered, is used instead."),
    )
    allowed_people = forms.CharField(
        label=_("Who may talk to an agent"),
        max_length=10_000,
        required=False,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false"}),
        help_text=_(
            "One id of a WeChat user a line. Empty: only who scanned. This channel is one to one: there are no groups. An answer"
            " needs a message of the person within 24 hours, and about ten messages may follow each."
        ),
    )

    def clean_allowed_people(self) -> str:
        """Return the ids, one a line. Raises ValidationError."""
        lines = (clean_pasted(line) for line in self.cleaned_data["allowed_people"].splitlines())
        return "\n".join(dict.fromkeys(filter(None, lines)))
