"""An AI bot's long connection: subscribing, being kicked, what is handed over and what is lost (facts: wecom.md 6.2)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.simulator import SimulatorError
from tests.simulator.bot_socket import SECRET, BotSocket

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Receiver


def ask(client: SimulatorClient, text: str = "?", **more: Any) -> dict[str, Any]:
    return client.say(text, bot="SOCKETBOT", from_="zhangsan", **more)


def violations(client: SimulatorClient) -> list[str]:
    return [one["what"] for one in client.record()["violations"]]


def test_a_bot_subscribes_and_pings(client: SimulatorClient, loose: BotSocket) -> None:
    ack = loose.subscribe(device_id="device-1", plug_version="9.9", scene=2)
    assert ack == {"headers": {"req_id": "aibot_subscribe_1"}, "errcode": 0, "errmsg": "ok"}
    assert loose.ask("ping") == {"headers": {"req_id": "ping_2"}, "errcode": 0, "errmsg": "ok"}
    facts = client.wait_connected("SOCKETBOT")
    assert (facts["device_id"], facts["plug_version"], facts["scene"]) == ("device-1", "9.9", 2)
    assert (facts["pings"], facts["bot"], facts["closed"]) == (1, "bot:SOCKETBOT", None)
    assert SECRET not in str(client.calls()) + str(client.record())
    assert [bot["connected"] for bot in client.call("GET", "directory")["bots"]] == [False, True]


def test_the_connection_is_one_way_and_the_callback_url_another(
    client: SimulatorClient, receiver: Receiver, socket: BotSocket
) -> None:
    said = ask(client)
    assert socket.callback()["body"]["msgid"] == said["id"]
    client.bot("SOCKETBOT", mode="callback", callback_url=receiver.url, token="QDG6eK", aes_key="k" * 43)
    assert socket.receive() == {"closed": 1000}
    assert client.connections("SOCKETBOT")[0]["ended"] == "closed"
    again = ask(client, "an die Adresse")
    assert client.wait_taken(again)["outcome"] in ("delivered", "lost")
    with BotSocket(client.websocket_url) as other:
        assert other.subscribe()["errcode"] == 853000
    client.bot("SOCKETBOT", mode="connection")
    posts = len(receiver.received)
    assert client.wait_taken(ask(client))["outcome"] == "lost"
    assert len(receiver.received) == posts
    with pytest.raises(SimulatorError, match="mode must be"):
        client.bot("SOCKETBOT", mode="both")


@pytest.mark.parametrize(
    ("bot", "secret"), [("SOCKETBOT", "wrong"), ("SOCKETBOT", ""), ("EMPTY", ""), ("NOBODY", SECRET), ("AIBOT", "")]
)
def test_a_wrong_secret_is_refused_and_the_connection_closed(client: SimulatorClient, bot: str, secret: str) -> None:
    client.bot("SOCKETBOT", mode="connection", secret=SECRET)
    client.bot("EMPTY", mode="connection")
    with BotSocket(client.websocket_url, bot) as socket:
        assert socket.subscribe(secret)["errcode"] == 853000
        assert socket.receive() == {"closed": 1000}
    assert client.record()["counters"]["wrong_secrets"] == 1
    assert client.connections()[0]["ended"] == "refused"


def test_subscribing_too_often_is_refused(client: SimulatorClient, socket: BotSocket) -> None:
    client.settings(subscribes_per_minute=2)
    assert socket.subscribe()["errcode"] == 0
    with BotSocket(client.websocket_url) as third:
        assert third.subscribe()["errcode"] == 45009
        assert third.receive() == {"closed": 1000}
    assert socket.errcode("ping") == 0
    client.advance(61)
    assert socket.subscribe()["errcode"] == 0


def test_nothing_but_a_ping_is_answered_before_the_subscription(client: SimulatorClient, loose: BotSocket) -> None:
    assert loose.errcode("ping") == 0
    assert loose.errcode("aibot_send_msg", {"chatid": "zhangsan"}) == 846609
    loose.subscribe()
    assert loose.errcode("aibot_guess") == 40058
    assert violations(client) == ["unknown_command"]


def test_a_newer_subscription_kicks_the_older_one(client: SimulatorClient, socket: BotSocket) -> None:
    with BotSocket(client.websocket_url) as newer:
        assert newer.subscribe()["errcode"] == 0
        event = socket.receive()
        assert event["cmd"] == "aibot_event_callback"
        assert event["body"]["event"] == {"eventtype": "disconnected_event"}
        assert event["body"]["aibotid"] == "SOCKETBOT"
        assert socket.receive() == {"closed": 1000}
        said = ask(client)
        assert newer.callback()["body"]["msgid"] == said["id"]
        assert client.delivery(said["id"])["tries"][0]["connection"] == client.wait_connected("SOCKETBOT")["number"]
    first, second = client.connections("SOCKETBOT")
    assert (first["ended"], second["ended"]) == ("kicked", "client")
    assert client.record()["counters"]["kicks"] == 1


def test_what_a_member_writes_goes_over_the_connection(client: SimulatorClient, socket: BotSocket) -> None:
    said = ask(client, "你好", chat="wrGroup", quote={"kind": "text", "text": "原文"})
    frame = socket.callback()
    assert frame["cmd"] == "aibot_msg_callback"
    assert frame["headers"]["req_id"]
    assert frame["body"] == {
        "msgid": said["id"],
        "aibotid": "SOCKETBOT",
        "chatid": "wrGroup",
        "chattype": "group",
        "from": {"userid": "zhangsan"},
        "msgtype": "text",
        "text": {"content": "@Robot S 你好"},
        "quote": {"msgtype": "text", "text": {"content": "原文"}},
    }
    assert client.wait_taken(said)["outcome"] == "delivered"


def test_the_record_tells_what_a_live_socket_got_and_what_was_lost(client: SimulatorClient, socket: BotSocket) -> None:
    """Nobody reads the socket: what was written to it counts as handed over."""
    handed = [client.wait_taken(ask(client, str(number))) for number in range(3)]
    assert {delivery["outcome"] for delivery in handed} == {"delivered"}
    number = client.wait_connected("SOCKETBOT")["number"]
    assert {delivery["tries"][0]["connection"] for delivery in handed} == {number}
    assert client.end_connection("SOCKETBOT", "abort") == number
    lost = client.wait_taken(ask(client))
    assert (lost["outcome"], lost["tries"]) == ("lost", [])
    assert client.record()["deliveries"] == {"delivered": 3, "lost": 1}
    assert client.connections()[0]["handed"] == 3
    assert client.end_connection("SOCKETBOT", "abort") is None


@pytest.mark.parametrize(
    ("how", "code", "ended"), [("close", 1000, "closed"), ("kick", 1000, "kicked"), ("abort", 1006, "aborted")]
)
def test_the_connection_is_ended_on_demand(
    client: SimulatorClient, socket: BotSocket, how: str, code: int, ended: str
) -> None:
    client.end_connection("SOCKETBOT", how)
    if how == "kick":
        assert socket.receive()["body"]["event"]["eventtype"] == "disconnected_event"
    assert socket.receive() == {"closed": code}
    client.wait_for(lambda: client.connections()[0]["closed"], 10)
    assert client.connections()[0]["ended"] == ended
    with pytest.raises(SimulatorError, match="how"):
        client.end_connection("SOCKETBOT", "sever")


def test_a_connection_that_lost_its_subscription_still_pings(client: SimulatorClient, socket: BotSocket) -> None:
    client.end_connection("SOCKETBOT", "unsubscribe")
    assert socket.errcode("ping") == 0
    assert client.wait_taken(ask(client))["outcome"] == "lost"
    assert socket.errcode("aibot_send_msg", {"chatid": "zhangsan"}) == 846609
    assert socket.subscribe()["errcode"] == 0


def test_a_connection_that_stands_still_hands_nothing_over(client: SimulatorClient, socket: BotSocket) -> None:
    client.end_connection("SOCKETBOT", "stall")
    said = ask(client)
    req_id = socket.send("ping")
    time.sleep(0.2)
    assert client.delivery(said["id"])["outcome"] == "sending"
    assert client.connections()[0]["pings"] == 0
    client.end_connection("SOCKETBOT", "resume")
    frames = [socket.receive(), socket.receive()]
    assert {frame["headers"]["req_id"] for frame in frames if "cmd" not in frame} == {req_id}
    assert client.wait_taken(said)["outcome"] == "delivered"
    client.end_connection("SOCKETBOT", "stall")
    held = [ask(client) for _ in range(3)]
    client.end_connection("SOCKETBOT", "abort")
    assert [client.wait_taken(said)["outcome"] for said in held] == ["lost"] * 3


@pytest.mark.parametrize("text", ["{", "[]", '{"cmd": "ping"}', '{"cmd": 1, "headers": {"req_id": "a"}}'])
def test_what_is_no_frame_is_noted(client: SimulatorClient, socket: BotSocket, text: str) -> None:
    socket.send_text(text)
    assert socket.errcode("ping") == 0
    assert violations(client) == ["bad_frame"]


def test_a_bot_that_goes_over_to_the_connection_is_not_polled_any_more(
    client: SimulatorClient, receiver: Receiver
) -> None:
    receiver.answer = lambda received: {"msgtype": "stream", "stream": {"id": "S1", "finish": False, "content": "…"}}
    said = client.say("?", bot="AIBOT", from_="zhangsan")
    client.wait_for(lambda: client.streams() and client.streams()[0]["polls"] > 1, 10)
    client.bot("AIBOT", mode="connection", secret=SECRET)
    assert client.wait_answer(said)["data"]["expired"]
    assert client.streams()[0]["state"] == "expired"
