"""What an AI bot says over its long connection, and what the platform refuses (facts: wecom.md 6.2, 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.test_connection import ask, violations

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.bot_socket import BotSocket

RESPOND, SEND = "aibot_respond_msg", "aibot_send_msg"
WELCOME, UPDATE = "aibot_respond_welcome_msg", "aibot_respond_update_msg"
CHAT = "bot:SOCKETBOT:zhangsan"
LONG = "好" * 6826 + "xxx"  # 20 481 bytes
BUTTONS: dict[str, Any] = {
    "card_type": "button_interaction",
    "task_id": "T1",
    "main_title": {"title": "选"},
    "button_list": [{"text": "好", "key": "yes"}],
}
NOTICE: dict[str, Any] = {
    "card_type": "text_notice",
    "task_id": "T1",
    "main_title": {"title": "通知"},
    "card_action": {"type": 1, "url": "https://example.com"},
}


def stream(content: str, *, finish: bool = False, stream_id: str = "S1", **more: Any) -> dict[str, Any]:
    return {"msgtype": "stream", "stream": {"id": stream_id, "finish": finish, "content": content, **more}}


def markdown(content: str = "**你好**", **more: Any) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": content}, **more}


def card(content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"msgtype": "template_card", "template_card": content, **more}


def update(content: dict[str, Any]) -> dict[str, Any]:
    return {"response_type": "update_template_card", "template_card": content}


def asked(client: SimulatorClient, socket: BotSocket, **more: Any) -> tuple[dict[str, Any], str]:
    """A member's message, and the req_id that its callback came with."""
    said = ask(client, **more)
    return said, socket.callback()["headers"]["req_id"]


def entered(client: SimulatorClient, socket: BotSocket, event: str = "enter_chat") -> tuple[dict[str, Any], str]:
    said = client.event(event, bot="SOCKETBOT", from_="zhangsan")
    return said, socket.callback()["headers"]["req_id"]


def clicked(client: SimulatorClient, socket: BotSocket) -> str:
    """A card is answered and its button pressed: the req_id of the event."""
    said, req_id = asked(client, socket)
    assert socket.errcode(RESPOND, card(BUTTONS), req_id) == 0
    client.click(client.answers(said)[0]["seq"], "zhangsan", "yes", {"q": ["one"]})
    return socket.callback()["headers"]["req_id"]


def shown(client: SimulatorClient, chat: str = CHAT) -> list[str]:
    return [entry["text"] for entry in client.transcript(chat) if entry["who"] == "bot:SOCKETBOT"]


# -- streams -------------------------------------------------------------------------------------------------------------


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


def test_a_stream_must_be_finished_within_six_minutes_of_its_first_frame(
    client: SimulatorClient, socket: BotSocket
) -> None:
    said, req_id = asked(client, socket)
    client.advance(3600)  # the message may be old: it is the first frame that counts
    socket.ask(RESPOND, stream("一"), req_id)
    client.advance(355)
    assert socket.errcode(RESPOND, stream("一二"), req_id) == 0
    client.advance(10)
    assert socket.errcode(RESPOND, stream("一二三", finish=True), req_id) == 846608
    assert client.wait_answer(said)["data"]["expired"]
    assert shown(client) == ["一二"]
    assert socket.errcode(RESPOND, stream("新", finish=True, stream_id="S2"), req_id) == 0


