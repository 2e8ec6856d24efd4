"""Asking agents over the WebSocket of an OpenClaw gateway.

The owner connects, asks, and watches `closed`; there is no reconnecting in here. After a lost connection every open
turn is asked for with `recover` on the next one: an answer, an error, or None when it is safe to ask again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Final

import aiohttp

from channels_wechat.contract.explanations import Action
from openclaw.asking import agent_params, send_params
from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, record, text
from openclaw.reach import BODY_LIMIT, open_session, read_bounded
from openclaw.reading import (
    Transcript,
    make_answer,
    message_text,
    read_agents,
    read_result,
    read_transcript,
    read_wait,
)
from openclaw.runs import SETTLED, Run
from openclaw.session import is_ours
from openclaw.turns import AgentInfo, Answer, Attachment, Endpoint, ForeignReply, Hello, MediaRef, Policy, Turn, Usage
from openclaw.wire import CALL_TIMEOUT, Answers, Wire, address, receive

__all__ = [
    "AgentInfo",
    "Answer",
    "Attachment",
    "Endpoint",
    "ForeignReply",
    "GatewayClient",
    "Hello",
    "MediaRef",
    "Policy",
    "Turn",
    "Usage",
    "backoff",
]

GRACE: Final = 30.0
"""Seconds beyond a turn's own limit in which the gateway may still report that it ended the run."""
HISTORY_LIMIT: Final = 200
HISTORY_CHARACTERS: Final = 500_000
"""Of each text; without it the gateway cuts a text at 8000."""
LATE_SECONDS: Final = 10.0
"""How long the response to a run is still awaited that its events have settled: it brings what the run took."""
POLL: Final = 1.0
REMEMBERED_RUNS: Final = 10_000
FOREIGN_LIMIT: Final = 500
"""Replies that nobody asked for and whose transcript is being read; more than this at once is no agent that speaks."""

OnPartial = Callable[[str], None]
OnUsage = Callable[[Usage], None]
OnForeign = Callable[[ForeignReply], None]


def backoff(attempt: int) -> float:
    """Return the seconds before reconnect number `attempt` (from 0): 1 to 30, with jitter, so herds spread out."""
    return 0.25 + min(29.75, 2.0 ** min(attempt, 5)) * random.uniform(0.75, 1.0)  # noqa: S311 - not a secret


def _ignore(_told: object) -> None:
    """Stand in for a caller that wants no partial text, or no usage."""


def _known(answer: Answer | None) -> Answer:
    """What is not known is no empty answer, which would mean that the agent chose to say nothing."""
    if answer is None:
        raise GatewayError(Code.ANSWER_UNKNOWN)
    return answer


async def _after_acceptance(answers: Answers, seconds: float) -> Json:
    """The next response that is more than the acceptance again, which says nothing new and is no end of the run."""
    ends = asyncio.get_running_loop().time() + seconds
    while True:
        payload = await receive(answers, max(0.0, ends - asyncio.get_running_loop().time()))
        if payload.get("status") != "accepted":
            return payload


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise GatewayError(Code.TIMEOUT, "the gateway is still busy with this session") from None


