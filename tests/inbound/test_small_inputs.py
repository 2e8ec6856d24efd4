"""What small inputs become: a turn with what was said, or no turn and a sentence; never a turn with nothing in it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.models import Delivery, Message, Reason, State, Target
from bridge.pipeline.inbound import router
from tests.inbound.inputs import of_fan, of_member, receive
from tests.inbound.test_no_event_lost import callback, push
from tests.support import factories
from tests.support.callbacks import call, from_bot, poll
from tests.support.connecting import RunningConnector
from tests.support.factories import AGENT, CORP, FAN, app, bot, eventually, gateway, official, route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
SORRY = "抱歉，没有收到可以识别的内容。"
STICKER = "[a sticker or similar that the platform does not pass on]"


def alone(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"chattype": "single", "chatid": None, "text": None, "msgtype": kind, kind: content, **more}


@contextmanager
def recursion(levels: int) -> Iterator[None]:
    """For whoever writes what is nested more deeply than Python goes."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(levels)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def nested(levels: int) -> Any:
    value: Any = "x"
    for _level in range(levels):
        value = {"a": value}
    return value


def card_answer(items: list[Any]) -> dict[str, Any]:
    content = {"selected_items": {"selected_item": items}}
    return {"msgtype": "event", "event": {"eventtype": "template_card_event", "template_card_event": content}}


# --- nothing to say


EMPTY = [
    ("wecom_aibot", alone("voice", {"content": ""})),
    ("wecom_aibot", alone("text", {"content": " \n\u3000"})),
    ("wecom_aibot", {"text": {"content": "@Robot A"}}),
    ("wecom_aibot", alone("image", {"url": ""})),
    ("wecom_aibot", alone("mixed", {"msg_item": []})),
    ("official_account", of_fan("<Content></Content>")),
    ("official_account", of_fan("<Content><![CDATA[  ]]></Content>")),
    ("official_account", of_fan("<Label></Label>", "location")),
    ("official_account", of_fan("<Location_X>23.1</Location_X>", "location")),
    ("official_account", of_fan("<Format>amr</Format><Recognition/>", "voice")),
    ("official_account", of_fan("", "link")),
    ("official_account", of_fan("", "image")),
    ("mini_program", of_fan("<Content/>")),
    ("wecom_app", of_member("<Content/>")),
    ("wecom_app", of_member("", "location")),
    ("wecom_app", of_member("", "image")),
]


@pytest.mark.parametrize(("kind", "plain"), EMPTY)
def test_a_message_that_says_nothing_is_no_turn_and_its_sender_is_told(kind: str, plain: Any) -> None:
    delivery = receive(kind, plain)
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.EMPTY)
    answer = Message.objects.get(direction="out")
    assert (answer.text, answer.source) == (SORRY, "bridge")
    assert not Delivery.objects.filter(state=State.DEAD).exists()


def test_a_bots_stream_ends_with_the_sentence() -> None:
    account = bot()
    route(account)
    call(account, *from_bot(**alone("voice", {"content": ""})))
    router.route_waiting()
    stream = Message.objects.get(direction="in").uuid.hex
    from tests.support.callbacks import opened

    frame = opened(call(account, *poll(stream)).body)["stream"]
    assert (frame["finish"], SORRY in frame["content"]) == (True, True)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("wecom_app", of_member("<Event>template_card_event</Event><SelectedItems>a,b</SelectedItems>", "event")),
        ("wecom_aibot", card_answer([{"option_ids": {}}, {"question_key": ""}, "x"])),
    ],
)
def test_a_cards_answer_in_which_nothing_can_be_read_is_no_turn(kind: str, plain: Any) -> None:
    assert receive(kind, plain).reason == Reason.EMPTY
    assert not Message.objects.filter(direction="out").exists(), "who pressed a button is told nothing"


