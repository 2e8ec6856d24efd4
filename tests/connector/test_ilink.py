"""An iLink account, from a person's message to what they read, through a real connector and a platform on loopback."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts import reply_windows
from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from bridge.connector import states
from bridge.media import storage
from bridge.models import Delivery, Message, Reason, State
from bridge.pipeline.inbound import spool_drain
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.gates import SendContext
from bridge.runtime.spool import journal
from channels_wechat.contract.explanations import explain
from channels_wechat.contract.messages import Content, Peer
from channels_wechat.ilink import polling
from channels_wechat.ilink.channel import Ilink
from channels_wechat.simulator import RunningSimulator
from channels_wechat.wire.http import Http
from tests.support import factories
from tests.support.answering import heard, settled
from tests.support.away import database_away
from tests.support.connecting import RunningConnector
from tests.support.factories import account, answer, eventually, gateway, outcomes, route, row
from tests.support.fake_ilink import ANN, BOT, TOKEN, FakeIlink, Scripted, fake_ilink

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
FIELDS = {"user_id": ANN, "bot_id": BOT, "bot_token": TOKEN}
FILE = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(polling, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(polling, "FULL_SECONDS", 0.05)


@pytest.fixture
def ilink() -> Iterator[FakeIlink]:
    with fake_ilink() as running:
        yield running


@pytest.fixture
def ann(ilink: FakeIlink, settings: Any) -> ChannelAccount:
    """Ann's account; what she says is a turn of a gateway that takes none, so that a test answers it itself."""
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    made = account("ilink", FIELDS, api_base_url=ilink.url, language="en")
    route(made, gateway(enabled=False))
    return made


@pytest.fixture
def connector(ann: ChannelAccount) -> Iterator[RunningConnector]:
    with RunningConnector() as running:
        eventually(lambda: held(ann).state == "connected", seconds=40)
        yield running


def held(ann: ChannelAccount) -> Connection:
    return Connection.objects.filter(account=ann).first() or Connection()


def fresh(ann: ChannelAccount) -> ChannelAccount:
    return ChannelAccount.objects.get(pk=ann.pk)


def texts() -> list[str]:
    return list(Message.objects.filter(direction="in").order_by("pk").values_list("text", flat=True))


def speak(ann: ChannelAccount, text: str = "news", **more: Any) -> Delivery:
    """A message that answers nothing."""
    return outbox.send(ann, "direct", ANN, Content(text=text), source=Message.Source.STAFF, **more).deliveries.get()


def _channel_of(account: ChannelAccount) -> Ilink:
    channel = build_channel(account)
    assert isinstance(channel, Ilink)
    return channel


def cursors(ilink: FakeIlink) -> list[str]:
    return [request.json["get_updates_buf"] for request in ilink.calls("getupdates")]


# --- messages and answers


