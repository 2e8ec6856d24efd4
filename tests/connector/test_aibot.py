"""An AI bot by long connection, from a member's message to what they read, through a real connector and the simulator's WebSocket."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts import capabilities
from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from bridge.media import storage
from bridge.models import Delivery, Message, Reason, State
from bridge.pipeline.inbound import spool_drain
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies import switched
from bridge.pipeline.replies.streams import partial_key
from channels_wechat.contract.explanations import explain
from channels_wechat.contract.messages import Content, Limit
from channels_wechat.simulator import RunningSimulator
from channels_wechat.wecom.aibot import serving, streams
from channels_wechat.wecom.aibot.connection import AIBotByConnection
from tests.support.answering import delivered, heard, settled
from tests.support.away import database_away
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    account,
    answer,
    conversation,
    eventually,
    gateway,
    message,
    outcomes,
    route,
    row,
    work_off,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
BOT, SECRET, GROUP = "SOCKETBOT", "geheim-geheim", "wrGroup"


@pytest.fixture
def client() -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        simulator.client.member("zhangsan", "张三")
        simulator.client.member("lisi", "李四")
        simulator.client.bot(BOT, name="Robot S", mode="connection", secret=SECRET)
        simulator.client.group(GROUP, "项目群", members=["zhangsan", "lisi"])
        simulator.client.settings(poll_interval=0.05, subscribes_per_minute=1000)
        yield simulator.client


@pytest.fixture
def bot(client: SimulatorClient, settings: Any) -> ChannelAccount:
    """Its messages are turns of a gateway that takes none, so that a test answers them itself."""
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    fields = {"bot_id": BOT, "bot_name": "Robot S", "mode": "connection", "secret": SECRET}
    address = client.websocket_url.replace("ws", "http", 1)
    made = account("wecom_aibot", fields, api_base_url=address, language="en", sentences={"welcome": "Hello!"})
    route(made, gateway(enabled=False))
    return made


@pytest.fixture
def connector(bot: ChannelAccount, client: SimulatorClient) -> Iterator[RunningConnector]:
    with RunningConnector() as running:
        client.wait_connected(BOT)
        eventually(lambda: Connection.objects.get(account=bot).state == "connected")
        yield running


def shown(client: SimulatorClient, said: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the member reads in answer: sort, text, and how it came."""
    return [(entry["kind"], entry["text"], entry["via"]) for entry in client.answers(said)]


def pushed(client: SimulatorClient, chat: str) -> list[tuple[str, str]]:
    return [(entry["kind"], entry["text"]) for entry in client.transcript(chat) if entry["via"] == "aibot_send_msg"]


def speak(bot: ChannelAccount, kind: str, peer: str, text: str = "news", **more: Any) -> Delivery:
    return outbox.send(bot, kind, peer, Content(text=text), source=Message.Source.STAFF, **more).deliveries.get()


# --- messages and answers


@pytest.mark.usefixtures("connector")
def test_a_question_in_a_group_is_answered_in_its_stream(bot: ChannelAccount, client: SimulatorClient) -> None:
    said = client.say("@Robot S 你好", bot=BOT, from_="zhangsan", chat=GROUP)
    question = heard()
    assert (question.text, question.sender, question.peer_kind, question.peer_id) == (
        "你好",
        "zhangsan",
        "group",
        GROUP,
    )
    assert question.reply_address.startswith(question.uuid.hex)
    delivered(answer(question, "**hello**"))
    assert shown(client, said) == [("stream", "**hello**", "stream")]
    assert not client.record()["violations"]
    assert SECRET not in str(Message.objects.values_list("raw", flat=True)) + str(client.calls())


