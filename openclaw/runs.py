"""What the events of a run say while it lasts, and when they settle it before its response comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from openclaw.frames import Json, record, text
from openclaw.reading import (
    ABORTED,
    SILENCE,
    Seen,
    artifacts_of,
    is_silent_so_far,
    make_answer,
    message_text,
    read_usage,
)
from openclaw.turns import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from openclaw.wire import Answers

SETTLED: Final[Json] = {"status": "settled"}
"""What a run puts among the responses to its request when its events have settled it."""


class Run:
    """A run that is waited for.

    The events settle it at lifecycle `end` with `executionSettled` and the `chat final`: the answer is in the gateway's
    transcript by then, and a kill loses nothing. Before that, at `finishing`, the gateway may still start over. The
    response comes some 20 to 200 ms later and brings what the run took. Runs with tools, files or errors, and gateways before
    2026.9, which have no `executionSettled`, wait for the response.
    """

    def __init__(self, run_id: str, on_partial: Callable[[str], None], on_usage: Callable[[Usage], None]) -> None:
        self.run_id, self.on_partial, self._on_usage = run_id, on_partial, on_usage
        self.answers: Answers | None = None  # of the request; where the events may settle the run
        self.answer: Answer | None = None
        self._reason = self._disposition = ""
        self._final: Json | None = None
        self._was_cancelled = self._has_failed = self._has_ended = self._names_files = False

    @property
    def seen(self) -> Seen:
        return Seen(self._reason, self._disposition, self._was_cancelled, self._has_failed, self._final)

    @property
    def final_answer(self) -> Answer | None:
        """The answer by `chat final` alone, or None where it came without a text."""
        said = message_text(self._final or {}).strip()
        return make_answer(said, (), artifacts_of(self._final or {}), self.run_id) if said else None

    def read_usage(self, payload: Json) -> None:
        self.use(read_usage(payload))

    def use(self, usage: Usage | None) -> None:
        if usage:
            self._on_usage(usage)

    def read(self, name: str, payload: Json) -> None:
        """Take in an event of this run."""
        if name == "chat":
            self._read_chat(payload)
        elif payload.get("stream") == "assistant":
            data = record(payload.get("data"))
            self._names_files = self._names_files or bool(data.get("mediaUrls") or data.get("mediaUrl"))
        elif payload.get("stream") == "lifecycle":
            self._read_lifecycle(record(payload.get("data")))

    def _read_chat(self, payload: Json) -> None:
        message, state = record(payload.get("message")), payload.get("state")
        if state == "delta":
            said = message_text(message)
            if said and not is_silent_so_far(said):
                self.on_partial(said)
        elif state == "final":
            self._final = message
            self._settle_with_text()
        elif state == "aborted":
            self._was_cancelled = self._was_cancelled or payload.get("stopReason") == "rpc"
        elif state == "error":  # comes twice for one failure
            self._reason = text(record(payload.get("errorDetail")).get("failoverReason")) or self._reason

    def _read_lifecycle(self, data: Json) -> None:
        phase = data.get("phase")
        if phase in ("start", "end", "error"):
            self._has_failed = phase == "error"
        if phase not in ("end", "error"):
            return
        self._disposition = text(record(data.get("terminalReply")).get("disposition")) or self._disposition
        self._was_cancelled = self._was_cancelled or data.get("status") == "cancelled"
        if data.get("aborted") or data.get("stopReason") in ABORTED or data.get("executionSettled") is not True:
            return
        if self._disposition == SILENCE:
            self._settle(Answer("", run_id=self.run_id))
        elif phase == "end" and self._disposition == "visible":
            self._has_ended = record(data.get("terminalReceipt")).get("successfulToolNames") == []
            self._settle_with_text()

    def _settle_with_text(self) -> None:
        answer = self.final_answer
        if self._has_ended and answer and not (answer.media or self._names_files):
            self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        if self.answer is None and self.answers is not None:
            self.answer = answer
            self.answers.put_nowait(SETTLED)