def test_the_member_sees_that_an_abandoned_stream_expired(client: SimulatorClient, socket: BotSocket) -> None:
    said, req_id = asked(client, socket)
    socket.ask(RESPOND, stream("慢"), req_id)
    client.advance(361)
    assert client.wait_answer(said)["data"]["expired"]
    assert client.streams()[0]["state"] == "expired"


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (stream(LONG), 45002),
        (stream("a", stream_id=""), 40063),
        ({"msgtype": "stream"}, 40063),
        (stream("a", finish=True, msg_item=[{"msgtype": "image"}]), 40058),
        ({"msgtype": "stream_with_template_card", "stream": {"id": "S1"}}, 40008),
        ({"msgtype": "text", "text": {"content": "only for a welcome"}}, 40008),
        (markdown(LONG), 45002),
        (markdown(""), 44004),
        ({"msgtype": "markdown", "markdown": "text"}, 40063),
        (card(BUTTONS | {"task_id": ""}), 40058),
        ({"msgtype": "file", "file": {"media_id": "unknown"}}, 40007),
        ({"msgtype": "file", "file": {}}, 41006),
    ],
)
def test_a_wrong_reply_is_refused_and_not_shown(
    client: SimulatorClient, socket: BotSocket, body: dict[str, Any], errcode: int
) -> None:
    _said, req_id = asked(client, socket)
    assert socket.errcode(RESPOND, body, req_id) == errcode
    assert shown(client) == []
    assert client.record()["errors"] == {f"{RESPOND} {errcode}": 1}
    exact = stream("好" * 6826 + "xx") if body.get("msgtype") == "stream" else markdown("好" * 6826 + "xx")
    assert socket.errcode(RESPOND, exact, req_id) == 0


def test_a_finished_stream_takes_no_frame(client: SimulatorClient, socket: BotSocket) -> None:
    _said, req_id = asked(client, socket)
    socket.ask(RESPOND, stream("a", finish=True), req_id)
    assert socket.errcode(RESPOND, stream("ab", finish=True), req_id) == 846608
    assert violations(client) == ["stream_after_finish"]
    assert shown(client) == ["a"]


def test_feedback_is_named_in_the_first_frame_only(client: SimulatorClient, socket: BotSocket) -> None:
    _said, req_id = asked(client, socket)
    socket.ask(RESPOND, stream("a"), req_id)
    socket.ask(RESPOND, stream("ab", feedback={"id": "F"}), req_id)
    assert violations(client) == ["feedback_late"]


# -- what a req_id is good for -------------------------------------------------------------------------------------------


def test_a_message_is_answered_for_a_day_and_more_than_once(client: SimulatorClient, socket: BotSocket) -> None:
    said, req_id = asked(client, socket)
    assert socket.errcode(RESPOND, markdown("一"), req_id) == 0
    client.advance(24 * 3600 - 5)
    assert socket.errcode(RESPOND, markdown("二"), req_id) == 0
    assert [(entry["kind"], entry["via"]) for entry in client.answers(said)] == [("markdown", "reply")] * 2
    client.advance(10)
    assert socket.errcode(RESPOND, markdown("三"), req_id) == 846605
    assert shown(client) == ["一", "二"]


def test_a_req_id_is_good_over_the_next_connection_but_for_no_other_bot(
    client: SimulatorClient, socket: BotSocket
) -> None:
    _said, req_id = asked(client, socket)
    client.end_connection("SOCKETBOT", "abort")
    with type(socket)(client.websocket_url) as again:
        again.subscribe()
        assert again.errcode(RESPOND, markdown(), req_id) == 0
    client.bot("OTHER", mode="connection", secret="other")
    with type(socket)(client.websocket_url, "OTHER") as other:
        other.subscribe("other")
        assert other.errcode(RESPOND, markdown(), req_id) == 846605
        assert other.errcode(RESPOND, markdown(), "made-up") == 846605


@pytest.mark.parametrize("body", [stream("a"), markdown()])
def test_an_event_takes_no_stream(client: SimulatorClient, socket: BotSocket, body: dict[str, Any]) -> None:
    _said, req_id = entered(client, socket)
    assert socket.errcode(RESPOND, body, req_id) == 846605


