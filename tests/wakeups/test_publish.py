"""Wake-ups: whoever listens gets them, publishing never raises and is never slow; and the pool of threads that works on one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from kombu import Connection

from accounts import valkey as door
from bridge.models import Message
from bridge.pipeline.inbound import sql
from bridge.runtime.launcher.embedded import Valkey
from bridge.runtime.wakeups.pool import WorkPool
from bridge.runtime.wakeups.publish import Topic, notify, notify_soon, publish
from bridge.runtime.worker import tasks
from bridge.runtime.worker.threads import WorkerThreads
from tests.support.factories import app, eventually, hear, to_send
from tests.support.rings import rings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis


@pytest.fixture(autouse=True)
def _awake() -> Iterator[None]:
    """A test that paused Valkey leaves no rest behind."""
    door.circuit_breaker.until = 0.0
    yield
    door.circuit_breaker.until = 0.0


@pytest.mark.parametrize("topic", list(Topic))
def test_a_wake_up_reaches_whoever_listens(valkey: redis.Redis, topic: Topic) -> None:
    with rings(valkey) as heard:
        notify(topic)
        notify(topic)
        eventually(lambda: heard.rung() == 2)
    assert heard.count == {str(topic): 2}


def test_several_bells_at_once(valkey: redis.Redis) -> None:
    with rings(valkey) as heard:
        notify(Topic.ROUTE, Topic.FETCH)
        notify()
        eventually(lambda: heard.rung() == 2)
    assert heard.count == {"route": 1, "fetch": 1}


def test_rings_of_the_same_moment_are_one(valkey: redis.Redis) -> None:
    with rings(valkey) as heard:
        for _message in range(300):
            notify_soon(Topic.ROUTE)
        notify_soon(Topic.FETCH)
        eventually(lambda: heard.rung("fetch"))
    assert 1 <= heard.count["route"] < 100


def test_what_is_announced_is_heard(valkey: redis.Redis) -> None:
    with valkey.pubsub() as heard:
        heard.subscribe("stop")
        publish("stop", "7")
        message = eventually(lambda: heard.get_message(ignore_subscribe_messages=True, timeout=0.2))
    assert (message["channel"], message["data"]) == (b"stop", b"7")


# In a process of its own, because the address of Valkey is read once: rings and asks while the server answers, stands still, and is gone.
_SCRIPT = """
import sys, time, django
django.setup()
from accounts import valkey
from bridge.runtime.wakeups.publish import Topic, notify
for line in sys.stdin:
    if line.strip() == "awake":
        valkey.circuit_breaker.until = 0.0
    began = time.monotonic()
    notify(Topic.ROUTE, Topic.FETCH, Topic.SEND, Topic.ASK)
    print(time.monotonic() - began, valkey.circuit_breaker.over, flush=True)
"""


@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
def test_a_paused_or_dead_valkey_neither_raises_nor_holds_up(tmp_path: Path, trouble: int) -> None:
    server = Valkey(tmp_path)
    server.start()
    process = server.process
    environment = {**os.environ, "REDIS_URL": server.url, "DJANGO_SETTINGS_MODULE": "bridge.settings"}
    command = [sys.executable, "-W", "ignore", "-c", _SCRIPT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR, **pipes) as bridge:  # type: ignore[call-overload]

        def rung(word: str = "") -> tuple[float, bool]:
            bridge.stdin.write(f"{word}\n")
            bridge.stdin.flush()
            took, rests_not = bridge.stdout.readline().split()
            return float(took), rests_not == "True"

        try:
            assert rung()[1] is True
            os.kill(process.pid, trouble)
            slow, over = rung("awake")
            quick, still = rung()
            assert (over, still) == (False, False)
            assert slow < 1.0, "two time-outs of 100 ms, and a noisy machine"
            assert quick < 0.1, "at rest nobody asks"
            if trouble == signal.SIGSTOP:
                os.kill(process.pid, signal.SIGCONT)
                assert rung("awake")[1] is True
        finally:
            bridge.stdin.close()
            bridge.wait(10)
            if trouble == signal.SIGSTOP:
                os.kill(process.pid, signal.SIGCONT)
            server.stop()


@pytest.mark.parametrize("ends", ["ack", "close"])
def test_a_task_in_hand_when_the_broker_goes_does_not_end_the_worker(tmp_path: Path, ends: str) -> None:
    """As celery's consumer meets a lost connection: it collects it and closes it, and tasks that were taken end later."""
    server = Valkey(tmp_path)
    server.start()
    address = server.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    try:
        broker = Connection(address, transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS)
        queue = broker.SimpleQueue("rings")
        queue.put({})
        task = queue.get(timeout=10)
        server.process.kill()
        server.process.wait()
        with contextlib.suppress(Exception):
            broker.collect(socket_timeout=1)
        task.ack() if ends == "ack" else broker.close()
    finally:
        server.stop()