class GatewayClient:
    """One connection. Create it inside a running event loop and `close` it."""

    def __init__(self, endpoint: Endpoint, on_foreign: OnForeign | None = None, *, grace: float = GRACE) -> None:
        self.endpoint = endpoint
        self._grace = grace
        self._on_foreign = on_foreign
        self._wire = Wire(endpoint, self._event)
        self._runs: dict[str, Run] = {}
        self._policy = Policy()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._names_runs = True

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection is gone, whoever ended it."""
        return self._wire.closed

    @property
    def lost(self) -> GatewayError:
        """Why the connection ended; its `retry_after` is the wait the gateway asked for."""
        return self._wire.lost

    async def connect(self) -> Hello:
        hello = await self._wire.open()
        self._policy = hello.policy
        self._names_runs = bool(hello.boot_id)  # both came with 2026.8
        return hello

    async def close(self) -> None:
        for task in (*self._tasks, *self._late):
            task.cancel()
        await self._wire.close()

    # --- turns --------------------------------------------------------------------------------------------------------

    async def ask(self, turn: Turn, on_partial: OnPartial = _ignore, on_usage: OnUsage = _ignore) -> Answer:
        """Run a turn and return the agent's answer; `on_partial` gets the whole text so far, again and again.

        `on_usage` is called at most once, also for a run that failed, and perhaps up to LATE_SECONDS after the answer.
        A cancelled `ask` leaves the run going; `abort` ends it.
        """
        with self._follow(turn.idempotency_key, on_partial, on_usage) as run:
            try:
                if any(item.kind == "file" for item in turn.attachments):
                    return await self._ask_with_files(turn, run)
                return await self._ask(turn, run)
            except GatewayError as error:
                raise await self._give_up(turn, error) from None

    async def _ask(self, turn: Turn, run: Run) -> Answer:
        async with contextlib.AsyncExitStack() as request:
            answers = await request.enter_async_context(self._wire.request("agent", agent_params(turn, self._policy)))
            run.answers = answers
            payload = await receive(answers, CALL_TIMEOUT)
            if payload.get("status") == "accepted":
                payload = await _after_acceptance(answers, turn.timeout + self._grace)
            if payload is SETTLED and run.answer:
                self._start(self._await_usage(request.pop_all(), answers, run), self._late)
                return run.answer
        if payload.get("status") == "in_flight":
            return await self._end_of(turn, run)
        run.read_usage(payload)
        return read_result(payload, run.seen)

    async def _await_usage(self, request: contextlib.AsyncExitStack, answers: Answers, run: Run) -> None:
        """The response to a run that is settled; that it does not come is no error."""
        async with request:
            with contextlib.suppress(GatewayError):
                run.read_usage(await receive(answers, LATE_SECONDS))

    async def _ask_with_files(self, turn: Turn, run: Run) -> Answer:
        """Ask by `chat.send`, which lays the files into the agent's workspace; `agent` refuses all but images.

        A busy session would mix a turn sent in this way into the run it is busy with, so it is waited for.
        """
        params = send_params(turn, self._policy)
        async with _within(turn.timeout):
            while (await self.history(turn.session_key)).is_running:
                await asyncio.sleep(POLL)
        await self._wire.call("chat.send", params)
        return await self._end_of(turn, run)

    async def _end_of(self, turn: Turn, run: Run) -> Answer:
        payload = await self._wait_payload(turn.idempotency_key, turn.timeout)
        if "endedAt" not in payload:
            raise GatewayError(Code.TIMEOUT)
        answer, history = read_wait(payload, run.seen), await self.history(turn.session_key)
        run.use(history.usage_of(turn.idempotency_key))
        found = history.answer_of(turn.idempotency_key) or history.outcome(turn.idempotency_key)
        return found or run.final_answer or _known(answer or history.answer_ended_at(payload.get("endedAt")))

    async def _give_up(self, turn: Turn, error: GatewayError) -> GatewayError:
        """End a run that outlasted its limit; only if the gateway confirms is the outcome known."""
        if error.code is not Code.TIMEOUT or error.action is not Action.UNKNOWN:
            return error
        with contextlib.suppress(GatewayError):
            if await self.abort(turn.session_key, turn.idempotency_key):
                return GatewayError(Code.TIMEOUT, "stopped by the bridge at its time limit", action=Action.PERMANENT)
        return GatewayError(Code.TIMEOUT)

    async def wait(self, run_id: str, timeout: float) -> Answer:
        """Wait for a run of this boot. Raise `timeout` (unknown) also for a run the gateway does not know."""
        self._remember(run_id)
        payload = await self._wait_payload(run_id, timeout)
        if "endedAt" not in payload:
            raise GatewayError(Code.TIMEOUT, "the run has not ended, or the gateway does not know it")
        return _known(read_wait(payload))

    async def _wait_payload(self, run_id: str, timeout: float) -> Json:
        params = {"runId": run_id, "timeoutMs": max(1, math.ceil(timeout * 1000))}
        return await self._wire.call("agent.wait", params, timeout=timeout + self._grace)

    async def recover(self, turn: Turn, on_partial: OnPartial = _ignore, on_usage: OnUsage = _ignore) -> Answer | None:
        """Find out what became of a turn whose connection was lost, on the same boot or after a restart.

        A run that is still going, or that a restarted gateway resumes (under another run id, one session after the
        other), is waited for. None means that no answer exists and none will come: ask again with a new key.
        Raise the error of a run that is known to have failed, and `timeout` (unknown) when it is still going after
        the turn's time. What only keeps us from finding out is unknown too: it says nothing of the run. Raise
        `answer_unknown` where the turn ran on a gateway that does not say what it answered.
        """
        with self._follow(turn.idempotency_key, on_partial, on_usage) as run:
            async with _within(turn.timeout + self._grace):
                try:
                    return await self._recover(turn, run)
                except GatewayError as error:
                    in_doubt = error.action in (Action.RETRY, Action.WAIT) and error.code is not Code.RUN_FAILED
                    raise error.fresh(Action.UNKNOWN if in_doubt else None) from None

    async def _recover(self, turn: Turn, run: Run) -> Answer | None:
        key = turn.idempotency_key
        while True:
            payload = await self._wait_payload(key, POLL)
            history = await self.history(turn.session_key)
            if answer := history.outcome(key):
                run.use(history.usage_of(answer.run_id))
                return answer
            if "endedAt" in payload:
                return run.final_answer or _known(
                    read_wait(payload, run.seen) or history.answer_ended_at(payload["endedAt"])
                )
            if not self._may_still_answer(history, key):
                break
        if not self._names_runs and history.was_asked(turn.message):
            raise GatewayError(Code.ANSWER_UNKNOWN)
        return None

    def _may_still_answer(self, history: Transcript, run_id: str) -> bool:
        if run_id in history.active_runs() or history.is_pending(run_id):
            return True
        return history.is_running and (history.turn(run_id) is not None or not self._names_runs)

    async def abort(self, session_key: str, run_id: str = "") -> bool:
        """Stop a run, or all runs of the session; tell whether one was running."""
        params = {"sessionKey": session_key} | ({"runId": run_id} if run_id else {})
        return bool((await self._wire.call("chat.abort", params)).get("aborted"))

    async def warm_up(self, agent_id: str, boot_id: str) -> None:
        """Let a gateway that has just started load what a turn needs, which takes it seconds; no model is asked.

        `/status` is a command that the gateway answers itself. Its session is no conversation of ours, so what it says is
        heard by nobody. The key makes a repetition for the same boot harmless.
        """
        session_key = f"agent:{agent_id}:bridge:warmup"
        params = {"sessionKey": session_key, "message": "/status", "idempotencyKey": f"warmup-{boot_id}"}
        await self._wire.call("chat.send", params)

    # --- questions ----------------------------------------------------------------------------------------------------

    async def agents(self) -> list[AgentInfo]:
        return read_agents(await self._wire.call("agents.list", {}))

    async def history(self, session_key: str, limit: int = HISTORY_LIMIT) -> Transcript:
        """Return the newest rows of a session, oldest first; an unknown session is empty."""
        params = {"sessionKey": session_key, "limit": limit, "maxChars": HISTORY_CHARACTERS}
        return read_transcript(await self._wire.call("chat.history", params))

    async def download(self, session_key: str, artifact_id: str) -> bytes:
        """Return the bytes of an artifact; raise `media_gone` when the gateway cannot give them."""
        params = {"sessionKey": session_key, "artifactId": artifact_id}
        try:
            payload = await self._wire.call("artifacts.download", params)
        except GatewayError as error:
            if error.code is Code.INVALID_REQUEST:
                raise GatewayError(Code.MEDIA_GONE, error.detail) from None
            raise
        if payload.get("encoding") == "base64":
            try:
                return base64.b64decode(text(payload.get("data")))
            except ValueError:
                raise GatewayError(Code.MEDIA_GONE, "what came is not base64") from None
        return await self._fetch(text(payload.get("url")))

    async def _fetch(self, path: str) -> bytes:
        """Get a short-lived address of the gateway itself; another host's is not ours to open here."""
        if not path.startswith("/") or path.startswith("//"):
            raise GatewayError(Code.MEDIA_GONE, "the artifact has no address on the gateway")
        headers = {"Authorization": f"Bearer {self.endpoint.token}"}
        try:
            url = address(self.endpoint.base_url, "http") + path
            limit = aiohttp.ClientTimeout(total=CALL_TIMEOUT)
            async with open_session(self.endpoint, limit) as http, http.get(url, headers=headers) as response:
                if response.status != 200:
                    raise GatewayError(Code.MEDIA_GONE, f"HTTP {response.status}")
                return await read_bounded(response, BODY_LIMIT)
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise GatewayError(Code.UNREACHABLE) from None

    # --- events -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _follow(self, run_id: str, on_partial: OnPartial, on_usage: OnUsage) -> Iterator[Run]:
        self._remember(run_id)
        self._runs[run_id] = run = Run(run_id, on_partial, on_usage)
        try:
            yield run
        finally:
            self._runs.pop(run_id, None)

    def _remember(self, run_id: str) -> None:
        self._known[run_id] = None
        if len(self._known) > REMEMBERED_RUNS:
            self._known.popitem(last=False)

    def _event(self, name: str, payload: Json) -> None:
        if name not in ("chat", "agent"):
            return
        run_id = text(payload.get("runId"))
        if run := self._runs.get(run_id):
            run.read(name, payload)
        elif name == "chat" and payload.get("state") == "final" and run_id not in self._known and self._on_foreign:
            session_key = text(payload.get("sessionKey"))
            if is_ours(session_key) and len(self._tasks) < FOREIGN_LIMIT:
                self._remember(run_id)  # one reply per run, also when its event comes twice
                self._start(self._foreign(session_key, run_id, record(payload.get("message"))), self._tasks)

    def _start(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _foreign(self, session_key: str, run_id: str, message: Json) -> None:
        """Hand over the agent's own message; the transcript tells media and what the run resumes."""
        try:
            history = await self.history(session_key)
        except GatewayError:
            history = read_transcript({})
        answer = history.answer_of(run_id) or make_answer(message_text(message), (), (), run_id)
        if self._on_foreign and (answer.text or answer.media):
            self._on_foreign(ForeignReply(session_key, run_id, answer, history.interrupted_by(run_id)))