def test_a_second_frame_waits_for_the_first_acknowledgement(client: SimulatorClient, socket: BotSocket) -> None:
    _said, req_id = asked(client, socket)
    _said, other = asked(client, socket)
    assert [socket.errcode(RESPOND, markdown(), req_id) for _ in range(2)] == [0, 0]
    client.settings(ack_seconds=3600)  # none comes any more
    socket.send(RESPOND, stream("a"), req_id)
    socket.send(RESPOND, stream("b"), other)
    client.wait_for(lambda: shown(client)[2:] == ["a", "b"], 10)
    assert violations(client) == []
    socket.send(RESPOND, stream("ab", finish=True), req_id)
    client.wait_for(lambda: violations(client) == ["frame_before_ack"], 10)
    client.wait_for(lambda: shown(client)[2:] == ["ab", "b"], 10)


# -- events --------------------------------------------------------------------------------------------------------------


def test_a_welcome_answers_who_opens_the_chat(client: SimulatorClient, socket: BotSocket) -> None:
    said, req_id = entered(client, socket)
    welcome = {"msgtype": "text", "text": {"content": "欢迎"}}
    assert socket.errcode(WELCOME, markdown(), req_id) == 40008
    assert socket.errcode(WELCOME, welcome, req_id) == 0
    (answer,) = client.answers(said)
    assert (answer["kind"], answer["text"], answer["via"]) == ("text", "欢迎", "welcome")
    assert socket.errcode(WELCOME, welcome, req_id) == 846605
    _said, late = entered(client, socket)
    client.advance(6)
    assert socket.errcode(WELCOME, card(NOTICE), late) == 846605
    _said, message = asked(client, socket)
    assert socket.errcode(WELCOME, welcome, message) == 846605
    assert shown(client) == ["欢迎"]


def test_events_come_in_frames_of_their_own(client: SimulatorClient, socket: BotSocket) -> None:
    opened = client.event("enter_chat", bot="SOCKETBOT", from_="zhangsan")
    frame = socket.callback()
    assert frame["cmd"] == "aibot_event_callback"
    created = frame["body"].pop("create_time")
    assert isinstance(created, int)
    assert frame["body"] == {
        "msgid": opened["id"],
        "aibotid": "SOCKETBOT",
        "chattype": "single",
        "from": {"userid": "zhangsan"},
        "msgtype": "event",
        "event": {"eventtype": "enter_chat"},
    }
    client.event("feedback_event", bot="SOCKETBOT", from_="zhangsan", fields={"id": "F1", "type": 1})
    assert socket.callback()["body"]["event"]["feedback_event"]["id"] == "F1"
    raw = {"msgtype": "event", "msgid": "M", "event": {"eventtype": "enter_check_update"}}
    assert client.event(bot="SOCKETBOT", raw=raw)["id"] == "M"
    assert socket.callback()["body"] == raw


def test_a_pressed_card_is_updated(client: SimulatorClient, socket: BotSocket) -> None:
    req_id = clicked(client, socket)
    changed = BUTTONS | {"main_title": {"title": "已选"}, "card_action": {"type": 1, "url": "https://example.com"}}
    assert socket.errcode(UPDATE, update(BUTTONS), req_id) == 42045
    assert socket.errcode(UPDATE, update(changed | {"task_id": "T2"}), req_id) == 42014
    assert socket.errcode(UPDATE, {"template_card": changed}, req_id) == 40063
    assert shown(client) == ["选"]
    assert socket.errcode(UPDATE, update(changed), req_id) == 0
    assert shown(client) == ["已选"]
    assert socket.errcode(UPDATE, update(changed), req_id) == 846605
    late = clicked(client, socket)
    client.advance(6)
    assert socket.errcode(UPDATE, update(changed), late) == 846605


def test_a_pressed_card_tells_what_was_chosen(client: SimulatorClient, socket: BotSocket) -> None:
    said, req_id = asked(client, socket, chat="wrGroup")
    socket.ask(RESPOND, card(BUTTONS), req_id)
    client.click(client.answers(said)[0]["seq"], "lisi", "yes", {"q": ["one", "two"]})
    body = socket.callback()["body"]
    assert (body["chatid"], body["from"], body.get("response_url")) == ("wrGroup", {"userid": "lisi"}, None)
    selected = [{"question_key": "q", "option_ids": {"option_id": ["one", "two"]}}]
    assert body["event"]["template_card_event"] == {
        "card_type": "button_interaction",
        "event_key": "yes",
        "task_id": "T1",
        "selected_items": {"selected_item": selected},
    }


