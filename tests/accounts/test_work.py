"""What a process consumed is known beside whether it lives."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from accounts import work
from tests.support.factories import eventually

if TYPE_CHECKING:
    import redis


def test_a_process_is_gone_without_signs_and_forgotten_after_an_hour(valkey: redis.Redis) -> None:
    now = time.time()
    signs = {
        "beat:here:1": now,
        "worker:here:2": now - work.LOST_SECONDS - 5,
        "web:here:3": now - work.KEEP_SECONDS - 5,
    }
    valkey.zadd(work.PROCESSES, signs)
    found = work.read_work() or []
    assert [(process.role, process.is_lost) for process in found] == [("beat", False), ("worker", True)]
    assert valkey.zcard(work.PROCESSES) == 2


def test_only_the_last_minutes_count(valkey: redis.Redis) -> None:
    minute = int(time.time() // 60)
    valkey.zadd(work.PROCESSES, {"worker:here:1": time.time()})
    for place, ago in enumerate((0, 2, work.RECENT_MINUTES + 1, 50)):
        valkey.hset(f"work:worker:here:1:{minute - ago}", "messages.in", 10**place)
    (process,) = work.read_work() or []
    assert process.done["messages.in"] in (11, 1)  # the clock may have gone on a minute meanwhile


def test_nothing_of_what_a_process_did_is_left_after_some_minutes(valkey: redis.Redis) -> None:
    counts = {("messages", (("direction", "in"),)): 3, ("ticks", ()): 1}
    with valkey.pipeline() as pipe:
        work.record(pipe, counts, "worker:here:1")
        pipe.execute()
    (process,) = work.read_work() or []
    assert process.done == {"messages.in": 3, "ticks": 1}
    assert process.worked_at
    ends = {key.decode(): valkey.ttl(key) for key in valkey.keys("work*")}
    assert len(ends) == 2
    for key, seconds in ends.items():
        most = work.KEEP_SECONDS if key.startswith("worked:") else 60 * (work.RECENT_MINUTES + 1)
        assert 0 < seconds <= most, key


def find_signs() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "signs"}


def test_a_process_that_gives_up_its_role_gives_no_signs(valkey: redis.Redis) -> None:
    work.end()  # of a web server that another test ran in this process
    eventually(lambda: not find_signs())
    work.begin("connector")
    try:
        eventually(lambda: bool(work.read_work()))
    finally:
        work.end()
    eventually(lambda: not find_signs())
    assert [process.role for process in work.read_work() or []] == ["connector"]
