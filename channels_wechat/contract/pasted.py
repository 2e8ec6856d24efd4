"""Cleans secrets and ids that people paste: characters that cannot be in one are removed or named, because a field of dots hides them."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

# Characters without a width, which web pages and chats put between and around others.
WIDTHLESS = dict.fromkeys(
    [0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)
QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "„": "“", "«": "»", "「": "」", "『": "』"}
PRINTABLE = re.compile(r"[!-~]*")
# No platform writes a longer number.
MOST_DIGITS = 20
NOTHING_SEEN = gettext_lazy("There is nothing in it that anybody sees.")


def without_invisible(text: str) -> str:
    """Return the text without characters that have no width, and without blanks and line breaks at both ends."""
    return text.translate(WIDTHLESS).strip()


def one_line(text: str) -> str:
    """Return a name as lists show it: without invisible characters, with one blank for each run of blanks and line breaks."""
    seen = (letter for letter in without_invisible(text) if letter.isprintable() or letter.isspace())
    return " ".join("".join(seen).split())


def clean_title(text: str) -> str:
    """Return the title of a chat in one line, with its emoji. Raises ValidationError where nothing of it is visible."""
    if text and not one_line(text):
        raise ValidationError(NOTHING_SEEN)
    return " ".join(text.split())


def as_seen(name: str) -> str:
    """Return a form that is the same for names that look the same, whatever their case, width and composition."""
    return unicodedata.normalize("NFKC", one_line(name)).casefold()


def clean_pasted(text: str) -> str:
    """Return a clean secret or id. Raises ValidationError, which names the character that cannot be in one, never the text itself."""
    text = without_invisible(text)
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1]:
        raise ValidationError(
            _("There are quotes %s around it: paste only what is between them.") % (text[0] + text[-1])
        )
    if not PRINTABLE.fullmatch(text):
        position = next(number for number, letter in enumerate(text, 1) if not PRINTABLE.fullmatch(letter))
        words = {"position": position, "character": _name_of(text[position - 1])}
        raise ValidationError(
            _("Character %(position)d is %(character)s, which cannot be part of it: copy it again.") % words
        )
    return text


def _name_of(letter: str) -> str:
    if letter == " ":
        return _("a blank")
    if letter in "\r\n\v\f\x85\u2028\u2029":
        return _("a line break")
    name = unicodedata.name(letter, "").lower()
    shown = f"“{letter}” " if letter.isprintable() and not letter.isspace() else ""
    return f"{shown}(U+{ord(letter):04X}{', ' if name else ''}{name})"


class PastedField(forms.CharField):
    """A form field for a secret or an id."""

    def to_python(self, value: Any) -> str:
        return clean_pasted(super().to_python(value) or "")


class PastedNumberField(forms.IntegerField):
    """A form field for an id of ASCII digits: no other characters that Python accepts as digits, no point, no sign."""

    def to_python(self, value: Any) -> int | None:
        text = clean_pasted(str(value)) if value not in self.empty_values else ""
        if text and not (text.isdigit() and len(text) <= MOST_DIGITS):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(text)