# -- speaking first ------------------------------------------------------------------------------------------------------


def test_a_bot_speaks_first_where_somebody_has_written_to_it(client: SimulatorClient, socket: BotSocket) -> None:
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 93006
    entered(client, socket)
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 93006
    asked(client, socket)
    assert socket.errcode(SEND, markdown(chatid="ZhangSan", chat_type=1)) == 0
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=2)) == 93006
    assert socket.errcode(SEND, card(NOTICE, chatid="zhangsan")) == 0
    mine = [entry for entry in client.transcript(CHAT) if entry["who"] == "bot:SOCKETBOT"]
    assert [(one["kind"], one["via"], one["answers"]) for one in mine] == [
        ("markdown", SEND, ""),
        ("template_card", SEND, ""),
    ]
    assert socket.errcode(SEND, markdown(chatid="lisi", chat_type=1)) == 93006
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 93006
    asked(client, socket, chat="wrGroup")
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 0
    assert shown(client, "wrGroup") == ["**你好**"]


def test_what_the_bot_did_not_hear_lets_it_not_speak(client: SimulatorClient, socket: BotSocket) -> None:
    said = ask(client, chat="wrGroup", mention=False)
    assert client.delivery(said["id"])["outcome"] == "not_heard"
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 93006


def test_chat_type_says_whether_an_id_is_of_a_member_or_a_group(client: SimulatorClient, socket: BotSocket) -> None:
    client.group("zhangsan", "heißt wie ein Mitglied")
    asked(client, socket)
    asked(client, socket, chat="zhangsan")
    for chat_type, content in ((1, "eins"), (2, "zwei"), (0, "null")):
        assert socket.errcode(SEND, markdown(content, chatid="zhangsan", chat_type=chat_type)) == 0
    assert (shown(client), shown(client, "zhangsan")) == (["eins"], ["zwei", "null"])
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=3)) == 40058
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=1)) == 93006
    assert socket.errcode(SEND, markdown()) == 40063
    assert socket.errcode(SEND, {"chatid": "zhangsan", "msgtype": "text", "text": {"content": "a"}}) == 40008
    assert socket.errcode(SEND, stream("a") | {"chatid": "zhangsan"}) == 40008


def test_a_bot_of_an_ordinary_member_knows_people_by_other_ids(client: SimulatorClient, socket: BotSocket) -> None:
    client.bot("SOCKETBOT", encrypt_userids=True)
    ask(client)
    sender = socket.callback()["body"]["from"]["userid"]
    assert sender.startswith("wo")
    assert socket.errcode(SEND, markdown(chatid=sender, chat_type=1)) == 0
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 93006


# -- what is refused in some chats, and too often -------------------------------------------------------------------------


def test_a_chat_may_refuse_streams_and_proactive_messages(client: SimulatorClient, socket: BotSocket) -> None:
    _said, req_id = asked(client, socket, chat="wrGroup")
    _said, single = asked(client, socket)
    client.refuse("SOCKETBOT", "wrGroup", stream=True, push=True)
    assert socket.errcode(RESPOND, stream("a"), req_id) == 600039
    assert socket.errcode(RESPOND, stream("a"), single) == 0
    assert socket.errcode(RESPOND, markdown("a"), req_id) == 0
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 600039
    client.refuse("SOCKETBOT", "wrGroup", push_errcode=93006)
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 93006
    client.refuse("SOCKETBOT", "wrGroup", stream=False, push=False)
    assert socket.errcode(RESPOND, stream("a"), req_id) == 0
    assert socket.errcode(SEND, markdown(chatid="wrGroup", chat_type=2)) == 0


