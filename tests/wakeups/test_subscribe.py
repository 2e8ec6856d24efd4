"""The threads that wake-ups wake: they work, outlive what goes wrong, and end in order."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import redis
from django.db import OperationalError, connection

from bridge.models import Attempt, Delivery, Outcome, State
from bridge.runtime.launcher.embedded import Valkey
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.runtime.wakeups.subscribe import Listener, TopicThread
from bridge.runtime.worker.threads import WorkerThreads
from tests.support.factories import app, eventually, hear, outcomes, picture, row, state, to_send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from channels_wechat.simulator import SimulatorClient


class Bench:
    """A responder at work, and a listener at need."""

    def __init__(self) -> None:
        self.stop_event = threading.Event()
        self.threads: list[threading.Thread] = []

    def responder(self, work: Callable[[], object]) -> TopicThread:
        made = TopicThread("test", work, self.stop_event)
        self.begin(made.thread)
        return made

    def listener(self, *events: threading.Event) -> Listener:
        made = Listener({f"wakeup:{number}": event for number, event in enumerate(events)}, self.stop_event)
        self.begin(made.thread)
        return made

    def begin(self, thread: threading.Thread) -> None:
        self.threads.append(thread)
        thread.start()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stop_event.set()
    for thread in bench.threads:
        thread.join(15)
        assert not thread.is_alive()


# --- a topic's thread -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("a defect"), OperationalError("the database is away")])
def test_whatever_goes_wrong_the_next_ring_finds_it_there(bench: Bench, error: Exception) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)
        raise error

    responder = bench.responder(work)
    for times in (1, 2):
        responder.wake_event.set()
        eventually(lambda times=times: len(done) == times)
    bench.stop_event.set()
    responder.wake_event.set()


def test_a_ring_while_it_works_makes_it_work_once_more(bench: Bench) -> None:
    gate, done = threading.Semaphore(0), []

    def work() -> None:
        done.append(1)
        gate.acquire(timeout=15)

    responder = bench.responder(work)
    responder.wake_event.set()
    eventually(lambda: done)
    for _ring in range(5):
        responder.wake_event.set()
    gate.release()
    eventually(lambda: len(done) == 2)
    bench.stop_event.set()
    gate.release(2)
    responder.thread.join(15)
    assert len(done) == 2


@pytest.mark.django_db(transaction=True)
def test_at_rest_it_holds_no_connection_to_the_database(bench: Bench) -> None:
    found: list[int] = []

    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            found.append(cursor.fetchone()[0])

    responder = bench.responder(work)
    responder.wake_event.set()
    eventually(lambda: found and not _connected(found[0]))
    bench.stop_event.set()
    responder.wake_event.set()


def _connected(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() is not None


# --- the listener ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, settings: object) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    server.start()
    settings.REDIS_URL = server.url  # type: ignore[attr-defined]
    yield server
    server.stop()


def heard(event: threading.Event) -> None:
    assert event.wait(15)
    event.clear()


def test_it_looks_at_everything_once_it_listens_and_then_hears_each_bell(bench: Bench, server: Valkey) -> None:
    first, second = threading.Event(), threading.Event()
    bench.listener(first, second)
    heard(first)
    heard(second)
    with redis.Redis.from_url(server.url) as client:
        client.publish("wakeup:1", "")
        heard(second)
        assert not first.is_set()


def test_while_nobody_publishes_it_looks_again_and_again_and_comes_back_by_itself(bench: Bench, server: Valkey) -> None:
    event = threading.Event()
    bench.listener(event)
    heard(event)
    server.process.kill()
    server.process.wait()
    for _second in range(3):
        heard(event)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        eventually(lambda: client.publish("wakeup:0", ""))
        heard(event)


@pytest.mark.heavy
def test_a_server_that_says_nothing_any_more_is_as_good_as_gone(bench: Bench, server: Valkey) -> None:
    event = threading.Event()
    bench.listener(event)
    heard(event)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        heard(event)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def test_a_quiet_night_is_no_reason_to_connect_anew(bench: Bench, server: Valkey) -> None:
    """It asks each second, and the answers count."""
    event = threading.Event()
    listener = bench.listener(event)
    heard(event)
    with redis.Redis.from_url(server.url) as client:

        def pings() -> int:
            return int(client.info("commandstats").get("cmdstat_ping", {}).get("calls", 0))

        eventually(lambda: pings() >= 3)
        assert client.info("commandstats")["cmdstat_subscribe"]["calls"] == 1
    assert listener.thread.is_alive()


# --- those of a worker ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def threads(valkey: redis.Redis) -> Iterator[WorkerThreads]:
    threads = WorkerThreads()
    threads.start()
    yield threads
    threads.stop()
    assert not any(thread.is_alive() for thread in threads._threads())


@pytest.mark.django_db(transaction=True)
def test_each_topic_does_its_work(threads: WorkerThreads, company: SimulatorClient) -> None:
    account = app(company.url)
    asked = hear(account, media=(picture("nonsense"),))
    eventually(lambda: asked.deliveries.exists())
    eventually(lambda: asked.attachments.get().tries)
    sent = to_send(account, "hello")
    notify(Topic.SEND)
    eventually(lambda: state(sent) == State.DELIVERED)


@pytest.mark.django_db(transaction=True)
def test_whoever_leaves_finishes_what_it_holds_and_takes_nothing_more(
    threads: WorkerThreads, company: SimulatorClient
) -> None:
    account = app(company.url)
    company.fault("message/send", "slow_after", times=1, seconds=2)
    first = to_send(account, "under way")
    notify(Topic.SEND)
    eventually(lambda: Attempt.objects.filter(delivery=first, finished_at=None).exists())
    threads.leave()
    later = to_send(account, "after the stop")
    waiting = hear(account)
    notify(Topic.SEND)
    threads.stop()
    assert (state(first), outcomes(first)) == (State.DELIVERED, [Outcome.OK])
    assert (row(later).state, row(later).tries) == (State.PENDING, 0)
    assert not waiting.deliveries.exists()
    assert not Delivery.objects.filter(state=State.SENDING).exists()
