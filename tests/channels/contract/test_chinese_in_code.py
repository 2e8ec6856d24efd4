"""What people in WeChat read stands in `contract.sentences`, where staff can write it anew; nowhere else is Chinese in the code."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.structure import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHINESE = re.compile(r"[\u4e00-\u9fff]")
# The platforms' words in brackets, behind English ones: "safe mode (安全模式)", "earlier 群机器人)".
QUOTED = re.compile(r"\([^()]*\)|（[^（）]*）")
# Where else Chinese belongs, and why.
ALLOWED = {
    "channels_wechat/contract/sentences.py",  # what people read
    "channels_wechat/contract/unreadable.py",  # how the platforms say that a message cannot be shown
    "channels_wechat/wecom/places.py",  # menus of consoles
    "channels_wechat/weixin/places.py",
    "channels_wechat/wecom/errors.py",  # a menu within an explanation for staff
    "bridge/models/routes.py",  # an example of a word that people write
    "bridge/pipeline/outbound/rights.py",  # @all, as people write it
    "bridge/settings.py",  # the name of the language
    "bridge/models/pairs.py",  # which characters are Chinese
}
FOLDERS = ("channels_wechat", "bridge", "accounts", "openclaw")
# They play people and platforms.
PLAYED = ("/simulator/", "/stub/", "/demo/", "/migrations/")


def chinese_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a module with Chinese outside brackets, without its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    remarks = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in remarks)
    for node in texts:
        if isinstance(node.value, str) and CHINESE.search(QUOTED.sub("", node.value)):
            yield node.value


def test_what_people_read_stands_in_one_place() -> None:
    found = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name in ALLOWED or any(part in f"/{name}" for part in PLAYED):
                continue
            if texts := list(chinese_texts(path)):
                found[name] = texts
    assert found == {}