@pytest.mark.parametrize("kind", ["official_account", "mini_program"])
@pytest.mark.parametrize("event", ["unsubscribe", "user_authorization_revoke"])
def test_who_leaves_without_a_name_is_nobody_to_forget(kind: str, event: str) -> None:
    delivery = receive(kind, push(f"<Event>{event}</Event>", sender=""))
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.EVENT)


@pytest.mark.parametrize("mode", ["paused", "human"])
def test_nobody_is_told_where_staff_answer(mode: str) -> None:
    account = app()
    route(account)
    factories.conversation(account, "zhangsan", mode=mode)
    call(account, *callback("wecom_app", of_member("<Content/>")))
    router.route_waiting()
    assert Delivery.objects.get().reason == mode


@pytest.mark.parametrize("answers", ["passive", "automatic"])
def test_where_nothing_can_be_said_nothing_dies(answers: str) -> None:
    """JSON has no passive answer."""
    account = official(answers=answers)
    route(account)
    node = {"ToUserName": "gh_1", "FromUserName": FAN, "CreateTime": 1, "MsgType": "text", "Content": " ", "MsgId": 9}
    assert call(account, *callback("official_account", node)).status == 200
    router.route_waiting()
    assert Delivery.objects.get(target=Target.AGENT).reason == Reason.EMPTY
    assert not Delivery.objects.filter(state=State.DEAD).exists()


def test_a_prefix_alone_says_nothing() -> None:
    delivery = receive("wecom_app", of_member("<Content>bot, </Content>"), trigger="prefix", trigger_words="bot")
    assert delivery.reason == Reason.EMPTY


# --- what the platform does not pass on


@pytest.mark.parametrize(
    "text",
    ["【收到不支持的消息类型，暂无法显示】", "[Unsupported Message]", " [unsupported message]\n", "[不支持的消息类型]"],
)
@pytest.mark.parametrize("kind", ["official_account", "wecom_app", "wecom_aibot"])
def test_the_platforms_placeholder_is_told_to_the_agent_in_words(kind: str, text: str) -> None:
    bodies = {
        "official_account": of_fan(f"<Content>{text}</Content>"),
        "wecom_app": of_member(f"<Content>{text}</Content>"),
        "wecom_aibot": alone("text", {"content": text}),
    }
    delivery = receive(kind, bodies[kind])
    assert Message.objects.get().kind == "unsupported"
    assert (delivery.state, delivery.payload["message"]) == (State.PENDING, STICKER)


@pytest.mark.parametrize("text", ["what is [Unsupported Message]?", "Unsupported Message", "[Unsupported Message] [x]"])
def test_whoever_writes_about_it_is_heard(text: str) -> None:
    delivery = receive("official_account", of_fan(f"<Content>{text}</Content>"))
    assert (Message.objects.get().kind, delivery.payload["message"]) == ("text", text)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (alone("location", {"latitude": 23.1, "longitude": 113.3, "name": "广州塔"}), "Location: 广州塔 (23.1, 113.3)"),
        (alone("link", {"title": "T", "url": "https://a.cn"}), "T\nhttps://a.cn"),
        (alone("location", {}), "[a message of the type location, which cannot be read here]"),
        (
            alone("chatrecord", {"title": "群聊", "item": [{"name": "李四", "text": "好"}], "url": "https://secret"}),
            "[a message of the type chatrecord, of which only this can be read]\ntitle: 群聊\nname: 李四\ntext: 好",
        ),
        (
            alone("chatrecord", {"count": 0, "rate": 1.5, "forwarded": True, "deleted": False, "from": None, "title": " "}),
            "[a message of the type chatrecord, of which only this can be read]\ncount: 0\nrate: 1.5",
        ),
        (
            alone("text", {"content": "看"}, quote={"msgtype": "chatrecord", "chatrecord": {}}),
            "> [a message of the type chatrecord, which cannot be read here]\n\n看",
        ),
        (
            alone("text", {"content": "看"}, quote={"msgtype": "voice", "voice": {"content": ""}}),
            "> [a message of the type voice, which cannot be read here]\n\n看",
        ),
        (alone("text", {"content": "看"}, quote={"x": 1}), "> [a message, which cannot be read here]\n\n看"),
        (alone("text", {"content": "看"}, quote={}), "看"),
        (
            alone("mixed", {"msg_item": [{"msgtype": "text", "text": {"content": "看"}}, {"msgtype": "emoji", "emoji": {}}]}),
            "看\n[a message of the type emoji, which cannot be read here]",
        ),
    ],
)  # fmt: skip
def test_nothing_of_a_bots_message_vanishes_without_a_mark(plain: dict[str, Any], message: str) -> None:
    delivery = receive("wecom_aibot", plain)
    assert (delivery.state, delivery.payload["message"]) == (State.PENDING, message)


