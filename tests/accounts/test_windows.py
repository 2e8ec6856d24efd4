"""The ledger of what may be said to each person."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import reply_windows, sql
from accounts.models import ReplyWindow
from accounts.reply_windows import WindowGrant
from tests.support import factories
from tests.support.factories import in_thread, mini, official

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
HOUR = 3600
MESSAGE, CLICK = (5, 48 * HOUR), (3, 60)
FAN = "oFan"


@pytest.fixture
def account() -> ChannelAccount:
    return official()


def ago(seconds: float = 0) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def deed(
    account: ChannelAccount,
    what: tuple[int, int] = MESSAGE,
    began: float = 0,
    heard: float | None = None,
    who: str = FAN,
) -> WindowGrant:
    """What somebody did so many seconds ago, and when we heard of it; at once unless told."""
    return WindowGrant(account.pk, who, *what, ago(began), ago(began if heard is None else heard))


def left(account: ChannelAccount, who: str = FAN) -> int:
    return reply_windows.count_remaining(account.pk, who)


def take(account: ChannelAccount, times: int = 1, at: datetime | None = None) -> list[bool]:
    return [reply_windows.count_message(account.pk, FAN, at or timezone.now()) for _time in range(times)]


def later(account: ChannelAccount, seconds: float) -> None:
    """So many seconds pass: all that the ledger knows lies further back."""
    back = timedelta(seconds=seconds)
    for row in ReplyWindow.objects.filter(account=account):
        row.until, row.last_action_at = row.until - back, row.last_action_at - back
        row.sent_times = [used - back for used in row.sent_times]
        row.save()


def test_what_may_be_said_to_one_person_at_one_account_is_nobody_else_s(account: ChannelAccount) -> None:
    other = mini()
    reply_windows.open_windows([deed(other), deed(account, CLICK, who="oOther")])
    assert (left(account), take(account)) == (0, [False])
    reply_windows.open_windows([deed(account, CLICK)])
    reply_windows.mark_empty(account.pk, FAN, ago())
    assert (left(account), left(account, "oOther"), left(other)) == (0, 3, 5)
    used = timezone.now()
    assert reply_windows.count_message(other.pk, FAN, used)
    reply_windows.give_back(account.pk, FAN, used)
    assert (left(account), left(other)) == (0, 4)


def test_nothing_may_be_said_to_who_never_did_anything(account: ChannelAccount) -> None:
    assert (left(account), take(account)) == (0, [False])
    reply_windows.give_back(account.pk, FAN, ago())
    reply_windows.mark_empty(account.pk, FAN, ago())
    assert ReplyWindow.objects.count() == 0


NOW = datetime(2026, 1, 31, 23, 59, 59, 500_000, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
BEFORE_AT_AFTER = [-INSTANT, timedelta(), INSTANT]


def message(account: ChannelAccount, at: datetime, what: tuple[int, int] = MESSAGE) -> WindowGrant:
    """Somebody wrote at that moment, and we heard of it at once."""
    return WindowGrant(account.pk, FAN, *what, at, at)


@pytest.mark.parametrize(("past", "expected"), [*zip(BEFORE_AT_AFTER, (5, 3, 3), strict=True)])
def test_what_was_left_counts_until_the_very_end_of_the_window(
    account: ChannelAccount, past: timedelta, expected: int
) -> None:
    end = NOW + timedelta(seconds=60)
    reply_windows.open_windows([message(account, NOW, (5, 60))])
    reply_windows.open_windows([message(account, end + past, CLICK)])
    assert ReplyWindow.objects.get().left == expected


@pytest.mark.parametrize(("past", "expected"), [*zip(BEFORE_AT_AFTER, (True, False, False), strict=True)])
def test_nothing_leaves_from_shortly_before_the_end_on(
    account: ChannelAccount, past: timedelta, expected: bool
) -> None:
    reply_windows.open_windows([message(account, NOW, (5, 60))])
    assert take(account, at=NOW + timedelta(seconds=60 - sql.MARGIN_SECONDS) + past) == [expected]


@pytest.mark.parametrize(("past", "expected"), [*zip(BEFORE_AT_AFTER, (5, 5, 4), strict=True)])
def test_a_use_is_paid_for_by_a_deed_that_we_heard_of_before_it(
    account: ChannelAccount, past: timedelta, expected: int
) -> None:
    reply_windows.open_windows([message(account, NOW - timedelta(seconds=10))])
    assert take(account, at=NOW + past) == [True]
    reply_windows.open_windows([message(account, NOW)])
    assert ReplyWindow.objects.get().left == expected


@pytest.mark.parametrize(
    ("past", "given_back", "exhausted"), [*zip(BEFORE_AT_AFTER, (4, 5, 5), (4, 0, 0), strict=True)]
)
def test_a_refusal_of_before_the_last_deed_changes_nothing(
    account: ChannelAccount, past: timedelta, given_back: int, exhausted: int
) -> None:
    reply_windows.open_windows([message(account, NOW)])
    used = NOW + past
    assert take(account, at=used) == [True]
    reply_windows.give_back(account.pk, FAN, used)
    assert ReplyWindow.objects.get().left == given_back
    ReplyWindow.objects.update(left=4)
    reply_windows.mark_empty(account.pk, FAN, used)
    assert ReplyWindow.objects.get().left == exhausted


def test_an_older_deed_that_is_stored_later_leaves_when_the_last_one_was_heard(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, heard=10), deed(account, CLICK, began=40)])
    used = ago(20)
    assert reply_windows.count_message(account.pk, FAN, used)
    reply_windows.give_back(account.pk, FAN, used)  # before the last deed, which has granted anew since
    assert left(account) == 4
    reply_windows.mark_empty(account.pk, FAN, used)
    assert left(account) == 4


def test_each_use_is_one_less(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account)])
    assert (left(account), take(account, 2), left(account)) == (5, [True, True], 3)
    assert (take(account, 4), left(account)) == ([True, True, True, False], 0)


def test_a_window_ends(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, CLICK)])
    later(account, 60 - sql.MARGIN_SECONDS)
    assert (left(account), take(account)) == (0, [False])
    assert ReplyWindow.objects.get().left == 3


def test_until_shortly_before_its_end(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, CLICK)])
    later(account, 45)
    assert (left(account), take(account)) == (3, [True])


def test_it_begins_with_the_deed_and_not_when_we_hear_of_it(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, CLICK, began=70, heard=0)])
    assert left(account) == 0


def test_a_fast_clock_of_the_platform_prolongs_nothing(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, CLICK, began=-3000, heard=0)])
    later(account, 61)
    assert left(account) == 0


def test_windows_do_not_add_up(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account), deed(account)])
    assert left(account) == 5
    take(account)
    reply_windows.open_windows([deed(account, CLICK)])
    assert left(account) == 4  # what was left was more


def test_a_lesser_deed_tops_up_what_is_left_and_shortens_nothing(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account)])
    take(account, 4)
    reply_windows.open_windows([deed(account, CLICK)])
    assert left(account) == 3
    later(account, 47 * HOUR)
    assert left(account) == 3


def test_what_was_left_of_a_window_that_is_over_is_lost(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account)])
    later(account, 49 * HOUR)
    reply_windows.open_windows([deed(account, CLICK)])
    assert left(account) == 3


def test_people_and_accounts_have_ledgers_of_their_own(account: ChannelAccount) -> None:
    other = mini()
    opened = [deed(account), deed(other, CLICK), deed(account, CLICK, who="oOther"), deed(account)]
    reply_windows.open_windows(opened)
    take(account)
    assert [left(account), left(other), left(account, "oOther"), left(other, "oOther")] == [4, 3, 3, 0]
    assert ReplyWindow.objects.count() == 3


def test_a_batch_is_one_statement_and_another_for_who_did_two_things(
    account: ChannelAccount, django_assert_num_queries: type
) -> None:
    with django_assert_num_queries(1):
        reply_windows.open_windows([deed(account, who=who) for who in "abc"])
    with django_assert_num_queries(2):
        reply_windows.open_windows([deed(account, CLICK, who="a"), deed(account, who="a"), deed(account, who="b")])
    with django_assert_num_queries(0):
        reply_windows.open_windows([])
    assert [left(account, who) for who in "abc"] == [5, 5, 5]


def test_what_was_sent_since_we_heard_is_taken_off(account: ChannelAccount) -> None:
    """The deed is stored, then two are sent by what was left of an older one, then the deed is routed."""
    reply_windows.open_windows([deed(account, began=HOUR)])
    take(account, 2, ago(50))
    heard = deed(account, began=10)
    take(account, 2)
    reply_windows.open_windows([heard])
    assert left(account) == 3


def test_deeds_that_are_routed_in_another_order_count_the_same(account: ChannelAccount) -> None:
    click, message = deed(account, CLICK, began=20), deed(account, began=10)
    reply_windows.open_windows([message])
    take(account, 3)
    reply_windows.open_windows([click])
    assert left(account) == 2


def test_a_use_is_given_back_once(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, began=5)])
    first, second = ago(2), ago(1)
    for used in (first, second):
        take(account, at=used)
    for _twice in range(2):
        reply_windows.give_back(account.pk, FAN, first)
    assert left(account) == 4
    assert ReplyWindow.objects.get().sent_times == [second]


def test_a_use_before_the_last_deed_is_not_given_back(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, began=5)])
    used = ago(2)
    take(account, at=used)
    reply_windows.open_windows([deed(account, began=1)])
    reply_windows.give_back(account.pk, FAN, used)
    assert left(account) == 5


def test_the_platform_knows_better(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account, began=5)])
    used = ago(1.5)
    take(account, at=used)
    reply_windows.mark_empty(account.pk, FAN, ago(1))
    reply_windows.give_back(account.pk, FAN, used)
    assert (left(account), take(account)) == (0, [False])
    reply_windows.open_windows([deed(account, began=2)])  # heard of before what was refused
    assert left(account) == 0
    reply_windows.open_windows([deed(account)])
    assert left(account) == 5


def test_a_refusal_says_nothing_of_a_later_deed(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account)])
    reply_windows.mark_empty(account.pk, FAN, ago(1))
    assert left(account) == 5


def test_only_the_last_uses_are_kept(account: ChannelAccount) -> None:
    for _time in range(sql.USES_KEPT):
        reply_windows.open_windows([deed(account)])
        take(account, 2)
    kept = ReplyWindow.objects.get().sent_times
    assert len(kept) == sql.USES_KEPT
    assert kept == sorted(kept)


def test_the_database_keeps_no_two_ledgers_and_no_debts(account: ChannelAccount) -> None:
    reply_windows.open_windows([deed(account)])
    with pytest.raises(IntegrityError, match="window_one_per_person"), transaction.atomic():
        factories.reply_window(account, FAN, until=ago())
    with pytest.raises(IntegrityError, match="left_check"), transaction.atomic():
        ReplyWindow.objects.update(left=-1)


@pytest.mark.django_db(transaction=True)
def test_the_last_use_is_taken_once(account: ChannelAccount) -> None:
    for _round in range(5):
        reply_windows.open_windows([deed(account)])
        take(account, 4)
        together = threading.Barrier(8)

        def one(together: threading.Barrier = together) -> bool:
            connection.ensure_connection()
            together.wait(20)
            return reply_windows.count_message(account.pk, FAN, timezone.now())

        with ThreadPoolExecutor(8) as pool:
            taken = [done.result(60) for done in [pool.submit(in_thread(one)) for _ in range(8)]]
        assert (sorted(taken), left(account)) == ([False] * 7 + [True], 0)
