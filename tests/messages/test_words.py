"""One Chinese word for each thing, that of docs/glossary.md, on pages and in `docs/`; and none that the platforms' consoles do not use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.conf.catalogues import ROOMS
from tests.messages.catalogue import path_of, read
from tests.messages.extract import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# What has been written for the thing whose word is on the right.
INSTEAD = {
    "桥接": "网桥",
    "交还": "转回智能体",
    "答复": "回复，智能体为回答",
    "应答": "响应",
    "报警|警报|警告消息": "告警",
    "静默": "静音",
    "额度": "配额",
    "凭据": "凭证",
    "帐号|账户": "账号",
    "登陆": "登录",
    "内容(?:安全)?检测": "内容审核",
    "员工|工作人员(?!状态)": "客服人员",  # 工作人员状态 is Django's label of *staff status*
    "单击": "点击",
    "(?<!其)你(?!好)": "您",
}
PAGES = [ROOT / "README.zh-hans.md", *sorted((ROOT / "docs" / "zh-hans").rglob("*.md"))]


def chinese_texts() -> Iterator[tuple[str, str]]:
    for room in ROOMS:
        yield from ((room, chinese) for chinese in read(path_of(room))[0].values())
    for page in PAGES:
        yield from ((page.name, line) for line in page.read_text().splitlines())


@pytest.mark.parametrize("wrong", INSTEAD)
def test_one_word_for_each_thing(wrong: str) -> None:
    found = [f"{where}: {text[:120]}" for where, text in chinese_texts() if re.search(wrong, text)]
    assert not found, f"write {INSTEAD[wrong]}: {found}"
