"""Limits of template cards (facts: wecom.md 3.4): characters for what is shown, bytes for keys and ids."""

import re
from typing import Any

from channels_wechat.simulator.core.errors import PlatformError

NOTICES = frozenset({"text_notice", "news_notice"})
INTERACTIONS = frozenset({"button_interaction", "vote_interaction", "multiple_interaction"})
TYPES = NOTICES | INTERACTIONS

TASK_ID = re.compile(r"[0-9A-Za-z_\-@]{1,128}")

# Path inside the card → most characters. "[]" steps into each element of a list.
TEXTS = {
    "source.desc": 13,
    "main_title.title": 26,
    "main_title.desc": 30,
    "emphasis_content.title": 10,
    "emphasis_content.desc": 15,
    "sub_title_text": 112,
    "horizontal_content_list[].keyname": 5,
    "horizontal_content_list[].value": 26,
}
# Path → least and most elements, checked where the list is given.
COUNTS = {
    "action_menu.action_list": (1, 3),
    "horizontal_content_list": (0, 6),
    "jump_list": (0, 3),
    "vertical_content_list": (0, 4),
    "button_list": (1, 6),
    "button_selection.option_list": (1, 10),
    "checkbox.option_list": (1, 20),
    "select_list": (1, 3),
    "select_list[].option_list": (1, 10),
}
# Path → most bytes.
KEYS = {
    "action_menu.action_list[].key": 1024,
    "button_list[].key": 1024,
    "submit_button.key": 1024,
    "checkbox.option_list[].id": 128,
    "select_list[].option_list[].id": 128,
    "button_selection.option_list[].id": 128,
    "jump_list[].question": 200,
}
REQUIRED = {
    "text_notice": ("card_action",),
    "news_notice": ("card_action", "main_title"),
    "button_interaction": ("task_id", "main_title", "button_list"),
    "vote_interaction": ("task_id", "main_title", "checkbox", "submit_button"),
    "multiple_interaction": ("task_id", "main_title", "select_list", "submit_button"),
}


def at(card: Any, path: str) -> list[Any]:
    """Every value found at a path; nothing where a part is absent."""
    values = [card]
    for step in path.split("."):
        name, many = step.removesuffix("[]"), step.endswith("[]")
        values = [v[name] for v in values if isinstance(v, dict) and v.get(name) is not None]
        if many:
            values = [element for value in values if isinstance(value, list) for element in value]
    return values


def refuse(why: str) -> PlatformError:
    return PlatformError(40058, f"invalid template card: {why}")


def check_card(card: dict[str, Any], allowed: frozenset[str] = TYPES) -> None:
    kind = str(card.get("card_type"))
    if kind not in allowed:
        raise refuse(f"card_type {kind}")
    for name in REQUIRED[kind]:
        if not card.get(name):
            raise refuse(f"{name} is required")
    _check_task_id(card)
    _check_sizes(card)


def _check_task_id(card: dict[str, Any]) -> None:
    task_id = card.get("task_id")
    if card.get("action_menu") and not task_id:
        raise refuse("task_id is required with action_menu")
    if task_id and not TASK_ID.fullmatch(str(task_id)):
        raise refuse("task_id")


def _check_sizes(card: dict[str, Any]) -> None:
    for path, most in TEXTS.items():
        if any(len(str(value)) > most for value in at(card, path)):
            raise refuse(f"{path} exceeds {most} characters")
    for path, most in KEYS.items():
        if any(len(str(value).encode()) > most for value in at(card, path)):
            raise refuse(f"{path} exceeds {most} bytes")
    for path, (least, most) in COUNTS.items():
        if any(not least <= len(value) <= most for value in at(card, path) if isinstance(value, list)):
            raise refuse(f"{path} must have {least} to {most} elements")
