"""The simulator's long connection and its ciphers, proven by Tencent's own Node packages: clients that are not ours."""

from __future__ import annotations

import base64
import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.simulator import RunningSimulator
from tests.real.wecom_sdk_lab import NodeSdk, SdkError, installed_or_skipped
from tests.simulator.platform import PNG
from tests.simulator.receiver import KEY, TOKEN, Received, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.heavy

BOT, SECRET = "SDKBOT", "secret-of-the-sdk-bot"
BUTTONS: dict[str, Any] = {
    "card_type": "button_interaction",
    "task_id": "T1",
    "main_title": {"title": "选"},
    "button_list": [{"text": "好", "key": "yes"}],
}
LINK = {"card_action": {"type": 1, "url": "https://example.com"}}


@pytest.fixture(scope="module")
def directory() -> Path:
    return installed_or_skipped()


@pytest.fixture
def client() -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(poll_interval=0.05)
        client.member("zhangsan", "张三")
        client.group("wrGroup", "项目群", members=["zhangsan"])
        client.bot(BOT, name="Robot A", mode="connection", secret=SECRET)
        yield client


@pytest.fixture
def sdk(directory: Path, client: SimulatorClient) -> Iterator[NodeSdk]:
    """The SDK, subscribed."""
    with NodeSdk(directory) as sdk:
        yield sdk.connect(client.websocket_url, BOT, SECRET, scene=7, plug_version="1.2.3", maxReconnectAttempts=-1)


