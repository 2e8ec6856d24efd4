"""What each bell makes the worker do: route, send, fetch files, call webhooks. Each in a thread of its own, beside Celery's.

Everything here is safe to do twice and to leave undone: the rows are the queue.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings

from bridge.media import storage
from bridge.models import Carrier
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import sender
from bridge.runtime.wakeups.publish import Topic, channel_of
from bridge.runtime.wakeups.subscribe import Listener, TopicThread
from bridge.runtime.worker.pool import WorkPool

if TYPE_CHECKING:
    from bridge.models import Delivery

# Files of a message are fetched beside the sending, so that slow answers do not let their addresses die.
FETCH_THREADS = 8
# A slow endpoint holds one thread, its lane's; so many may be slow in each worker before they hold up other endpoints.
HOOK_THREADS = 8


class WorkerThreads:
    """Those of one worker process."""

    def __init__(self) -> None:
        self.leaving = threading.Event()
        self.drains: dict[Topic, WorkPool[Any]] = {
            Topic.SEND: _delivery_pool("send", settings.SEND_THREADS, Carrier.WORKER),
            Topic.HOOK: _delivery_pool("webhook", HOOK_THREADS, Carrier.WEBHOOK),
            Topic.FETCH: WorkPool("fetch", FETCH_THREADS, storage.claim, storage.fetch),
        }
        self.responders = {
            bell: TopicThread(bell, drain.run, self.leaving, drain.news) for bell, drain in self.drains.items()
        }
        self.responders[Topic.ROUTE] = TopicThread(Topic.ROUTE, self.route, self.leaving)
        rung = {channel_of(bell): responder.rung for bell, responder in self.responders.items()}
        self.listener = Listener(rung, self.leaving)

    def route(self) -> None:
        """In one thread of a process: two would walk the same peers and wait for each other at every lock."""
        while not self.leaving.is_set() and router.route_waiting():
            pass

    def start(self) -> None:
        for thread in self._threads():
            thread.start()

    def leave(self) -> None:
        """Take nothing more on. Returns at once; what is in hand is finished."""
        self.leaving.set()
        for drain in self.drains.values():
            drain.stop()
        for responder in self.responders.values():
            responder.rung.set()

    def stop(self) -> None:
        """Returns when what was in hand is finished."""
        if not self.leaving.is_set():
            self.leave()
        for thread in self._threads():
            thread.join()

    def _threads(self) -> list[threading.Thread]:
        return [responder.thread for responder in self.responders.values()] + [self.listener.thread]


def _delivery_pool(name: str, threads: int, carrier: Carrier) -> WorkPool[Delivery]:
    holder = claims.holder_name()
    return WorkPool(
        name,
        threads,
        lambda free: claims.claim(carrier, holder, free, most=threads if carrier == Carrier.WORKER else None),
        sender.process_delivery,
        lambda pieces: claims.renew(holder, [piece.pk for piece in pieces]),
    )
