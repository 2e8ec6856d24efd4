"""Reads the transcript of a session, and finds in it what became of a run. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, as_number, as_object, as_objects, as_text
from openclaw.reading import (
    FAILURE_TEXTS,
    USAGE_COUNTS,
    answer_from_text,
    make_usage,
    read_artifacts,
    read_message_text,
)
from openclaw.turns import Answer, Usage

_CUT_MARK: Final = "\n...(truncated)..."
"""What `chat.history` appends to a text that it cut at its `maxChars`."""
RESUMED_BY: Final = "main_session_restart_recovery"
"""`provenance.sourceTool` of the user row by which a restarted gateway continues an interrupted turn."""
MAX_END_DIFFERENCE_MS: Final = 2000
"""How far the two times may differ that a gateway writes for the end of a run, one after the other."""


@dataclass(frozen=True)
class Row:
    """One row of `chat.history`."""

    raw: Json

    @property
    def key(self) -> str:
        return as_text(self.raw.get("idempotencyKey")) or as_text(
            as_object(self.raw.get("__openclaw")).get("idempotencyKey")
        )

    @property
    def run_id(self) -> str:
        abort = as_text(as_object(self.raw.get("openclawAbort")).get("runId"))
        return as_text(as_object(self.raw.get("__openclaw")).get("runId")) or abort

    @property
    def is_user(self) -> bool:
        return self.raw.get("role") == "user"

    @property
    def resumes(self) -> bool:
        return as_object(self.raw.get("provenance")).get("sourceTool") == RESUMED_BY

    @property
    def is_complete(self) -> bool:
        """Whether this is a complete answer: no failure (stopReason error), no step before a tool, nothing that an abort left."""
        has_ended = self.raw.get("stopReason") in ("stop", "length", "end_turn")
        has_answer = read_message_text(self.raw).strip() not in FAILURE_TEXTS
        return self.raw.get("role") == "assistant" and has_ended and has_answer and not self.is_aborted

    @property
    def is_aborted(self) -> bool:
        return bool(as_object(self.raw.get("openclawAbort")).get("aborted"))

    @property
    def is_cut(self) -> bool:
        return as_object(self.raw.get("__openclaw")).get("truncated") is True or self.text.endswith(_CUT_MARK)

    @property
    def text(self) -> str:
        return read_message_text(self.raw)

    def answer(self) -> Answer:
        answer_text = self.text.removesuffix(_CUT_MARK) if self.is_cut else self.text
        return replace(answer_from_text(answer_text, read_artifacts(self.raw), self.run_id), is_cut=self.is_cut)


@dataclass(frozen=True)
class Transcript:
    """The answer of `chat.history`."""

    rows: tuple[Row, ...]
    raw: Json

    @property
    def is_running(self) -> bool:
        """Whether a run is active, or the gateway has still to resume one that a restart interrupted.

        A restarted gateway resumes one session after the other. A session that waits for that has no active run, but
        still the status "running".
        """
        info = as_object(self.raw.get("sessionInfo"))
        return bool(self.raw.get("inFlightRun") or info.get("hasActiveRun") or info.get("status") == "running")

    def active_runs(self) -> set[str]:
        ids = as_object(self.raw.get("sessionInfo")).get("activeRunIds")
        return {run for run in ids if isinstance(run, str)} if isinstance(ids, list) else set()

    def is_pending(self, run_id: str) -> bool:
        """Tell whether this turn waits in the gateway's queue. The gateway never runs an "interrupted" one again."""
        items = as_objects(as_object(self.raw.get("pendingInputs")).get("items"))
        return any(item.get("runId") == run_id and item.get("state") != "interrupted" for item in items)

    def find_turn(self, run_id: str) -> tuple[Row, ...] | None:
        """Return the rows between the user row of this run and the next user row, or None if this run has no user row.

        The user row by which the gateway resumes an interrupted turn belongs to that turn.
        """
        start = next((i for i, row in enumerate(self.rows) if row.is_user and row.key == f"{run_id}:user"), None)
        if start is None:
            return None
        end = next((i for i, row in enumerate(self.rows) if i > start and row.is_user and not row.resumes), None)
        return self.rows[start + 1 : end]

    def find_outcome(self, run_id: str) -> Answer | None:
        """Return the complete answer of this run, or of the run that resumed it. Raise `run_aborted` if it was aborted."""
        rows = self.find_turn(run_id) or ()
        runs = {run_id} | {row.key.removesuffix(":user") for row in rows if row.resumes}
        names_runs = any(row.run_id for row in rows)  # a gateway before 2026.8 gives the run id only in the user row
        rows_of_run = [row for row in rows if not row.is_user and (row.run_id in runs or not names_runs)]
        if complete := [row for row in rows_of_run if row.is_complete]:
            return complete[-1].answer()
        if any(row.is_aborted for row in (*rows_of_run, *(row for row in self.rows if row.run_id == run_id))):
            raise GatewayError(Code.RUN_ABORTED, "the transcript says that the run was aborted")
        return None

    def find_interrupted_run(self, run_id: str) -> str:
        """Return the id of the run that `run_id` resumes, or an empty text."""
        index = next((i for i, row in enumerate(self.rows) if row.resumes and row.key == f"{run_id}:user"), 0)
        earlier = (row for row in reversed(self.rows[:index]) if row.is_user and not row.resumes)
        return next((row.key.removesuffix(":user") for row in earlier), "")

    def find_answer(self, run_id: str) -> Answer | None:
        complete = [row for row in self.rows if row.run_id == run_id and row.is_complete]
        return complete[-1].answer() if complete else None

    def find_answer_ended_at(self, moment: object) -> Answer | None:
        """Return the answer of the session's last run if that run ended at this time. moment: milliseconds.

        Only for a gateway that gives no run ids: a session of the bridge has one run at a time.
        """
        info, run_ended = as_object(self.raw.get("sessionInfo")), as_number(moment)
        session_started, session_ended = as_number(info.get("startedAt")), as_number(info.get("endedAt"))
        if (
            run_ended is None
            or session_started is None
            or session_ended is None
            or abs(session_ended - run_ended) > MAX_END_DIFFERENCE_MS
            or not self.rows
        ):
            return None
        last = self.rows[-1]
        return (
            last.answer()
            if last.is_complete and (as_number(last.raw.get("timestamp")) or 0) >= session_started
            else None
        )

    def was_asked(self, message: str) -> bool:
        """Tell whether a user row contains this message: the gateway adds words of its own before and after it."""
        return any(row.is_user and message.strip() in row.text for row in self.rows)

    def sum_usage(self, run_id: str) -> Usage | None:
        """Add up the usage of all calls of the model for this run. Each call has a row."""
        rows = [row.raw for row in self.rows if run_id and row.run_id == run_id and not row.is_aborted]
        usages = [usage for row in rows if (usage := make_usage(row, as_object(row.get("usage"))))]
        costs = [usage.cost for usage in usages if usage.cost is not None]
        counts = {name: sum(getattr(usage, name) for usage in usages) for name in USAGE_COUNTS}
        return Usage(usages[-1].model, **counts, cost=sum(costs) if costs else None) if usages else None


def read_transcript(payload: Json) -> Transcript:
    return Transcript(tuple(Row(row) for row in as_objects(payload.get("messages"))), payload)
