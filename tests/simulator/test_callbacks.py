"""Callbacks: what arrives, in which order, and how often (facts: wecom.md 2, 6.1)."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from wechatpy.work import parse_message

from channels_wechat.simulator import SimulatorError
from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.wecom.payloads import APP_EVENTS
from tests.simulator.platform import AMR, PNG
from tests.simulator.receiver import KEY

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform
    from tests.simulator.receiver import Received, Receiver


def test_a_text_to_the_app_as_wechatpy_reads_it(client: SimulatorClient, receiver: Receiver) -> None:
    said = client.say("你好 ]]> & <b>", app=1, from_="zhangsan")
    assert client.wait_taken(said)["outcome"] == "delivered"
    message = parse_message(receiver.messages[0].plain)
    assert (message.type, message.content, message.source) == ("text", "你好 ]]> & <b>", "zhangsan")
    assert (str(message.id), message.agent) == (said["id"], 1)
    assert int(said["id"]) > 2**53


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"kind": "image", "data": PNG}, {"MsgType": "image"}),
        ({"kind": "voice", "data": AMR}, {"MsgType": "voice", "Format": "amr"}),
        ({"kind": "video", "data": b"film"}, {"MsgType": "video"}),
        ({"kind": "location", "location": {"Label": "广州"}}, {"Label": "广州", "Location_X": "23.134521"}),
        ({"kind": "link", "link": {"Title": "新闻"}}, {"Title": "新闻", "Url": "https://work.weixin.qq.com"}),
    ],
)
def test_every_kind_of_message_to_the_app(
    client: SimulatorClient, receiver: Receiver, platform: Platform, spec: dict[str, Any], expected: dict[str, str]
) -> None:
    client.wait_taken(client.say(app=1, from_="zhangsan", **spec))
    fields = receiver.messages[0].xml
    assert expected.items() <= fields.items()
    if data := spec.get("data"):
        assert platform.look("media/get", media_id=fields["MediaId"]).content == data
    if spec["kind"] == "image":
        assert platform.http.get(fields["PicUrl"], timeout=10).content == PNG


@pytest.mark.parametrize("event", ["subscribe", "something_new", *APP_EVENTS])
def test_every_event_of_the_app(client: SimulatorClient, receiver: Receiver, event: str) -> None:
    client.wait_taken(client.event(event, app=1, from_="zhangsan", fields={"Extra": [1, 2]}))
    fields = receiver.messages[0].xml
    assert (fields["MsgType"], fields["Event"], fields["Extra"]) == ("event", event, ["1", "2"])
    assert "MsgId" not in fields
    assert set(APP_EVENTS.get(event, {})) <= set(fields)
    senders = {"kf_msg_or_event": None, "change_contact": "sys", "batch_job_result": "sys"}
    senders |= {"change_external_contact": "sys", "change_external_chat": "sys"}
    assert fields.get("FromUserName") == senders.get(event, "zhangsan")


def test_a_body_of_ones_own(client: SimulatorClient, receiver: Receiver) -> None:
    client.wait_taken(client.event(app=1, raw={"MsgType": "poem", "Deep": {"Er": "x"}}))
    client.wait_taken(client.event(bot="AIBOT", raw={"msgtype": "dance", "text": "\ud800\u0000"}))
    client.wait_taken(client.event(app=1, raw="not xml"))
    assert receiver.messages[0].plain == (
        "<xml><MsgType><![CDATA[poem]]></MsgType><Deep><Er><![CDATA[x]]></Er></Deep></xml>"
    )
    assert receiver.messages[2].plain == "not xml"


def test_a_lone_surrogate_travels_as_an_escape(client: SimulatorClient, receiver: Receiver) -> None:
    client.wait_taken(client.say("a\ud800\u0000b", bot="AIBOT", from_="zhangsan"))
    assert json.loads(receiver.messages[0].plain)["text"]["content"] == "a\ud800\u0000b"


def test_verification(client: SimulatorClient, receiver: Receiver) -> None:
    assert client.verify(app=1)["ok"] is True
    receiver.echo = lambda plain: (200, f'"{plain}"')
    assert client.verify(app=1)["ok"] is False
    receiver.echo = lambda plain: (403, plain)
    assert client.verify(app=1)["status"] == 403
    client.app(1, callback_url="http://127.0.0.1:1/")
    assert client.verify(app=1)["error"] == "ClientConnectorError"


def test_verification_of_a_bot_has_no_receiveid(client: SimulatorClient, receiver: Receiver) -> None:
    client.bot("AIBOT", callback_url=f"{receiver.url}?as=")
    assert client.verify(bot="AIBOT")["ok"] is True


def test_three_tries_in_all_each_sealed_anew(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = lambda received: 500
    delivery = client.wait_taken(client.say("x", app=1, from_="zhangsan"))
    assert delivery["outcome"] == "lost"
    assert [one["status"] for one in delivery["tries"]] == [500, 500, 500]
    assert len({received.query["nonce"] for received in receiver.received}) == 3
    assert len({received.plain for received in receiver.received}) == 1


def test_a_slow_receiver_is_tried_again(client: SimulatorClient, receiver: Receiver) -> None:
    client.settings(callback_timeout=0.2)
    pauses = [0.6, 0.0]
    receiver.answer = lambda received: time.sleep(pauses.pop(0))
    delivery = client.wait_taken(client.say("x", app=1, from_="zhangsan"))
    assert [one["error"] for one in delivery["tries"]] == ["TimeoutError", ""]


def test_persistence_lasts_until_the_first_200(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = lambda received: None if len(receiver.received) >= 6 else 503
    delivery = client.wait_taken(client.say("x", app=1, from_="zhangsan", persistent=True))
    assert delivery["outcome"] == "delivered"
    assert len(delivery["tries"]) == 6


def test_copies_come_even_after_a_200(client: SimulatorClient, receiver: Receiver) -> None:
    client.settings(copies=3)
    said = client.say("x", bot="AIBOT", from_="zhangsan")
    client.wait_taken(said)
    assert [received.json["msgid"] for received in receiver.received] == [said["id"]] * 3
    assert len({received.query["msg_signature"] for received in receiver.received}) == 3


def test_clients_let_the_copies_race(client: SimulatorClient, receiver: Receiver) -> None:
    together = threading.Barrier(3)

    def answer(received: Received) -> None:
        together.wait(5)

    receiver.answer = answer
    client.settings(copies=3, clients=3, callback_timeout=10)
    delivery = client.wait_taken(client.say("x", app=1, from_="zhangsan"))
    assert delivery["outcome"] == "delivered"
    assert [one["status"] for one in delivery["tries"]] == [200, 200, 200]


def test_there_are_no_more_posts_at_a_time_than_clients(client: SimulatorClient, receiver: Receiver) -> None:
    open_now, most, lock = 0, 0, threading.Lock()

    def answer(received: Received) -> None:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        time.sleep(0.05)
        with lock:
            open_now -= 1

    receiver.answer = answer
    client.settings(copies=3, clients=2)
    for said in client.say_many([{"app": 1, "from": who, "text": "x"} for who in ("zhangsan", "lisi")]):
        client.wait_taken(said)
    assert (len(receiver.received), most) == (6, 2)


def test_a_late_copy_does_not_hold_up_the_next_message(client: SimulatorClient, receiver: Receiver) -> None:
    late, heard = threading.Event(), []

    def answer(received: Received) -> None:
        heard.append(received.xml["Content"])
        if heard == ["first"]:
            late.wait(5)  # the first copy of the first message is answered last

    receiver.answer = answer
    client.settings(copies=2, clients=4, callback_timeout=10)
    said = client.say_many([{"app": 1, "from": "zhangsan", "text": text} for text in ("first", "second")])
    client.wait_taken(said[1])
    assert client.delivery(said[0]["id"])["outcome"] == "sending"
    late.set()
    assert client.wait_taken(said[0])["outcome"] == "delivered"
    assert sorted(heard) == ["first", "first", "second", "second"]


def test_a_conversation_keeps_its_order_and_does_not_hold_others_up(
    client: SimulatorClient, receiver: Receiver
) -> None:
    failing = {"0": 2, "3": 1}

    def answer(received: Received) -> Any:
        text = received.xml["Content"]
        if received.xml["FromUserName"] == "zhangsan" and failing.get(text):
            failing[text] -= 1
            return 500
        return None

    receiver.answer = answer
    messages = [{"app": 1, "from": who, "text": str(n)} for n in range(5) for who in ("zhangsan", "lisi")]
    for said in client.say_many(messages):
        client.wait_taken(said)
    heard = [received.xml["Content"] for received in receiver.received if received.xml["FromUserName"] == "zhangsan"]
    assert heard == ["0", "0", "0", "1", "2", "3", "3", "4"]
    assert client.record()["deliveries"] == {"delivered": 10}
    assert client.record()["posts"] == 13


def test_a_passive_reply_of_the_app_is_shown_once(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = lambda received: "<xml><MsgType>text</MsgType><Content>收到</Content></xml>"
    said = client.say("x", app=1, from_="zhangsan", copies=2)
    client.wait_taken(said)
    (answer,) = client.answers(said)
    assert (answer["text"], answer["via"]) == ("收到", "passive")


def test_a_bad_passive_reply_is_a_violation(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = lambda received: b"ok"
    said = client.say("x", app=1, from_="zhangsan")
    assert client.wait_taken(said)["outcome"] == "delivered"
    assert client.record()["violations"][0] == {
        "what": "bad_reply",
        "message": said["id"],
        "detail": "passive reply is not XML",
    }


def test_accounts_without_an_address(client: SimulatorClient) -> None:
    client.bot("SILENT", name="Silent")
    said = client.say("x", bot="SILENT", from_="zhangsan")
    assert client.delivery(said["id"])["outcome"] == "no_callback_url"


@pytest.mark.parametrize(
    ("kind", "name", "chattype"),
    [("image", "图.png", "single"), ("file", "a b.txt", "single"), ("video", "v.mp4", "single")],
)
def test_media_for_a_bot_are_encrypted_for_five_minutes(
    client: SimulatorClient, receiver: Receiver, platform: Platform, kind: str, name: str, chattype: str
) -> None:
    client.wait_taken(client.say(bot="AIBOT", from_="zhangsan", kind=kind, data=b"bytes", name=name))
    heard = receiver.messages[0].json
    assert (heard["msgtype"], heard["chattype"]) == (kind, chattype)
    answer = platform.http.get(heard[kind]["url"], timeout=10)
    assert crypto.decrypt_media(KEY, answer.content) == b"bytes"
    assert "filename" in answer.headers["Content-Disposition"]
    client.advance(301)
    assert platform.http.get(heard[kind]["url"], timeout=10).status_code == 403
    assert platform.http.get(heard[kind]["url"] + "x", timeout=10).status_code == 404


def test_mixed_and_quoted(client: SimulatorClient, receiver: Receiver) -> None:
    picture = {"kind": "image", "data": "iVBORw0KGgo="}
    spec = {"bot": "AIBOT", "from": "zhangsan", "chat": "wrGroup"}
    said = client.say_many(
        [
            spec | {"kind": "mixed", "items": [picture, {"kind": "text", "text": "看"}]},
            spec | {"kind": "mixed", "items": [picture]},
            spec | {"text": "@Robot A 对吗", "quote": {"kind": "text", "text": "原话"}},
            spec | {"text": "这个呢", "quote": {"kind": "file", "data": "aGk=", "name": "a.txt"}},
        ]
    )
    for one in said:
        client.wait_taken(one)
    first, second, third, fourth = [received.json for received in receiver.messages]
    assert first["mixed"]["msg_item"][1] == {"msgtype": "text", "text": {"content": "@Robot A 看"}}
    assert second["mixed"]["msg_item"][0] == {"msgtype": "text", "text": {"content": "@Robot A"}}
    assert third["text"]["content"] == "@Robot A 对吗"
    assert third["quote"] == {"msgtype": "text", "text": {"content": "原话"}}
    assert fourth["quote"]["file"]["url"].startswith(client.url)
    assert client.transcript("wrGroup")[2]["data"]["quote"] == "原话"


def test_voice_is_a_transcript(client: SimulatorClient, receiver: Receiver) -> None:
    client.wait_taken(client.say("说的话", bot="AIBOT", from_="zhangsan", kind="voice"))
    assert receiver.messages[0].json["voice"] == {"content": "说的话"}


def test_a_bot_hears_nothing_unmentioned(client: SimulatorClient, receiver: Receiver) -> None:
    said = client.say("闲聊", bot="AIBOT", from_="zhangsan", chat="wrGroup", mention=False)
    assert client.delivery(said["id"])["outcome"] == "not_heard"
    assert receiver.received == []
    assert [e["text"] for e in client.transcript("wrGroup")] == ["闲聊"]


def test_encrypted_userids(client: SimulatorClient, receiver: Receiver) -> None:
    client.bot("AIBOT", encrypt_userids=True)
    client.wait_taken(client.say("x", bot="AIBOT", from_="zhangsan"))
    assert receiver.messages[0].json["from"]["userid"].startswith("wo")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"app": 9, "from": "zhangsan"}, "no such app"),
        ({"app": 1, "from": "nobody"}, "userid of a member"),
        ({"app": 1, "from": "zhangsan", "kind": "file"}, "an app hears only"),
        ({"bot": "AIBOT", "from": "zhangsan", "kind": "location"}, "a bot hears only"),
        ({"bot": "AIBOT", "from": "zhangsan", "chat": "none"}, "no such group"),
        ({"bot": "AIBOT", "from": "zhangsan", "chat": "wrGroup", "kind": "voice"}, "in a group"),
        ({"bot": "AIBOT", "from": "zhangsan", "kind": "file", "data": "!"}, "base64"),
    ],
)
def test_what_a_member_cannot_say(client: SimulatorClient, spec: dict[str, Any], why: str) -> None:
    with pytest.raises(SimulatorError, match=why):
        client.post("say", **spec)
    assert client.chats() == []
