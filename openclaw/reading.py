"""What the gateway's frames mean: errors by name, answers, rows of a transcript. Pure.

Field names and values were seen on the gateways 2026.9.6, 2026.8.2 and 2026.7.35.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from channels_wechat.contract.explanations import Action
from openclaw.errors import READ_LIMIT, Code, GatewayError
from openclaw.frames import Json, number, record, records, seconds, text
from openclaw.turns import AgentInfo, Answer, Hello, MediaRef, Policy, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

SILENT: Final = "NO_REPLY"
SILENCE: Final = "silent"
"""`terminalReply.disposition` of a run whose agent said NO_REPLY."""
ABORTED: Final = ("rpc", "aborted", "abort", "user")
"""`stopReason` of a run that somebody broke off."""
FAILED: Final = ("error", "timeout")
"""`status` of a run that gave no answer; "ok" is the only other end that a gateway was seen to name."""
WAIT_LIMIT: Final = 4095
"""Characters of an answer in `terminalReply`; a longer one ends there, with an ellipsis."""
_CUT_SHORT: Final = "\n...(truncated)..."
"""What `chat.history` puts at the end of a text that is longer than its `maxChars`."""
RESUMED_BY: Final = "main_session_restart_recovery"
"""`provenance.sourceTool` of the user row by which a restarted gateway continues an interrupted turn."""

NAME_LIMIT: Final = 200
"""Characters of a name that a gateway gives an agent or a model."""
MOST_AGENTS: Final = 500
LONGEST_REFUSAL: Final = 3600.0
"""Seconds for which a gateway that refuses a request is believed: asked too early, it refuses once more."""
LONGEST_TICK: Final = 300.0
"""Seconds between two signs of life; whoever announces longer ones would be taken for alive long after its end."""
SAME_END_MS: Final = 2000
"""The end of a run stands in two places that are written one after the other."""

_FAILURE_TEXTS: Final = frozenset(
    {
        "The agent run failed before producing a reply.",
        "[assistant turn failed before producing content]",
        "⚠️ Agent couldn't generate a response. Please try again.",
    }
)
"""Sentences the gateway puts where a reply is missing (`gateway-error-details` of its source)."""

_COOLDOWN: Final = re.compile(r"retry after about (\d{1,6}) (second|minute|hour)", re.IGNORECASE)
"""A gateway whose model refused its key leaves the model alone for a while, and says so in words only."""

_MEDIA_LINE: Final = re.compile(r"^[ \t]*MEDIA:[ \t]*(\S.*)$\n?", re.M)
_PERMANENT_REASONS: Final = frozenset({"format", "auth", "auth_permanent", "billing", "model_not_found"})
_DEVICE_FAULTS: Final = frozenset({"DEVICE_IDENTITY_REQUIRED", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})
_AGENT_GONE: Final = re.compile(
    r"unknown agent|agent .* (no longer exists|not found)|belongs to \"[^\"]*\", not", re.IGNORECASE
)


# --- errors -----------------------------------------------------------------------------------------------------------


def read_error(error: Json) -> GatewayError:
    """Name the `error` of a response frame."""
    details = record(error.get("details"))
    message = text(error.get("message"))[:READ_LIMIT]
    wait = seconds(error.get("retryAfterMs", details.get("retryAfterMs")))
    code = _code(text(error.get("code")), text(details.get("code")), text(details.get("reason")), message)
    if wait is None and code in (Code.STARTING, Code.DRAINING, Code.LOCKED_OUT):
        wait = 300.0 if code is Code.LOCKED_OUT else 1.0
    request_id = text(details.get("requestId")) if code is Code.PAIRING_REQUIRED else ""
    wait = None if wait is None else min(wait, LONGEST_REFUSAL)
    return GatewayError(code, message, retry_after=wait, request_id=request_id)


def _code(code: str, detail: str, reason: str, message: str) -> Code:
    if named := _NAMED.get(detail) or _NAMED.get(reason) or _NAMED.get(code):
        return named
    if detail in _DEVICE_FAULTS:
        return Code.MISSING_SCOPE
    if detail.startswith(("AUTH_", "DEVICE_")):
        return Code.BAD_TOKEN
    if code == "UNAVAILABLE":
        return Code.DRAINING if re.search(r"drain|restart|shutting down|suspend", message, re.I) else Code.UNAVAILABLE
    if _AGENT_GONE.search(message):
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


def run_failed(message: str, reason: str) -> GatewayError:
    """Name a failed run; `reason` is `errorDetail.failoverReason` of its chat event.

    The gateway itself tries the model again up to eight times before it gives up on an error that may pass.
    """
    action = Action.PERMANENT if reason in _PERMANENT_REASONS else Action.RETRY
    return GatewayError(Code.RUN_FAILED, message, action=action, retry_after=_cooldown(message[:READ_LIMIT]))


def _cooldown(message: str) -> float | None:
    found = _COOLDOWN.search(message)
    return int(found[1]) * {"second": 1.0, "minute": 60.0, "hour": 3600.0}[found[2].lower()] if found else None


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the events of a run said of it, beside its response.

    reason: `errorDetail.failoverReason` of a failure; disposition: of `terminalReply`, where the gateway tells it;
    was_cancelled: somebody aborted it; has_failed: its last attempt ended in an error, which 2026.7 may call "ok" in the
    response; final: the message of `chat final`.
    """

    reason: str = ""
    disposition: str = ""
    was_cancelled: bool = False
    has_failed: bool = False
    final: Json | None = None


