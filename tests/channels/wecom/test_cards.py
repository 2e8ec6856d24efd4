"""Template cards: the border of every limit."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.wecom.cards import NOTICES, check_card

ACTION = {"type": 1, "url": "https://example.com"}
TITLE = {"title": "转人工?", "desc": "会话 42"}
BUTTON = {"text": "接入", "style": 1, "key": "accept:42"}
OPTION = {"id": "1", "text": "一"}
SUBMIT = {"text": "提交", "key": "k"}
CARDS: dict[str, dict[str, Any]] = {
    "text_notice": {"card_action": ACTION, "main_title": TITLE},
    "news_notice": {
        "card_action": ACTION,
        "main_title": TITLE,
        "card_image": {"url": "https://a/b.png", "aspect_ratio": 2.25},
    },
    "button_interaction": {"task_id": "bridge-42@approve", "main_title": TITLE, "button_list": [BUTTON]},
    "vote_interaction": {
        "task_id": "t",
        "main_title": TITLE,
        "checkbox": {"question_key": "q", "mode": 1, "option_list": [OPTION]},
        "submit_button": SUBMIT,
    },
    "multiple_interaction": {
        "task_id": "t",
        "main_title": TITLE,
        "select_list": [{"question_key": "q", "option_list": [OPTION]}],
        "submit_button": SUBMIT,
    },
}


def card(kind: str = "text_notice", **changes: Any) -> dict[str, Any]:
    return {"card_type": kind, **CARDS[kind], **changes}


def refused(value: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ContentRefused) as caught:
        check_card(value, **options)
    assert len(str(caught.value)) > 10
    return caught.value.field


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_of_every_type_passes(kind):
    check_card(card(kind))


@pytest.mark.parametrize(
    ("kind", "part"), [(kind, part) for kind, parts in CARDS.items() for part in parts if part != "card_image"]
)
def test_a_needed_part_is_missed(kind, part):
    value = card(kind)
    del value[part]
    if (kind, part) == ("text_notice", "main_title"):
        check_card(value)
    else:
        assert refused(value) == part


def test_only_the_types_of_the_surface_pass():
    assert refused(card("button_interaction"), types=NOTICES) == "card_type"
    assert refused({}) == "card_type"
    assert refused(card() | {"card_type": "other"}) == "card_type"


def of_bytes(count: int) -> str:
    """So many bytes of UTF-8, in half as many characters."""
    return "é" * (count // 2) + "a" * (count % 2)


BORDERS = [
    ("text_notice", "source", lambda n: {"desc": "一" * n}, 13, "source.desc"),
    ("text_notice", "main_title", lambda n: {"title": "一" * n}, 26, "main_title.title"),
    ("text_notice", "main_title", lambda n: {"desc": "一" * n}, 30, "main_title.desc"),
    ("text_notice", "emphasis_content", lambda n: {"title": "一" * n}, 10, "emphasis_content.title"),
    ("text_notice", "emphasis_content", lambda n: {"desc": "一" * n}, 15, "emphasis_content.desc"),
    ("text_notice", "sub_title_text", lambda n: "一" * n, 112, "sub_title_text"),
    (
        "text_notice",
        "horizontal_content_list",
        lambda n: [{}, {"keyname": "一" * n}],
        5,
        "horizontal_content_list[2].keyname",
    ),
    ("text_notice", "horizontal_content_list", lambda n: [{"value": "一" * n}], 26, "horizontal_content_list[1].value"),
    ("text_notice", "horizontal_content_list", lambda n: [{}] * n, 6, "horizontal_content_list"),
    ("text_notice", "jump_list", lambda n: [{}] * n, 3, "jump_list"),
    ("text_notice", "jump_list", lambda n: [{"question": of_bytes(n)}], 200, "jump_list[1].question"),
    ("news_notice", "vertical_content_list", lambda n: [{}] * n, 4, "vertical_content_list"),
    ("button_interaction", "button_list", lambda n: [BUTTON] * n, 6, "button_list"),
    ("button_interaction", "button_list", lambda n: [{"key": of_bytes(n)}], 1024, "button_list[1].key"),
    (
        "button_interaction",
        "button_selection",
        lambda n: {"option_list": [OPTION] * n},
        10,
        "button_selection.option_list",
    ),
    ("button_interaction", "action_menu", lambda n: {"action_list": [{}] * n}, 3, "action_menu.action_list"),
    (
        "button_interaction",
        "action_menu",
        lambda n: {"action_list": [{"key": of_bytes(n)}]},
        1024,
        "action_menu.action_list[1].key",
    ),
    ("button_interaction", "task_id", lambda n: "a" * n, 128, "task_id"),
    ("vote_interaction", "checkbox", lambda n: {"option_list": [OPTION] * n}, 20, "checkbox.option_list"),
    (
        "vote_interaction",
        "checkbox",
        lambda n: {"option_list": [{"id": of_bytes(n)}]},
        128,
        "checkbox.option_list[1].id",
    ),
    ("vote_interaction", "submit_button", lambda n: {"key": of_bytes(n)}, 1024, "submit_button.key"),
    ("multiple_interaction", "select_list", lambda n: [{"option_list": [OPTION]}] * n, 3, "select_list"),
    (
        "multiple_interaction",
        "select_list",
        lambda n: [{"option_list": [OPTION] * n}],
        10,
        "select_list[1].option_list",
    ),
]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("news_notice", {"card_image": {"aspect_ratio": 1.3}}),
        ("news_notice", {"card_image": {"aspect_ratio": 2}}),
        ("button_interaction", {"task_id": "Az09_-@"}),
        ("text_notice", {"horizontal_content_list": [], "jump_list": []}),
        ("news_notice", {"vertical_content_list": []}),
        ("text_notice", {"action_menu": {"action_list": [{}]}, "task_id": "t"}),
    ],
)
def test_what_just_fits_passes(kind, changes):
    check_card(card(kind, **changes))


@pytest.mark.parametrize(("kind", "part", "make", "most", "place"), BORDERS)
def test_a_limit_holds_at_its_border(kind, part, make, most, place):
    check_card(card(kind, **{part: make(most)}))
    assert refused(card(kind, **{part: make(most + 1)})) == place


@pytest.mark.parametrize(
    ("kind", "changes", "place"),
    [
        ("text_notice", {"action_menu": {"action_list": [{}]}}, "task_id"),
        ("button_interaction", {"task_id": "has space"}, "task_id"),
        ("button_interaction", {"task_id": "任务"}, "task_id"),
        ("button_interaction", {"action_menu": {"action_list": []}}, "action_menu.action_list"),
        ("vote_interaction", {"checkbox": {"option_list": []}}, "checkbox.option_list"),
        ("button_interaction", {"button_selection": {"option_list": []}}, "button_selection.option_list"),
        ("button_interaction", {"button_list": []}, "button_list"),
        ("multiple_interaction", {"select_list": []}, "select_list"),
        ("multiple_interaction", {"select_list": [{"option_list": []}]}, "select_list[1].option_list"),
        ("news_notice", {"card_image": {"aspect_ratio": 1.29}}, "card_image.aspect_ratio"),
        ("news_notice", {"card_image": {"aspect_ratio": 2.26}}, "card_image.aspect_ratio"),
        ("news_notice", {"card_image": {"aspect_ratio": "2"}}, "card_image.aspect_ratio"),
        ("text_notice", {"main_title": "text"}, "main_title"),
        ("text_notice", {"horizontal_content_list": {"keyname": "k"}}, "horizontal_content_list"),
        ("text_notice", {"horizontal_content_list": ["x"]}, "horizontal_content_list[1]"),
        ("text_notice", {"jump_list": "x"}, "jump_list"),
    ],
)
def test_a_wrong_part_is_named(kind, changes, place):
    assert refused(card(kind, **changes)) == place
