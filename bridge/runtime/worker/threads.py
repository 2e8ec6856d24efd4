"""What a wake-up of each topic makes the worker do: route, send, pull messages, fetch files, call webhooks, run replays.
Each has a thread of its own beside Celery's.

Everything here is safe to do twice and to leave undone: the rows are the queue.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings

from bridge.media import storage
from bridge.models import Carrier
from bridge.operations.replays import runner
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import pulling, router
from bridge.pipeline.outbound import sender
from bridge.runtime.wakeups.pool import WorkPool
from bridge.runtime.wakeups.publish import Topic, channel_of
from bridge.runtime.wakeups.subscribe import Listener, TopicThread

if TYPE_CHECKING:
    from bridge.models import Delivery

# Files of a message are fetched beside the sending, so that their addresses do not expire while answers are slow.
FETCH_THREADS = 8
# A slow webhook endpoint keeps one thread, because its calls are one lane. So many slow ones do not hold up the others.
HOOK_THREADS = 8
# Each pulls one account, by one call after the other.
PULL_THREADS = 4


class WorkerThreads:
    """The threads of one worker process, one for each topic, and the listener that wakes them."""

    def __init__(self) -> None:
        self.stop_event, self.holder = threading.Event(), claims.holder_name()
        self.pools: dict[Topic, WorkPool[Any]] = {
            Topic.SEND: _delivery_pool("send", settings.SEND_THREADS, Carrier.WORKER),
            Topic.HOOK: _delivery_pool("webhook", HOOK_THREADS, Carrier.WEBHOOK),
            Topic.FETCH: WorkPool("fetch", FETCH_THREADS, storage.claim_files, storage.fetch_file),
            Topic.PULL: WorkPool("pull", PULL_THREADS, pulling.claim_due, pulling.pull_account),
        }
        self.topic_threads = {
            topic: TopicThread(topic, pool.run, self.stop_event, pool.wake_event) for topic, pool in self.pools.items()
        }
        self.topic_threads[Topic.ROUTE] = TopicThread(Topic.ROUTE, self.route, self.stop_event)
        self.topic_threads[Topic.REPLAY] = TopicThread(Topic.REPLAY, self.replay, self.stop_event)
        events = {channel_of(topic): thread.wake_event for topic, thread in self.topic_threads.items()}
        self.listener = Listener(events, self.stop_event)

    def route(self) -> None:
        """Route until nothing waits. In one thread only: two would walk the same peers and wait for each other at every lock."""
        while not self.stop_event.is_set() and router.route_waiting():
            pass

    def replay(self) -> None:
        """Run replays until none is under way that this process has the lease of."""
        runner.run_until_idle(self.holder, self.stop_event)

    def start(self) -> None:
        for thread in self._threads():
            thread.start()

    def leave(self) -> None:
        """Claim nothing more, and return at once. Work under way is finished."""
        self.stop_event.set()
        for pool in self.pools.values():
            pool.stop()
        for thread in self.topic_threads.values():
            thread.wake_event.set()

    def stop(self) -> None:
        """Claim nothing more, and return when the work under way is finished."""
        if not self.stop_event.is_set():
            self.leave()
        for thread in self._threads():
            thread.join()

    def _threads(self) -> list[threading.Thread]:
        return [each.thread for each in self.topic_threads.values()] + [self.listener.thread]


def _delivery_pool(name: str, threads: int, carrier: Carrier) -> WorkPool[Delivery]:
    holder = claims.holder_name()
    return WorkPool(
        name,
        threads,
        lambda free: claims.claim(carrier, holder, free, most=threads if carrier == Carrier.WORKER else None),
        sender.process_delivery,
        lambda items: claims.renew(holder, [item.pk for item in items]),
    )
