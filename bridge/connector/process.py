"""The connector, which holds the long connections: one task for each account and gateway whose lease it has, and one for each turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from accounts import work
from bridge.connector import leases
from bridge.connector.accounts import AccountConnection
from bridge.connector.gateways import CLOSE_SECONDS, POLL_SECONDS, GatewayConnection
from bridge.connector.senders import Senders
from bridge.pipeline.agent import stop
from bridge.pipeline.delivery import claims
from bridge.pipeline.outbound.rights import restrict
from bridge.pipeline.replies.paths import shows_partials
from bridge.pipeline.replies.streams import PARTIAL_SECONDS, partial_key
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import in_db_thread
from bridge.runtime.launcher import liveness
from bridge.runtime.wakeups.publish import Topic, channel_of
from bridge.security import logs
from openclaw import agent_text
from openclaw.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from accounts.models import Connection
    from bridge.connector.held import HeldConnection
    from bridge.models import Delivery

log = logging.getLogger(__name__)
LEASE_SECONDS = 5.0
PARTIALS_SECONDS = 0.3
# For so long the leases wait for connections that are being closed, which are opened anew.
CLOSE_WAIT_SECONDS = 2.0


class Connector:
    def __init__(self) -> None:
        self.holder = claims.holder_name()
        self.stopping = asyncio.Event()
        self.connections: dict[int, HeldConnection] = {}
        # Those that are being closed; each row is opened anew only after that.
        self.closing: dict[int, asyncio.Task[None]] = {}
        self.senders = Senders(self.holder)
        self.valkey = redis.asyncio.Redis.from_url(settings.REDIS_URL, decode_responses=True, socket_timeout=5)
        # By the key in Valkey: the text so far, and what its mapping allows. What readers may see of it is computed when it is published.
        self.partials: dict[str, tuple[str, Sequence[str]]] = {}
        self.outage_log, self.renewal_log = logs.Rarely(), logs.Rarely()
        self.defect_logs: dict[int, logs.Rarely] = {}

    async def run(self) -> None:
        """Run until `stop`. Turns that have not ended are left to the next connector, which finds their answers by their keys."""
        work.begin("connector")
        helpers = [
            asyncio.create_task(task)
            for task in (self._listen(), self._publish_partials(), self._keep_leases(), self.senders.run())
        ]
        try:
            while not self.stopping.is_set():
                await self._try_update_connections()
                liveness.touch_sign("connector")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_SECONDS):
                        await self.stopping.wait()
        finally:
            work.end()
            await self._shut_down(helpers)

    def stop(self) -> None:
        self.stopping.set()

    async def _shut_down(self, helpers: list[asyncio.Task[None]]) -> None:
        await self.senders.stop()
        await _cancel_all(helpers, repeat_seconds=1)
        await _cancel_all([connection.task for connection in self.connections.values()])
        await asyncio.gather(*self.closing.values())
        await in_db_thread(claims.release_all_leases, self.holder)
        await in_db_thread(leases.release, self.holder)
        await self.valkey.aclose()

    async def _try_update_connections(self) -> None:
        """Update the connections. While the database is away the turns go on, and this is tried again."""
        try:
            await self._update_connections()
            self.outage_log.forget()
        except DB_UNAVAILABLE as error:
            self.outage_log.note_outage(log, "connections", error)

    async def _update_connections(self) -> None:
        """Open each connection that we hold, and close those that we do not hold any more or whose settings changed.

        A row that cannot be read must not end the connections of all others.
        """
        rows = {row.pk: row for row in await in_db_thread(leases.acquire, self.holder)}
        # What ended by itself waits for staff. Its row may have been read before that was written: it is opened in the next round at most.
        ended = set()
        for pk in list(self.connections):
            if self.connections[pk].task.done():
                ended.add(pk)
            with self._log_defects(pk):
                await self._refresh_or_close(pk, rows.get(pk))
        if self.closing:  # a slow one must not keep the leases from being renewed
            await asyncio.wait(self.closing.values(), timeout=CLOSE_WAIT_SECONDS)
        for pk, row in rows.items():
            if pk not in self.connections and pk not in self.closing and pk not in ended:
                with self._log_defects(pk):
                    self.connections[pk] = self._open_connection(row)

    async def _refresh_or_close(self, pk: int, row: Connection | None) -> None:
        connection = self.connections[pk]
        if row is None or connection.is_outdated(row):
            del self.connections[pk]
            self.closing[pk] = asyncio.create_task(_cancel_all([connection.task]))
            self.closing[pk].add_done_callback(lambda _task: self.closing.pop(pk, None))
        else:
            await connection.refresh(row)

    @contextlib.contextmanager
    def _log_defects(self, pk: int) -> Iterator[None]:
        try:
            yield
        except DB_UNAVAILABLE:
            raise
        except Exception as error:
            if self.defect_logs.setdefault(pk, logs.Rarely()).is_due(type(error).__name__):
                log.exception("connection %s cannot be kept", pk)

    def _open_connection(self, row: Connection) -> HeldConnection:
        if row.gateway_id:
            return GatewayConnection(row, self.holder, self.keep_partial)
        return AccountConnection(row, self.senders.wake)

    def _gateway_connections(self) -> list[GatewayConnection]:
        return [each for each in self.connections.values() if isinstance(each, GatewayConnection)]

    async def _listen(self) -> None:
        """Listen for wake-ups and stops. A lost wake-up costs a second; a lost stop is found with the next renewal."""
        while True:
            try:
                async with self.valkey.pubsub() as subscription:
                    await subscription.subscribe(channel_of(Topic.ASK), channel_of(Topic.SOCKET), stop.STOP_CHANNEL)
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
                        if message:
                            await self._handle_publication(message["channel"], message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(POLL_SECONDS)

    async def _handle_publication(self, channel: str, text: str) -> None:
        if channel == channel_of(Topic.ASK):
            for connection in self._gateway_connections():
                connection.wake_event.set()
        elif channel == channel_of(Topic.SOCKET):
            self.senders.wake()
        else:
            await self._stop_turns({int(pk) for pk in text.split(",")})

    async def _stop_turns(self, deliveries: set[int]) -> None:
        for connection in self._gateway_connections():
            for pk, turn in list(connection.turns.items()):
                if pk in deliveries and not turn.stopped:
                    with contextlib.suppress(GatewayError):
                        await turn.stop()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(claims.RENEW_SECONDS)
            try:
                running = {pk for connection in self._gateway_connections() for pk in connection.turns}
                await in_db_thread(claims.renew, self.holder, running)
                await self._stop_turns(await in_db_thread(stop.stopped_turns, running))
                self.renewal_log.forget()
            except Exception as error:
                # If the database is away the leases may expire, and then another connector recovers the turns.
                if self.renewal_log.is_due(type(error).__name__):
                    log.exception("leases could not be renewed")

    def keep_partial(self, delivery: Delivery, text: str) -> None:
        message = delivery.message
        if message and shows_partials(message.account.kind):
            self.partials[partial_key(message.uuid)] = text, delivery.payload.get("allowed", ())

    async def _publish_partials(self) -> None:
        """Publish all texts that have grown, in one round trip."""
        while True:
            await asyncio.sleep(PARTIALS_SECONDS)
            if not self.partials:
                continue
            partials, self.partials = self.partials, {}
            with contextlib.suppress(RedisError, OSError):
                async with self.valkey.pipeline(transaction=False) as pipe:
                    for key, (text, allowed) in partials.items():
                        pipe.set(key, restrict(agent_text.keep_visible_so_far(text), allowed), ex=PARTIAL_SECONDS)
                    await pipe.execute()


async def _cancel_all(tasks: Iterable[asyncio.Task[None]], repeat_seconds: float = CLOSE_SECONDS + 2) -> None:
    """Cancel tasks and wait for their end. The cancellation is repeated after `repeat_seconds`, because one may be lost:

    redis-py writes with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes at the end of the write.
    """
    unfinished = set(tasks)
    while unfinished:
        for task in unfinished:
            task.cancel()
        done, unfinished = await asyncio.wait(unfinished, timeout=repeat_seconds)
        for task in done:
            if not task.cancelled() and task.exception():
                log.error("a task of the connector failed", exc_info=task.exception())
