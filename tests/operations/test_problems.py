"""Each cause is one incident with what it is about, how many it concerns and since when; it ends with its cause."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import redis
from django.utils import timezone

from accounts import limits
from accounts import valkey as guarded
from accounts.channels import build_channel
from accounts.fields import Sealed
from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ReplyWindow
from bridge.admin.conversations.inbox import select_waiting
from bridge.models import Conversation, Delivery, Incident, Reason, State
from bridge.operations import incidents, replay
from bridge.operations.problems import chats, failures, processes
from tests.support import factories
from tests.support.factories import app, conversation, delivery, endpoint, gateway, message, route, shift, to_send, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.models import Message

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _alerts_are_on(settings: object) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]


def open_incidents() -> dict[str, Incident]:
    incidents.update_incidents()
    return {row.cause: row for row in Incident.objects.filter(closed_at=None)}


def the_only() -> Incident:
    [found] = open_incidents().values()
    return found


def earlier(row: object, **fields: object) -> None:
    type(row).objects.filter(pk=row.pk).update(**fields)  # type: ignore[attr-defined]


@contextmanager
def valkey_is_slow() -> Iterator[None]:
    """As after an answer that came too late."""
    guarded.circuit_breaker.begin(redis.TimeoutError("slow"))
    try:
        yield
    finally:
        guarded.circuit_breaker.until = 0.0


def failed(account: ChannelAccount, code: str, reason: str = Reason.PERMANENT, state: str = State.DEAD) -> Delivery:
    sent = to_send(account)
    shift(sent, state=state, reason=reason, code=code, finished_at=0)
    return sent


# --- failures ------------------------------------------------------------------------------------------------------------------


def test_failures_are_grouped_by_reason_code_and_account() -> None:
    first, second = app(), app(agent_id=7)
    for account, code, count in ((first, "81013", 3), (first, "60020", 1), (second, "81013", 2)):
        for _number in range(count):
            failed(account, code)
    found = {(row.account_id, row.error_code): row.count for row in open_incidents().values()}
    assert found == {(first.pk, "81013"): 3, (first.pk, "60020"): 1, (second.pk, "81013"): 2}


def test_a_group_says_when_it_began_when_it_went_on_and_what_to_do() -> None:
    account = app()
    old, new = failed(account, "81013"), failed(account, "81013")
    shift(old, finished_at=-7200)
    row = the_only()
    old.refresh_from_db()
    new.refresh_from_db()
    assert (row.first_seen_at, row.last_seen_at) == (old.finished_at, new.finished_at)
    assert row.title == "Account Acme app: failed deliveries – rejected (permanent) · 81013"
    assert row.detail.startswith("Failed deliveries: 2. ")
    assert "81013" in row.detail


def test_a_failed_question_belongs_to_its_gateway_whatever_the_account() -> None:
    home = gateway()
    for account in (app(), app(agent_id=7)):
        route(account, home)
        shift(turn(account), state="dead", reason=Reason.TRIES_SPENT, code="unreachable", finished_at=0)
    row = the_only()
    assert (row.code, row.gateway_id, row.account_id, row.count) == ("gateway_failures", home.pk, None, 2)


def test_uncertain_ones_are_a_cause_of_their_own() -> None:
    account = app()
    failed(account, "timeout", Reason.UNKNOWN, State.UNCERTAIN)
    row = the_only()
    assert (row.code, row.account_id, row.count) == ("uncertain", account.pk, 1)


def test_the_numbers_of_an_open_incident_follow_and_it_closes_with_its_last_failure() -> None:
    account = app()
    failed(account, "81013")
    assert the_only().count == 1
    failed(account, "81013")
    row = the_only()
    assert row.count == 2
    replay.dismiss(Delivery.objects.values_list("pk", flat=True))
    assert open_incidents() == {}
    row.refresh_from_db()
    assert row.closed_at
    failed(account, "81013")
    assert the_only().pk != row.pk


def test_a_webhook_that_fails_is_known_before_it_is_disabled() -> None:
    target = endpoint(name="Desk")
    call = factories.refused_event(target)
    shift(call, state="pending", finished_at=None, tries=3, code="http_503", reason="")
    assert open_incidents() == {}
    shift(call, tries=4)
    row = the_only()
    assert (row.code, row.endpoint_id, row.error_code, row.count) == ("webhook_failing", target.pk, "http_503", 1)
    earlier(target, enabled=False, disabled_code="http_410")
    assert the_only().code == "webhook_disabled"


# --- chats ---------------------------------------------------------------------------------------------------------------------


def unanswered(chat: Conversation, reason: str = Reason.NO_ROUTE, key: str = "1") -> Message:
    said = message(chat, "在吗", f"{chat.pk}-{key}")
    delivery(said, State.SKIPPED, reason)
    return said


def test_chats_without_a_mapping_are_one_cause_for_each_account() -> None:
    account = app()
    first = conversation(account)
    unanswered(first)
    row = the_only()
    assert (row.code, row.account_id, row.conversation_id, row.count) == ("chats_unmapped", account.pk, first.pk, 1)
    unanswered(conversation(account, "lisi"))
    row = the_only()
    assert (row.conversation_id, row.count) == (None, 2)
    assert "Chats that nobody answers: 2. Messages: 2." in row.detail


@pytest.mark.parametrize("peer", [("direct", "zhangsan"), ("direct", ""), ("", "")])
def test_a_mapping_closes_it(peer: tuple[str, str]) -> None:
    account = app()
    unanswered(conversation(account))
    assert the_only().code == "chats_unmapped"
    other = route(account, peer_kind="group", peer_id="")
    assert the_only().code == "chats_unmapped"
    other.delete()
    route(account, peer_kind=peer[0], peer_id=peer[1])
    assert open_incidents() == {}


@pytest.mark.parametrize("way", ["dismissed", "old", "disabled", "moved"])
def test_a_chat_that_nobody_waits_in_is_no_cause(way: str) -> None:
    account = app()
    chat = conversation(account)
    unanswered(chat)
    assert the_only().code == "chats_unmapped"
    ago = timezone.now() - chats.MAX_AGE - timedelta(minutes=1)
    changes: dict[str, tuple[object, dict[str, object]]] = {
        "dismissed": (Delivery.objects.get(), {"dismissed_at": timezone.now()}),
        "old": (Delivery.objects.get(), {"created_at": ago}),
        "disabled": (account, {"enabled": False}),
        "moved": (chat, {"moved_to": conversation(account, "elsewhere")}),
    }
    row, columns = changes[way]
    earlier(row, **columns)
    assert open_incidents() == {}


@pytest.mark.parametrize(("mode", "reason"), [("human", Reason.HUMAN), ("paused", Reason.PAUSED)])
def test_a_chat_waits_for_staff_until_somebody_answers_or_the_agent_takes_it_back(mode: str, reason: str) -> None:
    account = app()
    chat = conversation(account, mode=mode)
    unanswered(chat, reason)
    unanswered(chat, reason, "2")
    row = the_only()
    assert (row.code, row.conversation_id, row.count) == ("chats_waiting", chat.pk, 1)
    assert "Messages without an answer: 2." in row.detail
    answered = message(chat, "来了", "answer", direction="out", source="staff")
    delivery(answered)
    assert open_incidents() == {}
    unanswered(chat, reason, "3")
    assert "Messages without an answer: 1." in the_only().detail
    earlier(chat, mode="bot")
    assert open_incidents() == {}


@pytest.mark.parametrize("why", ["servicer", "disabled", "moved", ""])
def test_a_chat_that_staff_need_not_answer_is_in_no_incident_and_no_badge(why: str) -> None:
    """Whose servicer answers in their own client, whose account is disabled, or that goes on in another conversation."""
    account = app(columns={"enabled": why != "disabled"})
    columns = {
        "servicer": "kf-1" if why == "servicer" else "",
        "moved_to": conversation(account, "elsewhere") if why == "moved" else None,
    }
    waits = {"waiting_since": timezone.now(), "waiting_count": 1}
    chat = conversation(account, mode="human", **waits, **columns)
    unanswered(chat, Reason.HUMAN)
    assert (open_incidents() == {}) == bool(why)
    assert select_waiting().exists() == (not why)


@pytest.mark.parametrize(("reason", "code"), [(Reason.REVIEW, "review_waiting"), (Reason.WINDOW, "window_closed")])
def test_what_is_on_hold_is_counted_for_each_account(reason: str, code: str) -> None:
    account = app()
    held = to_send(account)
    shift(held, state="held", reason=reason)
    row = the_only()
    assert (row.code, row.account_id, row.reason, row.count) == (code, account.pk, reason, 1)
    shift(held, reason=Reason.PART_BEFORE)
    assert open_incidents() == {}


# --- what cannot be read, and looks that fail ------------------------------------------------------------------------------------


SEALED_ELSEWHERE = Sealed("v2.00000000.AAAA")


def test_what_no_key_opens_is_an_incident_and_hides_no_other() -> None:
    home, target = gateway(), endpoint(name="Desk")
    unreadable, other = app(), app(agent_id=7)
    failed(other, "81013")
    earlier(unreadable, credentials=SEALED_ELSEWHERE)
    earlier(home, token=SEALED_ELSEWHERE)
    earlier(target, secret=SEALED_ELSEWHERE)
    found = open_incidents()
    assert {(row.code, row.account_id, row.gateway_id, row.endpoint_id) for row in found.values()} == {
        ("account_unreadable", unreadable.pk, None, None),
        ("gateway_unreadable", None, home.pk, None),
        ("webhook_unreadable", None, None, target.pk),
        ("account_failures", other.pk, None, None),
    }
    assert found[f"unreadable:account:{unreadable.pk}"].title == "Account Acme app: its credentials cannot be read"
    for row in (unreadable, home, target):
        earlier(row, enabled=False)
    assert [row.code for row in open_incidents().values()] == ["account_failures"]


def test_a_look_that_fails_hides_no_other_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    account = app()
    failed(account, "81013")
    assert the_only().code == "account_failures"
    monkeypatch.setattr(failures, "MAX_CAUSES", None)  # a defect: no number is smaller than it
    account.set_state(Health.STOPPED, "40001")
    found = open_incidents()
    assert sorted(row.code for row in found.values()) == ["account_down", "account_failures", "look_failed"]
    assert "find_failures" in found["look:find_failures"].detail
    monkeypatch.undo()
    assert sorted(row.code for row in open_incidents().values()) == ["account_down", "account_failures"]


def test_no_incident_begins_for_the_rarest_causes_and_none_ends_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    account = app()
    failed(account, "81013")
    before = the_only()
    monkeypatch.setattr(failures, "MAX_CAUSES", 1)
    for code in ("60020", "60020", "40058"):
        failed(account, code)
    found = {row.error_code: row for row in open_incidents().values()}
    assert (sorted(found), found["81013"].pk) == (["60020", "81013"], before.pk)
    monkeypatch.setattr(failures, "MAX_GROUPS", 1)
    assert sorted(row.error_code for row in open_incidents().values()) == ["60020", "81013"]
    monkeypatch.setattr(failures, "MAX_GROUPS", 9)
    Delivery.objects.filter(code="81013").update(dismissed_at=timezone.now())
    assert [row.error_code for row in open_incidents().values()] == ["60020"]


# --- accounts, gateways, processes ------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_down_says_how_many_questions_wait_for_it() -> None:
    account, home = app(), gateway()
    route(account, home)
    turn(account)
    turn(account, sender="lisi")
    earlier(home, state=Health.STOPPED, state_code="unreachable")
    row = the_only()
    assert (row.cause, row.gateway_id, row.count, row.error_code) == (f"gateway:{home.pk}", home.pk, 2, "unreachable")
    home.refresh_from_db()
    assert row.first_seen_at == home.state_since


def test_an_account_that_is_stopped_says_how_many_answers_wait_for_it() -> None:
    account = app()
    to_send(account)
    account.set_state(Health.STOPPED, "40001")
    row = the_only()
    assert (row.account_id, row.count, row.error_code, row.severity) == (account.pk, 1, "40001", 3)


def test_a_silent_sweep_is_seen_and_one_that_goes_on_is_not(valkey: redis.Redis) -> None:
    assert processes.find_silent_processes(processes.read_last_sweep(), before_first=False) == []
    (found,) = processes.find_silent_processes(processes.read_last_sweep(), before_first=True)
    assert found.code == "sweep_never"
    valkey.set("swept", time.time() - processes.MAX_SWEEP_SECONDS - 1)
    row = the_only()
    assert (row.cause, row.code) == ("sweep", "sweep_silent")
    with valkey_is_slow():
        assert the_only().pk == row.pk, "nobody knows whether it is over"
    incidents.record_sweep()
    assert open_incidents() == {}


def test_a_connector_is_missed_where_none_of_the_connections_is_held() -> None:
    one, other = (Connection.objects.create(gateway=gateway()) for _number in range(2))
    now = timezone.now()
    for row in (one, other):
        earlier(row, owner="host:1:x", owner_until=now - timedelta(seconds=90))
    assert the_only().code == "connector_silent"
    assert the_only().count == 2
    earlier(one, owner_until=now + timedelta(seconds=10))
    assert open_incidents() == {}


@pytest.mark.usefixtures("valkey")
def test_a_quota_of_a_day_is_an_incident_before_it_is_used_up() -> None:
    account = app(seats=1)
    [quota] = [limit for limit in limits.all_limits(build_channel(account)) if limit.name == "day"]
    for number in range(quota.count):
        if number == quota.count * 0.85:
            assert open_incidents() == {}
        limits.count_call([quota], str(account.key), "zhangsan")
    row = the_only()
    assert (row.code, row.account_id) == ("quota_low", account.pk)
    assert row.detail.startswith("messages a day, 200 for each seat: at most 200, of which less than 10 % are left.")
    with valkey_is_slow():
        assert the_only().pk == row.pk, "nobody knows whether it is over"
    account.set_state(Health.STOPPED, "40001")
    assert set(open_incidents()) == {row.cause, f"account:{account.pk}"}, "no more calls are left than before"
    Incident.objects.update(closed_at=timezone.now())
    assert set(open_incidents()) == {f"account:{account.pk}"}, "an account that is stopped needs no calls"
    account.revive()
    row = the_only()
    earlier(account, credentials=SEALED_ELSEWHERE)
    assert set(open_incidents()) == {row.cause, f"unreadable:account:{account.pk}"}


def test_nothing_is_written_while_nothing_changes(django_assert_max_num_queries: object) -> None:
    failed(app(), "81013")
    before = the_only()
    with django_assert_max_num_queries(44) as queries:  # type: ignore[operator]
        incidents.update_incidents()
    # A statement that the connection has prepared already has no text here; those that write are none of them.
    written = [
        query["sql"] for query in queries.captured_queries if (query["sql"] or "").startswith(("UPDATE", "INSERT"))
    ]
    assert written == []
    assert Incident.objects.get().pk == before.pk
    assert not ReplyWindow.objects.exists()