@pytest.mark.usefixtures("connector")
def test_what_does_not_fit_the_stream_follows_in_order(bot: ChannelAccount, client: SimulatorClient) -> None:
    said = client.say("?", bot=BOT, from_="zhangsan")
    long = "\n\n".join(f"{number} " + "一" * 300 for number in range(30))
    message = answer(heard(), long)
    assert len(delivered(message)) == 2
    kinds = [(kind, via) for kind, _text, via in shown(client, said)]
    assert kinds == [("stream", "stream"), ("markdown", "reply")]
    assert not client.record()["violations"]


@pytest.mark.usefixtures("connector")
def test_the_bot_writes_first_to_whom_it_knows(bot: ChannelAccount, client: SimulatorClient) -> None:
    delivery = settled(speak(bot, "direct", "zhangsan"))
    assert (delivery.state, delivery.code) == (State.DEAD, "93006")
    assert "write to the bot first" in explain(bot.explanations, delivery.code, delivery.code_params)
    said = client.say("hello", bot=BOT, from_="zhangsan")
    heard()
    assert settled(speak(bot, "direct", "zhangsan")).state == State.DELIVERED
    assert pushed(client, said["chat"]) == [("markdown", "news")]
    assert not capabilities.list_refused(bot.pk, "zhangsan")


@pytest.mark.usefixtures("connector")
def test_files_go_up_in_chunks_and_come_down_with_their_own_keys(bot: ChannelAccount, client: SimulatorClient) -> None:
    content = bytes(range(256)) * 5000
    said = client.say(bot=BOT, from_="zhangsan", kind="file", data=b"what they sent", name="in.txt")
    question = heard()
    (claimed,) = storage.claim_files(10)
    storage.fetch_file(claimed)
    fetched = question.attachments.get()
    assert (storage.read_attachment(fetched.pk).content, fetched.key) == (b"what they sent", "")
    attached = ContentFile(content, name="out.pdf")
    attached.content_type = "application/pdf"  # type: ignore[attr-defined]
    message = outbox.send(
        bot, "direct", "zhangsan", Content(text="see"), source=Message.Source.STAFF, reply_to=question,
        files=[attached],
    )  # fmt: skip
    delivered(message)
    assert [(kind, via) for kind, _text, via in shown(client, said)] == [("stream", "stream"), ("file", "reply")]
    assert [call["body"].count("chunk_index") for call in client.calls("aibot_upload_media_chunk")] == [1, 1, 1]


