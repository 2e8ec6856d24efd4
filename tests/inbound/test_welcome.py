"""The welcome: in the reply to the event where the platform takes one, by a message where not; nothing without a text of the staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from wechatpy import parse_message
from wechatpy.crypto import WeChatCrypto

from bridge.models import Delivery, Message
from bridge.pipeline.inbound import router
from channels_wechat.wire import xml
from tests.inbound.test_no_event_lost import SECOND, callback, push
from tests.support.callbacks import call
from tests.support.factories import FAN, KEY, NEVER_THE_SAME_DAY, OFFICIAL, TOKEN, mini, official

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from tests.support.callbacks import Reply

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
HELLO = "欢迎关注，有问题请直接留言。"
EVENTS = {
    "subscribe": "<Event>subscribe</Event>",
    "subscribe with a scene": "<Event>subscribe</Event><EventKey>qrscene_7</EventKey><Ticket>T</Ticket>",
    "SCAN": "<Event>SCAN</Event><EventKey>7</EventKey><Ticket>T</Ticket>",
}


def welcoming(make: Any, text: str = HELLO, **fields: Any) -> ChannelAccount:
    account: ChannelAccount = make(columns={"sentences": {"welcome": text}}, **fields)
    return account


def said(reply: Reply) -> Any:
    """What the follower reads, by wechatpy's crypto."""
    node = xml.parse(reply.body)
    plain = WeChatCrypto(TOKEN, KEY, OFFICIAL).decrypt_message(
        reply.body, node["MsgSignature"], node["TimeStamp"], node["Nonce"]
    )
    return parse_message(plain)


@pytest.mark.parametrize("answers", ["messages", "passive", "automatic"])
@pytest.mark.parametrize("event", EVENTS)
def test_who_comes_in_reads_it_in_the_reply_to_the_event(event: str, answers: str) -> None:
    account = welcoming(official, answers=answers)
    for _repeated in range(2):
        body, query = callback("official_account", push(EVENTS[event]))
        found = said(call(account, body, {**query, "encrypt_type": "aes"}))
        assert (found.content, found.target) == (HELLO, FAN)
    router.route_waiting()
    answer = Message.objects.get(direction="out")
    assert (answer.text, answer.deliveries.get().state) == (HELLO, "delivered")


@pytest.mark.parametrize("answers", ["messages", "passive"])
@pytest.mark.parametrize("event", ["subscribe", "SCAN", "unsubscribe", "VIEW"])
def test_without_a_text_and_to_other_events_nothing_is_said(event: str, answers: str) -> None:
    account = welcoming(official, "" if event in ("subscribe", "SCAN") else HELLO, answers=answers)
    reply = call(account, *callback("official_account", push(f"<Event>{event}</Event><EventKey>1</EventKey>")))
    assert (reply.status, reply.body) == (200, b"success")
    router.route_waiting()
    assert not Message.objects.filter(direction="out").exists()


def entered(account: ChannelAccount, kind: str, event: str, second: int) -> None:
    node = {
        "ToUserName": "gh_1",
        "FromUserName": FAN,
        "CreateTime": SECOND + second,
        "MsgType": "event",
        "Event": event,
    }
    assert call(account, *callback(kind, node)).body == b"success"
    router.route_waiting()


def test_a_mini_program_says_it_by_a_message_once_a_day() -> None:
    """Its callbacks take no words in reply; opening the chat lets two messages be sent within a minute."""
    account = welcoming(mini)
    for second in range(3):
        entered(account, "mini_program", "user_enter_tempsession", second)
    delivery = Delivery.objects.get(target="channel")
    assert delivery.payload["body"]["text"]["content"] == HELLO
    assert delivery.state == "pending"


def test_on_another_day_a_mini_program_says_it_again() -> None:
    account = welcoming(mini)
    for second, zone in enumerate(NEVER_THE_SAME_DAY):
        with timezone.override(zone):
            entered(account, "mini_program", "user_enter_tempsession", second)
    assert Message.objects.filter(direction="out", text=HELLO).count() == 2


@pytest.mark.parametrize(("answers", "count"), [("messages", 1), ("automatic", 1), ("passive", 0)])
def test_json_has_no_reply_so_a_message_says_it_where_one_may_be_sent(answers: str, count: int) -> None:
    entered(welcoming(official, answers=answers), "official_account", "subscribe", 0)
    assert Message.objects.filter(direction="out", text=HELLO).count() == count
    assert not Delivery.objects.filter(state="dead").exists()
