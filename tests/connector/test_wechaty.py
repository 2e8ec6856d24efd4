"""A personal account by Wechaty, from a message in WeChat to its answer there, through a real connector and a puppet service over gRPC."""

from __future__ import annotations

import hashlib
import os
import queue
import statistics
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from bridge.media import storage
from bridge.models import ContactRequest, Conversation, Delivery, Message, Reason, State
from bridge.people import contact_requests
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import Content
from channels_wechat.wechaty import channel, link, serving
from tests.support.answering import delivered, heard, settled
from tests.support.connecting import RunningConnector
from tests.support.factories import account, answer, eventually, gateway, route, row
from tests.support.fake_puppet import ALICE, BOT, RECALLED, ROOM, TOKEN, TRACE, FakePuppet, fake_puppet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def puppet() -> Iterator[FakePuppet]:
    with fake_puppet() as running:
        yield running


@pytest.fixture
def phone(puppet: FakePuppet, settings: Any) -> ChannelAccount:
    """Its messages are turns of a gateway that takes none, so that a test answers them itself."""
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    made = account("wechaty", {"endpoint": puppet.address}, language="en")
    route(made, gateway(enabled=False))
    return made


def state_of(account: ChannelAccount) -> str:
    return "".join(Connection.objects.filter(account=account).values_list("state", flat=True))


@pytest.fixture
def connector(phone: ChannelAccount) -> Iterator[RunningConnector]:
    with RunningConnector() as running:
        eventually(lambda: state_of(phone) == "connected")
        yield running


