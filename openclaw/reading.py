"""Reads the gateway's frames: errors, answers, rows of a transcript. Pure.

Field names and values are those of the gateways 2026.9.6, 2026.8.2 and 2026.7.35.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from channels_wechat.contract.explanations import Action
from openclaw.errors import SCAN_LIMIT, Code, GatewayError
from openclaw.frames import Json, as_number, as_object, as_objects, as_seconds, as_text
from openclaw.turns import AgentInfo, Answer, Hello, MediaRef, Policy, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

SILENT_TEXT: Final = "NO_REPLY"
SILENT_DISPOSITION: Final = "silent"
"""`terminalReply.disposition` of a run whose agent said NO_REPLY."""
ABORTED_REASONS: Final = ("rpc", "aborted", "abort", "user")
"""`stopReason` of a run that somebody stopped."""
FAILED_STATUS: Final = ("error", "timeout")
"""`status` of a run that gave no answer. The only other status at the end of a run is "ok"."""
WAIT_LIMIT: Final = 4095
"""Characters of an answer in `terminalReply`. A longer one is cut there and ends with an ellipsis."""
_CUT_MARK: Final = "\n...(truncated)..."
"""What `chat.history` appends to a text that it cut at its `maxChars`."""
RESUMED_BY: Final = "main_session_restart_recovery"
"""`provenance.sourceTool` of the user row by which a restarted gateway continues an interrupted turn."""

NAME_LIMIT: Final = 200
"""Characters of a name that a gateway gives an agent or a model."""
MOST_AGENTS: Final = 500
LONGEST_REFUSAL: Final = 3600.0
"""Seconds. A gateway may ask for a longer wait; a request that comes too early is only refused once more."""
LONGEST_TICK: Final = 300.0
"""Seconds between two ticks. With a longer interval the end of a connection would be noticed too late."""
MAX_END_DIFFERENCE_MS: Final = 2000
"""How far the two times may differ that a gateway writes for the end of a run, one after the other."""

_FAILURE_TEXTS: Final = frozenset(
    {
        "The agent run failed before producing a reply.",
        "[assistant turn failed before producing content]",
        "⚠️ Agent couldn't generate a response. Please try again.",
    }
)
"""Sentences that the gateway writes in place of a missing reply (`gateway-error-details` of its source)."""

_COOLDOWN: Final = re.compile(r"retry after about (\d{1,6}) (second|minute|hour)", re.IGNORECASE)
"""A gateway whose model refused the key does not ask that model for a while, and says so only in this sentence."""

_MEDIA_LINE: Final = re.compile(r"^[ \t]*MEDIA:[ \t]*(\S.*)$\n?", re.M)
_PERMANENT_REASONS: Final = frozenset({"format", "auth", "auth_permanent", "billing", "model_not_found"})
_DEVICE_FAULTS: Final = frozenset({"DEVICE_IDENTITY_REQUIRED", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})
_UNKNOWN_AGENT: Final = re.compile(
    r"unknown agent|agent .* (no longer exists|not found)|belongs to \"[^\"]*\", not", re.IGNORECASE
)


# --- errors -----------------------------------------------------------------------------------------------------------


def read_error(error: Json) -> GatewayError:
    """Return the error for the `error` of a response frame."""
    details = as_object(error.get("details"))
    message = as_text(error.get("message"))[:SCAN_LIMIT]
    wait = as_seconds(error.get("retryAfterMs", details.get("retryAfterMs")))
    code = _choose_code(
        as_text(error.get("code")), as_text(details.get("code")), as_text(details.get("reason")), message
    )
    if wait is None and code in (Code.STARTING, Code.DRAINING, Code.LOCKED_OUT):
        wait = 300.0 if code is Code.LOCKED_OUT else 1.0
    request_id = as_text(details.get("requestId")) if code is Code.PAIRING_REQUIRED else ""
    wait = None if wait is None else min(wait, LONGEST_REFUSAL)
    return GatewayError(code, message, retry_after=wait, request_id=request_id)


def _choose_code(code: str, detail: str, reason: str, message: str) -> Code:
    if known := _NAMED.get(detail) or _NAMED.get(reason) or _NAMED.get(code):
        return known
    if detail in _DEVICE_FAULTS:
        return Code.MISSING_SCOPE
    if detail.startswith(("AUTH_", "DEVICE_")):
        return Code.BAD_TOKEN
    if code == "UNAVAILABLE":
        return Code.DRAINING if re.search(r"drain|restart|shutting down|suspend", message, re.I) else Code.UNAVAILABLE
    if _UNKNOWN_AGENT.search(message):
        return Code.UNKNOWN_AGENT
    return Code.MISSING_SCOPE if "missing scope" in message else Code.INVALID_REQUEST


_NAMED: Final = {
    "PROTOCOL_MISMATCH": Code.PROTOCOL_MISMATCH,
    "AUTH_RATE_LIMITED": Code.LOCKED_OUT,
    "PAIRING_REQUIRED": Code.PAIRING_REQUIRED,
    "NOT_PAIRED": Code.PAIRING_REQUIRED,
    "AUTH_SCOPE_MISMATCH": Code.MISSING_SCOPE,
    "MISSING_SCOPE": Code.MISSING_SCOPE,
    "FORBIDDEN": Code.MISSING_SCOPE,
    "UNKNOWN_AGENT_ID": Code.UNKNOWN_AGENT,
    "startup-sidecars": Code.STARTING,
    "gateway-draining": Code.DRAINING,
}


def make_run_error(message: str, reason: str) -> GatewayError:
    """Return the error for a failed run. reason: `errorDetail.failoverReason` of its chat event.

    The gateway itself asks the model up to eight times if an error may be temporary.
    """
    action = Action.PERMANENT if reason in _PERMANENT_REASONS else Action.RETRY
    return GatewayError(Code.RUN_FAILED, message, action=action, retry_after=_read_cooldown(message[:SCAN_LIMIT]))


def _read_cooldown(message: str) -> float | None:
    match = _COOLDOWN.search(message)
    return int(match[1]) * {"second": 1.0, "minute": 60.0, "hour": 3600.0}[match[2].lower()] if match else None


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventSummary:
    """What the events of a run told about it, in addition to its response.

    reason: `errorDetail.failoverReason` of a failure; disposition: that of `terminalReply`, if the gateway sends it;
    was_cancelled: somebody aborted the run; has_failed: its last attempt ended in an error, which 2026.7 may call "ok" in
    the response; final: the message of `chat final`.
    """

    reason: str = ""
    disposition: str = ""
    was_cancelled: bool = False
    has_failed: bool = False
    final: Json | None = None


def read_result(payload: Json, events: EventSummary = EventSummary()) -> Answer:  # noqa: B008 - immutable
    """Read the second response of `agent`.

    Raise GatewayError for a run that failed, was aborted or took too long: the texts in such payloads are the
    gateway's own sentences and never an answer. Since 2026.9 a run whose agent says NO_REPLY is
    a failed run, and only the events show whether the agent said that or the model gave nothing.
    """
    run_id, result = as_text(payload.get("runId")), as_object(payload.get("result"))
    _raise_if_ended_early(payload, events)
    if events.disposition == SILENT_DISPOSITION:
        return Answer("", run_id=run_id)
    if payload.get("status") in FAILED_STATUS:
        raise make_run_error(as_text(payload.get("summary")) or as_text(payload.get("error")), events.reason)
    payloads = _read_payloads(payload, result)
    visible = [item for item in payloads if not item.get("isError")]
    if payloads and (events.has_failed or not visible):
        raise make_run_error(as_text(payloads[0].get("text")), events.reason)
    if events.disposition == "empty" or any(as_text(item.get("text")).strip() in _FAILURE_TEXTS for item in visible):
        raise make_run_error("the run ended without a reply", events.reason)
    urls = [url for item in visible for url in _urls_of_payload(item)]
    answer_text = "\n\n".join(part for item in visible if (part := as_text(item.get("text")).strip()))
    return make_answer(answer_text, urls, read_artifacts(events.final or {}), run_id)


def _read_payloads(payload: Json, result: Json) -> list[Json]:
    """Return what the agent said. Raise `unreadable` for another shape, because an empty list means that the agent chose to say nothing."""
    payloads = result.get("payloads")
    if payload.get("status") != "ok" or not isinstance(payloads, list) or not all(map(_is_payload, payloads)):
        raise GatewayError(Code.UNREADABLE, f"the response to the run: status {payload.get('status')!r:.40}")
    return payloads


def _is_payload(item: object) -> bool:
    """Whether this is a payload, with a text or a file. The text may be empty; an agent that says nothing has no payload at all."""
    if not isinstance(item, dict) or not isinstance(item.get("text", ""), str | None):
        return False
    return isinstance(item.get("text"), str) or bool(_urls_of_payload(item))


def read_wait(payload: Json, events: EventSummary = EventSummary()) -> Answer | None:  # noqa: B008 - immutable
    """Read the answer of `agent.wait` for a run that has ended; artifacts stay in the transcript.

    None: the run has ended, and the gateway (before 2026.8) does not give its answer. Raises like `read_result`.
    """
    _raise_if_ended_early(payload, events)
    reply, run_id = as_object(payload.get("terminalReply")), as_text(payload.get("runId"))
    if reply.get("disposition") == SILENT_DISPOSITION:
        return Answer("", run_id=run_id)
    if payload.get("status") != "ok":
        raise make_run_error(as_text(payload.get("error")), events.reason)
    if not reply:
        return None
    answer_text = as_text(reply.get("text"))
    if reply.get("disposition") == "empty" or answer_text.strip() in _FAILURE_TEXTS:
        raise make_run_error("the run ended without a reply", events.reason)
    answer = answer_from_text(answer_text, (), run_id)
    return replace(answer, is_cut=len(answer_text) >= WAIT_LIMIT and answer_text.endswith("…"))


def _raise_if_ended_early(payload: Json, events: EventSummary) -> None:
    """Raise for a run that was ended early. Its `status` differs between versions, so the signs of an abort are checked first.

    2026.7 reports its own time limit as an abort too, but names the phase that took too long.
    """
    if not payload.get("timeoutPhase"):
        meta = as_object(as_object(payload.get("result")).get("meta"))
        if events.was_cancelled or payload.get("stopReason") in ABORTED_REASONS or meta.get("aborted") is True:
            raise GatewayError(Code.RUN_ABORTED, as_text(payload.get("summary")))
    if payload.get("timeoutPhase") or payload.get("status") == "timeout":
        # The gateway ended the run at its limit. A second attempt would take as long.
        raise GatewayError(Code.TIMEOUT, "the gateway ended the run at its time limit", action=Action.PERMANENT)


def read_usage(payload: Json) -> Usage | None:
    """Return what a run used, from the second response of `agent`; None if it does not tell, as for an aborted run."""
    meta = as_object(as_object(payload.get("result")).get("meta"))
    agent = as_object(meta.get("agentMeta"))
    return _make_usage(agent, as_object(agent.get("usage")), as_number(meta.get("costUsd")))


def _make_usage(source: Json, usage: Json, cost: float | None = None) -> Usage | None:
    if not usage:
        return None
    counts = {name: max(0, int(as_number(usage.get(key)) or 0)) for name, key in _COUNTS.items()}
    model = "/".join(part for part in (as_text(source.get("provider")), as_text(source.get("model"))) if part)[
        :NAME_LIMIT
    ]
    total = as_number(as_object(usage.get("cost")).get("total"))
    return Usage(model, **counts, cost=cost if total is None else total)


_COUNTS: Final = {"input": "input", "output": "output", "cache_read": "cacheRead", "cache_write": "cacheWrite"}


def make_answer(answer_text: str, urls: Iterable[str], artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    addresses = list(dict.fromkeys(urls))
    media = tuple(
        MediaRef(url=url, name=_name_from_url(url)) for url in addresses if url.startswith(("https://", "http://"))
    )
    missing = tuple(_name_from_url(url) for url in addresses if not url.startswith(("https://", "http://")))
    shown_text = "" if answer_text.strip() == SILENT_TEXT else answer_text
    return Answer(shown_text, media + tuple(artifacts), run_id, missing)


def answer_from_text(raw_text: str, artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    """Make an answer of raw text, in which a line `MEDIA:<address>` names a file. (In a result they are separate.)"""
    addresses = [url.rstrip(" \t") for url in _MEDIA_LINE.findall(raw_text)]
    return make_answer(_MEDIA_LINE.sub("", raw_text).strip(), addresses, artifacts, run_id)


def _urls_of_payload(item: Json) -> list[str]:
    urls = item.get("mediaUrls")
    return [url for url in (urls if isinstance(urls, list) else [item.get("mediaUrl")]) if url and isinstance(url, str)]


def _name_from_url(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/").rsplit("/", 1)[-1]


def read_artifacts(message: Json) -> tuple[MediaRef, ...]:
    return tuple(
        MediaRef(
            artifact_id=as_text(block.get("artifactId")),
            name=as_text(block.get("title")),
            mime=as_text(block.get("mimeType")),
        )
        for block in as_objects(message.get("content"))
        if as_text(block.get("artifactId"))
    )


def read_message_text(message: Json) -> str:
    """Return the text of a `message`; its content is a string or a list of blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(as_text(block.get("text")) for block in as_objects(content) if block.get("type") == "text")