def test_a_type_that_nobody_knows_is_a_turn_with_a_mark() -> None:
    delivery = receive("official_account", of_fan("<Hologram><Title>T</Title></Hologram>", "hologram"))
    mark = "[a message of the type hologram, of which only this can be read]\nTitle: T"
    assert (delivery.state, delivery.payload["message"]) == (State.PENDING, mark)


FOREIGN_QUOTE = {"quote": {"msgtype": "chatrecord", "chatrecord": {"title": "群聊"}}}
PARTLY_READ = [
    ("wecom_aibot", alone("text", {"content": "看"}, **FOREIGN_QUOTE)),
    ("wecom_aibot", alone("text", {"content": "看"}, quote={"msgtype": "voice", "voice": {"content": ""}})),
    ("wecom_aibot", alone("text", {"content": "看"}, quote={"x": 1})),
    ("wecom_aibot", alone("text", {"content": "[不支持的消息类型]"})),
    ("wecom_aibot", alone("location", {"x": 1})),
    ("wecom_aibot", alone("link", {})),
    ("wecom_aibot", alone("emoji", {"id": 1})),
    ("wecom_aibot", alone("mixed", {"msg_item": [{"msgtype": "text", "text": {"content": "看"}}, {"msgtype": "emoji"}]})),
    ("official_account", of_fan("<Hologram/>", "hologram")),
    ("mini_program", of_fan("<Hologram/>", "hologram")),
    ("wecom_app", of_member("<Hologram/>", "hologram")),
]  # fmt: skip


READ = [
    ("wecom_aibot", alone("text", {"content": "看"}, quote={"msgtype": "text", "text": {"content": "前"}})),
    ("wecom_aibot", alone("text", {"content": "看"}, quote={"msgtype": "image", "image": {"url": "https://a.cn"}})),
    ("wecom_aibot", alone("text", {"content": "[a message, which cannot be read here]"})),
    ("wecom_aibot", alone("location", {"latitude": 23.1, "longitude": 113.3})),
    ("wecom_aibot", alone("link", {"title": "T"})),
    ("official_account", of_fan("<Content>看</Content>")),
    ("wecom_app", of_member("<Content>看</Content>")),
]


@pytest.mark.parametrize(
    ("kind", "plain", "unread"), [*((*one, True) for one in PARTLY_READ), *((*one, False) for one in READ)]
)
def test_a_turn_knows_that_something_could_not_be_read(kind: str, plain: Any, unread: bool) -> None:
    delivery = receive(kind, plain)
    assert (delivery.state, delivery.payload.get("unread", False)) == (State.PENDING, unread)
    again = router.route_again(Message.objects.get())
    assert again.payload == delivery.payload


def test_in_a_group_the_agent_alone_is_told() -> None:
    delivery = receive("wecom_aibot", FOREIGN_QUOTE)
    assert "a message of the type chatrecord" in delivery.payload["message"]
    assert "unread" not in delivery.payload


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("says", ["!say=好的", "!noreply"])
def test_the_person_is_told_at_the_end_of_the_answer(says: str, stub: RunningStub) -> None:
    account = bot()
    route(account, gateway(stub.base_url))
    call(account, *from_bot(**alone("text", {"content": says}, **FOREIGN_QUOTE)))
    router.route_waiting()
    with RunningConnector():
        answer = eventually(lambda: Message.objects.filter(direction="out").first(), 30)
    told = "（您发送或引用的部分内容无法识别。）"
    assert answer.text == (f"好的\n\n{told}" if "say" in says else told)
    assert Message.objects.filter(direction="out").count() == 1


