"""What an AI bot says over its long connection, and what the platform refuses (facts: wecom.md 6.2, 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulator.test_connection import ask, violations

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.bot_socket import BotSocket

RESPOND, SEND = "aibot_respond_msg", "aibot_send_msg"


def stream(content: str, *, finish: bool = False, stream_id: str = "S1", **more: Any) -> dict[str, Any]:
    return {"msgtype": "stream", "stream": {"id": stream_id, "finish": finish, "content": content, **more}}


def markdown(content: str = "**你好**", **more: Any) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": content}, **more}


def asked(client: SimulatorClient, socket: BotSocket, **more: Any) -> tuple[dict[str, Any], str]:
    """A member's message, and the req_id that its callback came with."""
    said = ask(client, **more)
    return said, socket.callback()["headers"]["req_id"]


def test_a_stream_grows_and_is_finished(client: SimulatorClient, socket: BotSocket) -> None:
    said, req_id = asked(client, socket, chat="wrGroup")
    first = socket.ask(RESPOND, stream("正在查询…", feedback={"id": "F1"}), req_id)
    assert first == {"headers": {"req_id": req_id}, "errcode": 0, "errmsg": "ok"}
    assert [answer["streaming"] for answer in client.answers(said)] == [True]
    assert socket.errcode(RESPOND, stream("完整"), req_id) == 0
    assert socket.errcode(RESPOND, stream("完整答案", finish=True), req_id) == 0
    answer = client.wait_answer(said)
    assert (answer["text"], answer["who"], answer["via"]) == ("完整答案", "bot:SOCKETBOT", "stream")
    assert answer["data"] == {"updates": 3, "feedback_id": "F1"}
    (state,) = client.streams()
    assert (state["state"], state["frames"]) == ("finished", 3)
    assert violations(client) == []


def test_a_bot_speaks_first_where_somebody_has_written_to_it(client: SimulatorClient, socket: BotSocket) -> None:
    asked(client, socket)
    assert socket.errcode(SEND, markdown(chatid="ZhangSan", chat_type=1)) == 0
    (entry,) = [one for one in client.transcript("bot:SOCKETBOT:zhangsan") if one["who"] == "bot:SOCKETBOT"]
    assert (entry["kind"], entry["text"], entry["via"], entry["answers"]) == ("markdown", "**你好**", SEND, "")
