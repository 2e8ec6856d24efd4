"""README.zh-hans.md as somebody follows it who reads Chinese only: a gateway, a WeCom AI bot by long connection, and its first answer.

The simulator plays WeCom: the API address is its own, which the README's reader leaves empty.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.launcher.launch import BASE_DIR
from channels_wechat.simulator import SimulatorClient
from tests.browser.desk import Desk
from tests.browser.journey import word
from tests.browser.running import add_admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage

pytestmark = pytest.mark.heavy
README = (BASE_DIR / "README.zh-hans.md").read_text()
STEPS = README.partition("### 接入第一个账号")[2].partition("\n### ")[0]
SECRET = word(43)


@pytest.fixture
def reader(stage: Stage, browser: Browser) -> Iterator[Desk]:
    found = Desk(browser, stage.plan.web, locale="zh-CN")
    yield found
    complaints = found.complaints
    found.close()
    assert complaints == []


def reads(text: str) -> str:
    """A word of a button or a page, after a look that the README's steps name it."""
    assert text in STEPS, f"README.zh-hans.md does not name {text}"
    return text


def test_a_reader_of_chinese_connects_the_first_account(reader: Desk, stage: Stage) -> None:
    company, bot, group, name = (
        SimulatorClient(stage.plan.env["DEMO_SIMULATOR_URL"]),
        f"aib{word(6)}",
        f"wr{word(8)}",
        "小桥",
    )
    company.member("wangwu", "王五")
    company.group(group, "新品讨论群", members=["wangwu"])
    company.bot(bot, name=name, mode="connection", secret=SECRET)
    reader.secrets.add(SECRET)
    reader.log_in(add_admin(stage), stage.plan.env["ADMIN_PASSWORD"], "登录")

    gateway = f"网关{word(4)}"
    _add(reader, reads("网关"))
    reader.fill(name=gateway, base_url=stage.plan.env["DEMO_GATEWAY_URL"], token=stage.plan.env["DEMO_GATEWAY_TOKEN"])
    reader.press(reads("保存"))
    reader.press(reads("测试"))
    reader.sees("工作正常")

    _add(reader, reads("账号"))
    reader.follow(f"添加：{reads('企业微信智能机器人')}")
    for label in ("Bot ID", "机器人名称", "使用长连接", "Secret"):
        assert label in STEPS
        reader.sees(label)
    reader.fill(
        name=f"机器人{word(4)}",
        bot_id=bot,
        bot_name=name,
        mode="使用长连接：由本服务器连接企业微信，机器人可以主动发送",
    )
    reader.fill(secret=SECRET, api_base_url=company.websocket_url.replace("ws", "http", 1))
    reader.press(reads("保存"))
    reader.find(reader.page.url, reads("已连接"))

    company.say("新品什么时候上市？", bot=bot, from_="wangwu", chat=group)
    reader.find("/admin/", reads("会话"))
    reader.follow("会话")
    reader.find(reader.page.url, group)
    reader.follow(group)
    reader.sees("新品什么时候上市？", "没有映射")
    reader.follow(reads("为此群建立映射"))
    reader.fill(gateway=gateway, agent_id="support")
    reader.press(reads("保存"))
    said = company.say("现在可以回答了吗？", bot=bot, from_="wangwu", chat=group)
    assert "现在可以回答了吗" in company.wait_answer(said)["text"]


def _add(reader: Desk, what: str) -> None:
    """The menu's entry, then the +, as the README writes it: `网关 → +`."""
    assert re.search(rf"\*\*{what} → \+", STEPS)
    reader.go("/admin/")
    reader.follow(what)
    reader.page.locator("a.addlink, a[href$='/add/']").first.click()
    reader.page.wait_for_url("**/add/**")
