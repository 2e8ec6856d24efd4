"""The stub's inside: runs, one after the other in a session, and who is told about them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openclaw.stub import versions
from openclaw.stub.book import Book
from openclaw.stub.brain import Thought, is_permanent, think
from openclaw.stub.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

FAILED = "⚠️ stub/parrot request failed (HTTP {}). This is usually temporary — try again shortly."
RESUME = "[System] Your previous turn was interrupted by a gateway restart. Continue from the existing transcript."
KEEP_RUNS = 10_000
"""Runs and commands that are over, by whose key a repetition is known; the oldest goes first."""
MOST_DELTAS = 10
"""Partial texts of an instant answer; a real gateway sends one in about 150 ms."""


@dataclass
class Faults:
    """Switches of the tests; each stands for one named error."""

    locked_out: bool = False  # every sign-in is refused, also with the right token
    protocol: int = 4
    pairing: bool = False  # a device is required and not yet approved
    no_scopes: bool = False  # signed in without any right, like a remote client without a device
    starting: bool = False
    draining: bool = False
    fail_runs: int = 0  # this many runs fail from now on
    silent: bool = False  # accepts turns and never answers them, nor ticks
    drop_mid_turn: int = 0  # this many runs lose every connection after their first words
    overloaded: int = 0  # this many turns are refused with UNAVAILABLE
    plays: str = "2026.9.6"  # the version whose frames are played: 2026.8.2 and 2026.7.35 differ
    accepts_again: int = 0  # how often the acceptance of a run is repeated
    late: float = 0.0  # seconds between the end of a run and its response
    resume: bool = True  # after a restart interrupted turns are continued under new run ids


class Gateway:
    """State shared by the HTTP and WebSocket sides. `broadcast` is set by the WebSocket side."""

    def __init__(self, token: str, agents: list[str], book: Book, pace: float = 0.0) -> None:
        self.token = token
        self.agents = agents
        self.book = book
        self.pace = pace  # seconds per piece of an answer
        self.faults = Faults()
        self.address = ""
        self.broadcast: Callable[[str, Json], None] = lambda _event, _payload: None
        self.drop_connections: Callable[[], None] = lambda: None
        self._boot()

    def _boot(self) -> None:
        self.boot_id = str(uuid.uuid4())
        self.started_at = time.monotonic()
        self.runs: dict[str, Run] = {}
        self.commands: dict[str, str] = {}  # key and text of what `chat.send` took as a command
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._owed: set[str] = set()  # sessions whose interrupted turn is yet to be resumed

    # --- restarting ---------------------------------------------------------------------------------------------------

    async def restart(self, *, history: bool = True) -> None:
        """Die and come back: connections and runs are gone, transcripts stay if `history`."""
        running = [run.task for run in self.runs.values() if run.task and not run.task.done()]
        for run in self.runs.values():
            run.final = run.final or {}  # nobody hears of it
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.drop_connections()
        if not history:
            self.book = Book()
        self._boot()
        self.resume_interrupted()

    def resume_interrupted(self) -> None:
        """Continue the turns that the last process left open, as a real gateway does some seconds after a start."""
        for session, key, message in self.book.interrupted() if self.faults.resume else ():
            self._owed.add(session)
            self.start(Run(str(uuid.uuid4()), session, message, resumes=key))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start(self, run: Run) -> Run:
        self.runs[run.key] = run
        self._forget_old()
        if self._turns[run.session].locked():
            self.book.queue(run.session, run.key, run.message)
        run.task = asyncio.create_task(self._run(run))
        return run

    def _forget_old(self) -> None:
        while len(self.runs) > KEEP_RUNS and next(iter(self.runs.values())).done.is_set():
            del self.runs[next(iter(self.runs))]
        while len(self._turns) > KEEP_RUNS and not next(iter(self._turns.values())).locked():
            del self._turns[next(iter(self._turns))]
        while len(self.commands) > KEEP_RUNS:
            del self.commands[next(iter(self.commands))]

    async def _run(self, run: Run) -> None:
        try:
            async with self._turns[run.session]:
                await self._work(run)
            await asyncio.sleep(self.faults.late)
        except asyncio.CancelledError:
            if run.final is None:
                self._abort(run)
        finally:
            run.done.set()

    async def _work(self, run: Run) -> None:
        run.started = True
        self._owed.discard(run.session)
        self.book.user(run.session, run.key, RESUME if run.resumes else run.message, run.resumes)
        self.book.run(run.session, run.key, run.message, run.resumes)
        thought = think(run.message, run.images, run.files)
        await self._speak(run, thought)
        if self.faults.silent:
            await asyncio.Event().wait()
        if self.faults.fail_runs > 0:
            self.faults.fail_runs -= 1
            thought = Thought("", failure="500")
        if thought.failure:
            self._fail(run, thought.failure)
        else:
            self._finish(run, thought)

    async def _speak(self, run: Run, thought: Thought) -> None:
        pieces = thought.pieces
        pause = thought.seconds / max(len(pieces), 1) or self.pace
        group = 1 if pause else max(1, len(pieces) // MOST_DELTAS)
        if not pieces:
            await asyncio.sleep(thought.seconds)
        for start in range(0, len(pieces), group):
            if pause:
                await asyncio.sleep(pause)
            run.said += "".join(pieces[start : start + group])
            self.tell(run, "delta", message=_message(run.said))
            for listener in run.listeners:
                listener(run.said)
            if self.faults.drop_mid_turn > 0:
                self.faults.drop_mid_turn -= 1
                self.drop_connections()

    def tell(self, run: Run, state: str, **more: Any) -> None:
        payload = {"runId": run.key, "sessionKey": run.session, "agentId": agent_of(run.session), "state": state}
        self.broadcast("chat", payload | more)

    def _finish(self, run: Run, thought: Thought) -> None:
        if thought.words in ("", "NO_REPLY") and not thought.image:
            self.book.assistant(run.session, run.key, [{"type": "text", "text": thought.words}])
            self._say_nothing(run, "silent" if thought.words else "empty")
            return
        url = f"{self.address}/_stub/image/{run.key}.png" if thought.image == "url" else None
        content: list[Json] = [{"type": "text", "text": thought.words}]
        shown = content if url is None else [{"type": "text", "text": f"{thought.words}\nMEDIA:{url}"}]
        if thought.image in ("artifact", "link"):
            content.append({"type": "image", "artifactId": f"{thought.image}_{run.key}", "mimeType": "image/png"})
        self.book.assistant(run.session, run.key, shown)
        for payload in versions.end(self.faults.plays, run, thought.words, url):
            self.broadcast("agent", payload)
        self.tell(run, "final", stopReason="stop", message={"role": "assistant", "content": content})
        result = {"payloads": [{"text": thought.words, "mediaUrl": url}], "meta": versions.meta(self.faults.plays)}
        run.final = {"runId": run.key, "status": "ok", "summary": "completed", "result": result}

    def _say_nothing(self, run: Run, disposition: str) -> None:
        silence = versions.say_nothing(self.faults.plays, run, disposition)
        self.broadcast("agent", silence.payload)
        if silence.error:
            self.tell(run, "error", errorMessage=silence.error)
        run.final = silence.final

    def _fail(self, run: Run, failure: str) -> None:
        sentence = FAILED.format(failure)
        reason = "format" if is_permanent(failure) else "server_error"
        self.book.assistant(run.session, run.key, [{"type": "text", "text": sentence}], failed=True)
        for _twice in range(2):  # as the real one does
            self.tell(run, "error", errorMessage=sentence, errorDetail={"failoverReason": reason})
        run.final = {"runId": run.key, "status": "error", "summary": sentence}

    def _abort(self, run: Run) -> None:
        if run.started:
            self.book.aborted(run.session, run.key, run.said)
        self.tell(run, "aborted", stopReason="rpc", message=_message(run.said))
        run.final = versions.aborted(self.faults.plays, run)

    def abort(self, session: str, key: str = "") -> list[str]:
        """Stop a session's runs, or one of them; return the keys of those that were open."""
        runs = [run for run in self.runs.values() if run.session == session and key in ("", run.key)]
        stopped = [run for run in runs if run.final is None and run.task]
        for run in stopped:
            assert run.task  # noqa: S101 - filtered above
            run.task.cancel()
        return [run.key for run in stopped]

    def speak_first(self, session: str, words: str) -> str:
        """Let the agent say something nobody asked for; return the run's id."""
        run = Run(str(uuid.uuid4()), session, "")
        self.book.assistant(session, run.key, [{"type": "text", "text": words}])
        self.tell(run, "final", stopReason="stop", message=_message(words))
        return run.key

    # --- questions ----------------------------------------------------------------------------------------------------

    def history(self, session: str, limit: int, most: int) -> Json:
        active = [run for run in self.runs.values() if run.session == session and run.final is None]
        running = next((run for run in active if run.started), None)
        waiting = {run.key: run for run in active if not run.started and not run.resumes}
        status = "running" if active or session in self._owed else "done"
        items = [
            {"runId": key, "state": "queued" if key in waiting else "interrupted"}
            for key in self.book.queued.get(session, {})
        ]
        return {
            "sessionKey": session,
            "messages": [
                versions.row(self.faults.plays, row, most) for row in self.book.rows.get(session, [])[-limit:]
            ],
            "inFlightRun": {"runId": running.key, "text": running.said} if running else None,
            "pendingInputs": {"items": items, "total": len(items)},
            "sessionInfo": {
                "status": status,
                "hasActiveRun": running is not None,
                "activeRunIds": [running.key] if running else [],
            },
        }

    def is_ready(self) -> bool:
        return not (self.faults.starting or self.faults.draining)


def agent_of(session: str) -> str:
    parts = session.split(":")
    return parts[1] if len(parts) > 2 and parts[0] == "agent" else ""


def _message(said: str) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": said}]}
