"""Asking agents over the WebSocket of an OpenClaw gateway.

The caller connects, asks, and watches `closed`; this module does not reconnect. After a lost connection the caller uses
`recover` on the next one for every open turn: it gives the answer, an error, or None if it is safe to ask again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Final

import aiohttp

from channels_wechat.contract.explanations import Action
from openclaw.asking import make_agent_params, make_send_params
from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, as_object, as_text
from openclaw.reach import BODY_LIMIT, open_session, read_bounded
from openclaw.reading import make_answer, read_agents, read_message_text, read_result, read_wait
from openclaw.runs import SETTLED_BY_EVENTS, Run
from openclaw.session import is_bridge_session
from openclaw.transcript import Transcript, read_transcript
from openclaw.turns import AgentInfo, Answer, Attachment, Endpoint, Hello, MediaRef, Policy, ProactiveReply, Turn, Usage
from openclaw.wire import CALL_TIMEOUT, ResponseQueue, Wire, make_url, receive_response

__all__ = [
    "AgentInfo",
    "Answer",
    "Attachment",
    "Endpoint",
    "ProactiveReply",
    "GatewayClient",
    "Hello",
    "MediaRef",
    "Policy",
    "Turn",
    "Usage",
]

GRACE_SECONDS: Final = 30.0
"""Seconds after a turn's own limit in which the gateway may still report that it ended the run."""
HISTORY_LIMIT: Final = 200
HISTORY_CHARACTERS: Final = 500_000
"""The length of a text of the history; by default the gateway cuts each at 8000."""
USAGE_WAIT_SECONDS: Final = 10.0
"""Seconds to wait for the response to a run whose events have given the answer: the response has the usage."""
POLL_SECONDS: Final = 1.0
LOOKS_AFTER_END: Final = 10
"""So often, `POLL_SECONDS` apart, an active run's answer is looked for after its end: a busy gateway writes it seconds later."""
MAX_REMEMBERED_RUNS: Final = 10_000
PROACTIVE_LIMIT: Final = 500
"""Proactive replies whose transcript may be read at the same time. More at once do not come from a working agent."""

_RUN_HAS_ENDED: Final = (Code.RUN_FAILED, Code.RUN_NOT_STARTED)
"""Errors that only the end of a run gives. Any other may come from the request that asked about the run."""

OnPartial = Callable[[str], None]
OnUsage = Callable[[Usage], None]
OnProactive = Callable[[ProactiveReply], None]


def _ignore_value(_value: object) -> None:
    """The callback of a caller that needs no partial text, or no usage."""


def _require_answer(answer: Answer | None) -> Answer:
    """Raise `answer_unknown` if there is no answer: an empty answer would mean that the agent chose to say nothing."""
    if answer is None:
        raise GatewayError(Code.ANSWER_UNKNOWN)
    return answer


async def _receive_after_acceptance(answers: ResponseQueue, seconds: float) -> Json:
    """Return the next response that is not the acceptance, which may come again and does not end the run.

    The acceptance has no limit of its own: a gateway that has just started, or waits for its own database, may accept a turn
    after a minute and then runs it.
    """
    ends = asyncio.get_running_loop().time() + seconds
    while True:
        payload = await receive_response(answers, max(0.0, ends - asyncio.get_running_loop().time()))
        if payload.get("status") != "accepted":
            return payload


@contextlib.asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise GatewayError(Code.TIMEOUT, "the gateway is still busy with this session") from None


