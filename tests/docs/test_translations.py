"""A Chinese page says what its English one says now: same chapters, same commands, same links."""

from __future__ import annotations

import re

import pytest

from tests.docs.translations import MARK, PAGES, ROOT, hash_of

CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize(("english", "chinese"), PAGES.items())
def test_the_chinese_translates_the_english_of_now(english: str, chinese: str) -> None:
    found = MARK.match((ROOT / chinese).read_text("utf-8"))
    assert found
    assert found.groups() == (english, hash_of(english)), (
        "translate what changed, then: python -m tests.docs.translations"
    )


@pytest.mark.parametrize(("english", "chinese"), PAGES.items())
def test_both_have_the_same_chapters_commands_and_links(english: str, chinese: str) -> None:
    ours, theirs = ((ROOT / page).read_text("utf-8") for page in (english, chinese))
    assert len(re.findall(r"^## ", ours, re.MULTILINE)) == len(re.findall(r"^## ", theirs, re.MULTILINE))
    assert [_commands(each) for each in CODE.findall(ours)] == [_commands(each) for each in CODE.findall(theirs)]
    assert set(LINK.findall(ours)) - {chinese} == set(LINK.findall(theirs)) - {english}


def _commands(block: str) -> list[str]:
    """The lines of a block without their remarks, which are translated."""
    return [line.partition(" # ")[0].rstrip() for line in block.splitlines()]
