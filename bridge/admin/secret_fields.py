"""Secrets in forms: what was typed is rendered into no page, not even into the answer that refuses the form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

TYPE_AGAIN = _("What you typed here is not shown again. Type it once more.")
TYPE_AGAIN_OR_KEEP = _(
    "What you typed here is not shown again. Type it once more; if it stays empty, what is stored is kept."
)


class SecretAddressInput(forms.URLInput):
    """For an address that holds a secret, as those of webhooks and robots do."""

    def format_value(self, value: Any) -> None:
        """Render no value, as a PasswordInput does."""


class HidesSecrets(forms.BaseForm):
    """A form that comes back with an error says at each secret that was typed that it has to be typed again."""

    def full_clean(self) -> None:
        super().full_clean()
        if self.errors:
            for name, field in self.fields.items():
                if is_secret(field) and self.data.get(self.add_prefix(name)):
                    _say_again(self[name])


def _say_again(shown: forms.BoundField) -> None:
    """Put the sentence before the field's help. It is no error: nothing may be wrong with what was typed here."""
    sentence = TYPE_AGAIN_OR_KEEP if shown.field.widget.attrs.get("placeholder") else TYPE_AGAIN
    shown.help_text = format_html('<span class="b-reason" role="alert">{}</span> {}', sentence, shown.help_text)


def is_secret(field: forms.Field) -> bool:
    """Whether pages never show what is in this field."""
    return isinstance(field.widget, (forms.PasswordInput, SecretAddressInput))
