"""A kind with a connection of its own, from the message to its answer, through a real connector and a platform on loopback."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.channels import build_channel
from accounts.fields import sealed
from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from bridge.connector import leases, states
from bridge.media import storage
from bridge.models import Conversation, Delivery, Message, Reason, State
from bridge.operations import sending
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import router, spool_drain
from bridge.pipeline.replies.streams import partial_key
from bridge.runtime.spool import journal
from channels_wechat.contract.connection import ConnectionState
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Outgoing, Payload, Peer
from tests.support.away import database_away
from tests.support.connecting import RunningConnector
from tests.support.factories import account, answer, eventually, gateway, outcomes, row, work_off
from tests.support.fake_connection import KIND, FakeChat

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fake_connection import FakePlatform

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


def held(account: ChannelAccount) -> Connection:
    return Connection.objects.select_related("account").get(account=account)


def fresh(account: ChannelAccount) -> ChannelAccount:
    return ChannelAccount.objects.get(pk=account.pk)


def texts() -> list[str]:
    return list(Message.objects.filter(direction="in").order_by("pk").values_list("text", flat=True))


def connected(account: ChannelAccount) -> Callable[[], bool]:
    return lambda: Connection.objects.filter(account=account, state=ConnectionState.CONNECTED).exists()


def asked(count: int = 1) -> Message:
    """The newest question, when so many are stored, routed."""
    eventually(lambda: Message.objects.filter(direction="in").count() == count)
    router.route_waiting()
    return Message.objects.filter(direction="in").latest("pk")


def _routed(count: int) -> list[int]:
    """The ids of so many questions, when they are routed."""
    asked(count)
    return list(Message.objects.filter(direction="in").order_by("pk").values_list("pk", flat=True))


def frames(platform: FakePlatform, kind: str) -> list[dict[str, Any]]:
    return [frame for frame in platform.requests if frame["type"] == kind]


def failures(running: RunningConnector) -> int:
    """How often in a row the only connection failed."""
    return max((each.failures for each in running.connector.connections.values()), default=0)


# --- messages ---------------------------------------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_is_stored_once(chat: ChannelAccount, platform: FakePlatform) -> None:
    """The platform never saw the acknowledgement, so it says the same over the next connection."""
    platform.say("m1", "hello", room={"id": "r1", "title": "Sales"})
    platform.loses.add("acknowledge")
    with RunningConnector():
        eventually(lambda: len(frames(platform, "acknowledge")) == 2)
    assert router.route_waiting() == 1
    message = Message.objects.get()
    assert (message.text, message.sender, message.idempotency_key) == ("hello", "ann", "m1")
    assert message.conversation is not None
    assert (message.conversation.peer_id, message.conversation.title) == ("r1", "Sales")
    assert message.deliveries.get().state == State.PENDING


def test_what_the_account_says_itself_is_no_turn(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.say("m1", "on my phone", own=True, room={"id": "r1"})
    platform.say("m2", "hello", room={"id": "r1"})
    with RunningConnector():
        eventually(lambda: len(texts()) == 2)
    router.route_waiting()
    own, other = (message.deliveries.get() for message in Message.objects.order_by("pk"))
    assert (own.state, own.reason, other.state) == (State.SKIPPED, Reason.OWN, State.PENDING)


def test_an_answer_is_said_once_under_its_own_key(chat: ChannelAccount, platform: FakePlatform) -> None:
    """The connection breaks after the platform carried it out: the next attempt has the same key, and nobody reads it twice."""
    platform.say("m1", "hello", room={"id": "r1"}, reply="handle")
    platform.loses.add("send")
    with RunningConnector():
        delivery = answer(asked(), "hello Ann").deliveries.get()
        assert delivery.carrier == "socket"
        eventually(lambda: outcomes(delivery) == ["unknown"])
        Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now())
        eventually(lambda: row(delivery).state == State.DELIVERED)
    # An attempt before the connection is open again fails without a word to the platform.
    told = [outcome for outcome in outcomes(delivery) if outcome != "error"]
    assert (row(delivery).remote_id, told) == ("sent-0", ["unknown", "ok"])
    assert platform.sent == {delivery.platform_key: {"to": "r1", "text": "hello Ann"}}
    assert [(sent["key"], sent["reply"]) for sent in frames(platform, "send")] == [
        (delivery.platform_key, "handle")
    ] * 2


def test_each_file_of_a_message_is_fetched_with_its_own_key(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.say("m1", files=[platform.file("one.txt", b"the first"), platform.file("two.txt", b"the second")])
    with RunningConnector():
        eventually(texts)
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    files = Message.objects.get().attachments.all()
    assert [(file.name, storage.read_attachment(file.pk).content) for file in files] == [
        ("one.txt", b"the first"),
        ("two.txt", b"the second"),
    ]
    assert {(file.state, file.key) for file in files} == {("ready", "")}


def test_what_comes_while_the_database_is_away_is_kept_and_the_connection_stays(
    chat: ChannelAccount, platform: FakePlatform
) -> None:
    with RunningConnector():
        eventually(connected(chat))
        with database_away():
            platform.say("m1", "meanwhile")
            eventually(lambda: journal.read_status().messages == 1)
        platform.say("m2", "after")
        eventually(lambda: spool_drain.drain() or len(texts()) == 2)
        eventually(lambda: spool_drain.drain() or texts() == ["meanwhile", "after"])
    assert len(platform.subscribed) == 1


def test_a_handle_that_expired_is_not_used(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.say("m1", "hello", room={"id": "r1"}, reply="handle")
    with RunningConnector():
        question = asked()
        Message.objects.filter(pk=question.pk).update(reply_until=timezone.now())
        delivery = answer(Message.objects.get(pk=question.pk), "late").deliveries.get()
        eventually(lambda: row(delivery).state == State.DELIVERED)
    assert [sent["reply"] for sent in frames(platform, "send")] == [""]


# --- who may send -------------------------------------------------------------------------------------------------------------------------


def test_only_the_holder_of_a_connection_that_works_claims_its_messages(chat: ChannelAccount) -> None:
    (connection,) = leases.acquire("first")
    message = Message.objects.create(
        account=chat, direction="in", kind="text", peer_kind="direct", peer_id="ann", idempotency_key="m1"
    )
    router.route_waiting()
    delivery = answer(Message.objects.get(pk=message.pk), "hello").deliveries.get()
    assert claims.claim("socket", "first", 10) == []  # it is not open yet
    states.store_opened(connection, keeps_history=False)
    assert claims.claim("socket", "second", 10) == []
    assert claims.claim("worker", "first", 10) == []
    assert work_off() == 0
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    assert claims.claim("socket", "first", 10) == []
    leases.acquire("first")
    assert [claimed.pk for claimed in claims.claim("socket", "first", 10)] == [delivery.pk]


def test_a_process_without_the_connection_sends_nothing_and_burns_no_try(chat: ChannelAccount) -> None:
    with pytest.raises(ChannelError) as refused:
        build_channel(chat).send(Outgoing(Peer("direct", "ann"), Payload({"text": "hello"})))
    assert (refused.value.code, refused.value.action) == ("not_connected", Action.WAIT)


# --- leases and states ----------------------------------------------------------------------------------------------------------------


def test_a_late_writer_changes_nothing(chat: ChannelAccount) -> None:
    (late,) = leases.acquire("first")
    states.store_opened(late, keeps_history=False)
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    (now,) = leases.acquire("second")
    states.store_cursor(now, "newest")
    before, account = held(chat), fresh(chat)
    assert not states.store_state(late, ConnectionState.KICKED, "kicked")
    assert not states.store_account_state(late, Health.STOPPED, "kicked")
    assert not states.store_cursor(late, "old")
    states.store_frame_time(late, 1.0)
    states.store_login(late, "code", scanned=False)
    states.store_identity(late, "wxid_other", "Other")
    states.store_opened(late, keeps_history=False)
    columns = [field.attname for field in Connection._meta.concrete_fields]
    assert {name: getattr(held(chat), name) for name in columns} == {name: getattr(before, name) for name in columns}
    assert (fresh(chat).state, fresh(chat).state_since) == (account.state, account.state_since)
    assert not ConnectionGap.objects.exists()


def test_a_connection_lasts_in_its_state_whatever_the_cause(chat: ChannelAccount) -> None:
    (row,) = leases.acquire("first")
    states.store_state(row, ConnectionState.CONNECTING, "connect", {"detail": "refused"})
    since = held(chat).state_since
    states.store_state(row, ConnectionState.CONNECTING, "connect", {"detail": "no route to the host"})
    assert (held(chat).code_params, held(chat).state_since) == ({"detail": "no route to the host"}, since)
    states.store_state(row, ConnectionState.CONNECTED)
    assert held(chat).state_since > since


def test_an_account_keeps_its_device_and_another_connector_takes_over(
    chat: ChannelAccount, platform: FakePlatform
) -> None:
    with RunningConnector() as first:
        eventually(connected(chat))
        fence = held(chat).fence
        first.kill()
    Connection.objects.update(owner="killed", owner_until=timezone.now() - timedelta(seconds=1))
    with RunningConnector():
        eventually(lambda: len(platform.subscribed) == 2)
        eventually(lambda: held(chat).fence == fence + 1 and connected(chat)())
        platform.say("m1", "hello")
        eventually(texts)
    assert platform.subscribed == [held(chat).device_id.hex] * 2


def test_who_was_kicked_does_not_fight_back(chat: ChannelAccount, platform: FakePlatform) -> None:
    with RunningConnector():
        eventually(connected(chat))
        platform.kick()
        eventually(lambda: fresh(chat).state == Health.STOPPED)
        assert (held(chat).state, held(chat).code, fresh(chat).state_code) == ("kicked", "kicked", "kicked")
        assert "Another program" in held(chat).detail
        assert len(platform.subscribed) == 1
        fresh(chat).revive()
        eventually(lambda: len(platform.subscribed) == 2)
        eventually(lambda: fresh(chat).state == Health.OK)


def test_who_was_kicked_while_the_database_is_away_does_not_fight_back_either(
    chat: ChannelAccount, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    with RunningConnector():
        eventually(connected(chat))
        held_pk = held(chat).pk
        with database_away():
            platform.kick()
            eventually(lambda: f"connection {held_pk}: the database is away" in caplog.text)
        eventually(lambda: fresh(chat).state == Health.STOPPED)
        assert (held(chat).state, len(platform.subscribed)) == (ConnectionState.KICKED, 1)


def test_a_defect_of_a_kind_is_shown_and_met_again_only_after_longer_and_longer_pauses(
    chat: ChannelAccount, platform: FakePlatform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind cannot read a message, which the platform repeats over each connection."""
    platform.waiting["m1"] = {"type": "message", "id": "m1"}
    with RunningConnector() as running:
        eventually(lambda: failures(running) >= 9)
        eventually(lambda: (fresh(chat).state, fresh(chat).state_code) == (Health.FAILING, "internal"))
        del platform.waiting["m1"]
        eventually(lambda: fresh(chat).state == Health.OK)
        count = failures(running)
    assert count <= len(platform.subscribed) <= count + 1  # each attempt failed once; the last one may still be open
    assert sum("a defect ended it" in record.message for record in caplog.records) <= count.bit_length()