# --- no turn for an agent


@pytest.mark.parametrize("key", ["#sendmsg#_0#7599812345678", "#sendmsg#_1_2#1"])
@pytest.mark.parametrize("event", ["click", "CLICK"])
def test_a_menu_entry_that_wecom_answers_itself_is_an_event(event: str, key: str) -> None:
    fields = f"<Event>{event}</Event><EventKey>{key}</EventKey><AgentID>{AGENT}</AgentID>"
    delivery = receive("wecom_app", push(fields, sender="zhangsan", to=CORP))
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.EVENT)
    assert key in Message.objects.get().text


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("official_account", push("<Content>a</Content><MsgId>1</MsgId>", sender="", kind="text")),
        ("official_account", push("<Event>CLICK</Event><EventKey>k</EventKey>", sender="")),
        ("wecom_app", push("<Content>a</Content><MsgId>1</MsgId>", sender="", to=CORP, kind="text")),
        ("wecom_app", push("<Content>a</Content><MsgId>1</MsgId>", sender="sys", to=CORP, kind="text")),
        ("mini_program", push("<Content>a</Content><MsgId>1</MsgId>", sender=" ", kind="text")),
        ("wecom_aibot", alone("text", {"content": "a"}, **{"from": {}})),
        ("wecom_aibot", {"from": None}),
        ("wecom_aibot", {"chatid": ""}),
    ],
)
def test_what_nobody_said_is_stored_and_is_no_turn(kind: str, plain: Any) -> None:
    delivery = receive(kind, plain)
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.NO_SENDER)
    assert Message.objects.count() == 1


NESTED = [
    {"msgtype": "weird", "weird": nested(levels)} if where == "type" else {"quote": nested(levels)}
    for levels in (90, 500, 900)
    for where in ("type", "quote")
]


@pytest.mark.parametrize("plain", NESTED)
def test_whatever_is_nested_deeply_is_stored_and_acknowledged(plain: dict[str, Any]) -> None:
    account = bot()
    with recursion(5000):
        body, query = from_bot(**plain)
    assert call(account, body, query).status == 200
    router.route_waiting()
    assert Message.objects.get().sender == "zhangsan"
    assert not Delivery.objects.filter(state=State.DEAD).exists()


@pytest.mark.parametrize(
    "ours", ["contacts", ["contacts"], 7, {"erase": True, "contacts": 5}, {"window": "x", "verdict": "y"}]
)
@pytest.mark.parametrize("kind", ["wecom_aibot", "mini_program"])
def test_a_field_of_the_platform_that_has_our_name_says_nothing_to_the_router(kind: str, ours: Any) -> None:
    said = {"_bridge": ours}
    if kind == "mini_program":
        head = {
            "ToUserName": "gh_1",
            "FromUserName": FAN,
            "CreateTime": 1,
            "MsgType": "text",
            "Content": "hello",
            "MsgId": 9,
        }
        said = {**head, **said}
    delivery = receive(kind, said)
    assert delivery.state == State.PENDING
    assert "hello" in delivery.payload["message"]
    assert Message.objects.get().raw["_bridge_"] == ours


@pytest.mark.parametrize("told", [{"chattype": "GROUP"}, {"chattype": None}, {"chattype": " group "}])
def test_what_is_said_in_a_group_is_never_taken_for_private(told: dict[str, Any]) -> None:
    assert receive("wecom_aibot", told).message.peer_kind == "group"


def test_a_private_chat_stays_private_whatever_id_it_has() -> None:
    found = receive("wecom_aibot", {"chattype": "single", "chatid": "wrElse"}).message
    assert (found.peer_kind, found.peer_id) == ("direct", "zhangsan")
