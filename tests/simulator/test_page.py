"""The chat page as a follower and as a user of a Mini Program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk, chromium
from tests.simulator.weixin import FAN, USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Receiver
    from tests.simulator.weixin import Api

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def desk(browser: Browser, wechat: SimulatorClient) -> Iterator[Desk]:
    desk = Desk(browser, wechat.url)
    desk.go("/")
    yield desk
    assert desk.complaints == []
    desk.close()


def press(desk: Desk, name: str) -> None:
    desk.page.get_by_role("button", name=name, exact=True).click()


def be(desk: Desk, openid: str, account: str) -> None:
    desk.page.get_by_label("You are").select_option(openid)
    press(desk, account)


def write(desk: Desk, text: str) -> None:
    desk.page.get_by_label("Message").fill(text)
    press(desk, "Send")


def test_a_follower(desk: Desk, wechat: SimulatorClient, api: Api, developer: Receiver, tmp_path: Path) -> None:
    be(desk, FAN, "服务号")
    desk.sees("service, verified · The account may send nothing until this person does something")
    write(desk, "在吗")
    desk.sees("The account may send 5 more")
    api.send(content={"content": "在的"}, aimsgcontext={"is_ai_msg": 1})
    desk.sees("内容由第三方AI生成")
    api.send("msgmenu", {"head_content": "满意吗？", "list": [{"id": "1", "content": "满意"}]})
    press(desk, "满意")
    wechat.wait_for(lambda: len(developer.messages) == 2)
    assert developer.messages[1].xml["bizmsgmenuid"] == "1"
    developer.answer = lambda received: b"malformed"
    press(desk, "Tap the menu")
    desk.sees("该公众号暂时无法提供服务，请稍后再试")
    photograph(desk.page, "simulator-follower", tmp_path)
    press(desk, "Unfollow")
    desk.sees("Does not follow")
    press(desk, "Follow")
    desk.sees("The account may send 3 more")


def test_a_user_of_a_mini_program(desk: Desk, api: Api, tmp_path: Path) -> None:
    be(desk, USER, "小程序")
    press(desk, "Enter the session")
    desk.sees("The account may send 2 more")
    press(desk, "Send a page")
    desk.sees("我的订单")
    desk.sees("The account may send 5 more")
    photograph(desk.page, "simulator-mini", tmp_path)