def test_an_account_that_cannot_be_decrypted_ends_no_other_s_connection(
    chat: ChannelAccount, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """It was written under a key that is gone."""
    other = account(KIND, {"name": "other"})
    damaged = sealed(ChannelAccount, "credentials", uuid4(), {"name": "other"})
    ChannelAccount.objects.filter(pk=other.pk).update(credentials=damaged)
    with RunningConnector():
        eventually(connected(chat))
        platform.say("m1", "hello")
        eventually(texts)
    assert sum(f"account {other.pk}: the credentials" in record.message for record in caplog.records) >= 1


def test_a_connection_that_is_slow_to_close_keeps_no_lease_from_being_renewed(
    chat: ChannelAccount, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not opened anew before it is closed."""
    closes = threading.Event()
    other = gateway(base_url="http://127.0.0.1:9")
    with RunningConnector():
        eventually(connected(chat))
        eventually(lambda: Connection.objects.filter(gateway=other).exists())
        monkeypatch.setattr(FakeChat, "closes", closes)
        ChannelAccount.objects.filter(pk=chat.pk).update(api_base_url="http://elsewhere")
        eventually(lambda: platform.line is None)
        until = Connection.objects.get(gateway=other).owner_until
        assert until is not None
        eventually(
            lambda: Connection.objects.filter(gateway=other, owner_until__gt=until + timedelta(seconds=2)).exists()
        )
        assert len(platform.subscribed) == 1
        closes.set()
        eventually(lambda: len(platform.subscribed) == 2)


def test_refused_credentials_stop_the_account(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.refuses = "bad_token"
    with RunningConnector():
        eventually(lambda: fresh(chat).state == Health.STOPPED)
    assert (held(chat).state, fresh(chat).state_code) == (ConnectionState.BAD_CREDENTIALS, "bad_token")
    assert len(frames(platform, "subscribe")) == 1


def test_back_off_grows_until_a_subscription_is_taken(
    chat: ChannelAccount, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.refuses = "busy"
    with RunningConnector() as running:
        eventually(lambda: failures(running) >= 5)
        assert fresh(chat).state == Health.FAILING
        platform.refuses = ""
        eventually(connected(chat))
        assert len(frames(platform, "subscribe")) == failures(running) + 1


@pytest.mark.parametrize("stable", [True, False])
def test_a_clean_close_reconnects_and_the_gap_is_kept(
    chat: ChannelAccount, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, *, stable: bool
) -> None:
    monkeypatch.setattr("bridge.connector.held.STABLE_SECONDS", -1 if stable else 60)
    with RunningConnector() as running:
        eventually(connected(chat))
        before = timezone.now()
        platform.cut()
        eventually(lambda: len(platform.subscribed) == 2)
        eventually(lambda: ConnectionGap.objects.count() == 1)
        assert failures(running) == (0 if stable else 1)
    gap = ConnectionGap.objects.get()
    assert gap.since <= gap.until
    assert gap.until >= before


def test_a_connection_that_opens_while_its_lease_is_renewed_leaves_one_gap(
    chat: ChannelAccount, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.connector.process.LEASE_SECONDS", 0.001)
    monkeypatch.setattr("bridge.connector.held.STABLE_SECONDS", -1)
    with RunningConnector():
        eventually(connected(chat))
        for count in range(1, 11):
            platform.cut()
            eventually(lambda count=count: len(platform.subscribed) == count + 1)  # type: ignore[misc]
            eventually(lambda count=count: ConnectionGap.objects.count() >= count)  # type: ignore[misc]
    assert ConnectionGap.objects.count() == 10


# --- the text so far ------------------------------------------------------------------------------------------------------------------


def test_the_text_so_far_is_shown_and_the_answer_ends_it(
    chat: ChannelAccount, platform: FakePlatform, valkey: Any
) -> None:
    platform.say("m1", "hello", reply="handle")
    with RunningConnector():
        question = asked()
        for text in ("So", "So far"):
            valkey.set(partial_key(question.uuid), text)
            eventually(lambda text=text: text in [frame["text"] for frame in frames(platform, "partial")])
        delivery = answer(question, "So far, so good").deliveries.get()
        eventually(lambda: row(delivery).state == State.DELIVERED)
        valkey.set(partial_key(question.uuid), "too late")
        platform.say("m2", "again", reply="other")
        valkey.set(partial_key(asked(2).uuid), "More")
        eventually(lambda: frames(platform, "partial")[-1]["reply"] == "other")
    assert [frame["text"] for frame in frames(platform, "partial")] == ["So", "So far", "More"]


def test_what_the_agent_writes_after_staff_took_over_is_not_shown(
    chat: ChannelAccount, platform: FakePlatform, valkey: Any
) -> None:
    for key in ("m1", "m2"):
        platform.say(key, "hello", reply=f"handle-{key}", **{"from": f"person-{key}"})
    with RunningConnector():
        staffed, other = (Message.objects.get(pk=pk) for pk in _routed(2))
        Conversation.objects.filter(pk=staffed.conversation_id).update(mode="human")
        valkey.set(partial_key(staffed.uuid), "So far")
        for text in ("So", "So far"):  # two looks, the second wholly after the takeover
            valkey.set(partial_key(other.uuid), text)
            eventually(lambda text=text: text in [frame["text"] for frame in frames(platform, "partial")])
    assert {frame["reply"] for frame in frames(platform, "partial")} == {f"handle-{other.idempotency_key}"}


def test_the_stream_of_a_turn_that_failed_is_ended(chat: ChannelAccount, platform: FakePlatform, valkey: Any) -> None:
    platform.say("m1", "hello", reply="handle")
    with RunningConnector():
        question = asked()
        valkey.set(partial_key(question.uuid), "So far")
        eventually(lambda: frames(platform, "partial"))
        Delivery.objects.filter(message=question).update(
            state=State.SKIPPED, reason=Reason.STOPPED, finished_at=timezone.now()
        )
        eventually(lambda: [frame["text"] for frame in frames(platform, "end")] == ["So far"])


def test_while_all_sending_is_stopped_no_stream_grows_and_none_is_ended(
    chat: ChannelAccount, platform: FakePlatform, valkey: Any
) -> None:
    for key in ("m1", "m2"):
        platform.say(key, "hello", reply=f"handle-{key}")
    with RunningConnector():
        first, second = (Message.objects.get(pk=pk) for pk in _routed(2))
        for question in (first, second):
            valkey.set(partial_key(question.uuid), "So far")
        eventually(lambda: len(frames(platform, "partial")) == 2)
        sending.stop_sending(chat)
        time.sleep(0.3)  # a look that had begun is over
        valkey.set(partial_key(first.uuid), "So far, so good")
        Delivery.objects.filter(message=second).update(
            state=State.SKIPPED, reason=Reason.STOPPED, finished_at=timezone.now()
        )
        time.sleep(0.5)  # several looks
        delivery = answer(first, "So far, so good, the end").deliveries.get()
        assert (len(frames(platform, "partial")), frames(platform, "end"), platform.sent) == (2, [], {})
        sending.allow_sending(chat)
        eventually(lambda: row(delivery).state == State.DELIVERED)
        eventually(lambda: [frame["text"] for frame in frames(platform, "end")] == ["So far"])


def test_text_so_far_leaves_room_for_answers(
    chat: ChannelAccount, platform: FakePlatform, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeChat, "calls_a_minute", 4)
    platform.say("m1", "hello", reply="handle")
    with RunningConnector():
        question = asked()
        for number in range(20):
            valkey.set(partial_key(question.uuid), f"{number}")
            eventually(lambda: frames(platform, "partial"))
        delivery = answer(question, "whole").deliveries.get()
        eventually(lambda: row(delivery).state == State.DELIVERED)
    assert len(frames(platform, "partial")) <= 2