def read_result(payload: Json, seen: Seen = Seen()) -> Answer:  # noqa: B008 - immutable
    """Read the second response of `agent`.

    Raise GatewayError for a run that failed, was aborted or took too long: the texts in such payloads are the
    gateway's own sentences and never an answer. Since 2026.9 an agent that says NO_REPLY makes its run fail, and only
    the events tell that from a model that gave nothing.
    """
    run_id, result = text(payload.get("runId")), record(payload.get("result"))
    _check_end(payload, seen)
    if seen.disposition == SILENCE:
        return Answer("", run_id=run_id)
    if payload.get("status") in FAILED:
        raise run_failed(text(payload.get("summary")) or text(payload.get("error")), seen.reason)
    payloads = _payloads(payload, result)
    shown = [item for item in payloads if not item.get("isError")]
    if payloads and (seen.has_failed or not shown):
        raise run_failed(text(payloads[0].get("text")), seen.reason)
    if seen.disposition == "empty" or any(text(item.get("text")).strip() in _FAILURE_TEXTS for item in shown):
        raise run_failed("the run ended without a reply", seen.reason)
    urls = [url for item in shown for url in _payload_urls(item)]
    said = "\n\n".join(part for item in shown if (part := text(item.get("text")).strip()))
    return make_answer(said, urls, artifacts_of(seen.final or {}), run_id)


def _payloads(payload: Json, result: Json) -> list[Json]:
    """What the agent said; an empty list means that it chose to say nothing, so what cannot be read is not taken for one."""
    found = result.get("payloads")
    if payload.get("status") != "ok" or not isinstance(found, list) or not all(map(_is_payload, found)):
        raise GatewayError(Code.UNREADABLE, f"the response to the run: status {payload.get('status')!r:.40}")
    return found


def _is_payload(item: object) -> bool:
    """Whether it says something, be it an empty text: an agent that says nothing has no payload at all."""
    if not isinstance(item, dict) or not isinstance(item.get("text", ""), str | None):
        return False
    return isinstance(item.get("text"), str) or bool(_payload_urls(item))


