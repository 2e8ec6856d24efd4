"""The connector: holds every long connection. One task for each gateway it owns, one for each turn under way."""

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
from bridge.runtime.spool.fitting import short_id
from bridge.runtime.wakeups.publish import Topic, channel_of
from bridge.security import logs
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content
from openclaw import agent_text
from openclaw.client import backoff
from openclaw.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from bridge.pipeline.agent.transports import Transport
    from openclaw.models import Gateway
    from openclaw.turns import ProactiveReply

log = logging.getLogger(__name__)
# Without a ring there is a look each second; leases are renewed well within their 30 s.
LOOK_SECONDS = 1.0
LEASE_EVERY_SECONDS = 5.0
PARTIAL_EVERY_SECONDS = 0.3
CLOSE_SECONDS = 10  # for the turns of a closed connection to settle
STEADY_SECONDS = 60  # a connection that held this long starts the backoff anew
PROBE_EVERY_SECONDS = 60
LONGEST_WAIT_SECONDS = 3600  # whatever a gateway asks for: to connect too early costs one refusal
_OUR_KEY = re.compile(r"\d+\.\d+")


class Connector:
    def __init__(self) -> None:
        self.holder = claims.holder_name()
        self.stopping = asyncio.Event()
        self.owned: dict[int, GatewayConnection] = {}
        self.valkey = redis.asyncio.Redis.from_url(settings.REDIS_URL, decode_responses=True, socket_timeout=5)
        # By the key in Valkey: the text so far, and what its mapping allows. What readers may see of it is found out when it is shown.
        self.partials: dict[str, tuple[str, Sequence[str]]] = {}
        self.away, self.unrenewed = logs.Rarely(), logs.Rarely()

    async def run(self) -> None:
        """Until `stop`. What is under way then is handed over: its keys stay, the next connector finds the answers."""
        helpers = [asyncio.create_task(task) for task in (self._listen(), self._show_partials(), self._keep_leases())]
        try:
            while not self.stopping.is_set():
                await self._own_or_wait()
                liveness.touch_sign("connector")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_EVERY_SECONDS):
                        await self.stopping.wait()
        finally:
            await self._end(helpers)

    def stop(self) -> None:
        self.stopping.set()

    async def _end(self, helpers: list[asyncio.Task[None]]) -> None:
        await _ended(helpers, patience=1)
        await _ended([owned.task for owned in self.owned.values()])
        await in_db_thread(claims.release_all_leases, self.holder)
        await in_db_thread(leases.release, self.holder)
        await self.valkey.aclose()

    async def _own_or_wait(self) -> None:
        """While the database is away the turns go on: their ends wait for it, and who has what is asked again."""
        try:
            await self._own()
            self.away.forget()
        except DB_UNAVAILABLE as error:
            self.away.note_outage(log, "gateways", error)

    async def _own(self) -> None:
        """Start a task for each gateway that is ours now, end those that are not, or are to be reached another way now."""
        gateways = {gateway.pk: gateway for gateway in await in_db_thread(leases.acquire, self.holder)}
        for pk, owned in list(self.owned.items()):
            fresh = gateways.get(pk)
            if (
                fresh is None
                or leases.connection_settings(fresh) != leases.connection_settings(owned.gateway)
                or owned.task.done()
            ):
                await self._let_go(pk)
            else:
                owned.gateway = fresh
                await owned.say_that_it_works()
        for pk, gateway in gateways.items():
            if pk not in self.owned:
                self.owned[pk] = GatewayConnection(gateway, self)

    async def _let_go(self, pk: int) -> None:
        owned = self.owned.pop(pk)
        await _ended([owned.task])

    async def _listen(self) -> None:
        """Listen for wake-ups and stops. A lost wake-up costs a second, a lost stop lasts until the next renewal."""
        while True:
            try:
                async with self.valkey.pubsub() as subscription:
                    await subscription.subscribe(channel_of(Topic.ASK), stop.STOP_CHANNEL)
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
                        if message:
                            await self._heard(message["channel"], message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(LOOK_SECONDS)

    async def _heard(self, channel: str, text: str) -> None:
        if channel == channel_of(Topic.ASK):
            for owned in self.owned.values():
                owned.wake.set()
        else:
            await self._stop_turns({int(pk) for pk in text.split(",")})

    async def _stop_turns(self, deliveries: set[int]) -> None:
        for owned in self.owned.values():
            for pk, asking in list(owned.asking.items()):
                if pk in deliveries and not asking.stopped:
                    with contextlib.suppress(GatewayError):
                        await asking.stop()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(claims.RENEW_SECONDS)
            try:
                running = {pk for owned in self.owned.values() for pk in owned.asking}
                await in_db_thread(claims.renew, self.holder, running)
                await self._stop_turns(await in_db_thread(stop.stopped_turns, running))
                self.unrenewed.forget()
            except Exception as error:
                # Where the database is away leases may run out, and then another connector recovers the turns.
                if self.unrenewed.is_due(type(error).__name__):
                    log.exception("leases could not be renewed")

    def partial(self, delivery: Delivery, text: str) -> None:
        message = delivery.message
        if message and is_polled(message.account.kind):
            self.partials[partial_key(message.uuid)] = text, delivery.payload.get("allowed", ())

    async def _show_partials(self) -> None:
        """All texts that grew, in one round trip."""
        while True:
            await asyncio.sleep(PARTIAL_EVERY_SECONDS)
            if not self.partials:
                continue
            grown, self.partials = self.partials, {}
            with contextlib.suppress(RedisError, OSError):
                async with self.valkey.pipeline(transaction=False) as pipe:
                    for key, (text, allowed) in grown.items():
                        pipe.set(key, restrict(agent_text.keep_visible_so_far(text), allowed), ex=PARTIAL_SECONDS)
                    await pipe.execute()


class GatewayConnection:
    """A gateway that is ours: connect, claim what there is room for, connect again."""

    def __init__(self, gateway: Gateway, connector: Connector) -> None:
        self.gateway, self.connector = gateway, connector
        self.wake = asyncio.Event()
        self.asking: dict[int, AgentTurn] = {}
        self.turns: set[asyncio.Task[None]] = set()
        self.leftovers: set[asyncio.Task[None]] = set()
        self.proven: Transport | None = None  # the open link, and when it may be tried whether it still is one
        self.probe_at = 0.0
        self.failing, self.away = logs.Rarely(), logs.Rarely()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            link = self._link()
            began = asyncio.get_running_loop().time()
            try:
                await self._connect(link)
                self.proven = link
                self.failing.forget()
                self.away.forget()
                await self._serve(link)
            except GatewayError as error:
                steady = asyncio.get_running_loop().time() - began > STEADY_SECONDS
                failures = 0 if steady else failures + 1
                if not await self._may_retry(error):
                    return
                wait = min(error.retry_after or 0.0, LONGEST_WAIT_SECONDS)
                await asyncio.sleep(max(wait, backoff(failures - 1) if failures else 0.2))
            except DB_UNAVAILABLE as error:
                self.away.note_outage(log, f"gateway {self.gateway.pk}", error)
                await asyncio.sleep(LOOK_SECONDS)
            finally:
                self.proven = None
                await self._close(link)

    async def say_that_it_works(self) -> None:
        """A failed test does not outlast an open connection, which proves the contrary. By HTTP the gateway is asked, once a minute."""
        link, now = self.proven, asyncio.get_running_loop().time()
        if link is None or self.gateway.state != Health.FAILING or now < self.probe_at:
            return
        self.probe_at = now + PROBE_EVERY_SECONDS
        self._later(self._probe(link))

    async def _probe(self, link: Transport) -> None:
        if isinstance(link, HttpTransport):
            try:
                await link.open()
            except GatewayError as error:
                log.info("gateway %s: still failing (%s)", self.gateway.pk, error.code)
                return
        if not link.closed.is_set():
            await in_db_thread(self.gateway.set_state_as_holder, Health.OK)

    def _link(self) -> Transport:
        endpoint = leases.endpoint(self.gateway)
        return (
            HttpTransport(endpoint)
            if self.gateway.transport == "http"
            else SocketTransport(endpoint, self._on_proactive)
        )

    async def _connect(self, link: Transport) -> None:
        version, boot_id, device_token = await link.open()
        agents, started_anew = await link.agents(), boot_id not in ("", self.gateway.boot_id)
        await in_db_thread(leases.connected, self.gateway, version, boot_id, agents, device_token)
        log.info("gateway %s: connected (%s, %s agents)", self.gateway.pk, version, len(agents))
        if started_anew and agents:
            self._later(self._warm_up(link, agents[0].id, boot_id))

    async def _warm_up(self, link: Transport, agent_id: str, boot_id: str) -> None:
        """Once for each start of the gateway, beside the first turns."""
        try:
            await link.warm_up(agent_id, boot_id)
        except GatewayError as error:
            log.info("gateway %s: not warmed up (%s)", self.gateway.pk, error.code)

    async def _serve(self, link: Transport) -> None:
        while True:
            self.wake.clear()
            if not await self._claim(link):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):  # not wait_for, which before 3.12 may lose a cancellation
                        await self._news(link)
            if link.closed.is_set():
                raise link.lost

    async def _news(self, link: Transport) -> None:
        """A ring, a turn that ended, or the end of the connection."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.wake, link.closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    async def _claim(self, link: Transport) -> int:
        room = self.gateway.max_in_flight - len(self.turns)
        if room <= 0:
            return 0
        try:
            claimed = await in_db_thread(claim_turns, self.connector.holder, min(room, 50), self.gateway)
        except DB_UNAVAILABLE:  # no reason to give up the connection and the turns on it
            return 0
        for delivery, opened in claimed:
            self._start(AgentTurn(delivery, opened, link, self.connector.partial, self._later))
        return len(claimed)

    def _start(self, asking: AgentTurn) -> None:
        self.asking[asking.delivery.pk] = asking
        task = asyncio.create_task(asking.run())
        self.turns.add(task)
        task.add_done_callback(lambda done: self._ended(done, asking))

    def _ended(self, task: asyncio.Task[None], asking: AgentTurn) -> None:
        """Look for more where something waited: for this turn's lane, or for room."""
        limited = self._is_limited(asking)
        self.turns.discard(task)
        self.asking.pop(asking.delivery.pk, None)
        if limited or asking.lane_waits:
            self.wake.set()

    def _is_limited(self, asking: AgentTurn) -> bool:
        """Whether somebody may wait for the room that this turn leaves: the gateway's, or its account's share of it."""
        most, account = self.gateway.max_in_flight, asking.delivery.account
        mine = sum(other.delivery.account_id == asking.delivery.account_id for other in self.asking.values())
        full = len(self.turns) >= most - shares.reserve_of(most)
        return full or (account is not None and mine >= shares.share_of(most, account.gateway_share))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        """What is left of a turn takes no room from other turns."""
        task = asyncio.create_task(work)
        self.leftovers.add(task)
        task.add_done_callback(self.leftovers.discard)

    async def _may_retry(self, error: GatewayError) -> bool:
        """False: staff have to act first, and every process reads that in the row."""
        state = Health.STOPPED if error.action == Action.CONFIG else Health.FAILING
        await in_db_thread(self.gateway.set_state_as_holder, state, str(error.code), error.explained)
        if self.failing.is_due(str(error.code)):
            times = f" ({self.failing.times} times in a row)" if self.failing.times > 1 else ""
            log.warning("gateway %s: %s%s", self.gateway.pk, error.code, times)
        return state != Health.STOPPED

    async def _close(self, link: Transport) -> None:
        """Turns of a lost connection settle themselves as unknown; of a cancelled one they are handed over by the lease."""
        await link.close()
        pending = [task for task in (*self.turns, *self.leftovers) if not task.done()]
        if pending:
            _done, late = await asyncio.wait(pending, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()

    def _on_proactive(self, reply: ProactiveReply) -> None:
        """The agent speaks first. A late or resumed turn of ours is not that: `recover` gets its answer."""
        if not _OUR_KEY.fullmatch(reply.run_id) and not _OUR_KEY.fullmatch(reply.resumes):
            task = asyncio.create_task(self._pass_on(reply))
            self.turns.add(task)
            task.add_done_callback(self.turns.discard)

    async def _pass_on(self, reply: ProactiveReply) -> None:
        try:
            await in_db_thread(retry_while_db_down, send_proactive, self.gateway, reply)
        except Exception:  # nobody waits for this task, and the connection goes on
            log.exception("gateway %s: what an agent said unasked could not be sent", self.gateway.pk)


def send_proactive(gateway: Gateway, reply: ProactiveReply) -> None:
    """Send what an agent said unasked to the conversation whose session it said it in.

    While a turn of that session is in doubt it may be that turn's answer, which `recover` will get: then it is not said here.
    """
    turns = Delivery.objects.filter(target=Target.AGENT, gateway=gateway, payload__session_key=reply.session_key)
    last = turns.select_related("message__account", "route").order_by("-id").first()
    if last is None or last.message is None or (last.route and last.route.scope == Route.Scope.SHARED):
        log.warning("gateway %s: a message for no conversation of ours", gateway.pk)
        return
    doubt = turns.filter(attempts__outcome__in=(Outcome.UNKNOWN, Outcome.INTERRUPTED))
    if doubt.filter(state__in=(State.PENDING, State.SENDING)).exists():
        log.warning("gateway %s: run %s may be the answer to a lost turn", gateway.pk, reply.run_id)
        return
    text = agent_text.keep_visible(reply.answer.text)
    if not text:  # it chose to say nothing
        return
    where = (last.message.account, last.message.peer_kind, last.message.peer_id)
    key = short_id(f"run:{gateway.pk}:{reply.run_id}")
    allowed = last.payload.get("allowed", ())
    outbox.send(*where, Content(text=text), source=Message.Source.AGENT, key=key, allowed=allowed)


async def _ended(tasks: Iterable[asyncio.Task[None]], patience: float = CLOSE_SECONDS + 2) -> None:
    """Cancel and wait. A cancellation that got lost is repeated after `patience` seconds: the work must be handed over.

    (redis-py writes under asyncio.wait_for, which before Python 3.12 drops a cancellation that meets the end of the write.)
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=patience)
        for task in done:
            if not task.cancelled() and task.exception():
                log.error("a task of the connector failed", exc_info=task.exception())