def test_the_guarded_way_gives_the_default_and_rests() -> None:
    def broken(_client: redis.Redis) -> str:
        raise ConnectionError("away")

    calls = []
    assert door.try_valkey(broken, "default") == "default"
    assert door.try_valkey(calls.append, "default") == "default"
    assert calls == []
    assert not door.circuit_breaker.over


# --- the tasks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_sweep_rings_for_whatever_is_due(valkey: redis.Redis) -> None:
    account = app()
    hear(account)
    to_send(account)
    with rings(valkey) as heard:
        tasks.sweep()
        eventually(lambda: heard.rung("send") and heard.rung("route"))
    assert not heard.count["fetch"]
    assert valkey.get("swept")


@pytest.mark.django_db
def test_one_ring_routes_until_nothing_is_left(valkey: redis.Redis) -> None:
    account = app()
    for number in range(sql.BATCH_SIZE + 1):
        hear(account, sender=f"member{number % 20}")
    WorkerThreads().route()
    assert not Message.objects.filter(routed_at=None).exists()
    assert Message.objects.count() == sql.BATCH_SIZE + 1


# --- the drain ------------------------------------------------------------------------------------------------------------------


def drain(pieces: list[int], threads: int = 4, **parts: object) -> tuple[WorkPool[int], list[int]]:
    done: list[int] = []

    def claim(free: int) -> list[int]:
        taken, pieces[:] = pieces[:free], pieces[free:]
        return taken

    return WorkPool("test", threads, claim, parts.pop("carry", done.append), **parts), done  # type: ignore[arg-type]


def test_one_wake_takes_all_the_work_there_is() -> None:
    draining, done = drain(list(range(50)))
    assert draining.run() == 50
    assert sorted(done) == list(range(50))
    assert draining.run() == 0


def test_never_more_at_a_time_than_threads() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def carry(_piece: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    draining, _done = drain(list(range(20)), 3, carry=carry)
    assert draining.run() == 20
    assert most[0] <= 3


def test_a_second_wake_returns_at_once_and_its_work_is_done() -> None:
    pieces, gate = [1], threading.Event()
    done: list[int] = []

    def carry(piece: int) -> None:
        gate.wait(10)
        done.append(piece)

    draining, _ = drain(pieces, carry=carry)
    first = threading.Thread(target=draining.run)
    first.start()
    eventually(lambda: draining.open)
    pieces.append(2)
    assert draining.run() == 0
    gate.set()
    first.join(10)
    assert sorted(done) == [1, 2]


def test_a_piece_that_raises_does_not_stop_the_others() -> None:
    done: list[int] = []

    def carry(piece: int) -> None:
        done.append(piece)
        raise ValueError(piece)

    draining, _ = drain([1, 2, 3], carry=carry)
    assert draining.run() == 3
    assert sorted(done) == [1, 2, 3]


def test_a_stopped_drain_claims_nothing_more() -> None:
    draining, done = drain([1, 2])
    draining.stop()
    assert draining.run() == 0
    assert done == []
