"""Customers, their groups and what can be said to them, as the platform's documents have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform
    from tests.simulator.receiver import Receiver

LI, WANG, CHAT = "wmLi", "wmWang", "wrSales"


@pytest.fixture(autouse=True)
def _customers(client: SimulatorClient) -> None:
    client.customer(LI, "李部长", followers={"zhangsan": "老李", "lisi": ""})
    client.customer(WANG, "王五", followers={"lisi": ""})
    client.customer_group(CHAT, "销售群", owner="lisi", members=["lisi", LI])


def by_user(platform: Platform, *members: str, **more: Any) -> Any:
    return platform.call("externalcontact/batch/get_by_user", {"userid_list": list(members), **more})


def test_customers_come_by_member_in_pages(platform: Platform) -> None:
    assert platform.look("externalcontact/get_follow_user_list").json()["follow_user"] == ["zhangsan", "lisi"]
    assert platform.look("externalcontact/list", userid="lisi").json()["external_userid"] == [LI, WANG]
    assert platform.look("externalcontact/list", userid="WangWu").json()["errcode"] == 84061
    first = by_user(platform, "zhangsan", "lisi", limit=2)
    second = by_user(platform, "zhangsan", "lisi", limit=2, cursor=first["next_cursor"])
    rows = [(row["external_contact"]["name"], row["follow_info"]["remark"]) for row in
            first["external_contact_list"] + second["external_contact_list"]]  # fmt: skip
    assert (rows, second["next_cursor"]) == ([("李部长", "老李"), ("李部长", ""), ("王五", "")], "")
    assert by_user(platform, "WangWu")["errcode"] == 84061
    assert by_user(platform)["errcode"] == 40058
    assert by_user(platform, "lisi", limit=101)["errcode"] == 40035


def test_who_is_out_of_the_apps_sight_is_out_of_its_customers(client: SimulatorClient, platform: Platform) -> None:
    client.app(1, members=["zhangsan"])
    assert platform.look("externalcontact/get", external_userid=WANG).json()["errcode"] == 84061
    assert platform.look("externalcontact/get", external_userid="wmX").json()["errcode"] == 40096
    followers = platform.look("externalcontact/get", external_userid=LI).json()["follow_user"]
    assert [one["userid"] for one in followers] == ["zhangsan"]


def test_names_of_a_group_are_told_to_who_asks_for_them(platform: Platform) -> None:
    assert platform.call("externalcontact/groupchat/list", {"limit": 10})["group_chat_list"] == [
        {"chat_id": CHAT, "status": 0}
    ]
    for need_name, names in ((1, ["李四", "李部长"]), (0, [None, None])):
        group = platform.call("externalcontact/groupchat/get", {"chat_id": CHAT, "need_name": need_name})["group_chat"]
        assert [one.get("name") for one in group["member_list"]] == names
    assert platform.call("externalcontact/groupchat/get", {"chat_id": "wrX"})["errcode"] == 40050


def test_a_welcome_code_comes_with_the_event_and_is_good_once_and_for_20_seconds(
    client: SimulatorClient, platform: Platform, receiver: Receiver
) -> None:
    def welcome(code: str) -> int:
        return int(
            platform.call("externalcontact/send_welcome_msg", {"welcome_code": code, "text": {"content": "您好"}})[
                "errcode"
            ]
        )

    first, second = (client.add_customer(1, WANG, "zhangsan") for _time in range(2))
    client.wait_taken(second)
    event = receiver.received[0].xml
    assert (event["Event"], event["ChangeType"], event["ExternalUserID"]) == (
        "change_external_contact", "add_external_contact", WANG,
    )  # fmt: skip
    assert event["WelcomeCode"] == first["code"]
    assert [welcome(first["code"]), welcome(first["code"])] == [0, 41051]
    client.advance(21)
    assert welcome(second["code"]) == 40058
    assert [one["text"] for one in client.transcript(f"customer:{WANG}")] == ["您好"]


def test_a_message_to_customers_names_whom_it_does_not_reach_and_is_shown_to_nobody(
    client: SimulatorClient, platform: Platform
) -> None:
    def ask(**body: Any) -> Any:
        return platform.call("externalcontact/add_msg_template", {"text": {"content": "上新"}, **body})

    asked = ask(chat_type="single", sender="zhangsan", external_userid=[LI, WANG])
    assert (asked["fail_list"], asked["msgid"].startswith("msg")) == ([WANG], True)
    assert ask(chat_type="group", sender="lisi", chat_id_list=[CHAT])["fail_list"] == []
    assert ask(chat_type="group", sender="zhangsan", chat_id_list=[CHAT])["errcode"] == 84061
    assert ask(sender="nobody", external_userid=[LI])["errcode"] == 60111
    link = {"msgtype": "link", "link": {"title": "t", "url": "https://example.com"}}
    assert ask(sender="zhangsan", external_userid=[LI], attachments=[link] * 10)["errcode"] == 40035
    image = {"msgtype": "image", "image": {"media_id": "gone"}}
    assert ask(sender="zhangsan", external_userid=[LI], attachments=[image])["errcode"] == 40007
    assert not any(chat["chat"].startswith("customer:") for chat in client.chats())


def test_a_permission_can_be_withdrawn(client: SimulatorClient, platform: Platform) -> None:
    client.app(1, refused={"externalcontact/groupchat/list": 48002})
    assert platform.call("externalcontact/groupchat/list", {"limit": 10})["errcode"] == 48002
    assert platform.look("externalcontact/get_follow_user_list").json()["errcode"] == 0
