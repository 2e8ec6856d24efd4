"""What is counted by hour and day is what a plain count of the rows gives, whenever counting was killed and however late results come."""

from __future__ import annotations

import random
import statistics
import threading
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from bridge.models import ConversationFigures, CountedPeriod, DayFigures, Delivery, HourFigures, Message, Reason, State
from bridge.operations.figures import counting, periods, times
from bridge.operations.figures.counting_sql import SUMS
from bridge.operations.retention import prune
from tests.figures import history
from tests.support import factories

pytestmark = pytest.mark.django_db


def figures(rows: Any, *keys: str) -> dict[Any, dict[str, Any]]:
    """Return rows of figures by these columns, account, gateway and agent."""
    return {
        tuple(row[key] for key in (*keys, "account_id", "gateway_id", "agent_id")): {
            name: row[name] for name in (*SUMS, "answer_times")
        }
        for row in rows.objects.values()
    }


def hour_key(at: datetime, _chat: Any, *rest: Any) -> Any:
    return (periods.hour_of(at).since, *rest)


def day_key(at: datetime, _chat: Any, *rest: Any) -> Any:
    return (timezone.localtime(at).date(), *rest)


def chat_key(at: datetime, chat: Any, *rest: Any) -> Any:
    return (timezone.localtime(at).date(), chat, *rest)


def assert_counted() -> None:
    assert figures(HourFigures, "hour") == history.count_plainly(hour_key)
    assert figures(DayFigures, "day") == history.count_plainly(day_key)
    assert figures(ConversationFigures, "day", "conversation_id") == history.count_plainly(chat_key)


def count_all() -> int:
    return counting.count_due_periods(60)


def recount() -> int:
    """Count as if the last count were long ago."""
    CountedPeriod.objects.update(counted_at=timezone.now() - timedelta(days=1))
    return count_all()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_figures_are_those_of_a_plain_count(seed: int) -> None:
    past = history.begin(seed)
    history.go_on(past, 60)
    assert count_all() > 24
    assert_counted()
    assert count_all() == 0
    history.go_on(past, 20)
    Delivery.objects.filter(state=State.DELIVERED, target="channel").update(state=State.DEAD, reason=Reason.PERMANENT)
    recount()
    assert_counted()


def test_counting_goes_on_where_it_was_ended() -> None:
    past = history.begin(3, days=2)
    history.go_on(past, 30)
    runs = 0
    for period in periods.find_due_periods(timezone.now()):
        assert counting.count_period(period)
        runs += 1
        if runs % 3 == 0:  # the list of what is due is made anew, as after a restart
            break
    steps = 1
    while found := next(iter(periods.find_due_periods(timezone.now())), None):
        assert counting.count_period(found)
        steps += 1
    assert steps + runs - 1 == CountedPeriod.objects.count()
    assert_counted()


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_lost_while_it_counts_leaves_what_was_there() -> None:
    """The count waits for a lock with its hour counted and its day not; then its connection ends."""
    past = history.begin(4, days=1)
    history.go_on(past, 30)
    hour = periods.hour_of(Message.objects.exclude(kind="event").latest("created_at").created_at)
    count_all()
    before = figures(HourFigures, "hour")
    history.go_on(past, 10)
    lost: list[BaseException] = []

    def count() -> None:
        try:
            counting.count_period(hour)
        except (InterfaceError, OperationalError) as error:
            lost.append(error)
        finally:
            connection.close()

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE bridge_dayfigures IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=count)
        thread.start()
        ended = False
        while not ended:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'bridge_dayfigures'::regclass"
            )
            ended = bool(cursor.fetchall())
        thread.join()
    assert len(lost) == 1
    assert figures(HourFigures, "hour") == before
    recount()
    assert_counted()


@pytest.mark.django_db(transaction=True)
def test_one_process_counts_at_a_time() -> None:
    factories.message(factories.conversation(factories.app()), "?", "M1")
    answers: list[int] = []

    def count() -> None:
        answers.append(counting.count_due_periods(5))
        connection.close()

    with transaction.atomic():
        assert counting.count_period(periods.hour_of(timezone.now()))
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    assert answers == [0]
    assert HourFigures.objects.get().messages_in == 1