def is_silent_so_far(partial: str) -> bool:
    """Tell whether a text that is not complete may become NO_REPLY, so that it must not be shown yet."""
    return SILENT_TEXT.startswith(partial.strip())


# --- the transcript ---------------------------------------------------------------------------------------------------


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
        has_answer = read_message_text(self.raw).strip() not in _FAILURE_TEXTS
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
        usages = [usage for row in rows if (usage := _make_usage(row, as_object(row.get("usage"))))]
        costs = [usage.cost for usage in usages if usage.cost is not None]
        counts = {name: sum(getattr(usage, name) for usage in usages) for name in _COUNTS}
        return Usage(usages[-1].model, **counts, cost=sum(costs) if costs else None) if usages else None


def read_transcript(payload: Json) -> Transcript:
    return Transcript(tuple(Row(row) for row in as_objects(payload.get("messages"))), payload)


# --- connecting -------------------------------------------------------------------------------------------------------


def read_hello(payload: Json) -> Hello:
    server, policy = as_object(payload.get("server")), as_object(payload.get("policy"))
    attachments, default = as_object(policy.get("attachments")), Policy()
    return Hello(
        protocol=int(as_number(payload.get("protocol")) or 0),
        version=as_text(server.get("version")),
        boot_id=as_text(server.get("bootId")),
        device_token=as_text(as_object(payload.get("auth")).get("deviceToken")),
        policy=Policy(
            max_payload=int(as_number(policy.get("maxPayload")) or default.max_payload),
            attachment_bytes=int(as_number(attachments.get("maxBytes")) or default.attachment_bytes),
            image_bytes=int(as_number(attachments.get("maxImageBytes")) or default.image_bytes),
            tick_interval=min(as_seconds(policy.get("tickIntervalMs")) or default.tick_interval, LONGEST_TICK),
        ),
    )


def read_granted_scopes(payload: Json) -> set[str]:
    scopes = as_object(payload.get("auth")).get("scopes")
    return {scope for scope in scopes if isinstance(scope, str)} if isinstance(scopes, list) else set()


def read_agents(payload: Json) -> list[AgentInfo]:
    return [
        AgentInfo(*(value[:NAME_LIMIT] for value in values))
        for item in as_objects(payload.get("agents"))[:MOST_AGENTS]
        if (
            values := (
                as_text(item.get("id")),
                as_text(item.get("name")),
                as_text(as_object(item.get("model")).get("primary")),
            )
        )[0]
    ]
