"""Codes that somebody scans with their phone, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segno
from django.utils.safestring import mark_safe

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


def draw_code(text: str) -> SafeString:
    """Return the code as SVG, made of nothing but a path: what it says stands nowhere in it as text.

    It has no size of its own, so that the style sheet scales all of it: a long text makes a large code.
    """
    return mark_safe(segno.make(text, error="m").svg_inline(omitsize=True, dark="#000", light="#fff"))  # noqa: S308 - segno's own path, no text
