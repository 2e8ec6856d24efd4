"""AI bot: passive replies, stream polls, response_url (facts: wecom.md 6.1)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.platform import PNG
from tests.simulator.receiver import sealed

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform
    from tests.simulator.receiver import Received, Receiver

IMAGE = {"msgtype": "image", "image": {"base64": base64.b64encode(PNG).decode(), "md5": hashlib.md5(PNG).hexdigest()}}
NOTICE: dict[str, Any] = {
    "card_type": "text_notice",
    "task_id": "T1",
    "main_title": {"title": "通知"},
    "card_action": {"type": 1, "url": "https://example.com"},
}
BUTTONS: dict[str, Any] = {
    "card_type": "button_interaction",
    "task_id": "T1",
    "main_title": {"title": "选"},
    "button_list": [{"text": "好", "key": "yes"}],
}


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


def ask(client: SimulatorClient, text: str = "?", **more: Any) -> dict[str, Any]:
    return client.say(text, bot="AIBOT", from_="zhangsan", **more)


def violations(client: SimulatorClient) -> list[str]:
    return [one["what"] for one in client.record()["violations"]]


def wait_violation(client: SimulatorClient, what: str) -> None:
    client.wait_for(lambda: what in violations(client), 10)


def test_images_card_and_feedback(client: SimulatorClient, receiver: Receiver) -> None:
    first = stream("看", feedback={"id": "F1"}) | {"msgtype": "stream_with_template_card", "template_card": NOTICE}
    receiver.answer = Script(first, stream("看图", finish=True, msg_item=[IMAGE]))
    answer = client.wait_answer(ask(client))
    assert answer["data"]["card"] == NOTICE
    assert answer["data"]["feedback_id"] == "F1"
    assert answer["data"]["images"][0]["size"] == len(PNG)
    assert violations(client) == []


def test_a_failed_poll_is_asked_again(client: SimulatorClient, receiver: Receiver) -> None:
    frames: list[Any] = [stream("a"), 500, None, b"garbage", stream("ab", finish=True)]
    receiver.answer = Script(*frames)
    assert client.wait_answer(ask(client))["text"] == "ab"
    (state,) = client.streams()
    assert (state["polls"], state["failed_polls"]) == (4, 2)


def test_a_stream_nobody_finishes_expires(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script(stream("慢"))
    said = ask(client)
    client.wait_for(lambda: client.answers(said), 10)
    client.advance(361)
    assert client.wait_answer(said)["text"] == "慢"
    assert client.streams()[0]["state"] == "expired"
    assert client.answers(said)[0]["data"]["expired"]


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        ([stream("好" * 6826 + "xxx")], "stream_too_long"),
        ([stream("a"), stream("b", stream_id="S2", finish=True)], "stream_id_changed"),
        ([stream("a", msg_item=[IMAGE])], "images_before_finish"),
        ([stream("a", finish=True, msg_item=[IMAGE] * 11)], "too_many_images"),
        ([stream("a", finish=True, msg_item=[{"msgtype": "image"}])], "bad_reply"),
        ([stream("a", finish=True, msg_item=[{"image": {"base64": "AAAA", "md5": "0"}}])], "reply_refused"),
        ([stream("a"), stream("b", feedback={"id": "F"})], "feedback_late"),
        ([stream("a", stream_id="")], "stream_id_missing"),
        ([{"msgtype": "text", "text": {"content": "only for a welcome"}}], "reply_not_allowed"),
        ([{"msgtype": "stream"}], "bad_reply"),
        ([["a list"]], "bad_reply"),
        ([b"not json"], "bad_reply"),
    ],
)
def test_what_the_platform_would_ignore(
    client: SimulatorClient, receiver: Receiver, frames: list[Any], what: str
) -> None:
    receiver.answer = Script(*frames)
    ask(client)
    wait_violation(client, what)


def test_the_longest_text_is_shown(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script(stream("好" * 6826 + "xx", finish=True))
    assert len(client.wait_answer(ask(client))["text"]) == 6828
    assert violations(client) == []


@pytest.mark.parametrize("change", [{"nonce": "other"}, {"timestamp": "1700000000"}, {"msgsignature": "0" * 40}])
def test_a_wrong_envelope_of_a_reply(client: SimulatorClient, receiver: Receiver, change: dict[str, Any]) -> None:
    receiver.answer = lambda received: sealed(stream("x", finish=True), received.query, **change)
    said = ask(client)
    client.wait_taken(said)
    assert violations(client) == ["bad_reply"]
    assert client.answers(said) == []


def test_copies_must_name_the_same_stream(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script(
        stream("a", finish=True), stream("a", finish=True), stream("a", stream_id="S2", finish=True)
    )
    said = ask(client, copies=3)
    client.wait_taken(said)
    assert violations(client) == ["stream_id_changed"]
    assert len(client.answers(said)) == 1


def test_a_user_has_three_answers_in_progress(client: SimulatorClient, receiver: Receiver) -> None:
    client.settings(max_exchanges=2)
    done: list[str] = []

    def answer(received: Received) -> Any:
        if received.is_poll:
            stream_id = received.json["stream"]["id"]
            return stream("x", stream_id=stream_id, finish=stream_id in done)
        return stream("x", stream_id=received.json["msgid"])

    receiver.answer = answer
    said = [ask(client, str(number)) for number in range(3)]
    client.wait_for(lambda: len(client.streams()) == 2, 10)
    other = client.say("x", bot="AIBOT", from_="lisi")
    client.wait_taken(other)
    assert client.delivery(said[2]["id"])["outcome"] == "queued"
    done += [said[0]["id"], said[1]["id"], said[2]["id"], other["id"]]
    client.wait_answer(said[2])


def test_response_url_works_once_for_an_hour(client: SimulatorClient, receiver: Receiver, platform: Platform) -> None:
    said = ask(client)
    client.wait_taken(said)
    url = receiver.messages[0].json["response_url"]

    def respond(content: str, address: str = url) -> int:
        body = {"msgtype": "markdown", "markdown": {"content": content}}
        return platform.http.post(address, data=json_bytes(body), timeout=10).json()["errcode"]

    assert respond("x" * 20_481) == 45002
    assert respond("") == 44004
    assert respond("晚到的答案") == 0
    assert respond("again") == 60140
    (answer,) = client.answers(said)
    assert (answer["text"], answer["via"]) == ("晚到的答案", "response_url")
    late = ask(client)
    client.wait_taken(late)
    client.advance(3601)
    assert respond("x", receiver.messages[1].json["response_url"]) == 60140


def json_bytes(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def test_response_url_takes_markdown_and_cards_only(
    client: SimulatorClient, receiver: Receiver, platform: Platform
) -> None:
    client.wait_taken(ask(client))
    url = receiver.messages[0].json["response_url"]
    text = {"msgtype": "text", "text": {"content": "x"}}
    assert platform.http.post(url, data=json_bytes(text), timeout=10).json()["errcode"] == 40008
    card = {"msgtype": "template_card", "template_card": NOTICE}
    assert platform.http.post(url, data=json_bytes(card), timeout=10).json()["errcode"] == 0


def test_a_welcome(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script({"msgtype": "text", "text": {"content": "欢迎"}})
    opened = client.event("enter_chat", bot="AIBOT", from_="zhangsan")
    assert client.wait_answer(opened)["text"] == "欢迎"
    event = receiver.messages[0].json
    assert event["event"] == {"eventtype": "enter_chat"}
    assert "response_url" not in event


def test_feedback_takes_no_reply(client: SimulatorClient, receiver: Receiver) -> None:
    receiver.answer = Script(stream("x", finish=True))
    client.wait_taken(client.event("feedback_event", bot="AIBOT", from_="zhangsan", fields={"id": "F1"}))
    assert receiver.messages[0].json["event"]["feedback_event"]["id"] == "F1"
    assert violations(client) == ["reply_not_allowed"]


def click_yes(client: SimulatorClient, receiver: Receiver) -> dict[str, Any]:
    """A card is answered, its button pressed; returns the event's id and chat."""
    said = ask(client)
    card = client.wait_answer(said)
    return client.click(card["seq"], "zhangsan", "yes", {"q": ["one", "two"]})


