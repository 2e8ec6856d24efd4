"""Template cards (pages 90236 and 101032): what a card may hold, checked before it is stored rather than when it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.text import utf8_len

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TASK_ID = re.compile(r"[0-9A-Za-z_\-@]{1,128}")
NOTICES = ("text_notice", "news_notice")

# Card type → the parts it cannot be without.
REQUIRED = {
    "text_notice": ("card_action",),
    "news_notice": ("main_title", "card_action"),
    "button_interaction": ("task_id", "main_title", "button_list"),
    "vote_interaction": ("task_id", "main_title", "checkbox", "submit_button"),
    "multiple_interaction": ("task_id", "main_title", "select_list", "submit_button"),
}
# Place in the card → most characters; `*` stands for every element of a list.
CHARACTERS = {
    "source.desc": 13,
    "main_title.title": 26,
    "main_title.desc": 30,
    "emphasis_content.title": 10,
    "emphasis_content.desc": 15,
    "sub_title_text": 112,
    "horizontal_content_list.*.keyname": 5,
    "horizontal_content_list.*.value": 26,
}
# Place → most bytes of UTF-8.
BYTES = {
    "action_menu.action_list.*.key": 1024,
    "button_list.*.key": 1024,
    "submit_button.key": 1024,
    "checkbox.option_list.*.id": 128,
    "jump_list.*.question": 200,
}
# Place of a list → least and most elements.
ELEMENTS = {
    "action_menu.action_list": (1, 3),
    "horizontal_content_list": (0, 6),
    "jump_list": (0, 3),
    "vertical_content_list": (0, 4),
    "button_list": (1, 6),
    "button_selection.option_list": (1, 10),
    "checkbox.option_list": (1, 20),
    "select_list": (1, 3),
    "select_list.*.option_list": (1, 10),
}


def check_card(card: Mapping[str, Any], types: tuple[str, ...] = tuple(REQUIRED)) -> None:
    """Raises ContentRefused that names the part. types: the card types that the surface shows."""
    card_type = card.get("card_type")
    if card_type not in types:
        raise ContentRefused("card_type", _("The card type must be one of: %s.") % ", ".join(types))
    for part in REQUIRED[card_type]:
        if not card.get(part):
            raise ContentRefused(part, _("A card of this type needs the part “%s”.") % part)
    _check_task_id(card)
    _check_sizes(card)
    for place, ratio in _at(card, "card_image.aspect_ratio"):
        if not isinstance(ratio, int | float) or not 1.3 <= ratio <= 2.25:
            raise ContentRefused(place, _("The picture's width divided by its height must be between 1.3 and 2.25."))


def _check_task_id(card: Mapping[str, Any]) -> None:
    task_id = card.get("task_id") or ""
    if card.get("action_menu") and not task_id:
        raise ContentRefused("task_id", _("A card with a menu needs a task ID."))
    if task_id and not TASK_ID.fullmatch(str(task_id)):
        raise ContentRefused("task_id", _("A task ID has at most 128 letters, digits and the characters _ - @."))


def _check_sizes(card: Mapping[str, Any]) -> None:
    for path, most in CHARACTERS.items():
        for place, value in _at(card, path):
            if len(str(value)) > most:
                raise ContentRefused(place, _("At most %(most)d characters.") % {"most": most})
    for path, most in BYTES.items():
        for place, value in _at(card, path):
            if utf8_len(str(value)) > most:
                raise ContentRefused(place, _("At most %(most)d bytes.") % {"most": most})
    for path, (least, most) in ELEMENTS.items():
        for place, value in _at(card, path):
            if not isinstance(value, list) or not least <= len(value) <= most:
                text = _("This must be a list of %(least)d to %(most)d elements.")
                raise ContentRefused(place, text % {"least": least, "most": most})


def _at(value: Any, path: str, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value at the path with its place in words; nothing where a part is absent. A part of the wrong shape is refused."""
    if not path or value is None:
        if value is not None:
            yield place, value
        return
    step, _dot, rest = path.partition(".")
    if step == "*" and isinstance(value, list):
        for number, element in enumerate(value, 1):
            yield from _at(element, rest, f"{place}[{number}]")
    elif step != "*" and isinstance(value, dict):
        yield from _at(value.get(step), rest, f"{place}.{step}" if place else step)
    else:
        raise ContentRefused(place, _("This part of the card has the wrong shape."))
