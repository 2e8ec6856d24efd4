"""What staff enter of every account whose platform calls us: the token that signs a callback, and the key that encrypts it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.pasted import PastedField
from channels_wechat.wire.callback_crypto import decode_aes_key

_TOKEN = RegexValidator(r"^[A-Za-z0-9]{1,32}$", _("A token has at most 32 letters and digits."))


def validate_aes_key(key: str) -> None:
    """A validator for the field of an EncodingAESKey; a blank one never comes here. Raises ValidationError."""
    try:
        decode_aes_key(key)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from error


class TokenField(PastedField):
    """The token of a callback address. pattern: for a platform that takes fewer than `_TOKEN` allows."""

    def __init__(self, *, pattern: RegexValidator = _TOKEN, **options: Any) -> None:
        super().__init__(label=_("Token"), validators=[pattern], **options)


class EncodingAESKeyField(PastedField):
    """The key of a callback address."""

    def __init__(self, **options: Any) -> None:
        super().__init__(label=_("EncodingAESKey"), validators=[validate_aes_key], **options)


class CallbackCredentials(CredentialsForm):
    """Base of the forms of such kinds. A kind declares `token` again to say where its console shows it.

    Neither goes to the API address. What a kind asks for before these two it names in `field_order`.
    """

    secrets = frozenset({"token", "encoding_aes_key"})
    sent = frozenset[str]()

    token = TokenField()
    encoding_aes_key = EncodingAESKeyField(help_text=_("On the same page as the token: 43 characters."))
