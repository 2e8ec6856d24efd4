"""The chat page as a follower, a user of a Mini Program, a customer, and a member who talks to a bot over its long connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk, chromium
from tests.simulator.ilink_client import IlinkClient
from tests.simulator.puppet_client import PuppetClient
from tests.simulator.test_connection_answers import BUTTONS, RESPOND, card, stream
from tests.simulator.test_connection_media import upload
from tests.simulator.weixin import FAN, USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.bot_socket import BotSocket
    from tests.simulator.platform import Platform
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


def test_a_member_and_a_bot_with_a_long_connection(
    browser: Browser, client: SimulatorClient, socket: BotSocket, tmp_path: Path
) -> None:
    desk = Desk(browser, client.url)
    desk.go("/")
    be(desk, "zhangsan", "Robot S")
    desk.sees("Long connection: connected")
    write(desk, "今天天气?")
    req_id = socket.callback()["headers"]["req_id"]
    for content in ("正在**查**", "正在**查询**"):
        assert socket.errcode(RESPOND, stream(content), req_id) == 0
        desk.sees(content.replace("*", ""))
    assert socket.errcode(RESPOND, stream("晴，25 度", finish=True), req_id) == 0
    desk.sees("晴，25 度")
    media_id = upload(socket, b"1234567890")["body"]["media_id"]
    assert socket.errcode(RESPOND, {"msgtype": "file", "file": {"media_id": media_id}}, req_id) == 0
    desk.sees("a.bin")
    assert socket.errcode(RESPOND, card(BUTTONS), req_id) == 0
    press(desk, "好")
    assert socket.callback()["body"]["event"]["template_card_event"]["event_key"] == "yes"
    photograph(desk.page, "simulator-connection", tmp_path)
    press(desk, "Let another client connect")
    assert socket.callback()["body"]["event"]["eventtype"] == "disconnected_event"
    desk.sees("nobody is connected, and messages are lost")
    assert desk.complaints == []
    desk.close()


def test_a_customer_and_a_servicer(
    browser: Browser, client: SimulatorClient, platform: Platform, tmp_path: Path
) -> None:
    client.kf_account("wkPage", 1, name="售后服务", servicers=["lisi"])
    client.kf_customer("wmCustomer", "小红")
    desk = Desk(browser, client.url)
    desk.go("/")
    be(desk, "wmCustomer", "售后服务")
    desk.sees("nothing was said yet")
    write(desk, "怎么退货？")
    desk.sees("new: the account answers · the account may send 5 more")
    menu = {"head_content": "请选择", "list": [{"type": "click", "click": {"id": "7", "content": "退货"}}]}
    body = {"touser": "wmCustomer", "open_kfid": "wkPage", "msgtype": "msgmenu", "msgmenu": menu}
    assert platform.call("kf/send_msg", body)["errcode"] == 0
    press(desk, "退货")
    press(desk, "A servicer takes it")
    desk.sees("a servicer answers")
    press(desk, "The servicer answers")
    desk.sees("您好，我是人工客服。")
    found = platform.call("kf/sync_msg", {"open_kfid": "wkPage"})["msg_list"]
    assert [(one["origin"], one["msgtype"]) for one in found] == [(3, "text"), (3, "text"), (4, "event"), (5, "text")]
    assert found[1]["text"] == {"content": "退货", "menu_id": "7"}
    photograph(desk.page, "simulator-customer", tmp_path)
    press(desk, "The servicer ends it")
    desk.sees("ended")
    assert desk.complaints == []
    desk.close()


def test_somebody_in_wechat_and_a_personal_account(browser: Browser, client: SimulatorClient, tmp_path: Path) -> None:
    client.wechaty_contact("wxid_alice", "小丽")
    account = client.wechaty("wxid_bot", "insecure_page", name="小助手", logged_in=False)
    client.wechaty_room("1@chatroom", "读书会", ["wxid_bot", "wxid_alice"])
    desk = Desk(browser, client.url)
    desk.go("/")
    be(desk, "wxid_alice", "小助手")
    desk.sees("Nobody is logged in: the code is waiting")
    press(desk, "Scan the code with the phone")
    desk.sees("Nobody is logged in: the code is scanned")
    press(desk, "Confirm the login on the phone")
    desk.sees("Logged in, but nobody listens")
    with PuppetClient(account["endpoint"], "insecure_page") as puppet:
        puppet.listen().wait("LOGIN")
        desk.sees("Logged in, and somebody listens")
        write(desk, "在吗")
        assert puppet.wait_message().text == "在吗"
        press(desk, "Ask for friendship")
        puppet.wait("FRIENDSHIP")
        press(desk, "读书会")
        write(desk, "几点开始？")
        assert (puppet.wait_message(2).text, list(puppet.wait_message(2).mentions)) == (
            "@小助手\u2005几点开始？",
            ["wxid_bot"],
        )
        puppet.send_text("1@chatroom", "@小丽\u2005晚上八点", ["wxid_alice"])
        desk.sees("晚上八点")
        press(desk, "Rename the group")
        assert puppet.wait("ROOM_TOPIC")["newTopic"] == "新的群名"
        desk.sees("renamed: 新的群名")
        photograph(desk.page, "simulator-wechaty", tmp_path)
        press(desk, "Log out on the phone")
        puppet.wait("LOGOUT")
    assert desk.complaints == []
    desk.close()


def test_somebody_with_an_agent_as_a_contact(desk: Desk, wechat: SimulatorClient, tmp_path: Path) -> None:
    """The code's page stands in for a phone; then the chat shows what the bot may still say, and that its login is lost."""
    ann = "ann@im.wechat"
    wechat.settings(ilink_hold_seconds=0.3)
    wechat.ilink_person(ann, "Ann")
    login = IlinkClient(wechat.url)
    code = login.make_code()
    desk.page.goto(code["qrcode_img_content"])
    press(desk, "Confirm")
    bot = IlinkClient(wechat.url, login.status(code["qrcode"])["bot_token"])
    desk.go("/")
    be(desk, ann, "Agent")
    write(desk, "你好")
    (context,) = (message["context_token"] for message in wechat.wait_for(bot.poll))
    bot.send(ann, context, "hello Ann")
    desk.sees("hello Ann")
    desk.sees("The bot may send 9 more")
    photograph(desk.page, "simulator-ilink", tmp_path)
    press(desk, "End the login")
    desk.sees("The login is lost")
    assert bot.send(ann, context, "late")["ret"] == -14