def read_wait(payload: Json, seen: Seen = Seen()) -> Answer | None:  # noqa: B008 - immutable
    """Read the answer of `agent.wait` for a run that has ended; artifacts stay in the transcript.

    None: the run is done, and the gateway (before 2026.8) does not say what it answered. Raise as `read_result`.
    """
    _check_end(payload, seen)
    reply, run_id = record(payload.get("terminalReply")), text(payload.get("runId"))
    if reply.get("disposition") == SILENCE:
        return Answer("", run_id=run_id)
    if payload.get("status") != "ok":
        raise run_failed(text(payload.get("error")), seen.reason)
    if not reply:
        return None
    said = text(reply.get("text"))
    if reply.get("disposition") == "empty" or said.strip() in _FAILURE_TEXTS:
        raise run_failed("the run ended without a reply", seen.reason)
    answer = answer_from_text(said, (), run_id)
    return replace(answer, is_cut=len(said) >= WAIT_LIMIT and said.endswith("…"))


def _check_end(payload: Json, seen: Seen) -> None:
    """Raise for a run that was ended early. Gateways disagree in `status`, so the marks of an abort come first.

    2026.7 marks its own time limit as an abort too, but names the phase that took too long.
    """
    if not payload.get("timeoutPhase"):
        meta = record(record(payload.get("result")).get("meta"))
        if seen.was_cancelled or payload.get("stopReason") in ABORTED or meta.get("aborted") is True:
            raise GatewayError(Code.RUN_ABORTED, text(payload.get("summary")))
    if payload.get("timeoutPhase") or payload.get("status") == "timeout":
        # The gateway has ended the run: asking again would take as long again.
        raise GatewayError(Code.TIMEOUT, "the gateway ended the run at its time limit", action=Action.PERMANENT)


def read_usage(payload: Json) -> Usage | None:
    """Return what a run took by the second response of `agent`; None where it does not say, as for a run that was aborted."""
    meta = record(record(payload.get("result")).get("meta"))
    agent = record(meta.get("agentMeta"))
    return _usage(agent, record(agent.get("usage")), number(meta.get("costUsd")))


def _usage(named: Json, usage: Json, cost: float | None = None) -> Usage | None:
    if not usage:
        return None
    counts = {name: max(0, int(number(usage.get(key)) or 0)) for name, key in _COUNTS.items()}
    model = "/".join(part for part in (text(named.get("provider")), text(named.get("model"))) if part)[:NAME_LIMIT]
    total = number(record(usage.get("cost")).get("total"))
    return Usage(model, **counts, cost=cost if total is None else total)


_COUNTS: Final = {"input": "input", "output": "output", "cache_read": "cacheRead", "cache_write": "cacheWrite"}