@pytest.mark.usefixtures("connector")
def test_a_question_in_a_group_is_answered_there(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("@LabBot\u2005你好", mention_ids=[BOT])
    question = heard()
    assert (question.text, question.sender, question.peer_kind, question.peer_id, question.addressed) == (
        "你好",
        ALICE,
        "group",
        ROOM,
        True,
    )
    assert question.conversation is not None
    assert question.conversation.title == "Lab room"
    (delivery,) = delivered(answer(question, "**hello** @Alice"))
    (sent,) = puppet.sent
    assert (sent.to, sent.text, sent.mentions, sent.id) == (ROOM, "hello @Alice\u2005", [ALICE], delivery.remote_id)


def speak(
    account: ChannelAccount, text: str = "news", peer: tuple[str, str] = ("group", ROOM), **more: Any
) -> Delivery:
    return outbox.send(account, *peer, Content(text=text), source=Message.Source.STAFF, **more).deliveries.get()


def health(account: ChannelAccount) -> tuple[str, str]:
    found = ChannelAccount.objects.get(pk=account.pk)
    return found.state, found.state_code


def listened(puppet: FakePuppet, account: ChannelAccount) -> None:
    eventually(lambda: puppet.is_listened_to and state_of(account) == "connected", seconds=30)


# --- messages


@pytest.mark.usefixtures("connector")
def test_a_person_is_answered_and_named(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("hello", room="")
    question = heard()
    assert (question.peer_kind, question.peer_id, question.addressed) == ("direct", ALICE, True)
    delivered(answer(question, "hi"))
    assert [(sent.to, sent.text) for sent in puppet.sent] == [(ALICE, "hi")]
    assert phone.contacts.get().name == "Alice"


@pytest.mark.usefixtures("connector")
def test_one_hundred_answers_have_one_hundred_echoes_and_no_turn_more(
    phone: ChannelAccount, puppet: FakePuppet
) -> None:
    puppet.echo_first = 0.02
    for number in range(100):
        puppet.say(f"@LabBot\u2005{number}", mention_ids=[BOT])
    eventually(lambda: Message.objects.filter(direction="in").count() == 100)
    router.route_waiting()
    began = time.monotonic()
    for question in Message.objects.filter(direction="in").order_by("pk"):
        answer(question, f"re {question.text}")
    eventually(lambda: Delivery.objects.filter(target="channel", state=State.DELIVERED).count() == 100, seconds=60)
    print(f"100 answers in {time.monotonic() - began:.1f} s")
    assert [sent.text for sent in puppet.sent] == [f"re {number}" for number in range(100)]
    router.route_waiting()
    assert Message.objects.filter(direction="in").count() == 100
    assert Message.objects.filter(direction="in").values("idempotency_key").distinct().count() == 100


@pytest.mark.usefixtures("connector")
def test_a_message_is_stored_within_milliseconds(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("warm")
    eventually(lambda: Message.objects.count() == 1)
    took = []
    for number in range(20):
        began = time.monotonic()
        key = puppet.say(str(number))
        while not Message.objects.filter(idempotency_key=key).exists():
            time.sleep(0.001)
        took.append(time.monotonic() - began)
    print(f"from the event to the row: median {statistics.median(took) * 1000:.0f} ms")
    assert statistics.median(took) < 0.5


@pytest.mark.usefixtures("connector")
def test_what_the_owner_types_on_the_phone_is_kept_and_asks_nobody(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("from my phone", sender=BOT)
    own = heard()
    delivery = own.deliveries.get()
    assert (own.text, delivery.state, delivery.reason) == ("from my phone", State.SKIPPED, Reason.OWN)


@pytest.mark.usefixtures("connector")
def test_a_group_that_is_renamed_has_its_new_title(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("hello")
    heard()
    puppet.rename("Sales 2027")
    heard(2)
    talk = Conversation.objects.get(peer_id=ROOM)
    assert talk.title == "Sales 2027"
    Conversation.objects.filter(pk=talk.pk).update(title="Our name")
    puppet.rename("Again")
    heard(3)
    assert Conversation.objects.get(peer_id=ROOM).title == "Our name"


@pytest.mark.usefixtures("connector")
def test_a_message_that_was_taken_back_is_marked(phone: ChannelAccount, puppet: FakePuppet) -> None:
    key = puppet.say("@LabBot\u2005never mind", mention_ids=[BOT])
    question = heard()
    puppet.say(key, type=RECALLED)
    heard(2)
    turn = question.deliveries.get()
    assert (turn.state, turn.reason, turn.recalled_at is not None) == (State.SKIPPED, Reason.RECALLED, True)


@pytest.mark.usefixtures("connector")
def test_files_go_both_ways_whole(phone: ChannelAccount, puppet: FakePuppet) -> None:
    contents = {how: os.urandom(size) for how, size in (("inline", 900), ("uuid", 300_000), ("buffer", 900))}
    for how, content in contents.items():
        puppet.share(content, f"{how}.pdf", how=how)
    eventually(lambda: Message.objects.filter(direction="in").count() == 3)
    router.route_waiting()
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    for message in Message.objects.filter(direction="in"):
        stored = storage.read_attachment(message.attachments.get().pk)
        wanted = contents[stored.name.partition(".")[0]]
        assert hashlib.sha256(stored.content).digest() == hashlib.sha256(wanted).digest()
    large, small = os.urandom(200_000), b"small"
    files = [ContentFile(large, name="out.pdf"), ContentFile(small, name="out.txt")]
    message = outbox.send(phone, "group", ROOM, Content(text="see"), source=Message.Source.STAFF, files=files)
    delivered(message)
    assert [(sent.text, sent.name, sent.content, sent.box) for sent in puppet.sent] == [
        ("see", "", b"", 0),
        ("", "out.pdf", large, 7),
        ("", "out.txt", small, 1),
    ]


# --- invitations


@pytest.mark.usefixtures("connector")
def test_an_invitation_waits_for_staff_and_is_accepted_once(phone: ChannelAccount, puppet: FakePuppet) -> None:
    number = puppet.invite("Partners")
    puppet.emit("invite", roomInvitationId=number)  # told twice
    heard()
    request = ContactRequest.objects.get()
    assert (request.kind, request.title, request.sender, puppet.accepted) == ("group", "Partners", ALICE, [])
    boss = User.objects.create_user("boss")
    assert contact_requests.accept_request(request, boss)
    assert not contact_requests.accept_request(ContactRequest.objects.get(), boss)
    assert puppet.accepted == [number]
    puppet.befriend("Hi")
    heard(2)
    assert ContactRequest.objects.get(kind="friend").text == "Hi"


# --- what becomes of a message that is not answered for


@pytest.mark.usefixtures("connector")
def test_a_message_without_an_answer_is_uncertain(
    phone: ChannelAccount, puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SEND_SECONDS", 0.4)
    puppet.fail("MessageSendText", None, after=True)
    lost = settled(speak(phone))
    assert (lost.state, lost.code) == (State.UNCERTAIN, "timeout")
    puppet.fail("MessageSendText", grpc.StatusCode.UNKNOWN, f"Error: told to fail{TRACE}")
    thrown = settled(speak(phone))
    assert (thrown.state, thrown.code, thrown.code_params["detail"]) == (
        State.UNCERTAIN,
        "puppet_failed",
        "Error: told to fail",
    )
    puppet.fail("MessageSendText", grpc.StatusCode.UNKNOWN, f"Error: Unsupported API{TRACE}")
    assert settled(speak(phone)).state == State.DEAD
    assert [sent.text for sent in puppet.sent] == ["news"]


# --- the login


def test_nothing_waiting_is_sent_as_another_person(phone: ChannelAccount, puppet: FakePuppet) -> None:
    """Staff decide whether the account goes on as whoever is logged in now."""
    with RunningConnector():
        eventually(lambda: state_of(phone) == "connected")
        puppet.say("hello")
        question = heard()
        puppet.log_out()
        eventually(lambda: state_of(phone) == "needs_login")
        waiting = answer(question, "for whoever asked").deliveries.get()
        puppet.contacts["wxid_other"] = "Other"
        puppet.log_in("wxid_other")
        eventually(lambda: ChannelAccount.objects.get(pk=phone.pk).state == Health.STOPPED)
        account = ChannelAccount.objects.get(pk=phone.pk)
        assert account.state_code == "another_person"
        assert "Other" in account.state_reason
        assert (state_of(phone), row(waiting).state, puppet.sent) == ("stopped", State.PENDING, [])
        account.revive()
        assert settled(waiting).state == State.DELIVERED
    assert Connection.objects.get(account=phone).own_id == "wxid_other"


@pytest.mark.usefixtures("connector")
def test_a_lost_login_is_shown_and_holds_messages_back(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.log_out()
    eventually(lambda: state_of(phone) == "needs_login")
    assert health(phone) == (Health.FAILING, "needs_login")
    waiting = speak(phone, "later")
    puppet.scan("https://login.weixin.qq.com/l/NEW")
    eventually(lambda: Connection.objects.get(account=phone).login_code == "https://login.weixin.qq.com/l/NEW")
    puppet.scan("https://login.weixin.qq.com/l/NEW", 3)
    eventually(lambda: state_of(phone) == "scanned")
    with pytest.raises(ChannelError) as caught:
        build_channel(phone).send(None)  # type: ignore[arg-type]
    assert caught.value.code == "not_connected"
    assert (row(waiting).state, puppet.sent) == (State.PENDING, [])
    puppet.log_in()
    eventually(lambda: row(waiting).state == State.DELIVERED, seconds=30)
    found = Connection.objects.get(account=phone)
    assert (found.state, found.own_id, found.own_name, found.login_code) == ("connected", BOT, "LabBot", "")
    assert health(phone)[0] == Health.OK


def test_a_wrong_token_stops_the_account(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.token = "insecure_another"
    with RunningConnector():
        eventually(lambda: health(phone) == (Health.STOPPED, "token_refused"))
        assert state_of(phone) == "bad_credentials"
        calls = puppet.calls["Event"]
        time.sleep(0.5)
        assert puppet.calls["Event"] == calls == 1
    assert TOKEN not in str(Connection.objects.values_list("code_params", flat=True))


def test_events_that_another_program_receives_are_said_to_be_taken(
    phone: ChannelAccount, puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TAKEN_SECONDS", (0.5,))
    puppet.stream = queue.Queue()  # somebody else's
    with RunningConnector():
        eventually(lambda: health(phone) == (Health.FAILING, "taken"))
        puppet.stream = None
        listened(puppet, phone)
        assert health(phone)[0] == Health.OK


# --- interruptions


@pytest.mark.usefixtures("connector")
def test_after_a_restart_of_the_service_all_goes_on_and_the_gap_is_shown(
    phone: ChannelAccount, puppet: FakePuppet
) -> None:
    puppet.say("before")
    heard()
    puppet.stop()
    eventually(lambda: state_of(phone) == "connecting")
    waiting = speak(phone, "while it is away")
    puppet.say("lost")
    puppet.start()
    listened(puppet, phone)
    puppet.say("after")
    heard(2)
    assert list(Message.objects.filter(direction="in").order_by("pk").values_list("text", flat=True)) == [
        "before",
        "after",
    ]
    assert ConnectionGap.objects.filter(account=phone).exists()
    assert settled(waiting).state == State.DELIVERED
    assert [sent.text for sent in puppet.sent] == ["while it is away"]
    assert puppet.calls["Stop"] == puppet.calls["Logout"] == 0


@pytest.mark.usefixtures("connector")
def test_a_frozen_service_is_left_and_found_again(
    phone: ChannelAccount, puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TAKEN_SECONDS", (0.5,))
    for name, seconds in {"DING_SECONDS": 0.3, "DEAD_SECONDS": 1.0, "LOOK_SECONDS": 0.1}.items():
        monkeypatch.setattr(serving, name, seconds)
    puppet.freeze()
    eventually(lambda: health(phone) == (Health.FAILING, "service_silent"), seconds=30)
    puppet.thaw()
    listened(puppet, phone)
    puppet.say("after the thaw")
    delivered(answer(heard(), "good morning"))
    assert [sent.text for sent in puppet.sent] == ["good morning"]


def test_another_connector_takes_over_from_one_that_was_killed(phone: ChannelAccount, puppet: FakePuppet) -> None:
    with RunningConnector() as first:
        listened(puppet, phone)
        puppet.say("one")
        heard()
        first.kill()
    Connection.objects.update(owner_until=None)
    with RunningConnector():
        listened(puppet, phone)
        puppet.say("two")
        delivered(answer(heard(2), "both"))
    assert [sent.text for sent in puppet.sent] == ["both"]
