"""A Chinese page says what its English one says now: same chapters, same tables, same commands, same links."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.test_pages import anchors_of, text_of
from tests.docs.translations import MARK, PAGES, ROOT, hash_of

CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Each begins a line of a page; a translation has as many of them as the page.
BLOCKS = {"chapter": r"^#+ ", "row of a table": r"^\|", "step": r"^\s*\d+\. ", "item": r"^\s*- "}
# README.zh-hans.md connects its first two accounts step by step, for readers of no other page.
MORE = {"README.md": {"chapter": 2, "step": 10}}
# Written in Chinese for itself; it translates no page.
OWN = {("docs/zh-hans/glossary.md", 0)}

both = pytest.mark.parametrize(("english", "chinese"), PAGES.items())


@both
def test_the_chinese_translates_the_english_of_now(english: str, chinese: str) -> None:
    found = MARK.match((ROOT / chinese).read_text("utf-8"))
    assert found
    assert found.groups() == (english, hash_of(english)), (
        "translate what changed, then: python -m tests.docs.translations"
    )


@both
def test_both_have_the_same_chapters_tables_steps_and_commands(english: str, chinese: str) -> None:
    pages = (ROOT / english, ROOT / chinese)
    ours, theirs = ({name: _count(begin, page) for name, begin in BLOCKS.items()} for page in pages)
    assert {name: count + MORE.get(english, {}).get(name, 0) for name, count in ours.items()} == theirs
    ours_code, theirs_code = ([_commands(each) for each in CODE.findall(page.read_text("utf-8"))] for page in pages)
    assert ours_code == theirs_code


@both
def test_both_link_to_the_same_chapters_and_to_each_other(english: str, chinese: str) -> None:
    ours, theirs = _places(english), _places(chinese)
    assert chinese in {Path(os.path.relpath(path, ROOT)).as_posix() for path in _files(ROOT / english)}
    assert ours == theirs - OWN


def _count(begin: str, page: Path) -> int:
    return len(re.findall(begin, text_of(page), re.MULTILINE))


def _commands(block: str) -> list[str]:
    """The lines of a block without their remarks, which are translated."""
    return [line.partition(" # ")[0].rstrip() for line in block.splitlines()]


def _files(page: Path) -> list[Path]:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8"))]
    return [(page.parent / link).resolve() for link in links if link and "://" not in link]


def _places(name: str) -> set[tuple[str, int]]:
    """What the page links to, beside its translation: the address, or the English page, and the number of the chapter (0: the whole)."""
    page = ROOT / name
    return {_place(page, link) for link in LINK.findall(page.read_text("utf-8"))} - {(_english(page), 0)}


def _place(page: Path, link: str) -> tuple[str, int]:
    if "://" in link:
        return link, 0
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return _english(target), anchors_of(target).index(anchor) if anchor else 0


def _english(page: Path) -> str:
    name = page.relative_to(ROOT).as_posix()
    return next((english for english, chinese in PAGES.items() if chinese == name), name)