def test_a_period_is_counted_again_the_more_rarely_the_older_it_is() -> None:
    factories.message(factories.conversation(factories.app()), "?", "M1", created_at=timezone.now() - timedelta(days=9))
    now = timezone.now()
    count_all()

    def due(after: timedelta) -> list[tuple[str, timedelta]]:
        CountedPeriod.objects.update(counted_at=now - after)
        return [(p.kind, now - p.since) for p in periods.find_due_periods(now)]

    assert due(timedelta(seconds=10)) == []
    assert {age < timedelta(hours=2) for _kind, age in due(timedelta(seconds=40))} == {True}
    assert {kind for kind, _age in due(timedelta(minutes=6))} == {"hour", "day"}
    assert max(age for _kind, age in due(timedelta(hours=1, minutes=1))) < timedelta(hours=50)
    ended_before = CountedPeriod.objects.filter(ends_at__lt=now - timedelta(days=1))
    CountedPeriod.objects.update(counted_at=now)
    assert ended_before.update(counted_at=now - timedelta(hours=13)) > 100
    assert timedelta(days=5) < max(now - p.since for p in periods.find_due_periods(now)) < periods.RECENT
    CountedPeriod.objects.update(seconds=10_000)
    assert list(periods.find_due_periods(now)) == []


def test_what_was_not_counted_while_the_clock_stood_still_is_counted_then() -> None:
    past = history.begin(5, days=12)
    history.go_on(past, 40)
    count_all()
    ten = timezone.now() - timedelta(days=10)
    CountedPeriod.objects.filter(ends_at__gt=ten).delete()
    HourFigures.objects.filter(hour__gt=ten).delete()
    CountedPeriod.objects.update(counted_at=ten)
    count_all()
    assert_counted()


def test_figures_outlive_the_messages() -> None:
    account = factories.app(columns={"retention_days": 7})
    chat = factories.conversation(account)
    for days in (1, 20):
        factories.message(chat, "?", f"M{days}", created_at=timezone.now() - timedelta(days=days))
    count_all()
    prune(5)
    recount()
    assert Message.objects.count() == 1
    assert [row.messages_in for row in HourFigures.objects.all()] == [1, 1]


def test_figures_have_a_retention_of_their_own() -> None:
    chat = factories.conversation(factories.app())
    now = timezone.now()
    for days in (1, 399, 500):
        factories.message(chat, "?", f"M{days}", created_at=now - timedelta(days=days))
    for days in (1, 399, 402):
        counting.count_period(periods.hour_of(now - timedelta(days=days)))
        counting.count_period(periods.day_of(now - timedelta(days=days)))
    HourFigures.objects.filter(hour__lt=now - timedelta(days=398)).update(hour=now - timedelta(days=401))
    counting.prune()
    assert HourFigures.objects.count() == 1
    assert DayFigures.objects.count() == 2
    assert ConversationFigures.objects.count() == 2
    assert not CountedPeriod.objects.filter(ends_at__lt=now - periods.KEEP).exists()


@pytest.mark.parametrize(
    ("zone", "hours"), [("Europe/Berlin", (23, 25)), ("Asia/Shanghai", (24, 24)), ("Asia/Kolkata", (24, 24))]
)
def test_days_and_hours_are_those_of_the_site(settings: Any, zone: str, hours: tuple[int, int]) -> None:
    settings.TIME_ZONE = zone
    for day, count in zip((date(2026, 3, 29), date(2026, 10, 25)), hours, strict=True):
        period = periods.day_period(day)
        assert (period.until - period.since) == timedelta(hours=count)
        moments = [period.since + timedelta(minutes=20 * n) for n in range(3 * count)]
        starts = {periods.hour_of(at).since for at in moments}
        assert len(starts) == count
        assert {periods.day_of(at) for at in moments} == {period}
        assert (min(starts), max(starts) + timedelta(hours=1)) == (period.since, period.until)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_percentile_of_the_histogram_is_near_the_exact_one(share: float) -> None:
    chance = random.Random(7)
    seconds = sorted(chance.lognormvariate(2.5, 1) for _ in range(5000))
    counts = [0] * times.BUCKETS
    for each in seconds:
        counts[sum(each >= bound for bound in times.BOUNDS)] += 1
    exact = statistics.quantiles(seconds, n=100)[round(share * 100) - 1]
    assert times.percentile(counts, share) == pytest.approx(exact, rel=0.05)


def test_percentiles_of_nothing_and_of_what_lies_beyond() -> None:
    assert times.percentile([0] * times.BUCKETS, 0.5) is None
    assert times.percentile([0] * len(times.BOUNDS) + [3], 0.5) == times.BOUNDS[-1]
    assert times.percentile([4] + [0] * len(times.BOUNDS), 0.5) == times.BOUNDS[0] / 2