@pytest.mark.usefixtures("connector")
def test_a_question_is_answered_with_its_token(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.say("你好", context="CANARY-context")
    question = heard()
    assert (question.text, question.sender, question.peer_id) == ("你好", ANN, ANN)
    delivery = settled(answer(question, "**hello**").deliveries.get())
    assert (delivery.state, delivery.carrier) == (State.DELIVERED, "socket")
    (sent,) = ilink.sent
    assert (sent["to_user_id"], sent["context_token"]) == (ANN, "CANARY-context")
    assert ilink.items() == [{"type": 1, "text_item": {"text": "hello"}}]
    assert delivery.remote_id.isdigit()
    assert fresh(ann).state == Health.OK
    kept = str(list(Message.objects.values_list("raw", flat=True))) + str(list(delivery.attempts.values()))
    assert "CANARY" not in kept
    assert (held(ann).own_id, held(ann).own_name) == (BOT, ANN)


@pytest.mark.usefixtures("connector")
def test_the_newest_token_goes_with_every_message(ann: ChannelAccount, ilink: FakeIlink) -> None:
    """With an answer to an earlier question, and with what answers nothing."""
    ilink.say("one", context="first")
    question = heard()
    ilink.say("two", context="second")
    heard(2)
    settled(answer(question, "late").deliveries.get())
    assert settled(speak(ann)).state == State.DELIVERED
    assert [sent["context_token"] for sent in ilink.sent] == ["second", "second"]


def test_the_token_is_looked_for_when_the_window_is_open(ann: ChannelAccount) -> None:
    """It comes with the message that opens the window, perhaps while the gates are passed."""
    delivery = speak(ann)
    context = SendContext(delivery)
    assert context.uses_quota
    said = {"kind": "text", "reply_address": "newest", "reply_until": timezone.now() + timedelta(hours=1)}
    assert delivery.message is not None
    assert delivery.message.conversation is not None
    factories.message(delivery.message.conversation, "hello", "m1", **said)
    assert context.peer.reply == "newest"


@pytest.mark.usefixtures("connector")
def test_each_message_counts_against_the_ten(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.say("hello")
    question = heard()
    assert reply_windows.count_remaining(ann.pk, ANN) == 10
    settled(answer(question, "a").deliveries.get())
    settled(speak(ann))
    assert reply_windows.count_remaining(ann.pk, ANN) == 8


@pytest.mark.usefixtures("connector")
def test_what_is_said_before_anybody_wrote_waits_for_them(ann: ChannelAccount, ilink: FakeIlink) -> None:
    delivery = settled(speak(ann))
    assert (delivery.state, delivery.reason) == (State.HELD, Reason.WINDOW)
    assert ilink.sent == []
    ilink.say("hello")
    heard()
    assert settled(delivery).state == State.DELIVERED


@pytest.mark.usefixtures("connector")
def test_what_wechat_takes_no_more_waits_until_the_person_writes(ann: ChannelAccount, ilink: FakeIlink) -> None:
    """The platform counts otherwise than we do."""
    ilink.say("hello")
    ilink.script("sendmessage", Scripted({"ret": -2, "errmsg": "prepare failed"}))
    delivery = settled(answer(heard(), "hi").deliveries.get())
    assert (delivery.state, delivery.reason, outcomes(delivery)) == (State.HELD, Reason.WINDOW, ["error"])
    assert reply_windows.count_remaining(ann.pk, ANN) == 0
    assert "takes no more messages" in explain(ann.explanations, delivery.code, delivery.code_params)
    ilink.say("again")
    heard(2)
    assert settled(delivery).state == State.DELIVERED
    assert len(ilink.sent) == 1


@pytest.mark.usefixtures("connector")
def test_a_code_that_is_not_zero_is_no_delivery(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.say("hello")
    ilink.script("sendmessage", Scripted({"ret": 7, "errmsg": "busy"}))
    delivery = answer(heard(), "hi").deliveries.get()
    eventually(lambda: outcomes(delivery) == ["error"])
    assert (row(delivery).state, row(delivery).code, ilink.sent) == (State.PENDING, "7", [])


@pytest.mark.usefixtures("connector")
def test_a_lost_answer_leaves_it_uncertain(ann: ChannelAccount, ilink: FakeIlink) -> None:
    """Nothing is known of how the platform treats a repetition, so nothing is repeated."""
    ilink.say("hello")
    ilink.script("sendmessage", Scripted(b"<html>bad gateway", 502, done=True))
    delivery = settled(answer(heard(), "hi").deliveries.get())
    assert (delivery.state, outcomes(delivery), len(ilink.sent)) == (State.UNCERTAIN, ["unknown"], 1)


@pytest.mark.usefixtures("connector")
def test_files_both_ways_arrive_whole(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.say("", {"type": 4, "file_item": {"media": ilink.keep(FILE, "hex"), "file_name": "in.bin"}})
    question = heard()
    (claimed,) = storage.claim_files(10)
    storage.fetch_file(claimed)
    fetched = question.attachments.get()
    content = storage.read_attachment(fetched.pk).content
    assert hashlib.sha256(content).digest() == hashlib.sha256(FILE).digest()
    assert (fetched.name, fetched.source, fetched.key) == ("in.bin", "", "")
    message = outbox.send(
        ann, "direct", ANN, Content(text="see"), source=Message.Source.STAFF, reply_to=question,
        files=[ContentFile(FILE[::-1], name="out.bin")],
    )  # fmt: skip
    assert [settled(part).state for part in message.deliveries.order_by("part")] == [State.DELIVERED] * 2
    text, file = ilink.items()
    assert (text["type"], file["type"], file["file_item"]["file_name"]) == (1, 4, "out.bin")
    assert hashlib.sha256(ilink.read_sent(file)).digest() == hashlib.sha256(FILE[::-1]).digest()


@pytest.mark.usefixtures("connector")
def test_voice_is_read_by_its_transcript(ilink: FakeIlink) -> None:
    ilink.say("", {"type": 3, "voice_item": {"media": ilink.keep(b"#!SILK_V3"), "text": "今天开会"}})
    question = heard()
    assert (question.kind, question.text, question.attachments.count()) == ("voice", "今天开会", 0)
    assert "今天开会" in question.deliveries.get().payload["message"]


@pytest.mark.parametrize(("allowed", "state"), [("", State.SKIPPED), ("eve@im.wechat", State.PENDING)])
def test_only_who_may_talk_has_a_turn(ann: ChannelAccount, ilink: FakeIlink, allowed: str, state: State) -> None:
    ann.credentials = {**ann.credentials, "allowed_people": allowed}
    ann.save()
    with RunningConnector():
        ilink.say("let me in", from_="eve@im.wechat")
        delivery = heard().deliveries.get()
    assert (delivery.state, delivery.reason) == (state, Reason.SENDER if state == State.SKIPPED else "")


@pytest.mark.usefixtures("connector")
def test_a_quote_by_its_id_is_read_from_what_is_stored(ilink: FakeIlink) -> None:
    """Of the person's own words, of ours, of nothing that is known here, and of somebody else's."""
    said = ilink.say("会议改到三点\n地点不变")
    answered = settled(answer(heard(), "noted").deliveries.get())
    stranger = ilink.say("a secret", from_="eve@im.wechat")
    heard(2)
    texts_of = {}
    for count, quoted in enumerate((said["message_id"], int(answered.remote_id), 7, stranger["message_id"]), 3):
        item = {"type": 1, "text_item": {"text": "再说一遍"}, "ref_msg": {"svr_id": quoted}}
        ilink.say("", item)
        texts_of[quoted] = heard(count)
    found = [message.text.removesuffix("\n\n再说一遍") for message in texts_of.values()]
    assert found == ["> 会议改到三点\n> 地点不变", "> noted", "> [quoted message]", "> [quoted message]"]
    first = texts_of[said["message_id"]]
    assert "> 会议改到三点" in first.deliveries.get().payload["message"]


@pytest.mark.usefixtures("connector")
def test_a_group_is_stored_and_has_no_turn(ilink: FakeIlink) -> None:
    ilink.say("everybody", group_id="3481@chatroom")
    message = heard()
    assert (message.kind, message.peer_kind, message.peer_id) == ("event", "group", "3481@chatroom")
    assert message.deliveries.get().state == State.SKIPPED
    assert ilink.sent == []


@pytest.mark.usefixtures("connector")
def test_what_the_bot_said_itself_does_not_come_back(ilink: FakeIlink) -> None:
    ilink.say("echo", message_type=2, from_=BOT)
    ilink.say("hello")
    assert heard().text == "hello"


# --- the connection


def test_a_restart_goes_on_behind_what_was_received(ann: ChannelAccount, ilink: FakeIlink) -> None:
    with RunningConnector():
        ilink.say("one")
        heard()
        eventually(lambda: held(ann).cursor)
    ilink.say("two")
    before = len(cursors(ilink))
    with RunningConnector():
        heard(2)
    assert texts() == ["one", "two"]
    assert all(cursors(ilink)[before:])
    assert not ConnectionGap.objects.exists()


def test_what_was_received_before_a_kill_is_recognised(
    ann: ChannelAccount, ilink: FakeIlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends between the messages and their cursor: the next one is given them again."""

    def die(*_: Any) -> bool:
        raise SystemError("killed here")

    with monkeypatch.context() as cut:
        cut.setattr(states, "store_cursor", die)
        running = RunningConnector()
        with running:
            ilink.say("one")
            eventually(lambda: texts() == ["one"])
            running.kill()
    assert held(ann).cursor == ""
    Connection.objects.update(owner="", owner_until=None)
    with RunningConnector():
        ilink.say("two")
        heard(2)
        eventually(lambda: held(ann).cursor)
    assert texts() == ["one", "two"]
    assert "" in cursors(ilink)[1:]


def test_a_cursor_that_stands_still_makes_no_haste(
    ann: ChannelAccount, ilink: FakeIlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that gives the same messages again, because it gave no other cursor, is asked with a pause."""
    monkeypatch.setattr(polling, "PAUSE_SECONDS", 20.0)
    ilink.script("getupdates", *[Scripted({"ret": 0, "msgs": [{"message_id": 7, "from_user_id": ANN}]})] * 100)
    with RunningConnector():
        eventually(lambda: Message.objects.exists())
        time.sleep(1)
        assert len(cursors(ilink)) == 1


def test_what_comes_while_the_database_is_away_is_kept_once(ann: ChannelAccount, ilink: FakeIlink) -> None:
    with RunningConnector():
        eventually(lambda: held(ann).state == "connected", seconds=40)
        with database_away():
            ilink.say("one")
            eventually(lambda: journal.is_in_use())
            after = len(cursors(ilink))
            eventually(lambda: len(cursors(ilink)) >= after + 3)
            asked = cursors(ilink)[after + 1 :]
        eventually(lambda: spool_drain.drain() or texts() == ["one"])
        eventually(lambda: held(ann).cursor)
    assert len(set(asked)) == 1  # nothing is asked for twice


def test_another_bot_of_the_same_person_begins_anew(ann: ChannelAccount, ilink: FakeIlink) -> None:
    with RunningConnector():
        ilink.say("one")
        heard()
        eventually(lambda: held(ann).cursor)
        ilink.token = "another"
        ann.credentials = {**ann.credentials, "bot_id": "b9@im.bot", "bot_token": "another"}
        ann.save()
        before = len(cursors(ilink))
        eventually(lambda: held(ann).cursor.startswith("b9@im.bot "))
        assert "" in cursors(ilink)[before:]
    assert texts() == ["one"]


def test_a_lost_login_waits_for_a_new_one(ann: ChannelAccount, ilink: FakeIlink) -> None:
    with RunningConnector():
        eventually(lambda: held(ann).state == "connected", seconds=40)
        ilink.token = "another"
        eventually(lambda: held(ann).state == "needs_login")
        eventually(lambda: fresh(ann).state == Health.FAILING)
        assert (held(ann).code, fresh(ann).state_code) == ("-14", "needs_login")
        assert "Log in again" in held(ann).detail
        told = str(held(ann).code_params)
        assert "session timeout" in told
        assert TOKEN not in told
        asked = len(ilink.calls("getupdates"))
        delivery = speak(ann)
        eventually(lambda: held(ann).state == "needs_login")
        assert len(ilink.calls("getupdates")) == asked  # no fast repetition
        ann.credentials = {**ann.credentials, "bot_token": "another"}
        ann.save()
        eventually(lambda: held(ann).state == "connected", seconds=40)
        eventually(lambda: fresh(ann).state == Health.OK)
        ilink.say("back")
        heard()
        eventually(lambda: row(delivery).state == State.DELIVERED, seconds=40)


@pytest.mark.usefixtures("connector")
def test_a_message_that_meets_a_lost_login_waits_only_for_the_next_one(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.say("hello")
    ilink.script("sendmessage", Scripted({"ret": -14}))
    delivery = answer(heard(), "hi").deliveries.get()
    eventually(lambda: outcomes(delivery) == ["error"])
    waits = (row(delivery).due_at - timezone.now()).total_seconds()
    assert (row(delivery).state, row(delivery).tries, waits < 15) == (State.PENDING, 0, True)
    eventually(lambda: row(delivery).state == State.DELIVERED, seconds=40)


def test_a_lost_login_is_tried_again_after_an_hour(
    ann: ChannelAccount, ilink: FakeIlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert polling.LOGIN_LOST_SECONDS == 3600
    monkeypatch.setattr(polling, "LOGIN_LOST_SECONDS", 0.5)
    ilink.token = "another"
    with RunningConnector():
        eventually(lambda: held(ann).state == "needs_login")
        ilink.token = TOKEN
        eventually(lambda: held(ann).state == "connected", seconds=40)


@pytest.mark.parametrize(
    ("scripted", "code"),
    [
        (Scripted({"ret": -1, "errmsg": "system error"}), "-1"),
        (Scripted({"errcode": 40001}), "40001"),
        (Scripted({"ret": -2}), "-2"),
        (Scripted(b"<html>", 502), "http_502"),
    ],
)
def test_another_error_is_tried_again(ann: ChannelAccount, ilink: FakeIlink, scripted: Scripted, code: str) -> None:
    ilink.script("getupdates", *[scripted] * 3)
    with RunningConnector():
        eventually(lambda: held(ann).code == code)
        eventually(lambda: held(ann).state == "connected", seconds=40)
        eventually(lambda: fresh(ann).state == Health.OK)
    assert len(ilink.calls("getupdates")) > 3


def test_a_platform_that_is_silent_is_asked_again(
    ann: ChannelAccount, ilink: FakeIlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer within the time of a question is an answer, and no failure; what came meanwhile is given next time."""
    monkeypatch.setattr(polling, "HOLD_SECONDS", 0.3)
    ilink.hold = 3.0
    with RunningConnector():
        eventually(lambda: held(ann).state == "connected", seconds=40)
        eventually(lambda: len(cursors(ilink)) >= 4)
        ilink.say("hello")
        heard()
    assert fresh(ann).state == Health.OK
    assert held(ann).code == ""


def test_the_platform_says_how_long_a_question_is_held(ann: ChannelAccount, ilink: FakeIlink) -> None:
    """The next one is given up after that time, and not after the usual 35 seconds."""
    ilink.script("getupdates", Scripted({"ret": 0, "longpolling_timeout_ms": 200}), Scripted(seconds=5.0))
    with RunningConnector():
        eventually(lambda: len(cursors(ilink)) >= 3, seconds=4)


def test_what_it_says_of_beginning_and_end_does_not_matter(ann: ChannelAccount, ilink: FakeIlink) -> None:
    ilink.script("msg/notifystart", Scripted({"ret": -5}))
    ilink.script("msg/notifystop", Scripted(b"no", 500))
    with RunningConnector():
        eventually(lambda: held(ann).state == "connected", seconds=40)
    assert (len(ilink.calls("msg/notifystart")), len(ilink.calls("msg/notifystop"))) == (1, 1)


# --- with the simulator, which shares no code with the channel


def test_somebody_scans_and_talks_to_an_agent_in_the_simulator(settings: Any) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    with RunningSimulator() as simulator:
        client, http = simulator.client, Http(["127.0.0.1:*"])
        client.settings(ilink_hold_seconds=0.3)
        client.ilink_person(ANN, "Ann")
        code = Ilink.fetch_scan_code(http, client.url)
        number = client.scan_ilink(code.code, "ask", ANN)["number"]
        assert Ilink.find_scanned(http, code.code, "", client.url).state == "asks"
        assert Ilink.find_scanned(http, code.code, number, client.url).state == "scanned"
        client.scan_ilink(code.code, "redirect", ANN)
        sent_on = Ilink.find_scanned(http, code.code, "", client.url)
        client.scan_ilink(code.code)
        found = Ilink.find_scanned(http, sent_on.code, "", client.url)
        assert (sent_on.state, found.state, found.credentials["base_url"]) == ("scanned", "done", "")
        made = account("ilink", dict(found.credentials), api_base_url=client.url, language="en")
        route(made, gateway(enabled=False))
        with RunningConnector():
            client.say("你好", ilink=ANN)
            question = heard()
            client.say("", ilink=ANN, kind="image", data=FILE, name="in.png")
            picture = heard(2)
            (claimed,) = storage.claim_files(10)
            storage.fetch_file(claimed)
            assert storage.read_attachment(picture.attachments.get().pk).content == FILE
            _channel_of(made).show_typing(Peer("direct", ANN, picture.reply_address))
            assert client.ilink_standing(ANN)["typing"]
            message = outbox.send(
                made, "direct", ANN, Content(text="**see**"), source=Message.Source.STAFF, reply_to=question,
                files=[ContentFile(FILE, name="out.bin")],
            )  # fmt: skip
            assert [settled(part).state for part in message.deliveries.order_by("part")] == [State.DELIVERED] * 2
            client.log_in_ilink(ANN)
            eventually(lambda: held(made).state == "needs_login", seconds=40)
        text, file = (entry for entry in client.transcript(f"ilink:{ANN}:{ANN}") if entry["who"].startswith("ilink:"))
        assert (text["text"], file["kind"], file["data"]["media"][0]["size"]) == ("see", "file", len(FILE))
        assert client.record()["violations"] == []