def make_answer(said: str, urls: Iterable[str], artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    named = list(dict.fromkeys(urls))
    media = tuple(MediaRef(url=url, name=_basename(url)) for url in named if url.startswith(("https://", "http://")))
    missing = tuple(_basename(url) for url in named if not url.startswith(("https://", "http://")))
    visible = "" if said.strip() == SILENT else said
    return Answer(visible, media + tuple(artifacts), run_id, missing)


def answer_from_text(said: str, artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    """Make an answer of raw text, in which a line `MEDIA:<address>` names a file (the live result has them apart)."""
    named = [url.rstrip(" \t") for url in _MEDIA_LINE.findall(said)]
    return make_answer(_MEDIA_LINE.sub("", said).strip(), named, artifacts, run_id)


def _payload_urls(item: Json) -> list[str]:
    many = item.get("mediaUrls")
    return [url for url in (many if isinstance(many, list) else [item.get("mediaUrl")]) if url and isinstance(url, str)]


def _basename(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/").rsplit("/", 1)[-1]


def artifacts_of(message: Json) -> tuple[MediaRef, ...]:
    return tuple(
        MediaRef(
            artifact_id=text(block.get("artifactId")), name=text(block.get("title")), mime=text(block.get("mimeType"))
        )
        for block in records(message.get("content"))
        if text(block.get("artifactId"))
    )


def message_text(message: Json) -> str:
    """Return the text of a `message`; its content is a string or a list of blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(text(block.get("text")) for block in records(content) if block.get("type") == "text")


def is_silent_so_far(partial: str) -> bool:
    """Tell whether a text still growing may turn out to be NO_REPLY, so that it must not be shown yet."""
    return SILENT.startswith(partial.strip())


# --- the transcript ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row of `chat.history`."""

    raw: Json

    @property
    def key(self) -> str:
        return text(self.raw.get("idempotencyKey")) or text(record(self.raw.get("__openclaw")).get("idempotencyKey"))

    @property
    def run_id(self) -> str:
        abort = text(record(self.raw.get("openclawAbort")).get("runId"))
        return text(record(self.raw.get("__openclaw")).get("runId")) or abort

    @property
    def is_user(self) -> bool:
        return self.raw.get("role") == "user"

    @property
    def resumes(self) -> bool:
        return record(self.raw.get("provenance")).get("sourceTool") == RESUMED_BY

    @property
    def is_complete(self) -> bool:
        """A whole answer: not a failure (stopReason error), not a step before a tool, not what an abort left."""
        stopped = self.raw.get("stopReason") in ("stop", "length", "end_turn")
        spoken = message_text(self.raw).strip() not in _FAILURE_TEXTS
        return self.raw.get("role") == "assistant" and stopped and spoken and not self.is_aborted

    @property
    def is_aborted(self) -> bool:
        return bool(record(self.raw.get("openclawAbort")).get("aborted"))

    @property
    def is_cut(self) -> bool:
        return record(self.raw.get("__openclaw")).get("truncated") is True or self.text.endswith(_CUT_SHORT)

    @property
    def text(self) -> str:
        return message_text(self.raw)

    def answer(self) -> Answer:
        said = self.text.removesuffix(_CUT_SHORT) if self.is_cut else self.text
        return replace(answer_from_text(said, artifacts_of(self.raw), self.run_id), is_cut=self.is_cut)


@dataclass(frozen=True)
class Transcript:
    """The answer of `chat.history`."""

    rows: tuple[Row, ...]
    raw: Json

    @property
    def is_running(self) -> bool:
        """A run is active, or the gateway is yet to resume what a restart interrupted.

        A restarted gateway resumes one session after the other; until its turn comes a session has no active run
        but still the status "running".
        """
        info = record(self.raw.get("sessionInfo"))
        return bool(self.raw.get("inFlightRun") or info.get("hasActiveRun") or info.get("status") == "running")

    def active_runs(self) -> set[str]:
        ids = record(self.raw.get("sessionInfo")).get("activeRunIds")
        return {run for run in ids if isinstance(run, str)} if isinstance(ids, list) else set()

    def is_pending(self, run_id: str) -> bool:
        """Tell whether the gateway holds this turn in its queue; "interrupted" means it never runs it again."""
        items = records(record(self.raw.get("pendingInputs")).get("items"))
        return any(item.get("runId") == run_id and item.get("state") != "interrupted" for item in items)

    def turn(self, run_id: str) -> tuple[Row, ...] | None:
        """Return the rows after the user row of this run up to the next one's, or None when it is not there.

        The user row by which the gateway resumes an interrupted turn belongs to that turn.
        """
        start = next((i for i, row in enumerate(self.rows) if row.is_user and row.key == f"{run_id}:user"), None)
        if start is None:
            return None
        end = next((i for i, row in enumerate(self.rows) if i > start and row.is_user and not row.resumes), None)
        return self.rows[start + 1 : end]

    def outcome(self, run_id: str) -> Answer | None:
        """Return the completed answer to this run, also when a resumed run gave it; raise when it was aborted."""
        rows = self.turn(run_id) or ()
        runs = {run_id} | {row.key.removesuffix(":user") for row in rows if row.resumes}
        named = any(row.run_id for row in rows)  # a gateway before 2026.8 names the run in the user row only
        ours = [row for row in rows if not row.is_user and (row.run_id in runs or not named)]
        if done := [row for row in ours if row.is_complete]:
            return done[-1].answer()
        if any(row.is_aborted for row in (*ours, *(row for row in self.rows if row.run_id == run_id))):
            raise GatewayError(Code.RUN_ABORTED, "the transcript says that the run was aborted")
        return None

    def interrupted_by(self, run_id: str) -> str:
        """Return the run that `run_id` resumes, or an empty text."""
        mine = next((i for i, row in enumerate(self.rows) if row.resumes and row.key == f"{run_id}:user"), 0)
        before = (row for row in reversed(self.rows[:mine]) if row.is_user and not row.resumes)
        return next((row.key.removesuffix(":user") for row in before), "")

    def answer_of(self, run_id: str) -> Answer | None:
        done = [row for row in self.rows if row.run_id == run_id and row.is_complete]
        return done[-1].answer() if done else None

    def answer_ended_at(self, moment: object) -> Answer | None:
        """Return the answer of the session's last run if it is the one that ended at this moment, in milliseconds.

        Only for a gateway that names no runs: a bridge's session has one run at a time.
        """
        info, ended = record(self.raw.get("sessionInfo")), number(moment)
        began, over = number(info.get("startedAt")), number(info.get("endedAt"))
        if ended is None or began is None or over is None or abs(over - ended) > SAME_END_MS or not self.rows:
            return None
        last = self.rows[-1]
        return last.answer() if last.is_complete and (number(last.raw.get("timestamp")) or 0) >= began else None

    def was_asked(self, message: str) -> bool:
        """Tell whether a user row has these words: the gateway puts some of its own before and behind them."""
        return any(row.is_user and message.strip() in row.text for row in self.rows)

    def usage_of(self, run_id: str) -> Usage | None:
        """Add up what the calls of the model took for this run, of which each has a row."""
        rows = [row.raw for row in self.rows if run_id and row.run_id == run_id and not row.is_aborted]
        used = [usage for row in rows if (usage := _usage(row, record(row.get("usage"))))]
        costs = [usage.cost for usage in used if usage.cost is not None]
        counts = {name: sum(getattr(usage, name) for usage in used) for name in _COUNTS}
        return Usage(used[-1].model, **counts, cost=sum(costs) if costs else None) if used else None


def read_transcript(payload: Json) -> Transcript:
    return Transcript(tuple(Row(row) for row in records(payload.get("messages"))), payload)


# --- connecting -------------------------------------------------------------------------------------------------------


def read_hello(payload: Json) -> Hello:
    server, policy = record(payload.get("server")), record(payload.get("policy"))
    attachments, standard = record(policy.get("attachments")), Policy()
    return Hello(
        protocol=int(number(payload.get("protocol")) or 0),
        version=text(server.get("version")),
        boot_id=text(server.get("bootId")),
        device_token=text(record(payload.get("auth")).get("deviceToken")),
        policy=Policy(
            max_payload=int(number(policy.get("maxPayload")) or standard.max_payload),
            attachment_bytes=int(number(attachments.get("maxBytes")) or standard.attachment_bytes),
            image_bytes=int(number(attachments.get("maxImageBytes")) or standard.image_bytes),
            tick_interval=min(seconds(policy.get("tickIntervalMs")) or standard.tick_interval, LONGEST_TICK),
        ),
    )


def granted_scopes(payload: Json) -> set[str]:
    scopes = record(payload.get("auth")).get("scopes")
    return {scope for scope in scopes if isinstance(scope, str)} if isinstance(scopes, list) else set()


def read_agents(payload: Json) -> list[AgentInfo]:
    return [
        AgentInfo(*(named[:NAME_LIMIT] for named in names))
        for item in records(payload.get("agents"))[:MOST_AGENTS]
        if (names := (text(item.get("id")), text(item.get("name")), text(record(item.get("model")).get("primary"))))[0]
    ]
