"""AI bot: passive replies, stream polls, response_url (facts: wecom.md 6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Received, Receiver


def stream(content: str, *, finish: bool = False, stream_id: str = "S1", **more: Any) -> dict[str, Any]:
    return {"msgtype": "stream", "stream": {"id": stream_id, "finish": finish, "content": content, **more}}


class Script:
    """Answers the message with the first frame and each poll with the next one; the last frame stays."""

    def __init__(self, *frames: dict[str, Any] | None) -> None:
        self.frames = list(frames)

    def __call__(self, received: Received) -> Any:
        return self.frames.pop(0) if len(self.frames) > 1 else self.frames[0]


def test_a_group_message_is_answered_by_a_stream(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script(stream("想"), stream("想一想"), stream("想一想，好了", finish=True))
    said = client.say("今天天气?", bot="AIBOT", from_="zhangsan", chat="wrGroup")
    answer = client.wait_answer(said)
    assert answer["text"] == "想一想，好了"
    assert answer["who"] == "bot:AIBOT"
    assert answer["data"]["updates"] == 3
    heard = receiver.messages[0].json
    assert heard["text"]["content"] == "@Robot A 今天天气?"
    assert heard["chatid"] == "wrGroup"
    assert heard["chattype"] == "group"
    assert heard["msgid"] == said["id"]
    assert receiver.polls[0].json["stream"] == {"id": "S1"}
    assert client.record()["violations"] == []
    assert client.streams()[0]["state"] == "finished"
