"""What sync_msg gives of a customer-service account: every fixture in, one message out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_wechat.contract.messages import Inbound, MediaItem, Peer, Window
from channels_wechat.wecom.errors import WECOM_KF
from channels_wechat.wecom.kf.parsing import read_page
from tests.channels.harness import FIXTURES

CUSTOMER, SENT_AT = "wmAJ2GCAAAme1XQRC-NI-q0_ZM9ukoAw", 1615478585
MEDIA_ID = "2iSLeVyqzk4eX0IB5kTi9Ljfa2rt9dwfq5WKRQ4Nvvgw"


def page(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / "wecom_kf" / f"{name}.json").read_text())
    return found


def read(name: str, now: float = SENT_AT) -> Inbound:
    (inbound,) = read_page(page(name), now)
    return inbound


NAMES = sorted(path.stem for path in (FIXTURES / "wecom_kf").glob("*.json"))
MESSAGES = {
    "text__plain": ("text", "hello world"),
    "text__menu": ("text", "查订单"),
    "text__servicer": ("text", "您好,我是客服"),
    "image__one": ("image", ""),
    "voice__amr": ("voice", ""),
    "video__one": ("video", ""),
    "file__one": ("file", ""),
    "location__named": (
        "location",
        "Location: 广州国际媒体港(广州市海珠区), 广东省广州市海珠区滨江东路 (23.106021881103516, 113.320503234863)",
    ),
    "link__full": ("link", "TITLE\nDESC\nhttps://work.weixin.qq.com"),
    "business_card__one": ("text", "Business card: USERID"),
    "miniprogram__card": ("link", "Mini Program: TITLE\nwx123 pages/index"),
    "msgmenu__sent": ("text", "您对本次服务是否满意呢?\n满意\n点击跳转到自助查询页面\n欢迎再次光临"),
    "merged_msg__two": ("text", "Chat history: 群聊的聊天记录\n小明: 明天几点?\n小红: [image]"),
    "channels__post": ("text", "Channels post: sub_type: 1\nnickname: 视频号昵称\ntitle: 一条动态"),
    "channels_shop_product__one": (
        "text",
        "Product: product_id: PRODUCT_ID\ntitle: TITLE\nsales_price: 100.00\nshop_nickname: SHOP",
    ),
    "channels_shop_order__one": (
        "text",
        "Order: order_id: ORDER\nproduct_titles: T\nprice_wording: 100.00\nstate: 已付款\nshop_nickname: SHOP",
    ),
    "hologram__unknown": (
        "unsupported",
        "[a message of the type hologram, of which only this can be read]\ncaption: a thing of tomorrow",
    ),
}
EVENTS = {
    "enter_session__welcome": "enter_session: scene: 123, scene_param: abc",
    "enter_session__again": "enter_session: scene: 123, scene_param: abc",
    "msg_send_fail__0": "msg_send_fail: fail_msgid: FAIL_MSGID, fail_type: 0",
    "msg_send_fail__6": "msg_send_fail: fail_msgid: FAIL_MSGID, fail_type: 6",
    "msg_send_fail__10": "msg_send_fail: fail_msgid: FAIL_MSGID, fail_type: 10",
    "msg_send_fail__99": "msg_send_fail: fail_msgid: FAIL_MSGID, fail_type: 99",
    "session_status_change__taken": "session_status_change: change_type: 1, new_servicer_userid: wangwu",
    "session_status_change__passed": "session_status_change: change_type: 2, old_servicer_userid: wangwu, new_servicer_userid: lisi",
    "session_status_change__ended": "session_status_change: change_type: 3, old_servicer_userid: lisi",
    "servicer_status_change__off": "servicer_status_change: servicer_userid: zhangsan, status: 2",
    "user_recall_msg__one": "user_recall_msg: recall_msgid: from_msgid_4622416642169452483",
    "servicer_recall_msg__one": "servicer_recall_msg: recall_msgid: from_msgid_5, servicer_userid: zhangsan",
    "reject_customer_msg_switch_change__on": "reject_customer_msg_switch_change: servicer_userid: zhangsan, reject_switch: 1",
    "brand_new__unknown": "brand_new_event: detail: x",
}


def test_every_fixture_is_read() -> None:
    assert set(NAMES) == set(MESSAGES) | set(EVENTS)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_with_its_kind_and_text(name: str) -> None:
    inbound = read(name)
    assert (inbound.kind, inbound.text) == MESSAGES[name]
    assert (inbound.key, inbound.peer) == ("from_msgid_4622416642169452483", Peer("direct", CUSTOMER))
    assert inbound.occurred_at == SENT_AT
    assert inbound.raw == page(name)["msg_list"][0]
    assert inbound.is_unread == (inbound.kind == "unsupported")


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_no_turn_and_says_what_happened(name: str) -> None:
    inbound = read(name)
    assert (inbound.kind, inbound.text, inbound.key) == ("event", EVENTS[name], "from_msgid_event_1")
    assert inbound.window is None
    assert inbound.peer.id == ("sys" if name.startswith("servicer_status") else CUSTOMER)


@pytest.mark.parametrize("kind", ["image", "voice", "video", "file"])
def test_a_file_is_named_by_its_media_id(kind: Any) -> None:
    (name,) = (each for each in MESSAGES if each.startswith(f"{kind}__"))
    mime = "audio/amr" if kind == "voice" else ""
    assert read(name).media == (MediaItem(kind, MEDIA_ID, mime=mime),)


def test_only_a_customer_opens_the_reply_window_and_a_servicer_is_no_turn() -> None:
    customer, servicer = read("text__plain"), read("text__servicer")
    assert (customer.window, customer.own, customer.sender) == (Window(5, 48 * 3600), False, CUSTOMER)
    assert (servicer.window, servicer.own, servicer.sender) == (None, True, "zhangsan")
    assert servicer.peer.id == CUSTOMER


@pytest.mark.parametrize(("age", "left"), [(0, 20), (7, 13), (20, 0), (3600, 0), (-5, 20)])
def test_a_welcome_code_is_good_for_twenty_seconds_and_never_kept_in_the_body(age: int, left: int) -> None:
    inbound = read("enter_session__welcome", SENT_AT + age)
    assert (inbound.greets, inbound.reply_seconds) == (left > 0, left)
    assert inbound.peer.reply == ("aaaaaa" if left else "")
    assert "aaaaaa" not in json.dumps(inbound.raw)
    assert not read("enter_session__again").greets


@pytest.mark.parametrize(
    ("name", "servicer"),
    [("taken", "wangwu"), ("passed", "lisi"), ("ended", "")],
)
def test_it_is_said_who_has_the_conversation_now(name: str, servicer: str) -> None:
    inbound = read(f"session_status_change__{name}")
    assert inbound.servicer == servicer
    assert "_CODE" not in json.dumps(inbound.raw)
    assert read("text__plain").servicer is None


@pytest.mark.parametrize(
    ("number", "code"), [(0, "fail_unknown"), (6, "fail_too_many"), (10, "fail_refused"), (99, "fail_unknown")]
)
def test_a_message_that_did_not_arrive_is_named_with_the_cause(number: int, code: str) -> None:
    failed = read(f"msg_send_fail__{number}").failed
    assert failed is not None
    assert (failed.remote_id, failed.cause.code) == ("FAIL_MSGID", code)
    assert code in WECOM_KF


def test_a_message_that_was_taken_back_is_named() -> None:
    assert read("user_recall_msg__one").recalls == "from_msgid_4622416642169452483"


def test_what_cannot_be_read_does_not_keep_the_rest_of_the_page_back() -> None:
    answer = {"msg_list": ["no object", *page("text__plain")["msg_list"], None, {"msgtype": 7, "origin": "x"}]}
    broken, good, absent, odd = read_page(answer, SENT_AT)
    assert (broken.kind, good.text, absent.kind, odd.kind) == (
        "unsupported",
        "hello world",
        "unsupported",
        "unsupported",
    )
    assert len({one.key for one in (broken, good, absent, odd)}) == 4
