"""What is kept for a time only: what goes, and each thing that keeps a message."""

from __future__ import annotations

import math
import os
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from knox.models import AuthToken

from accounts.models import ConnectionGap
from bridge.media import storage
from bridge.models import Attachment, Attempt, ContactRequest, ConversationEntry, Delivery, Incident, Message, State
from bridge.operations import retention
from bridge.operations.replay import dismiss
from bridge.people import entries
from bridge.runtime.worker import tasks
from channels_wechat.contract.messages import Upload
from tests.operations.old_messages import DAYS, age, left, prune
from tests.support import factories
from tests.support.factories import (
    answer,
    app,
    bot,
    contact_request,
    conversation,
    hear,
    picture,
    route,
    send,
    to_send,
    turn,
)

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> ChannelAccount:
    return app(columns={"retention_days": DAYS})


@pytest.fixture(autouse=True)
def _own_files(settings: SettingsWrapper, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


def test_an_old_message_goes_with_everything_of_it(account: ChannelAccount) -> None:
    route(account)
    old = age(turn(account, media=(picture(),)).message)
    storage.store_file(old.attachments.get(), Upload("image", "a.png", "image/png", b"bytes"))
    path = Path(old.attachments.get().file.path)
    Attempt.objects.create(delivery=old.deliveries.get(), number=1)
    young = answer(old)
    assert path.exists()
    with TransactionDone():
        assert prune() == 1
    assert list(Message.objects.values_list("pk", "reply_to")) == [(young.pk, None)]
    assert (Attempt.objects.count(), Attachment.objects.count()) == (0, 0)
    assert not path.exists()


class TransactionDone:
    """What is to happen after the commit happens at the end of the block."""

    def __enter__(self) -> None:
        self.before = len(connection.run_on_commit)

    def __exit__(self, *_raised: object) -> None:
        for _savepoints, function, _robust in connection.run_on_commit[self.before :]:
            function()


@pytest.mark.parametrize("state", [State.DELIVERED, State.SKIPPED])
def test_what_ended_well_goes(account: ChannelAccount, state: State) -> None:
    delivery = to_send(account)
    age(delivery.message)
    Delivery.objects.filter(pk=delivery.pk).update(state=state, reason="event")
    assert (prune(), left()) == (1, 0)


OPEN_STATES: list[dict[str, Any]] = [
    {"state": State.PENDING, "finished_at": None},
    {"state": State.SENDING, "finished_at": None, "lease_until": timezone.now()},
    {"state": State.HELD, "finished_at": None, "reason": "part_before"},
    {"state": State.DEAD, "reason": "permanent"},
    {"state": State.UNCERTAIN, "reason": "unknown"},
]


@pytest.mark.parametrize("columns", OPEN_STATES, ids=lambda columns: str(columns["state"]))
def test_a_delivery_that_is_open_keeps_its_message(account: ChannelAccount, columns: dict[str, Any]) -> None:
    delivery = to_send(account)
    age(delivery.message)
    Delivery.objects.filter(pk=delivery.pk).update(**columns)
    assert (prune(), left()) == (0, 1)


@pytest.mark.parametrize("state", [State.DEAD, State.UNCERTAIN])
def test_what_staff_dismissed_goes(account: ChannelAccount, state: State) -> None:
    delivery = to_send(account)
    age(delivery.message)
    Delivery.objects.filter(pk=delivery.pk).update(state=state, reason="permanent")
    assert dismiss([delivery.pk]) == 1
    assert (prune(), left()) == (1, 0)


def test_one_open_part_of_several_keeps_the_message(account: ChannelAccount) -> None:
    message = send(account, "x" * 5000)
    assert message.deliveries.count() == 3
    age(message)
    last = message.deliveries.get(part=2)
    Delivery.objects.filter(pk=last.pk).update(state=State.DEAD, reason="permanent")
    assert (prune(), left(), message.deliveries.count()) == (0, 1, 3)


def test_what_was_not_routed_stays(account: ChannelAccount) -> None:
    message = age(hear(account))
    Message.objects.filter(pk=message.pk).update(routed_at=None)
    assert (prune(), left()) == (0, 1)


def test_a_file_that_is_being_fetched_keeps_its_message(account: ChannelAccount) -> None:
    message = age(hear(account, media=(picture(),)))
    assert (prune(), left()) == (0, 1)
    message.attachments.update(state="failed")
    assert (prune(), left()) == (1, 0)


def test_a_file_that_is_being_fetched_keeps_no_other_message(account: ChannelAccount) -> None:
    age(hear(account, "without a file"))
    young = hear(account, media=(picture(),))
    assert prune() == 1
    assert list(Message.objects.all()) == [young]


def test_what_is_young_enough_stays(account: ChannelAccount) -> None:
    age(hear(account), DAYS - 0.01)
    assert (prune(), left()) == (0, 1)


def test_without_a_limit_everything_is_kept() -> None:
    age(hear(app(columns={"retention_days": None})), 10_000)
    assert (prune(), left()) == (0, 1)


def test_each_account_has_its_own_limit(account: ChannelAccount) -> None:
    longer = bot(columns={"retention_days": DAYS + 10})
    age(hear(account))
    kept = age(hear(longer))
    assert prune() == 1
    assert list(Message.objects.values_list("pk", flat=True)) == [kept.pk]


@pytest.mark.django_db(transaction=True)
def test_no_idempotency_key_goes_within_a_week() -> None:
    """Neither form, nor database, nor `prune` allows it."""
    account = app(columns={"retention_days": 7})
    account.retention_days = 6
    with pytest.raises(ValidationError, match="7"):
        account.full_clean()
    with pytest.raises(IntegrityError, match="account_retention_not_too_short"):
        account.save()
    age(hear(account), 6.99)
    assert not retention._old_messages(account).exists()
    age(hear(account), 7.01)
    assert retention._old_messages(account).count() == 1


def test_a_new_account_begins_with_the_setting(settings: SettingsWrapper) -> None:
    assert app().retention_days == 90
    settings.RETENTION_DAYS = 0
    assert bot().retention_days is None


CONDITIONS = st.fixed_dictionaries(
    {
        "old": st.booleans(),
        "routed": st.booleans(),
        "limited": st.booleans(),
        "states": st.lists(st.sampled_from([*State.values, "dismissed"]), max_size=3),
        "files": st.lists(st.sampled_from(["pending", "failed"]), max_size=2),
    }
)


@pytest.mark.django_db(transaction=True)
@given(case=CONDITIONS)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_exactly_what_is_old_and_done_with_goes(case: dict[str, Any]) -> None:
    with transaction.atomic():
        account = app(columns={"retention_days": DAYS if case["limited"] else None})
        message = made(account, case)
        done = set(case["states"]) <= {State.DELIVERED, State.SKIPPED, "dismissed"} and "pending" not in case["files"]
        expected = case["old"] and case["routed"] and case["limited"] and done
        assert retention._prune_messages(account) == int(expected) if account.retention_days else not expected
        assert Message.objects.filter(pk=message.pk).exists() is not expected
        transaction.set_rollback(True)


def made(account: ChannelAccount, case: dict[str, Any]) -> Message:
    now = timezone.now()
    message = Message.objects.create(
        account=account,
        peer_kind="direct",
        peer_id="a",
        direction="out",
        source="staff",
        idempotency_key="k",
        created_at=now - timedelta(days=DAYS + 1 if case["old"] else DAYS - 1),
        routed_at=now if case["routed"] else None,
    )
    for part, state in enumerate(case["states"]):
        final = state not in (State.PENDING, State.SENDING, State.HELD)
        Delivery.objects.create(
            target="channel",
            message=message,
            lane=f"lane {part}",
            part=part,
            state=State.DEAD if state == "dismissed" else state,
            reason="" if state in (State.PENDING, State.SENDING, State.DELIVERED) else "permanent",
            lease_until=now if state == State.SENDING else None,
            finished_at=now if final else None,
            dismissed_at=now if state == "dismissed" else None,
        )
    for position, state in enumerate(case["files"]):
        Attachment.objects.create(message=message, position=position, kind="image", state=state)
    return message


def test_it_works_in_batches_and_stops_when_its_time_is_over(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _number in range(5):
        age(hear(account))
    assert retention.prune(0).messages == 0
    assert (prune(), left()) == (5, 0)


def alert(days: float) -> Delivery:
    delivery = factories.alert_of_an_earlier_version("text")
    then = timezone.now() - timedelta(days=days)
    Delivery.objects.filter(pk=delivery.pk).update(state=State.DELIVERED, finished_at=then)
    return delivery


def test_webhook_calls_are_kept_as_long_as_the_shortest_of_all(settings: SettingsWrapper) -> None:
    settings.RETENTION_DAYS = 60
    for days in (29, 31, 61):
        alert(days)
    assert retention.prune(math.inf).webhook_calls == 1
    app(columns={"retention_days": 30})
    assert retention.prune(math.inf).webhook_calls == 1
    assert Delivery.objects.count() == 1


def test_the_setting_limits_webhook_calls_too_where_every_account_keeps_longer(settings: SettingsWrapper) -> None:
    settings.RETENTION_DAYS = 30
    app(columns={"retention_days": 60})
    for days in (29, 31):
        alert(days)
    assert retention.prune(math.inf).webhook_calls == 1


def test_webhook_calls_are_kept_where_nothing_is_limited(settings: SettingsWrapper) -> None:
    settings.RETENTION_DAYS = 0
    alert(10_000)
    assert retention.prune(math.inf).webhook_calls == 0


def test_a_failed_webhook_call_stays_until_it_is_dismissed() -> None:
    dead = alert(1000)
    Delivery.objects.filter(pk=dead.pk).update(state=State.DEAD, reason="permanent")
    assert retention.prune(math.inf).webhook_calls == 0
    dismiss([dead.pk])
    assert retention.prune(math.inf).webhook_calls == 1


def test_files_that_nobody_names_are_swept_up(tmp_path: Path, account: ChannelAccount) -> None:
    message = hear(account, media=(picture(),))
    item = message.attachments.get()
    storage.store_file(item, Upload("image", "a.png", "image/png", b"bytes"))
    kept = Path(item.file.path)
    orphan, fresh = kept.parent / "orphan", kept.parent / "fresh"
    for path in (orphan, fresh):
        path.write_bytes(b"x")
    two_days_ago = time.time() - 2 * 86400
    for path in (kept, orphan):
        os.utime(path, (two_days_ago, two_days_ago))
    assert retention.delete_orphan_files() == 1
    assert (kept.exists(), orphan.exists(), fresh.exists()) == (True, False, True)


def test_a_file_that_cannot_be_deleted_stops_nothing(
    account: ChannelAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2026/01/a-folder/x").mkdir(parents=True)
    storage.delete_files(["2026/01/a-folder", "2026/01/not-there"])
    assert "could not be deleted: OSError" in caplog.text


def test_the_dry_run_counts_and_deletes_nothing(account: ChannelAccount) -> None:
    age(hear(account))
    alert(100)
    out = StringIO()
    call_command("prune", "--dry-run", stdout=out)
    assert out.getvalue().splitlines() == [
        "Acme app: 1 messages would be deleted",
        "1 webhook calls would be deleted",
    ]
    assert (left(), Delivery.objects.count()) == (1, 1)


def test_the_command_says_what_it_deleted(account: ChannelAccount) -> None:
    age(hear(account))
    out = StringIO()
    call_command("prune", stdout=out)
    assert out.getvalue().splitlines() == [
        "Deleted 1 messages and 0 webhook calls.",
        "Deleted 0 files that no message named.",
    ]
    assert left() == 0


def test_what_is_over_is_forgotten_at_night() -> None:
    now, long_ago = timezone.now(), timezone.now() - timedelta(days=91)
    factories.incident("open", "open", opened_at=long_ago)
    factories.incident("recent", "recent", closed_at=now)
    factories.incident("over", "over", closed_at=long_ago)
    Session.objects.create(session_key="over", expire_date=now - timedelta(days=1))
    Session.objects.create(session_key="open", expire_date=now + timedelta(days=1))
    user = User.objects.create(username="script")
    AuthToken.objects.create(user, expiry=timedelta(seconds=-1))
    AuthToken.objects.create(user, expiry=timedelta(days=1))
    for at in (now - timedelta(hours=23), now - timedelta(hours=25)):
        AccessAttempt.objects.create(username=str(at), failures_since_start=1)
        AccessAttempt.objects.filter(username=str(at)).update(attempt_time=at)
    for model in (AccessLog, AccessFailureLog):
        for age_of in (89, 91):
            model.objects.create(username=str(age_of))
            model.objects.filter(username=str(age_of)).update(attempt_time=now - timedelta(days=age_of))
    tasks.tidy()
    for model in (AccessLog, AccessFailureLog):
        assert [one.username for one in model.objects.all()] == ["89"]
    assert set(Incident.objects.values_list("cause", flat=True)) == {"open", "recent"}
    assert Session.objects.get().session_key == "open"
    assert AuthToken.objects.get().expiry > now
    assert AccessAttempt.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_clock_prunes(account: ChannelAccount) -> None:
    age(hear(account))
    tasks.prune()
    assert left() == 0


def test_requests_that_staff_decided_are_deleted_with_the_messages_of_their_account() -> None:
    short, forever = app(columns={"name": "short"}), app(agent_id=7, columns={"retention_days": None, "name": "x"})
    states = ContactRequest.State.values
    for state in states:
        contact_request(short, state=state, text="hello")
    contact_request(forever, state="accepted")
    ContactRequest.objects.update(created_at=timezone.now() - timedelta(days=91))
    contact_request(short, state="dismissed")
    retention.delete_history()
    assert list(short.contact_requests.order_by("pk").values_list("state", flat=True)) == [
        "open",
        "accepting",
        "dismissed",
    ]
    assert forever.contact_requests.count() == 1


def test_gaps_in_a_connection_are_deleted_with_the_messages_of_their_account() -> None:
    short, forever = app(columns={"name": "short"}), app(agent_id=7, columns={"retention_days": None, "name": "x"})
    now, old = timezone.now(), timezone.now() - timedelta(days=91)
    for account, at in ((short, now), (short, old), (forever, old)):
        ConnectionGap.objects.create(account=account, since=at, until=at)
    retention.delete_history()
    assert list(ConnectionGap.objects.order_by("pk").values_list("account", "until")) == [
        (short.pk, now),
        (forever.pk, old),
    ]


def test_notes_go_with_the_messages_of_their_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches: an agent's reasons are as many as its hand-overs."""
    monkeypatch.setattr(retention, "BATCH", 2)
    short, forever = app(columns={"name": "short"}), app(agent_id=7, columns={"retention_days": None, "name": "x"})
    long_ago = timezone.now() - timedelta(days=91)
    talks = [conversation(short), conversation(forever)]
    for talk in talks:
        for number in range(5):
            entries.add_entry(talk, entries.Kind.HANDED_OVER, text=f"old {number}")
    ConversationEntry.objects.update(created_at=long_ago)
    entries.add_entry(talks[0], entries.Kind.NOTE, text="new")
    retention.delete_history()
    left = ConversationEntry.objects.order_by("pk").values_list("conversation__account", "text")
    assert list(left) == [*((forever.pk, f"old {number}") for number in range(5)), (short.pk, "new")]
