"""The state of the stub: runs, one after the other in each session, and the events about them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openclaw.stub import versions
from openclaw.stub.answers import PlannedAnswer, is_permanent, plan_answer
from openclaw.stub.run import Run
from openclaw.stub.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

FAILED_SENTENCE = "⚠️ stub/parrot request failed (HTTP {}). This is usually temporary — try again shortly."
LOCKED_ERROR = "another OpenClaw process owns state-lifecycle"
RESUME_MESSAGE = (
    "[System] Your previous turn was interrupted by a gateway restart. Continue from the existing transcript."
)
MAX_RUNS = 10_000
"""Finished runs and commands that are kept, so that a repetition is recognised by its key; the oldest is removed first."""
MAX_DELTAS = 10
"""Partial texts of an instant answer; a real gateway sends one in about 150 ms."""


@dataclass
class Faults:
    """What tests switch on; each stands for one named error."""

    locked_out: bool = False  # every sign-in is refused, also with the right token
    protocol: int = 4
    pairing: bool = False  # a device is required and not yet approved
    no_scopes: bool = False  # signed in without any right, like a remote client without a device
    starting: bool = False
    draining: bool = False
    fail_runs: int = 0  # this many runs fail from now on
    locked_runs: int = 0  # this many are accepted and do not start, as where the gateway's own database is locked
    silent: bool = False  # accepts turns and never answers them, nor ticks
    drop_mid_turn: int = 0  # this many runs lose every connection after their first words
    overloaded: int = 0  # this many turns are refused with UNAVAILABLE
    version: str = "2026.9.6"  # the version whose frames are sent: 2026.8.2 and 2026.7.35 differ
    accepts_again: int = 0  # how often the acceptance of a run is repeated
    late: float = 0.0  # seconds between the end of a run and its response
    resume: bool = True  # after a restart interrupted turns are continued under new run ids


class Gateway:
    """State shared by the HTTP and WebSocket sides. `broadcast` is set by the WebSocket side."""

    def __init__(self, token: str, agents: list[str], store: Store, pace: float = 0.0) -> None:
        self.token = token
        self.agents = agents
        self.store = store
        self.pace = pace  # seconds per piece of an answer
        self.faults = Faults()
        self.address = ""
        self.broadcast: Callable[[str, Json], None] = lambda _event, _payload: None
        self.drop_connections: Callable[[], None] = lambda: None
        self._reset()

    def _reset(self) -> None:
        self.boot_id = str(uuid.uuid4())
        self.started_at = time.monotonic()
        self.runs: dict[str, Run] = {}
        self.commands: dict[str, str] = {}  # key and text of each `chat.send` that was a command
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._to_resume: set[str] = set()  # sessions whose interrupted turn has still to be resumed

    # --- restarting ---------------------------------------------------------------------------------------------------

    async def restart(self, *, history: bool = True) -> None:
        """Restart: connections and runs are lost, transcripts stay if `history`."""
        running = [run.task for run in self.runs.values() if run.task and not run.task.done()]
        for run in self.runs.values():
            run.final = run.final or {}  # so that its end is not reported
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.drop_connections()
        if not history:
            self.store = Store()
        self._reset()
        self.resume_interrupted()

    def resume_interrupted(self) -> None:
        """Continue the turns that had not ended when the last process did, as a real gateway does some seconds after a start."""
        for session, key, message in self.store.list_interrupted() if self.faults.resume else ():
            self._to_resume.add(session)
            self.start(Run(str(uuid.uuid4()), session, message, resumes=key))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start(self, run: Run) -> Run:
        self.runs[run.key] = run
        self._remove_old()
        if self._locks[run.session].locked():
            self.store.add_queued(run.session, run.key, run.message)
        run.task = asyncio.create_task(self._run(run))
        return run

    def _remove_old(self) -> None:
        while len(self.runs) > MAX_RUNS and next(iter(self.runs.values())).done.is_set():
            del self.runs[next(iter(self.runs))]
        while len(self._locks) > MAX_RUNS and not next(iter(self._locks.values())).locked():
            del self._locks[next(iter(self._locks))]
        while len(self.commands) > MAX_RUNS:
            del self.commands[next(iter(self.commands))]

    async def _run(self, run: Run) -> None:
        try:
            async with self._locks[run.session]:
                if self.faults.locked_runs > 0:
                    self.faults.locked_runs -= 1
                    self._fail_to_start(run)
                else:
                    await self._execute(run)
            await asyncio.sleep(self.faults.late)
        except asyncio.CancelledError:
            if run.final is None:
                self._abort(run)
        finally:
            run.done.set()

    async def _execute(self, run: Run) -> None:
        run.started = True
        self._to_resume.discard(run.session)
        self.store.add_user_row(run.session, run.key, RESUME_MESSAGE if run.resumes else run.message, run.resumes)
        self.store.add_run(run.session, run.key, run.message, run.resumes)
        self.broadcast("agent", versions.make_start_event(run))
        answer = plan_answer(run.message, run.images, run.files)
        await self._send_deltas(run, answer)
        if self.faults.silent:
            await asyncio.Event().wait()
        if self.faults.fail_runs > 0:
            self.faults.fail_runs -= 1
            answer = PlannedAnswer("", failure="500")
        if answer.failure:
            self._fail(run, answer.failure)
        else:
            self._finish(run, answer)

    async def _send_deltas(self, run: Run, answer: PlannedAnswer) -> None:
        pieces = answer.pieces
        pause = answer.seconds / max(len(pieces), 1) or self.pace
        size = 1 if pause else max(1, len(pieces) // MAX_DELTAS)
        if not pieces:
            await asyncio.sleep(answer.seconds)
        for start in range(0, len(pieces), size):
            if pause:
                await asyncio.sleep(pause)
            run.text_so_far += "".join(pieces[start : start + size])
            self.send_chat_event(run, "delta", message=_make_message(run.text_so_far))
            for listener in run.listeners:
                listener(run.text_so_far)
            if self.faults.drop_mid_turn > 0:
                self.faults.drop_mid_turn -= 1
                self.drop_connections()

    def send_chat_event(self, run: Run, state: str, **fields: Any) -> None:
        payload = {"runId": run.key, "sessionKey": run.session, "agentId": read_agent_id(run.session), "state": state}
        self.broadcast("chat", payload | fields)

    def _finish(self, run: Run, answer: PlannedAnswer) -> None:
        if answer.text in ("", "NO_REPLY") and not answer.image:
            self.store.add_assistant_row(run.session, run.key, [{"type": "text", "text": answer.text}])
            self._end_silently(run, "silent" if answer.text else "empty")
            return
        url = f"{self.address}/_stub/image/{run.key}.png" if answer.image == "url" else None
        content: list[Json] = [{"type": "text", "text": answer.text}]
        stored_content = content if url is None else [{"type": "text", "text": f"{answer.text}\nMEDIA:{url}"}]
        if answer.image in ("artifact", "link"):
            content.append({"type": "image", "artifactId": f"{answer.image}_{run.key}", "mimeType": "image/png"})
        self.store.add_assistant_row(run.session, run.key, stored_content)
        for payload in versions.make_end_events(self.faults.version, run, answer.text, url):
            self.broadcast("agent", payload)
        self.send_chat_event(run, "final", stopReason="stop", message={"role": "assistant", "content": content})
        result = {"payloads": [{"text": answer.text, "mediaUrl": url}], "meta": versions.make_meta(self.faults.version)}
        run.final = {"runId": run.key, "status": "ok", "summary": "completed", "result": result}

    def _end_silently(self, run: Run, disposition: str) -> None:
        end = versions.make_silent_end(self.faults.version, run, disposition)
        self.broadcast("agent", end.payload)
        if end.error:
            self.send_chat_event(run, "error", errorMessage=end.error)
        run.final = end.final

    def _fail(self, run: Run, failure: str) -> None:
        sentence = FAILED_SENTENCE.format(failure)
        reason = "format" if is_permanent(failure) else "server_error"
        self.store.add_assistant_row(run.session, run.key, [{"type": "text", "text": sentence}], failed=True)
        for _ in range(2):  # a real gateway sends it twice too
            self.send_chat_event(run, "error", errorMessage=sentence, errorDetail={"failoverReason": reason})
        run.final = {"runId": run.key, "status": "error", "summary": sentence}

    def _fail_to_start(self, run: Run) -> None:
        self.broadcast("agent", versions.make_not_started_event(run, LOCKED_ERROR))
        self.send_chat_event(run, "error", errorMessage=LOCKED_ERROR)
        run.final = {"runId": run.key, "status": "error", "summary": LOCKED_ERROR}

    def _abort(self, run: Run) -> None:
        if run.started:
            self.store.add_aborted_row(run.session, run.key, run.text_so_far)
        self.send_chat_event(run, "aborted", stopReason="rpc", message=_make_message(run.text_so_far))
        run.final = versions.make_abort_response(self.faults.version, run)

    def abort(self, session: str, key: str = "") -> list[str]:
        """Stop the runs of a session, or one of them. Return the keys of those that had not ended."""
        runs = [run for run in self.runs.values() if run.session == session and key in ("", run.key)]
        stopped = [run for run in runs if run.final is None and run.task]
        for run in stopped:
            assert run.task  # noqa: S101 - filtered above
            run.task.cancel()
        return [run.key for run in stopped]

    def send_proactive(self, session: str, text: str) -> str:
        """Send a message of the agent without a question. Return the run's id."""
        run = Run(str(uuid.uuid4()), session, "")
        self.store.add_assistant_row(session, run.key, [{"type": "text", "text": text}])
        self.send_chat_event(run, "final", stopReason="stop", message=_make_message(text))
        return run.key

    # --- questions ----------------------------------------------------------------------------------------------------

    def history(self, session: str, limit: int, max_characters: int) -> Json:
        active = [run for run in self.runs.values() if run.session == session and run.final is None]
        running = next((run for run in active if run.started), None)
        waiting = {run.key: run for run in active if not run.started and not run.resumes}
        status = "running" if active or session in self._to_resume else "done"
        items = [
            {"runId": key, "state": "queued" if key in waiting else "interrupted"}
            for key in self.store.queued.get(session, {})
        ]
        return {
            "sessionKey": session,
            "messages": [
                versions.make_row(self.faults.version, row, max_characters)
                for row in self.store.rows.get(session, [])[-limit:]
            ],
            "inFlightRun": {"runId": running.key, "text": running.text_so_far} if running else None,
            "pendingInputs": {"items": items, "total": len(items)},
            "sessionInfo": {
                "status": status,
                "hasActiveRun": running is not None,
                "activeRunIds": [running.key] if running else [],
            },
        }

    def is_ready(self) -> bool:
        return not (self.faults.starting or self.faults.draining)


def read_agent_id(session: str) -> str:
    parts = session.split(":")
    return parts[1] if len(parts) > 2 and parts[0] == "agent" else ""


def _make_message(text: str) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