def test_a_card_is_pressed_and_updated(client: SimulatorClient, receiver: Receiver) -> None:
    update = {"response_type": "update_template_card", "template_card": NOTICE}
    receiver.answer = Script({"msgtype": "template_card", "template_card": BUTTONS}, update)
    clicked = click_yes(client, receiver)
    client.wait_taken(clicked)
    event = receiver.messages[1].json["event"]["template_card_event"]
    assert (event["card_type"], event["event_key"], event["task_id"]) == ("button_interaction", "yes", "T1")
    selected = event["selected_items"]["selected_item"]
    assert selected == [{"question_key": "q", "option_ids": {"option_id": ["one", "two"]}}]
    assert client.transcript(clicked["chat"])[1]["text"] == "通知"
    assert violations(client) == []


def test_a_card_update_must_name_its_task(client: SimulatorClient, receiver: Receiver) -> None:
    update = {"response_type": "update_template_card", "template_card": NOTICE | {"task_id": "T2"}}
    receiver.answer = Script({"msgtype": "template_card", "template_card": BUTTONS}, update)
    click_yes(client, receiver)
    wait_violation(client, "task_id_changed")


def test_a_pressed_button_is_told_once(client: SimulatorClient, receiver: Receiver) -> None:
    frames: list[Any] = [{"msgtype": "template_card", "template_card": BUTTONS}, 500]
    receiver.answer = Script(*frames)
    delivery = client.wait_taken(click_yes(client, receiver))
    assert (delivery["outcome"], len(delivery["tries"])) == ("lost", 1)


def test_a_button_of_the_app_brings_a_new_code(client: SimulatorClient, receiver: Receiver, platform: Platform) -> None:
    platform.send("template_card", BUTTONS)
    (card,) = client.transcript("app:1:zhangsan")
    client.wait_taken(client.click(card["seq"], "zhangsan", "yes", {"q": ["one"]}))
    event = receiver.messages[0].xml
    assert (event["EventKey"], event["TaskId"], event["CardType"]) == ("yes", "T1", "button_interaction")
    assert event["SelectedItems"]["SelectedItem"]["OptionIds"] == {"OptionId": "one"}
    body = {"atall": 1, "agentid": 1, "response_code": event["ResponseCode"], "button": {"replace_name": "已选"}}
    assert platform.call("message/update_template_card", body)["errcode"] == 0
