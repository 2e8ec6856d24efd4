"""What the agent reads."""

from __future__ import annotations

import pytest

from bridge.prompt import Said, message_text, system_text

SAID = Said("你好", "zhangsan", "", group=False, title="", surface="Only plain text is shown.")


def said(**changes: object) -> Said:
    fields = {name: getattr(SAID, name) for name in Said.__slots__}
    return Said(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "你好"),
        ({"group": True}, "zhangsan: 你好"),
        ({"group": True, "sender_name": "张三"}, "张三: 你好"),
        ({"files": ["image", "file: a.pdf"]}, "你好\n[image]\n[file: a.pdf]"),
        ({"text": "", "files": ["image"]}, "[image]"),
        ({"text": "", "files": ["image"], "group": True}, "zhangsan: [image]"),
        ({"text": "a\nb", "group": True}, "zhangsan: a\nb"),
    ],
)
def test_the_message(changes: dict[str, object], text: str) -> None:
    assert message_text(said(**changes)) == text


@pytest.mark.parametrize(
    ("changes", "place", "who"),
    [
        ({}, "a private chat", "user id zhangsan"),
        ({"sender_name": "张三"}, "a private chat", "张三 (user id zhangsan)"),
        ({"group": True}, "a group", "user id zhangsan"),
        ({"group": True, "title": "产品组"}, "the group “产品组”", "user id zhangsan"),
        ({"title": "张三"}, "a private chat", "user id zhangsan"),
    ],
)
def test_where_the_agent_speaks(changes: dict[str, object], place: str, who: str) -> None:
    first, surface, rule = system_text(said(**changes)).splitlines()
    assert first == f"You are talking in {place} on WeChat through a bridge; the current message is from {who}."
    assert surface == SAID.surface
    assert rule == "Write the answer only; it is delivered for you."


def test_a_surface_without_words_leaves_no_blank_line() -> None:
    assert len(system_text(said(surface="")).splitlines()) == 2