@pytest.mark.parametrize(("setting", "seconds"), [("bot_chat_per_minute", 60), ("bot_chat_per_hour", 3600)])
def test_everything_in_a_chat_counts_towards_its_limit(
    client: SimulatorClient, socket: BotSocket, setting: str, seconds: int
) -> None:
    client.settings(**{setting: 4})
    _said, req_id = asked(client, socket)
    _said, elsewhere = asked(client, socket, chat="wrGroup")
    assert socket.errcode(RESPOND, stream("a"), req_id) == 0
    assert socket.errcode(RESPOND, stream(LONG), req_id) == 45002  # what is refused does not count
    assert socket.errcode(RESPOND, stream("ab", finish=True), req_id) == 0
    assert socket.errcode(RESPOND, markdown(), req_id) == 0
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 0
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 846607
    assert socket.errcode(RESPOND, stream("b", stream_id="S2"), req_id) == 846607
    assert socket.errcode(RESPOND, markdown(), elsewhere) == 0
    assert shown(client) == ["ab", "**你好**", "**你好**"]
    client.advance(seconds + 1)
    assert socket.errcode(SEND, markdown(chatid="zhangsan", chat_type=1)) == 0


def test_the_limits_are_the_documented_ones(client: SimulatorClient) -> None:
    settings = client.settings()
    assert (settings["bot_chat_per_minute"], settings["bot_chat_per_hour"]) == (30, 1000)
    assert (settings["bot_uploads_per_minute"], settings["bot_uploads_per_hour"]) == (30, 1000)
    assert (settings["stream_seconds"], settings["req_id_seconds"], settings["event_reply_seconds"]) == (360, 86400, 5)


# -- faults --------------------------------------------------------------------------------------------------------------


def test_faults_of_acknowledgements(client: SimulatorClient, socket: BotSocket) -> None:
    _said, req_id = asked(client, socket)
    client.fault(RESPOND, "errcode", errcode=-1, errmsg="system error")
    assert socket.ask(RESPOND, markdown("1"), req_id)["errmsg"] == "system error"
    client.fault(RESPOND, "errcode_after", errcode=45009)
    assert socket.errcode(RESPOND, markdown("2"), req_id) == 45009
    client.fault(RESPOND, "timeout_before")
    client.fault(RESPOND, "timeout_after")
    for content in ("3", "4"):
        socket.send(RESPOND, markdown(content), req_id)
    client.fault(RESPOND, "slow", seconds=0.1)
    assert socket.errcode(RESPOND, markdown("5"), req_id) == 0
    client.fault(RESPOND, "slow_after", seconds=0.1)
    assert socket.errcode(RESPOND, markdown("6"), req_id) == 0
    client.fault(RESPOND, "html", status=502)
    socket.send(RESPOND, markdown("7"), req_id)
    assert "502 from the simulator" in socket.text()
    assert shown(client) == ["2", "4", "5", "6"]
    assert client.record()["faults"][f"{RESPOND} timeout_after"] == 1


@pytest.mark.parametrize(("kind", "texts"), [("reset", []), ("reset_after", ["**你好**"])])
def test_a_fault_breaks_the_connection(client: SimulatorClient, socket: BotSocket, kind: str, texts: list[str]) -> None:
    _said, req_id = asked(client, socket)
    client.fault(RESPOND, kind)
    socket.send(RESPOND, markdown(), req_id)
    assert socket.receive() == {"closed": 1006}
    assert shown(client) == texts
    client.wait_for(lambda: client.connections()[0]["ended"] == "fault", 10)


def test_pings_go_unanswered(client: SimulatorClient, socket: BotSocket) -> None:
    client.fault("ping", "timeout_before", times=0)
    socket.send("ping")
    client.wait_for(lambda: client.record()["faults"], 10)
    client.clear_faults()
    req_id = socket.send("ping")
    assert socket.receive()["headers"]["req_id"] == req_id