def say(
    client: SimulatorClient, sdk: NodeSdk, text: str = "你好", **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A member's message, and its body as the SDK read it."""
    said = client.say(text, bot=BOT, from_="zhangsan", **more)
    return said, sdk.wait_frame(said["id"])


def is_event(name: str) -> Any:
    return lambda told: told["event"] == name


def refused(sdk: NodeSdk, name: str, **fields: Any) -> int:
    with pytest.raises(SdkError) as caught:
        sdk.call(name, **fields)
    return int(caught.value.detail["errcode"])


def test_it_subscribes_and_its_heartbeats_are_answered(client: SimulatorClient, sdk: NodeSdk) -> None:
    facts = client.wait_connected(BOT)
    assert (facts["scene"], facts["plug_version"]) == (7, "1.2.3")
    client.wait_for(lambda: client.connections(BOT)[0]["pings"] >= 4)
    assert [told["event"] for told in sdk.events] == ["connected", "authenticated"]


def test_a_message_is_answered_by_a_stream(client: SimulatorClient, sdk: NodeSdk) -> None:
    said, body = say(client, sdk, chat="wrGroup")
    assert body["text"]["content"] == "@Robot A 你好"
    assert (body["chatid"], body["chattype"]) == ("wrGroup", "group")
    for content, finish in (("正在", False), ("正在查询", False), ("完整答案", True)):
        answer = sdk.call("stream", msgid=said["id"], stream="S1", content=content, finish=finish)
        assert answer["errcode"] == 0
    shown = client.wait_answer(said)
    assert (shown["text"], shown["data"]["updates"]) == ("完整答案", 3)
    assert client.record()["violations"] == []


def test_its_partial_texts_wait_for_acknowledgements(client: SimulatorClient, sdk: NodeSdk) -> None:
    client.settings(ack_seconds=0.05)
    said, _body = say(client, sdk)
    results = sdk.call("partials", msgid=said["id"], stream="S1", texts=["一", "一二", "一二三"], last="一二三四")
    assert results == [0, "skipped", "skipped", 0]
    assert client.wait_answer(said)["text"] == "一二三四"
    assert client.record()["violations"] == []


@pytest.mark.parametrize("kind", ["image", "file"])
def test_it_reads_members_files(client: SimulatorClient, sdk: NodeSdk, kind: str) -> None:
    """Twice, because every second key lacks its padding."""
    data = random.Random(7).randbytes(100_003) if kind == "file" else PNG
    for _ in range(2):
        _said, body = say(client, sdk, "", kind=kind, data=data, name="报告.bin")
        found = sdk.call("download", url=body[kind]["url"], aeskey=body[kind]["aeskey"])
        assert base64.b64decode(found["data"]) == data
        assert found["filename"] == "报告.bin"


def test_its_uploads_arrive_whole(client: SimulatorClient, sdk: NodeSdk) -> None:
    """Six chunks, three of them at once; and one that is refused twice and repeated by the SDK."""
    data = random.Random(8).randbytes(3_000_000)
    client.fault("aibot_upload_media_chunk", "errcode", errcode=-1, times=2)
    encoded = base64.b64encode(data).decode()
    uploaded = sdk.call("upload", data=encoded, type="file", filename="大.bin")
    said, _body = say(client, sdk)
    assert sdk.call("media", msgid=said["id"], type="file", media_id=uploaded["media_id"])["errcode"] == 0
    pushed = {"msgtype": "file", "file": {"media_id": uploaded["media_id"]}}
    assert sdk.call("push", chatid="zhangsan", body=pushed)["errcode"] == 0
    (shown,) = client.answers(said)
    assert (shown["kind"], shown["data"]["name"], shown["data"]["size"]) == ("file", "大.bin", len(data))
    assert client.record()["faults"] == {"aibot_upload_media_chunk errcode": 2}


def test_it_welcomes_and_updates_cards(client: SimulatorClient, sdk: NodeSdk) -> None:
    opened = client.event("enter_chat", bot=BOT, from_="zhangsan")
    assert sdk.wait_frame(opened["id"])["event"] == {"eventtype": "enter_chat"}
    welcome = {"msgtype": "text", "text": {"content": "欢迎"}}
    assert sdk.call("welcome", msgid=opened["id"], body=welcome)["errcode"] == 0
    assert client.answers(opened)[0]["text"] == "欢迎"
    said, _body = say(client, sdk)
    sdk.call("card", msgid=said["id"], card=BUTTONS)
    clicked = client.click(client.answers(said)[0]["seq"], "zhangsan", "yes")
    assert sdk.wait_frame(clicked["id"])["event"]["template_card_event"]["event_key"] == "yes"
    changed = BUTTONS | LINK | {"main_title": {"title": "已选"}}
    assert refused(sdk, "update", msgid=clicked["id"], card=BUTTONS) == 42045
    assert sdk.call("update", msgid=clicked["id"], card=changed)["errcode"] == 0
    assert client.answers(said)[0]["text"] == "已选"


def test_it_speaks_first_and_reads_refusals(client: SimulatorClient, sdk: NodeSdk) -> None:
    note = {"msgtype": "markdown", "markdown": {"content": "**主动推送**"}}
    assert refused(sdk, "push", chatid="zhangsan", body=note) == 93006
    said, _body = say(client, sdk)
    assert sdk.call("push", chatid="zhangsan", body=note)["errcode"] == 0
    assert refused(sdk, "reply", req_id="made-up", body=note) == 846605
    sdk.call("stream", msgid=said["id"], stream="S1", content="慢", finish=False)
    client.advance(361)
    assert refused(sdk, "stream", msgid=said["id"], stream="S1", content="慢慢", finish=True) == 846608
    client.settings(bot_chat_per_minute=0)
    assert refused(sdk, "push", chatid="zhangsan", body=note) == 846607


def test_a_wrong_secret_is_an_authentication_failure(directory: Path, client: SimulatorClient) -> None:
    with NodeSdk(directory) as sdk:
        sdk.start(client.websocket_url, BOT, "wrong", maxAuthFailureAttempts=1)
        told = sdk.wait(is_event("error"))
        assert told["detail"] == "Authentication failed: invalid bot_id or secret (code: 853000)"
        sdk.wait(lambda told: told["event"] == "error" and "Max auth failure" in told["detail"])
    assert client.record()["counters"]["wrong_secrets"] == 2


def test_a_newer_client_kicks_it_and_it_stays_away(directory: Path, client: SimulatorClient, sdk: NodeSdk) -> None:
    with NodeSdk(directory) as newer:
        newer.connect(client.websocket_url, BOT, SECRET)
        told = sdk.wait(lambda told: told["event"] == "event")
        assert told["frame"]["body"]["event"] == {"eventtype": "disconnected_event"}
        sdk.wait(is_event("disconnected"))
        said = client.say("谁在?", bot=BOT, from_="zhangsan")
        assert newer.wait_frame(said["id"])["text"]["content"] == "谁在?"
        time.sleep(0.5)  # ten of its reconnect intervals
        assert [one["ended"] for one in client.connections(BOT)] == ["kicked", ""]
        assert not [told for told in sdk.events if told["event"] == "reconnecting"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_it_comes_back_when_the_connection_ends(client: SimulatorClient, sdk: NodeSdk, how: str) -> None:
    client.fault("aibot_subscribe", "reset", times=0)  # it cannot be back before the next message
    client.end_connection(BOT, how)
    lost = client.say("lost", bot=BOT, from_="zhangsan")
    assert client.wait_taken(lost)["outcome"] == "lost"
    sdk.wait(is_event("reconnecting"), count=2)
    client.clear_faults()
    sdk.wait(is_event("authenticated"), count=2)
    client.wait_connected(BOT)
    _said, body = say(client, sdk, "wieder da")
    assert body["text"]["content"] == "wieder da"


def test_a_connection_whose_pings_are_not_answered_is_given_up(client: SimulatorClient, sdk: NodeSdk) -> None:
    client.fault("ping", "timeout_before", times=0)
    sdk.wait(is_event("disconnected"))
    client.clear_faults()
    sdk.wait(is_event("authenticated"), count=2)


def test_the_callback_ciphers_are_those_of_the_official_package(directory: Path, client: SimulatorClient) -> None:
    """Both ways: what the simulator sends is opened, and what the package seals is taken as a reply."""
    with NodeSdk(directory) as node, Receiver(lambda body, query: read_with(node, body, query)) as receiver:
        receiver.answer = lambda received: seal_with(node, received.query["nonce"], "你好，官方的密文")
        client.bot("URLBOT", name="Robot U", token=TOKEN, aes_key=KEY, callback_url=receiver.url)
        said = client.say("在吗", bot="URLBOT", from_="zhangsan")
        assert client.wait_answer(said)["text"] == "你好，官方的密文"
        heard: Received = receiver.received[0]
        assert heard.json["text"] == {"content": "在吗"}
    assert client.record()["violations"] == []


def read_with(node: NodeSdk, body: str, query: dict[str, str]) -> str:
    encrypted = json.loads(body)["encrypt"]
    signed = node.call("sign", token=TOKEN, timestamp=query["timestamp"], nonce=query["nonce"], encrypt=encrypted)
    assert signed == query["msg_signature"]
    opened = node.call("decrypt", key=KEY, encrypt=encrypted)
    assert opened["id"] == ""
    return str(opened["message"])


def seal_with(node: NodeSdk, nonce: str, text: str) -> bytes:
    answer = {"msgtype": "stream", "stream": {"id": "S1", "finish": True, "content": text}}
    encrypted = node.call("encrypt", key=KEY, message=json.dumps(answer, ensure_ascii=False), receiver="")
    timestamp = int(time.time())
    signed = node.call("sign", token=TOKEN, timestamp=str(timestamp), nonce=nonce, encrypt=encrypted)
    reply = {"encrypt": encrypted, "msgsignature": signed, "timestamp": timestamp, "nonce": nonce}
    return json.dumps(reply).encode()
