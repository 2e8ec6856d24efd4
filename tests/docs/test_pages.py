"""README, CONTRIBUTING and docs/: short where that was asked, and every link, path and folder they name is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from channels_wechat import KINDS
from tests.docs.translations import PAGES as TRANSLATED
from tests.structure import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAX_README_LINES = 120
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh-hans.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# Folders whose rooms the floor plan names, all of them.
HALLS = ("bridge", "bridge/pipeline", "bridge/runtime", "channels_wechat")


def text_of(page: Path) -> str:
    """Return the page without its blocks of code, in which brackets are no links and # is no heading."""
    return FENCE.sub("", page.read_text())


def anchors_of(page: Path) -> list[str]:
    """Return the anchors that GitHub gives the headings of the page, in their order."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    titles = (LINK.sub(r"\1", heading).lower() for heading in headings)
    return [re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles]


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(text_of(page)):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


def folders_of_the_plan() -> set[str]:
    """Return the folders that the tree in docs/architecture.md names, two spaces for each level."""
    tree = next(block for block in FENCE.findall((ROOT / "docs/architecture.md").read_text()) if "\nbridge/ " in block)
    above: list[str] = []
    folders = set()
    for indent, name in re.findall(r"^((?:  )*)(\w+)/ ", tree, re.MULTILINE):
        above = [*above[: len(indent) // 2], name]
        folders.add("/".join(above))
    return folders


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """Besides those of the kind that CONTRIBUTING makes up."""
    named = re.findall(r"`((?:bridge|accounts|openclaw|channels_wechat|tests|docs)/[\w./-]+)`", text_of(page))
    assert [name for name in named if "toychat" not in name and not (ROOT / name).exists()] == []


def test_the_floor_plan_names_every_room_and_no_other() -> None:
    folders = folders_of_the_plan()
    assert {folder for folder in folders if not (ROOT / folder).is_dir()} == set()
    rooms = {str(path.parent.relative_to(ROOT)) for hall in HALLS for path in (ROOT / hall).glob("*/__init__.py")}
    assert rooms <= folders


def test_every_kind_has_a_page_that_says_how_to_connect_it() -> None:
    pages = {path.stem for path in (ROOT / "docs/connect").glob("*.md")}
    assert pages == {*KINDS, "openclaw"}
    readme = (ROOT / "README.md").read_text()
    assert [page for page in pages if f"docs/connect/{page}.md" not in readme] == []
    assert [page for page in pages if f"docs/connect/{page}.md" not in TRANSLATED] == []
