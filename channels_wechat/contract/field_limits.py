"""Checks the fields of a message that a platform limits, before the message is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.text import clean, utf8_len

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Part:
    """The limits of one field. most: bytes, or characters with `characters`; least: in the same unit."""

    name: str
    most: int = 0
    required: bool = False
    characters: bool = False
    least: int = 0
    url: bool = False


def check(data: Mapping[str, Any], parts: tuple[Part, ...], place: str = "") -> None:
    for part in parts:
        value, name = data.get(part.name), place + part.name
        if value in (None, ""):
            if part.required:
                raise ContentRefused(name, _("Required."))
        elif not isinstance(value, str):
            raise ContentRefused(name, _("This must be text."))
        else:
            _check_value(name, value, part)


def _check_value(name: str, value: str, part: Part) -> None:
    size = len(value) if part.characters else utf8_len(clean(value))
    if part.most and size > part.most:
        count = {"most": part.most, "size": size}
        text = ngettext("At most %(most)d character.", "At most %(most)d characters; this has %(size)d.", part.most)
        raise ContentRefused(
            name, (text if part.characters else _("At most %(most)d bytes; this has %(size)d.")) % count
        )
    if size < part.least:
        raise ContentRefused(name, _("At least %(least)d characters.") % {"least": part.least})
    if part.url and not value.startswith(("http://", "https://")):
        raise ContentRefused(name, _("An address must begin with http:// or https://."))


def elements(data: Mapping[str, Any], name: str, most: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the objects of a list with a description of their places."""
    found = data.get(name)
    if not isinstance(found, list) or not all(isinstance(element, dict) for element in found):
        raise ContentRefused(name, _("This must be a list of objects."))
    if len(found) > most:
        raise ContentRefused(name, _("At most %(most)d elements.") % {"most": most})
    return [(f"{name}[{number}].", element) for number, element in enumerate(found, 1)]
