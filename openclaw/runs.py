"""Reads the events of a run, which may give the answer before the response to the run comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from openclaw.frames import Json, as_object, as_text
from openclaw.reading import (
    ABORTED_REASONS,
    SILENT_DISPOSITION,
    EventSummary,
    is_silent_so_far,
    make_answer,
    read_artifacts,
    read_message_text,
    read_usage,
)
from openclaw.turns import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from openclaw.wire import ResponseQueue

SETTLED_BY_EVENTS: Final[Json] = {"status": "settled"}
"""What a run puts into the queue of the responses to its request when its events have given the answer."""


class Run:
    """A run whose answer the bridge waits for.

    The events give the answer with lifecycle `end`, if it has `executionSettled`, and `chat final`. By then the answer is in
    the gateway's transcript, so that a crash loses nothing; earlier, at `finishing`, the gateway may still start again. The
    response comes 20 to 200 ms later, with the usage of the run. The answer of a run with tools, files or errors, and of a
    gateway before 2026.9, which has no `executionSettled`, is taken from the response.
    """

    def __init__(self, run_id: str, on_partial: Callable[[str], None], on_usage: Callable[[Usage], None]) -> None:
        self.run_id, self.on_partial, self._on_usage = run_id, on_partial, on_usage
        self.answers: ResponseQueue | None = (
            None  # the responses to the request; only then can the events give the answer
        )
        self.answer: Answer | None = None
        self._failure_reason = self._disposition = ""
        self._final: Json | None = None
        self._has_started = self._was_cancelled = self._has_failed = self._has_ended = self._has_files = False

    @property
    def event_summary(self) -> EventSummary:
        return EventSummary(
            self._failure_reason,
            self._disposition,
            was_cancelled=self._was_cancelled,
            has_started=self._has_started,
            has_failed=self._has_failed,
            final=self._final,
        )

    @property
    def final_answer(self) -> Answer | None:
        """The answer from `chat final` only, or None if that has no text."""
        answer_text = read_message_text(self._final or {}).strip()
        return make_answer(answer_text, (), read_artifacts(self._final or {}), self.run_id) if answer_text else None

    def read_usage(self, payload: Json) -> None:
        self.report_usage(read_usage(payload))

    def report_usage(self, usage: Usage | None) -> None:
        if usage:
            self._on_usage(usage)

    def read(self, name: str, payload: Json) -> None:
        """Read an event of this run."""
        if name == "chat":
            self._read_chat(payload)
        elif payload.get("stream") == "assistant":
            data = as_object(payload.get("data"))
            self._has_files = self._has_files or bool(data.get("mediaUrls") or data.get("mediaUrl"))
        elif payload.get("stream") == "lifecycle":
            self._read_lifecycle(as_object(payload.get("data")))

    def _read_chat(self, payload: Json) -> None:
        message, state = as_object(payload.get("message")), payload.get("state")
        if state == "delta":
            partial_text = read_message_text(message)
            if partial_text and not is_silent_so_far(partial_text):
                self.on_partial(partial_text)
        elif state == "final":
            self._final = message
            self._settle_with_text()
        elif state == "aborted":
            self._was_cancelled = self._was_cancelled or payload.get("stopReason") == "rpc"
        elif state == "error":  # comes twice for one failure
            self._failure_reason = (
                as_text(as_object(payload.get("errorDetail")).get("failoverReason")) or self._failure_reason
            )

    def _read_lifecycle(self, data: Json) -> None:
        phase = data.get("phase")
        self._has_started = self._has_started or phase == "start"
        if phase in ("start", "end", "error"):
            self._has_failed = phase == "error"
        if phase not in ("end", "error"):
            return
        self._disposition = as_text(as_object(data.get("terminalReply")).get("disposition")) or self._disposition
        self._was_cancelled = self._was_cancelled or data.get("status") == "cancelled"
        if data.get("aborted") or data.get("stopReason") in ABORTED_REASONS or data.get("executionSettled") is not True:
            return
        if self._disposition == SILENT_DISPOSITION:
            self._settle(Answer("", run_id=self.run_id))
        elif phase == "end" and self._disposition == "visible":
            self._has_ended = as_object(data.get("terminalReceipt")).get("successfulToolNames") == []
            self._settle_with_text()

    def _settle_with_text(self) -> None:
        answer = self.final_answer
        if self._has_ended and answer and not (answer.media or self._has_files):
            self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        if self.answer is None and self.answers is not None:
            self.answer = answer
            self.answers.put_nowait(SETTLED_BY_EVENTS)
