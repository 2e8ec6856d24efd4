"""Codes that somebody scans with their phone, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segno
from django.utils.safestring import mark_safe
from segno import DataOverflowError

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


def draw_code(text: str) -> SafeString:
    """Return the code as SVG; empty where the text is too long for one.

    It is made of nothing but a path: what it says stands nowhere in it as text. It has no size of its own, so that the style sheet
    scales all of it: a long text makes a large code.
    """
    try:
        code = segno.make_qr(text, error="m")
    except DataOverflowError:
        return mark_safe("")
    return mark_safe(code.svg_inline(omitsize=True, dark="#000", light="#fff"))  # noqa: S308 - segno's own path, no text