@pytest.mark.usefixtures("connector")
def test_uploads_wait_for_their_own_limit(
    bot: ChannelAccount, client: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (Limit("uploads_minute", 1, 60, "account", "uploads a minute"),)
    monkeypatch.setattr(AIBotByConnection, "upload_limits", one)
    client.say("hello", bot=BOT, from_="zhangsan")
    heard()
    files = [ContentFile(b"some bytes", name=f"{number}.txt") for number in range(2)]
    message = outbox.send(
        bot, "direct", "zhangsan", Content(text=""), source=Message.Source.STAFF, files=files
    )  # fmt: skip
    first, second = message.deliveries.order_by("part")
    assert settled(first).state == State.DELIVERED
    eventually(lambda: row(second).code == "rate_limit")
    assert (row(second).state, row(second).tries) == (State.PENDING, 0)
    assert len(client.calls("aibot_upload_media_init")) == 1


@pytest.mark.usefixtures("connector")
def test_who_opens_the_chat_is_welcomed(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.event("enter_chat", bot=BOT, from_="zhangsan")
    eventually(lambda: Message.objects.filter(direction="out", text="Hello!").exists())
    assert Message.objects.get(direction="in").kind == "event"
    (chat,) = [one["chat"] for one in client.chats() if one["chat"] != GROUP]
    assert [(one["text"], one["via"]) for one in client.transcript(chat) if one["who"].startswith("bot")] == [
        ("Hello!", "welcome")
    ]


@pytest.mark.usefixtures("connector")
def test_a_cards_answer_is_a_turn_and_never_answered_by_its_own_id(
    bot: ChannelAccount, client: SimulatorClient
) -> None:
    """The req_id of an event takes no answer of an agent: WeCom would say 846605."""
    card = {
        "card_type": "button_interaction", "main_title": {"title": "Which?"}, "task_id": "t1",
        "button_list": [{"text": "A", "key": "a"}, {"text": "B", "key": "b"}],
    }  # fmt: skip
    said = client.say("hello", bot=BOT, from_="zhangsan")
    question = heard()
    content = Content(kind="template_card", data=card)
    delivered(outbox.send(bot, "direct", "zhangsan", content, source=Message.Source.STAFF, reply_to=question))
    (entry,) = client.answers(said)
    client.click(entry["seq"], "zhangsan", "b")
    click = heard(2)
    assert (click.kind, click.reply_address) == ("action", "")
    delivered(answer(click, "B it is"))
    assert pushed(client, said["chat"]) == [("markdown", "B it is")]
    (updated,) = client.answers(said)
    assert (updated["data"]["card_type"], updated["data"]["sub_title_text"]) == ("text_notice", "Received: B")
    assert 42045 not in [call["errcode"] for call in client.calls()]
    assert 846605 not in [call["errcode"] for call in client.calls()]


# --- text so far


@pytest.mark.usefixtures("connector")
def test_an_answer_grows_in_one_stream(bot: ChannelAccount, client: SimulatorClient, valkey: Any) -> None:
    said = client.say("?", bot=BOT, from_="zhangsan")
    question = heard()
    for text in ("So", "So far"):
        valkey.set(partial_key(question.uuid), text)
        eventually(lambda text=text: [entry["text"] for entry in client.answers(said)] == [text])
    delivered(answer(question, "So far, so good"))
    assert shown(client, said) == [("stream", "So far, so good", "stream")]
    assert not client.record()["violations"]


@pytest.mark.usefixtures("connector")
def test_a_stream_is_ended_in_time_and_the_answer_follows(
    bot: ChannelAccount, client: SimulatorClient, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STREAM_SECONDS", 0.3)
    said = client.say("?", bot=BOT, from_="zhangsan")
    question = heard()
    valkey.set(partial_key(question.uuid), "So far")
    ended = "So far\n\nThis takes longer; the answer will follow."
    eventually(lambda: [(entry["text"], entry["streaming"]) for entry in client.answers(said)] == [(ended, False)])
    delivered(answer(question, "whole"))
    assert shown(client, said) == [("stream", ended, "stream"), ("markdown", "whole", "reply")]
    assert not client.record()["violations"]


@pytest.mark.usefixtures("connector")
def test_the_next_connection_ends_the_stream_that_the_one_before_began(
    bot: ChannelAccount, client: SimulatorClient, valkey: Any
) -> None:
    said = client.say("?", bot=BOT, from_="zhangsan")
    question = heard()
    valkey.set(partial_key(question.uuid), "So far")
    eventually(lambda: [entry["text"] for entry in client.answers(said)] == ["So far"])
    client.end_connection(BOT, "abort")
    eventually(lambda: len(client.connections(BOT)) == 2)
    client.wait_connected(BOT)
    delivered(answer(question, "So far, so good"))
    assert shown(client, said) == [("stream", "So far, so good", "stream")]
    assert client.record()["violations"] == []


# --- what is refused is sent in another way


@pytest.mark.usefixtures("connector")
def test_a_stream_that_is_too_late_becomes_a_message(bot: ChannelAccount, client: SimulatorClient, valkey: Any) -> None:
    said = client.say("?", bot=BOT, from_="zhangsan")
    question = heard()
    valkey.set(partial_key(question.uuid), "So far")
    eventually(lambda: client.answers(said))
    client.advance(361)
    message = answer(question, "whole")
    (delivery,) = delivered(message)
    assert outcomes(delivery) == ["error", "ok"]
    assert pushed(client, said["chat"]) == [("markdown", "whole")]


@pytest.mark.usefixtures("connector")
def test_a_chat_that_takes_no_streams_gets_messages_from_then_on(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.refuse(BOT, GROUP, stream=True)
    for count, text in enumerate(("one", "two"), 1):
        said = client.say("@Robot S ?", bot=BOT, from_="zhangsan", chat=GROUP)
        delivered(answer(heard(count), text))
        assert shown(client, said) == [("markdown", text, "reply")]
    (restriction,) = capabilities.list_restrictions(bot)
    assert (restriction.capability, restriction.peer_id, restriction.code) == ("stream", GROUP, "600039")
    assert [call["errcode"] for call in client.calls("aibot_respond_msg")] == [600039, 0, 0]


@pytest.mark.usefixtures("connector")
def test_text_so_far_is_not_shown_again_where_it_was_refused(
    bot: ChannelAccount, client: SimulatorClient, valkey: Any
) -> None:
    client.refuse(BOT, GROUP, stream=True)
    for count in (1, 2):
        said = client.say("@Robot S ?", bot=BOT, from_="zhangsan", chat=GROUP)
        question = heard(count)
        valkey.set(partial_key(question.uuid), "So far")
        eventually(lambda: capabilities.list_refused(bot.pk, GROUP) == {"stream"})
        time.sleep(0.5)  # several looks
        delivered(answer(question, "whole"))
        assert shown(client, said) == [("markdown", "whole", "reply")]
    assert [call["errcode"] for call in client.calls("aibot_respond_msg")] == [600039, 0, 0]


@pytest.mark.usefixtures("connector")
def test_a_group_that_takes_no_messages_gets_them_by_its_last_question(
    bot: ChannelAccount, client: SimulatorClient
) -> None:
    client.refuse(BOT, GROUP, push=True)
    said = client.say("@Robot S hello", bot=BOT, from_="zhangsan", chat=GROUP)
    heard()
    for text in ("first", "second"):
        assert settled(speak(bot, "group", GROUP, text)).state == State.DELIVERED
    assert [text for _kind, text, _via in shown(client, said)] == ["first", "second"]
    assert len(client.calls("aibot_send_msg")) == 1
    assert [each.capability for each in capabilities.list_restrictions(bot)] == ["push"]


@pytest.mark.usefixtures("connector")
def test_without_any_question_the_reason_is_said(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.refuse(BOT, GROUP, push=True)
    delivery = settled(speak(bot, "group", GROUP))
    assert (delivery.state, delivery.code) == (State.DEAD, "push_refused")
    assert len(client.calls("aibot_send_msg")) == 1


@pytest.mark.usefixtures("connector")
def test_a_chat_that_had_its_messages_waits(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.say("@Robot S hello", bot=BOT, from_="zhangsan", chat=GROUP)
    heard()
    client.fault("aibot_send_msg", "errcode", errcode=846607, errmsg="frequency limit", times=1)
    delivery = speak(bot, "group", GROUP)
    eventually(lambda: outcomes(delivery) == ["error"])
    waiting = row(delivery)
    assert (waiting.state, waiting.code, waiting.tries) == (State.PENDING, "846607", 0)


@pytest.mark.usefixtures("connector")
def test_a_lost_acknowledgement_leaves_it_uncertain(
    bot: ChannelAccount, client: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_wechat.wecom.aibot.link.ACK_SECONDS", 0.3)
    client.say("@Robot S hello", bot=BOT, from_="zhangsan", chat=GROUP)
    heard()
    client.fault("aibot_send_msg", "timeout_after", times=1)
    delivery = settled(speak(bot, "group", GROUP))
    assert (delivery.state, delivery.code, outcomes(delivery)) == (State.UNCERTAIN, "timeout", ["unknown"])


@pytest.mark.parametrize(
    ("errcode", "ends", "words"),
    [
        (45009, (State.PENDING, "45009"), "limit for calls is reached"),
        (846607, (State.PENDING, "846607"), "30 a minute and 1000 an hour"),
        (93006, (State.DEAD, "93006"), "Somebody must write to the bot first"),
        (600039, (State.DEAD, "600039"), "does not take this sort of message"),
        (853000, (State.PENDING, "853000"), "refuses the bot ID or the secret"),
    ],
)
@pytest.mark.usefixtures("connector")
def test_each_refusal_of_a_push_is_one_call_with_its_state_and_its_words(
    bot: ChannelAccount, client: SimulatorClient, errcode: int, ends: tuple[State, str], words: str
) -> None:
    client.say("hello", bot=BOT, from_="zhangsan")
    heard()
    client.fault("aibot_send_msg", "errcode", errcode=errcode, errmsg="refused", times=0)
    delivery = speak(bot, "direct", "zhangsan")
    eventually(lambda: outcomes(delivery) == ["error"])
    found = row(delivery)
    assert ((found.state, found.code), words in found.error) == (ends, True)
    assert len(client.calls("aibot_send_msg")) == 1
    assert (ChannelAccount.objects.get(pk=bot.pk).state == Health.STOPPED) == (errcode == 853000)


@pytest.mark.parametrize("errcode", [846605, 846608])
@pytest.mark.usefixtures("connector")
def test_an_answer_that_comes_too_late_for_its_question_is_pushed_at_once(
    bot: ChannelAccount, client: SimulatorClient, errcode: int
) -> None:
    said = client.say("?", bot=BOT, from_="zhangsan")
    client.fault("aibot_respond_msg", "errcode", errcode=errcode, errmsg="refused", times=1)
    (delivery,) = delivered(answer(heard(), "whole"))
    assert outcomes(delivery) == ["error", "ok"]
    assert pushed(client, said["chat"]) == [("markdown", "whole")]
    assert [len(client.calls(cmd)) for cmd in ("aibot_respond_msg", "aibot_send_msg")] == [1, 1]


# --- the connection itself


@pytest.mark.usefixtures("connector")
def test_a_kicked_bot_waits_for_staff(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.say("last words", bot=BOT, from_="zhangsan")
    client.end_connection(BOT, "kick")
    eventually(lambda: ChannelAccount.objects.get(pk=bot.pk).state == Health.STOPPED)
    held = Connection.objects.get(account=bot)
    assert (held.state, held.code) == ("kicked", "kicked")
    assert "Another program" in held.detail
    assert heard().text == "last words"
    assert len(client.connections(BOT)) == 1
    ChannelAccount.objects.get(pk=bot.pk).revive()
    client.wait_connected(BOT)


def test_a_wrong_secret_stops_the_account(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.bot(BOT, secret="another")
    with RunningConnector():
        eventually(lambda: ChannelAccount.objects.get(pk=bot.pk).state == Health.STOPPED)
    held = Connection.objects.get(account=bot)
    assert (held.state, held.code) == ("bad_credentials", "853000")
    assert client.record()["counters"]["wrong_secrets"] == 1
    assert SECRET not in held.detail


def test_a_platform_that_repeats_the_secret_shows_it_to_nobody(bot: ChannelAccount, client: SimulatorClient) -> None:
    client.fault("aibot_subscribe", "errcode", errcode=853000, errmsg=f"invalid secret {SECRET} of this bot")
    with RunningConnector():
        eventually(lambda: ChannelAccount.objects.get(pk=bot.pk).state == Health.STOPPED)
    told = f"{Connection.objects.get(account=bot).code_params} {ChannelAccount.objects.get(pk=bot.pk).state_params}"
    assert (told.count("of this bot"), SECRET in told) == (2, False)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.usefixtures("connector")
def test_a_connection_that_ends_is_opened_again(bot: ChannelAccount, client: SimulatorClient, how: str) -> None:
    client.end_connection(BOT, how)
    eventually(lambda: len(client.connections(BOT)) == 2 and client.connections(BOT)[1]["subscribed"])
    eventually(lambda: ConnectionGap.objects.count() == 1)
    client.say("again", bot=BOT, from_="zhangsan")
    assert heard().text == "again"
    devices = {one["device_id"] for one in client.connections(BOT)}
    assert devices == {Connection.objects.get(account=bot).device_id.hex}


def test_a_silent_server_is_left(bot: ChannelAccount, client: SimulatorClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing breaks, and no heartbeat is answered."""
    monkeypatch.setattr(serving, "PING_SECONDS", 0.2)
    with RunningConnector():
        first = client.wait_connected(BOT)["number"]
        eventually(lambda: client.connections(BOT)[0]["pings"] >= 2)
        client.end_connection(BOT, "stall")
        eventually(lambda: client.wait_connected(BOT)["number"] != first)


def test_a_message_that_finds_no_room_is_kept_until_there_is(
    bot: ChannelAccount, client: SimulatorClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server repeats nothing, and the connection stays open meanwhile."""
    monkeypatch.setattr(serving, "FULL_SECONDS", 0.05)
    settings.SPOOL_MAX_MESSAGES = 0
    with RunningConnector():
        client.wait_connected(BOT)
        eventually(lambda: Connection.objects.get(account=bot).state == "connected")
        with database_away():
            for text in ("one", "two"):
                client.wait_taken(client.say(text, bot=BOT, from_="zhangsan"))
            time.sleep(0.3)  # it is tried several times
        eventually(lambda: spool_drain.drain() or Message.objects.filter(direction="in").count() == 2)
    assert list(Message.objects.order_by("pk").values_list("text", flat=True)) == ["one", "two"]
    assert len(client.connections(BOT)) == 1


# --- the other mode


def test_what_waits_goes_the_new_way_when_the_mode_is_switched(bot: ChannelAccount, client: SimulatorClient) -> None:
    """An answer that waited for a poll of its stream, or for its one-use address, becomes a message over the connection."""
    switch(bot, mode="callback", token="QDG6eK", encoding_aes_key="jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C")
    said = client.say("hello", bot=BOT, from_="zhangsan")
    question = question_of(bot, reply_address="https://qyapi.weixin.qq.com/x?response_code=1")
    waiting = answer(question, "by poll").deliveries.get()
    assert waiting.carrier == "http_reply"
    switch(bot, mode="connection")
    assert switched.move_waiting() == 1
    assert switched.move_waiting() == 0
    with RunningConnector():
        client.wait_connected(BOT)
        client.say("again", bot=BOT, from_="zhangsan")
        assert settled(waiting).state == State.DELIVERED
    assert pushed(client, said["chat"]) == [("markdown", "by poll")]


def test_what_the_other_mode_cannot_send_fails_with_the_reason(bot: ChannelAccount) -> None:
    question = question_of(bot, reply_address=f"{'0' * 32} REQ")
    Message.objects.filter(pk=question.pk).update(created_at=timezone.now() - timedelta(hours=1))
    waiting = answer(question, "over the connection").deliveries.get()
    lonely = speak(bot, "direct", "lisi")
    assert {waiting.carrier, lonely.carrier} == {"socket"}
    switch(bot, mode="callback", token="QDG6eK", encoding_aes_key="jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C")
    assert switched.move_waiting() == 2
    work_off()
    assert (row(waiting).state, row(waiting).code) == (State.DEAD, "no_reply_address")
    assert (row(lonely).state, row(lonely).reason) == (State.DEAD, Reason.NO_REPLY)


def question_of(bot: ChannelAccount, reply_address: str) -> Message:
    until = timezone.now() + timedelta(minutes=30)
    talk = conversation(bot)
    return message(talk, "?", "m1", kind="text", reply_address=reply_address, reply_until=until)


def switch(bot: ChannelAccount, **fields: str) -> None:
    bot.credentials = {**bot.credentials, **fields}
    bot.save()
