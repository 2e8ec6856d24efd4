"""The connector, which holds the long connections: one task for each gateway whose lease it has, and one for each turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from accounts.health import Health
from bridge.connector import leases
from bridge.models import Delivery, Message, Outcome, Route, State, Target
from bridge.pipeline.agent import shares, stop
from bridge.pipeline.agent.transports import HttpTransport, SocketTransport
from bridge.pipeline.agent.turn import AgentTurn, claim_turns
from bridge.pipeline.delivery import claims
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.rights import restrict
from bridge.pipeline.replies.paths import is_polled
from bridge.pipeline.replies.streams import PARTIAL_SECONDS, partial_key
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.runtime.db.threads import in_db_thread
from bridge.runtime.launcher import liveness
from bridge.runtime.spool.fitting import shorten_id
from bridge.runtime.wakeups.publish import Topic, channel_of
from bridge.security import logs
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content
from openclaw import agent_text
from openclaw.client import backoff_seconds
from openclaw.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from bridge.pipeline.agent.transports import Transport
    from openclaw.models import Gateway
    from openclaw.turns import ProactiveReply

log = logging.getLogger(__name__)
# Seconds between two searches for turns if no wake-up comes.
POLL_SECONDS = 1.0
LEASE_SECONDS = 5.0
PARTIALS_SECONDS = 0.3
CLOSE_SECONDS = 10  # how long the turns of a closed connection may take to end
STABLE_SECONDS = 60  # after a connection of this length the backoff starts at its first value
PROBE_SECONDS = 60
LONGEST_WAIT_SECONDS = 3600  # even if a gateway asks for more: an attempt that comes too early is only refused once
_TURN_KEY = re.compile(r"\d+\.\d+")


class Connector:
    def __init__(self) -> None:
        self.holder = claims.holder_name()
        self.stopping = asyncio.Event()
        self.connections: dict[int, GatewayConnection] = {}
        self.valkey = redis.asyncio.Redis.from_url(settings.REDIS_URL, decode_responses=True, socket_timeout=5)
        # By the key in Valkey: the text so far, and what its mapping allows. What readers may see of it is computed when it is published.
        self.partials: dict[str, tuple[str, Sequence[str]]] = {}
        self.outage_log, self.renewal_log = logs.Rarely(), logs.Rarely()

    async def run(self) -> None:
        """Run until `stop`. Turns that have not ended are left to the next connector, which finds their answers by their keys."""
        helpers = [
            asyncio.create_task(task) for task in (self._listen(), self._publish_partials(), self._keep_leases())
        ]
        try:
            while not self.stopping.is_set():
                await self._try_update_connections()
                liveness.touch_sign("connector")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_SECONDS):
                        await self.stopping.wait()
        finally:
            await self._shut_down(helpers)

    def stop(self) -> None:
        self.stopping.set()

    async def _shut_down(self, helpers: list[asyncio.Task[None]]) -> None:
        await _cancel_all(helpers, repeat_seconds=1)
        await _cancel_all([connection.task for connection in self.connections.values()])
        await in_db_thread(claims.release_all_leases, self.holder)
        await in_db_thread(leases.release, self.holder)
        await self.valkey.aclose()

    async def _try_update_connections(self) -> None:
        """Update the connections. While the database is away the turns go on, and this is tried again."""
        try:
            await self._update_connections()
            self.outage_log.forget()
        except DB_UNAVAILABLE as error:
            self.outage_log.note_outage(log, "gateways", error)

    async def _update_connections(self) -> None:
        """Open a connection to each gateway that we hold, and close those to other gateways or with changed settings."""
        gateways = {gateway.pk: gateway for gateway in await in_db_thread(leases.acquire, self.holder)}
        for pk, connection in list(self.connections.items()):
            current = gateways.get(pk)
            if (
                current is None
                or leases.read_connection_settings(current) != leases.read_connection_settings(connection.gateway)
                or connection.task.done()
            ):
                await self._close_connection(pk)
            else:
                connection.gateway = current
                await connection.refresh_health()
        for pk, gateway in gateways.items():
            if pk not in self.connections:
                self.connections[pk] = GatewayConnection(gateway, self)

    async def _close_connection(self, pk: int) -> None:
        connection = self.connections.pop(pk)
        await _cancel_all([connection.task])

    async def _listen(self) -> None:
        """Listen for wake-ups and stops. A lost wake-up costs a second; a lost stop is found with the next renewal."""
        while True:
            try:
                async with self.valkey.pubsub() as subscription:
                    await subscription.subscribe(channel_of(Topic.ASK), stop.STOP_CHANNEL)
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
                        if message:
                            await self._handle_publication(message["channel"], message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(POLL_SECONDS)

    async def _handle_publication(self, channel: str, text: str) -> None:
        if channel == channel_of(Topic.ASK):
            for connection in self.connections.values():
                connection.wake_event.set()
        else:
            await self._stop_turns({int(pk) for pk in text.split(",")})

    async def _stop_turns(self, deliveries: set[int]) -> None:
        for connection in self.connections.values():
            for pk, turn in list(connection.turns.items()):
                if pk in deliveries and not turn.stopped:
                    with contextlib.suppress(GatewayError):
                        await turn.stop()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(claims.RENEW_SECONDS)
            try:
                running = {pk for connection in self.connections.values() for pk in connection.turns}
                await in_db_thread(claims.renew, self.holder, running)
                await self._stop_turns(await in_db_thread(stop.stopped_turns, running))
                self.renewal_log.forget()
            except Exception as error:
                # If the database is away the leases may expire, and then another connector recovers the turns.
                if self.renewal_log.is_due(type(error).__name__):
                    log.exception("leases could not be renewed")

    def keep_partial(self, delivery: Delivery, text: str) -> None:
        message = delivery.message
        if message and is_polled(message.account.kind):
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


class GatewayConnection:
    """The connection to a gateway that we hold. It claims as many turns as there is room for, and connects again after an error."""

    def __init__(self, gateway: Gateway, connector: Connector) -> None:
        self.gateway, self.connector = gateway, connector
        self.wake_event = asyncio.Event()
        self.turns: dict[int, AgentTurn] = {}
        self.turn_tasks: set[asyncio.Task[None]] = set()
        self.side_tasks: set[asyncio.Task[None]] = set()
        self.open_transport: Transport | None = None  # set while the connection works
        self.next_probe_at = 0.0
        self.error_log, self.outage_log = logs.Rarely(), logs.Rarely()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            transport = self._make_transport()
            started_at = asyncio.get_running_loop().time()
            try:
                await self._connect(transport)
                self.open_transport = transport
                self.error_log.forget()
                self.outage_log.forget()
                await self._serve(transport)
            except GatewayError as error:
                was_stable = asyncio.get_running_loop().time() - started_at > STABLE_SECONDS
                failures = 0 if was_stable else failures + 1
                if not await self._record_error(error):
                    return
                wait = min(error.retry_after or 0.0, LONGEST_WAIT_SECONDS)
                await asyncio.sleep(max(wait, backoff_seconds(failures - 1) if failures else 0.2))
            except DB_UNAVAILABLE as error:
                self.outage_log.note_outage(log, f"gateway {self.gateway.pk}", error)
                await asyncio.sleep(POLL_SECONDS)
            finally:
                self.open_transport = None
                await self._close(transport)

    async def refresh_health(self) -> None:
        """Set the health to OK if a failed test changed it although the connection works. With HTTP, ask the gateway once a minute."""
        transport, now = self.open_transport, asyncio.get_running_loop().time()
        if transport is None or self.gateway.state != Health.FAILING or now < self.next_probe_at:
            return
        self.next_probe_at = now + PROBE_SECONDS
        self._start_side_task(self._probe(transport))

    async def _probe(self, transport: Transport) -> None:
        if isinstance(transport, HttpTransport):
            try:
                await transport.open()
            except GatewayError as error:
                log.info("gateway %s: still failing (%s)", self.gateway.pk, error.code)
                return
        if not transport.closed.is_set():
            await in_db_thread(self.gateway.set_state_as_holder, Health.OK)

    def _make_transport(self) -> Transport:
        endpoint = leases.make_endpoint(self.gateway)
        return (
            HttpTransport(endpoint)
            if self.gateway.transport == "http"
            else SocketTransport(endpoint, self._on_proactive)
        )

    async def _connect(self, transport: Transport) -> None:
        version, boot_id, device_token = await transport.open()
        agents, has_restarted = await transport.list_agents(), boot_id not in ("", self.gateway.boot_id)
        await in_db_thread(leases.store_hello, self.gateway, version, boot_id, agents, device_token)
        log.info("gateway %s: connected (%s, %s agents)", self.gateway.pk, version, len(agents))
        if has_restarted and agents:
            self._start_side_task(self._warm_up(transport, agents[0].id, boot_id))

    async def _warm_up(self, transport: Transport, agent_id: str, boot_id: str) -> None:
        """Warm up the gateway once after each of its starts, at the same time as its first turns."""
        try:
            await transport.warm_up(agent_id, boot_id)
        except GatewayError as error:
            log.info("gateway %s: not warmed up (%s)", self.gateway.pk, error.code)

    async def _serve(self, transport: Transport) -> None:
        while True:
            self.wake_event.clear()
            if not await self._claim_turns(transport):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):  # wait_for may lose a cancellation before Python 3.12
                        await self._wait_for_work(transport)
            if transport.closed.is_set():
                raise transport.lost

    async def _wait_for_work(self, transport: Transport) -> None:
        """Wait for a wake-up, the end of a turn, or the end of the connection."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.wake_event, transport.closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    async def _claim_turns(self, transport: Transport) -> int:
        room = self.gateway.max_in_flight - len(self.turn_tasks)
        if room <= 0:
            return 0
        try:
            claimed = await in_db_thread(claim_turns, self.connector.holder, min(room, 50), self.gateway)
        except DB_UNAVAILABLE:  # the connection and its turns go on
            return 0
        for delivery, opened in claimed:
            self._start_turn(AgentTurn(delivery, opened, transport, self.connector.keep_partial, self._start_side_task))
        return len(claimed)

    def _start_turn(self, turn: AgentTurn) -> None:
        self.turns[turn.delivery.pk] = turn
        task = asyncio.create_task(turn.run())
        self.turn_tasks.add(task)
        task.add_done_callback(lambda done: self._finish_turn(done, turn))

    def _finish_turn(self, task: asyncio.Task[None], turn: AgentTurn) -> None:
        """Remove a finished turn, and search for more if another one may have waited for it."""
        is_limited = self._is_limited(turn)
        self.turn_tasks.discard(task)
        self.turns.pop(turn.delivery.pk, None)
        if is_limited or turn.lane_waits:
            self.wake_event.set()

    def _is_limited(self, turn: AgentTurn) -> bool:
        """Whether another turn may have waited for the end of this one, because the gateway or the account's share was full."""
        max_turns, account = self.gateway.max_in_flight, turn.delivery.account
        turns_of_account = sum(other.delivery.account_id == turn.delivery.account_id for other in self.turns.values())
        is_full = len(self.turn_tasks) >= max_turns - shares.reserve_of(max_turns)
        return is_full or (
            account is not None and turns_of_account >= shares.share_of(max_turns, account.gateway_share)
        )

    def _start_side_task(self, work: Coroutine[None, None, None]) -> None:
        """Start work that does not count as a turn, so that it takes no room from other turns."""
        task = asyncio.create_task(work)
        self.side_tasks.add(task)
        task.add_done_callback(self.side_tasks.discard)

    async def _record_error(self, error: GatewayError) -> bool:
        """Write the error to the row. Return whether to connect again; False if staff have to change something first."""
        state = Health.STOPPED if error.action == Action.CONFIG else Health.FAILING
        await in_db_thread(self.gateway.set_state_as_holder, state, str(error.code), error.params)
        if self.error_log.is_due(str(error.code)):
            times = f" ({self.error_log.times} times in a row)" if self.error_log.times > 1 else ""
            log.warning("gateway %s: %s%s", self.gateway.pk, error.code, times)
        return state != Health.STOPPED

    async def _close(self, transport: Transport) -> None:
        """Close the connection. Its turns end as unknown; those that do not end in time are cancelled, and recovered after their lease."""
        await transport.close()
        pending = [task for task in (*self.turn_tasks, *self.side_tasks) if not task.done()]
        if pending:
            _done, unfinished = await asyncio.wait(pending, timeout=CLOSE_SECONDS)
            for task in unfinished:
                task.cancel()

    def _on_proactive(self, reply: ProactiveReply) -> None:
        """Send a proactive message. The late or resumed answer of a turn is none: `recover` gets it."""
        if not _TURN_KEY.fullmatch(reply.run_id) and not _TURN_KEY.fullmatch(reply.resumes):
            task = asyncio.create_task(self._try_send_proactive(reply))
            self.turn_tasks.add(task)
            task.add_done_callback(self.turn_tasks.discard)

    async def _try_send_proactive(self, reply: ProactiveReply) -> None:
        try:
            await in_db_thread(retry_while_db_down, send_proactive, self.gateway, reply)
        except Exception:  # no code reads the error of this task, and the connection goes on
            log.exception("gateway %s: a proactive message could not be sent", self.gateway.pk)


