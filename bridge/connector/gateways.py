"""The connection to a gateway: it claims turns of agents, and takes what agents say on their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING

from accounts.health import Health
from bridge.connector import leases, states
from bridge.connector.held import HeldConnection
from bridge.models import Delivery, Message, Outcome, Route, State, Target
from bridge.pipeline.agent import shares
from bridge.pipeline.agent.transports import HttpTransport, SocketTransport
from bridge.pipeline.agent.turn import AgentTurn, claim_turns
from bridge.pipeline.delivery import settle
from bridge.pipeline.outbound import outbox
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.runtime.db.threads import in_db_thread
from bridge.runtime.spool.fitting import shorten_id
from channels_wechat.contract.connection import ConnectionRefused, ConnectionState
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content
from openclaw import agent_text
from openclaw.errors import Code, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from accounts.models import Connection
    from bridge.connector.held import Ending
    from bridge.pipeline.agent.transports import Transport
    from openclaw.models import Gateway
    from openclaw.turns import ProactiveReply

    KeepPartial = Callable[[Delivery, str], None]

log = logging.getLogger(__name__)
# Seconds between two searches for turns if no wake-up comes.
POLL_SECONDS = 1.0
CLOSE_SECONDS = 10  # how long the turns of a closed connection may take to end
PROBE_SECONDS = 60
_TURN_KEY = re.compile(r"\d+\.\d+")


class GatewayConnection(HeldConnection):
    """The connection to a gateway. It claims as many turns as there is room for."""

    def __init__(self, row: Connection, holder: str, keep_partial: KeepPartial) -> None:
        self.holder, self.keep_partial = holder, keep_partial
        self.wake_event = asyncio.Event()
        self.turns: dict[int, AgentTurn] = {}
        self.turn_tasks: set[asyncio.Task[None]] = set()
        self.side_tasks: set[asyncio.Task[None]] = set()
        self.open_transport: Transport | None = None  # set while the connection works
        self._transport: Transport | None = None
        self.next_probe_at = 0.0
        super().__init__(row)

    @property
    def gateway(self) -> Gateway:
        if self.row.gateway is None:
            raise ValueError("this is the connection of an account")
        return self.row.gateway

    async def _serve(self) -> None:
        self._transport = self._make_transport()
        await self._connect(self._transport)
        self.open_transport = self._transport
        self._note_open()
        await in_db_thread(states.store_state, self.row, ConnectionState.CONNECTED)
        await self._work(self._transport)

    async def refresh(self, row: Connection) -> None:
        await super().refresh(row)
        if self.open_transport and self.open_transport.last_frame_at:
            await in_db_thread(states.store_frame_time, row, self.open_transport.last_frame_at)
        await self.refresh_health()

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
        await in_db_thread(leases.store_hello, self.row, version, boot_id, agents, device_token)
        log.info("gateway %s: connected (%s, %s agents)", self.gateway.pk, version, len(agents))
        if has_restarted:
            await in_db_thread(_try_refused_turns, self.gateway.pk)
        if has_restarted and agents:
            self._start_side_task(self._warm_up(transport, agents[0].id, boot_id))

    async def _warm_up(self, transport: Transport, agent_id: str, boot_id: str) -> None:
        """Warm up the gateway once after each of its starts, at the same time as its first turns."""
        try:
            await transport.warm_up(agent_id, boot_id)
        except GatewayError as error:
            log.info("gateway %s: not warmed up (%s)", self.gateway.pk, error.code)

    async def _work(self, transport: Transport) -> None:
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
            claimed = await in_db_thread(claim_turns, self.holder, min(room, 50), self.gateway)
        except DB_UNAVAILABLE:  # the connection and its turns go on
            return 0
        for delivery, opened in claimed:
            self._start_turn(AgentTurn(delivery, opened, transport, self.keep_partial, self._start_side_task))
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

    async def _record_end(self, error: Ending | None) -> bool:
        if error is None or isinstance(error, ConnectionRefused):
            raise TypeError(f"a gateway's connection ended with {error!r}")
        stopped = error.action == Action.CONFIG
        await in_db_thread(
            self.gateway.set_state_as_holder,
            Health.STOPPED if stopped else Health.FAILING,
            str(error.code),
            error.params,
        )
        state = ConnectionState.BAD_CREDENTIALS if stopped else ConnectionState.CONNECTING
        await in_db_thread(states.store_state, self.row, state, str(error.code), error.params)
        self._log_end(f"gateway {self.gateway.pk}", str(error.code))
        return not stopped

    async def _clean_up(self) -> None:
        """Close the connection. Its turns end as unknown; those that do not end in time are cancelled, and recovered after their lease."""
        self.open_transport = None
        if self._transport:
            await self._transport.close()
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


def _try_refused_turns(gateway_id: int) -> None:
    """Try at once what the gateway could not start before its restart, which is the cure for that."""
    turns = Delivery.objects.filter(target=Target.AGENT, gateway=gateway_id, code=Code.RUN_NOT_STARTED)
    settle.try_now(turns)


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