class GatewayClient:
    """One connection. Create it while the event loop runs, and `close` it."""

    def __init__(
        self, endpoint: Endpoint, on_proactive: OnProactive | None = None, *, grace: float = GRACE_SECONDS
    ) -> None:
        self.endpoint = endpoint
        self._grace = grace
        self._on_proactive = on_proactive
        self._wire = Wire(endpoint, self._handle_event)
        self._runs: dict[str, Run] = {}
        self._policy = Policy()
        self._remembered_runs: OrderedDict[str, None] = OrderedDict()
        self._proactive_tasks: set[asyncio.Task[None]] = set()
        self._usage_tasks: set[asyncio.Task[None]] = set()
        self._gives_run_ids = True

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection has ended, whoever closed it."""
        return self._wire.closed

    @property
    def lost(self) -> GatewayError:
        """Why the connection ended. Its `retry_after` is how long the gateway asked us to wait."""
        return self._wire.lost

    @property
    def last_frame_at(self) -> float:
        """When the gateway last sent anything, in Unix time; 0 before it did."""
        return self._wire.last_frame_at

    async def connect(self) -> Hello:
        hello = await self._wire.open()
        self._policy = hello.policy
        self._gives_run_ids = bool(hello.boot_id)  # gateways have both since 2026.8
        return hello

    async def close(self) -> None:
        for task in (*self._proactive_tasks, *self._usage_tasks):
            task.cancel()
        await self._wire.close()

    # --- turns --------------------------------------------------------------------------------------------------------

    async def ask(self, turn: Turn, on_partial: OnPartial = _ignore_value, on_usage: OnUsage = _ignore_value) -> Answer:
        """Run a turn and return the agent's answer; `on_partial` is called with the whole text so far, many times.

        `on_usage` is called at most once, also for a run that failed, and perhaps up to USAGE_WAIT_SECONDS after the answer.
        The run goes on if `ask` is cancelled; `abort` ends it.
        """
        with self._follow(turn.idempotency_key, on_partial, on_usage) as run:
            try:
                if any(item.kind == "file" for item in turn.attachments):
                    return await self._ask_by_chat(turn, run)
                return await self._ask_by_agent(turn, run)
            except GatewayError as error:
                raise await self._abort_after_timeout(turn, error) from None

    async def _ask_by_agent(self, turn: Turn, run: Run) -> Answer:
        async with contextlib.AsyncExitStack() as request:
            answers = await request.enter_async_context(
                self._wire.request("agent", make_agent_params(turn, self._policy))
            )
            run.answers = answers
            payload = await _receive_after_acceptance(answers, turn.timeout + self._grace)
            if payload is SETTLED_BY_EVENTS and run.answer:
                self._start_task(self._await_usage(request.pop_all(), answers, run), self._usage_tasks)
                return run.answer
        if payload.get("status") == "in_flight":
            return await self._await_end(turn, run)
        run.read_usage(payload)
        return read_result(payload, run.event_summary)

    async def _await_usage(self, request: contextlib.AsyncExitStack, answers: ResponseQueue, run: Run) -> None:
        """Wait for the response to a run whose answer is known, and report its usage. It is no error if none comes."""
        async with request:
            with contextlib.suppress(GatewayError):
                run.read_usage(await receive_response(answers, USAGE_WAIT_SECONDS))

    async def _ask_by_chat(self, turn: Turn, run: Run) -> Answer:
        """Ask by `chat.send`, which puts the files into the agent's workspace; `agent` refuses all but images.

        In a busy session the gateway would add the message to the current run, so we wait for its end first.
        """
        params = make_send_params(turn, self._policy)
        async with _time_limit(turn.timeout):
            while (await self.fetch_history(turn.session_key)).is_running:
                await asyncio.sleep(POLL_SECONDS)
        await self._wire.call("chat.send", params, timeout=turn.timeout)
        return await self._await_end(turn, run)

    async def _await_end(self, turn: Turn, run: Run) -> Answer:
        payload = await self._request_wait(turn.idempotency_key, turn.timeout)
        if "endedAt" not in payload:
            raise GatewayError(Code.TIMEOUT)
        waited_answer, history = read_wait(payload, run.event_summary), await self.fetch_history(turn.session_key)
        run.report_usage(history.sum_usage(turn.idempotency_key))
        answer = history.find_answer(turn.idempotency_key) or history.find_outcome(turn.idempotency_key)
        return (
            answer
            or run.final_answer
            or _require_answer(waited_answer or history.find_answer_ended_at(payload.get("endedAt")))
        )

    async def _abort_after_timeout(self, turn: Turn, error: GatewayError) -> GatewayError:
        """Abort a run that took too long, and return the error. The outcome is known only if the gateway confirms the abort."""
        if error.code is not Code.TIMEOUT or error.action is not Action.UNKNOWN:
            return error
        with contextlib.suppress(GatewayError):
            if await self.abort(turn.session_key, turn.idempotency_key):
                return GatewayError(Code.TIMEOUT, "stopped by the bridge at its time limit", action=Action.PERMANENT)
        return GatewayError(Code.TIMEOUT)

    async def wait(self, run_id: str, timeout: float) -> Answer:
        """Wait for a run that began since the gateway started. Raise `timeout` (unknown) also for a run that the gateway does not know."""
        self._remember_run(run_id)
        payload = await self._request_wait(run_id, timeout)
        if "endedAt" not in payload:
            raise GatewayError(Code.TIMEOUT, "the run has not ended, or the gateway does not know it")
        return _require_answer(read_wait(payload))

    async def _request_wait(self, run_id: str, timeout: float) -> Json:
        params = {"runId": run_id, "timeoutMs": max(1, math.ceil(timeout * 1000))}
        return await self._wire.call("agent.wait", params, timeout=timeout + self._grace)

    async def recover(
        self, turn: Turn, on_partial: OnPartial = _ignore_value, on_usage: OnUsage = _ignore_value
    ) -> Answer | None:
        """Find out what became of a turn whose connection was lost, on the same boot or after a restart.

        Wait for a run that has not ended, or that a restarted gateway resumes (with another run id, one session after the
        other). None means that there is no answer and none will come: ask again with a new key. Raise the error of a run
        that failed, and `timeout` (unknown) if it has not ended after the turn's time. An error of this request itself is
        raised as unknown too, because it says nothing about the run. Raise `answer_unknown` if the turn ran on a gateway
        that does not tell the answer.
        """
        with self._follow(turn.idempotency_key, on_partial, on_usage) as run:
            async with _time_limit(turn.timeout + self._grace):
                try:
                    return await self._recover(turn, run)
                except GatewayError as error:
                    is_unknown = error.action in (Action.RETRY, Action.WAIT) and error.code not in _RUN_HAS_ENDED
                    raise error.copy(Action.UNKNOWN if is_unknown else None) from None

    async def _recover(self, turn: Turn, run: Run) -> Answer | None:
        key, looks_left = turn.idempotency_key, 0
        while True:
            payload = await self._request_wait(key, POLL_SECONDS)
            history = await self.fetch_history(turn.session_key)
            if answer := history.find_outcome(key):
                run.report_usage(history.sum_usage(answer.run_id))
                return answer
            if "endedAt" in payload:
                return run.final_answer or _require_answer(
                    read_wait(payload, run.event_summary) or history.find_answer_ended_at(payload["endedAt"])
                )
            looks_left = LOOKS_AFTER_END if self._may_still_answer(history, key) else looks_left - 1
            if looks_left < 0:
                break
        if not self._gives_run_ids and history.was_asked(turn.message):
            raise GatewayError(Code.ANSWER_UNKNOWN)
        return None

    def _may_still_answer(self, history: Transcript, run_id: str) -> bool:
        if run_id in history.active_runs() or history.is_pending(run_id):
            return True
        return history.is_running and (history.find_turn(run_id) is not None or not self._gives_run_ids)

    async def abort(self, session_key: str, run_id: str = "") -> bool:
        """Stop a run, or all runs of the session. Return whether one was running."""
        params = {"sessionKey": session_key} | ({"runId": run_id} if run_id else {})
        return bool((await self._wire.call("chat.abort", params)).get("aborted"))

    async def warm_up(self, agent_id: str, boot_id: str) -> None:
        """Make a gateway that has just started load what a turn needs, which takes seconds. No model is asked.

        `/status` is a command that the gateway answers itself. Its session belongs to no conversation, so the answer is
        ignored. Because of its key, a repetition for the same start of the gateway does nothing.
        """
        session_key = f"agent:{agent_id}:bridge:warmup"
        params = {"sessionKey": session_key, "message": "/status", "idempotencyKey": f"warmup-{boot_id}"}
        await self._wire.call("chat.send", params)

    # --- questions ----------------------------------------------------------------------------------------------------

    async def list_agents(self) -> list[AgentInfo]:
        return read_agents(await self._wire.call("agents.list", {}))

    async def fetch_history(self, session_key: str, limit: int = HISTORY_LIMIT) -> Transcript:
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
                return base64.b64decode(as_text(payload.get("data")))
            except ValueError:
                raise GatewayError(Code.MEDIA_GONE, "the artifact is not base64") from None
        return await self._fetch_artifact(as_text(payload.get("url")))

    async def _fetch_artifact(self, path: str) -> bytes:
        """Fetch a temporary address of the gateway itself. An address of another host is refused."""
        if not path.startswith("/") or path.startswith("//"):
            raise GatewayError(Code.MEDIA_GONE, "the artifact has no address on the gateway")
        headers = {"Authorization": f"Bearer {self.endpoint.token}"}
        try:
            url = make_url(self.endpoint.base_url, "http") + path
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
        self._remember_run(run_id)
        self._runs[run_id] = run = Run(run_id, on_partial, on_usage)
        try:
            yield run
        finally:
            self._runs.pop(run_id, None)

    def _remember_run(self, run_id: str) -> None:
        self._remembered_runs[run_id] = None
        if len(self._remembered_runs) > MAX_REMEMBERED_RUNS:
            self._remembered_runs.popitem(last=False)

    def _handle_event(self, name: str, payload: Json) -> None:
        if name not in ("chat", "agent"):
            return
        run_id = as_text(payload.get("runId"))
        if run := self._runs.get(run_id):
            run.read(name, payload)
        elif (
            name == "chat"
            and payload.get("state") == "final"
            and run_id not in self._remembered_runs
            and self._on_proactive
        ):
            session_key = as_text(payload.get("sessionKey"))
            if is_bridge_session(session_key) and len(self._proactive_tasks) < PROACTIVE_LIMIT:
                self._remember_run(run_id)  # so that a second event of this run sends no second message
                self._start_task(
                    self._deliver_proactive(session_key, run_id, as_object(payload.get("message"))),
                    self._proactive_tasks,
                )

    def _start_task(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _deliver_proactive(self, session_key: str, run_id: str, message: Json) -> None:
        """Pass on a proactive message. The transcript has its files, and the run that it resumes."""
        try:
            history = await self.fetch_history(session_key)
        except GatewayError:
            history = read_transcript({})
        answer = history.find_answer(run_id) or make_answer(read_message_text(message), (), (), run_id)
        if self._on_proactive and (answer.text or answer.media):
            self._on_proactive(ProactiveReply(session_key, run_id, answer, history.find_interrupted_run(run_id)))
