"""The threads that send what goes over the connections of accounts: the same way as a worker's, by the links of this process."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from bridge.models import Carrier, Delivery
from bridge.pipeline.delivery import claims
from bridge.pipeline.outbound import sender
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import execute_on
from bridge.runtime.wakeups.pool import WorkPool

# A platform confirms a message within some hundred milliseconds; a silent one keeps a thread for seconds.
THREADS = 16
# Seconds between two searches for messages if no wake-up comes.
POLL_SECONDS = 1.0
STOP_SECONDS = 10  # how long messages under way may take to end


class Senders:
    """Claims what the connections of this holder can send, which a claim reads in the rows of the connections, and sends it."""

    def __init__(self, holder: str) -> None:
        self.pool: WorkPool[Delivery] = WorkPool(
            "socket",
            THREADS,
            lambda free: claims.claim(Carrier.SOCKET, holder, free, most=THREADS),
            sender.process_delivery,
            lambda items: claims.renew(holder, [item.pk for item in items]),
        )
        self.runner = ThreadPoolExecutor(1, thread_name_prefix="socket-claims")
        self.wake_event = asyncio.Event()

    def wake(self) -> None:
        self.wake_event.set()
        self.pool.wake_event.set()

    async def run(self) -> None:
        while not self.pool.stopping.is_set():
            self.wake_event.clear()
            with contextlib.suppress(*DB_UNAVAILABLE):  # it is tried again in a second
                await execute_on(self.runner, self.pool.run)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self.wake_event.wait()

    async def stop(self) -> None:
        """Claim nothing more, and wait until what is under way is sent."""
        self.pool.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self.runner.shutdown()
        self.pool.pool.shutdown()