def send_proactive(gateway: Gateway, reply: ProactiveReply) -> None:
    """Send a proactive message of an agent to the conversation of its session.

    While the outcome of a turn of that session is unknown, the message may be that turn's answer. Then it is not sent: `recover` gets it.
    """
    turns = Delivery.objects.filter(target=Target.AGENT, gateway=gateway, payload__session_key=reply.session_key)
    last = turns.select_related("message__account", "route").order_by("-id").first()
    if last is None or last.message is None or (last.route and last.route.scope == Route.Scope.SHARED):
        log.warning("gateway %s: a proactive message in a session without a conversation", gateway.pk)
        return
    unknown_turns = turns.filter(attempts__outcome__in=(Outcome.UNKNOWN, Outcome.INTERRUPTED))
    if unknown_turns.filter(state__in=(State.PENDING, State.SENDING)).exists():
        log.warning("gateway %s: run %s may be the answer to a lost turn", gateway.pk, reply.run_id)
        return
    text = agent_text.keep_visible(reply.answer.text)
    if not text:  # the agent chose to say nothing
        return
    target = (last.message.account, last.message.peer_kind, last.message.peer_id)
    key = shorten_id(f"run:{gateway.pk}:{reply.run_id}")
    allowed = last.payload.get("allowed", ())
    outbox.send(*target, Content(text=text), source=Message.Source.AGENT, key=key, allowed=allowed)


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
