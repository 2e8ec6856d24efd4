"""Rate limits: never over in any window, and blind without Valkey."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from accounts import valkey as door
from accounts.limits import BLIND_SECONDS, count_call, list_remaining, select_limits
from channels_wechat.contract.messages import Limit
from tests.support.factories import app, limit_of

if TYPE_CHECKING:
    import redis

ACCOUNT = Limit("fast", 5, 1, "account", "x")
MEMBER = Limit("member", 3, 60, "direct", "x")
GROUP = Limit("group", 2, 60, "group", "x")

pytestmark = pytest.mark.usefixtures("valkey")


def test_counted_to_the_last() -> None:
    assert [count_call([MEMBER], "a", "p") for _call in range(3)] == [0.0] * 3
    pause = count_call([MEMBER], "a", "p")
    assert 0 < pause <= 61
    assert 0 < count_call([MEMBER], "a", "p") <= 61


def test_each_account_and_each_peer_has_its_own() -> None:
    for account in "ab":
        for peer in "pq":
            assert [count_call([MEMBER], account, peer) for _call in range(3)] == [0.0] * 3
            assert count_call([MEMBER], account, peer) > 0


def test_a_limit_of_the_account_counts_calls_to_all_peers_together_and_each_limit_its_own() -> None:
    whole, other = Limit("whole", 3, 60, "account", "x"), Limit("other", 3, 60, "account", "x")
    assert [count_call([whole], "a", peer) for peer in "pqr"] == [0.0] * 3
    assert count_call([whole], "a", "s") > 0
    assert [list_remaining([whole], "a", peer) for peer in ("", "p", "s")] == [[(whole, 0)]] * 3
    assert list_remaining([whole, other], "a") == [(whole, 0), (other, 3)]
    assert count_call([other], "a", "p") == 0.0


def test_nothing_is_counted_where_one_limit_refuses() -> None:
    wide = Limit("wide", 10, 60, "account", "x")
    for _call in range(6):
        count_call([wide, MEMBER], "a", "p")
    assert list_remaining([wide, MEMBER], "a", "p") == [(wide, 7), (MEMBER, 0)]


def test_the_longest_pause_counts() -> None:
    hour = Limit("hour", 1, 3600, "direct", "x")
    count_call([hour], "a", "p")
    for _call in range(3):
        count_call([MEMBER], "a", "p")
    assert count_call([MEMBER, hour], "a", "p") > 3000


def test_no_limit_at_all() -> None:
    assert count_call([], "a", "p") == 0.0
    assert list_remaining([], "a") == []


def test_which_limits_count_a_call() -> None:
    assert select_limits([ACCOUNT, MEMBER, GROUP], "direct") == [ACCOUNT, MEMBER]
    assert select_limits([ACCOUNT, MEMBER, GROUP], "group") == [ACCOUNT, GROUP]


def test_never_more_than_allowed_in_any_window() -> None:
    """Eight threads press for three seconds; whatever second is looked at, five calls were let through at most."""
    passed: list[float] = []
    lock, end = threading.Lock(), time.monotonic() + 3

    def press() -> None:
        while time.monotonic() < end:
            before = time.time()
            pause = count_call([ACCOUNT], "a", "p")
            if pause:
                time.sleep(min(pause, 0.02))
            else:
                with lock:
                    passed.append(before)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(press) for _thread in range(8)]:
            done.result(20)
    passed.sort()
    # What passed carries the time just before the question: the server's own time is at most a round trip later.
    assert len(passed) >= 10
    assert all(later - earlier > 0.95 for earlier, later in zip(passed, passed[5:], strict=False))


def test_what_is_left_is_shown_and_comes_back(valkey: redis.Redis) -> None:
    assert list_remaining([MEMBER], "a", "p") == [(MEMBER, 3)]
    count_call([MEMBER], "a", "p")
    assert list_remaining([MEMBER], "a", "p") == [(MEMBER, 2)]
    assert list_remaining([MEMBER], "a", "q") == [(MEMBER, 3)]
    slices = valkey.hgetall("limit:a:member:p")
    valkey.delete("limit:a:member:p")
    for at in slices:  # the same call sixty-two seconds ago
        valkey.hset("limit:a:member:p", int(at) - 62, 3)
    assert list_remaining([MEMBER], "a", "p") == [(MEMBER, 3)]
    assert count_call([MEMBER], "a", "p") == 0.0
    assert len(valkey.hgetall("limit:a:member:p")) == 1  # what is over is dropped
    assert 60 <= valkey.ttl("limit:a:member:p") <= 62


def test_the_oldest_slice_counts_whole(valkey: redis.Redis) -> None:
    """Some of it lies within the window; whoever is shown more than may be taken would be told to wait."""
    year = Limit("year", 3, 365 * 24 * 3600, "direct", "x")  # a slice is six days long: none begins meanwhile
    count_call([year], "a", "p")
    (now,) = map(int, valkey.hgetall("limit:a:year:p"))
    valkey.delete("limit:a:year:p")
    valkey.hset("limit:a:year:p", str(now - 60), 3)
    assert list_remaining([year], "a", "p") == [(year, 0)]
    assert count_call([year], "a", "p") > 0
    valkey.delete("limit:a:year:p")
    valkey.hset("limit:a:year:p", str(now - 61), 3)
    assert list_remaining([year], "a", "p") == [(year, 3)]
    assert count_call([year], "a", "p") == 0.0


def test_blind_without_valkey() -> None:
    door.circuit_breaker.begin(ConnectionError("away"))
    try:
        assert count_call([MEMBER], "a", "p") == BLIND_SECONDS
        assert list_remaining([MEMBER], "a", "p") == [(MEMBER, None)]
    finally:
        door.circuit_breaker.until = 0.0


@pytest.mark.django_db
def test_the_limits_of_a_kind() -> None:
    account = app(seats=10)
    assert limit_of(account, "day").count == 2000
    assert limit_of(account, "member-minute").scope == "direct"
