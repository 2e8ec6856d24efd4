"""What the gateway's frames mean: errors by name, answers, rows of a transcript. Pure.

Field names and values were seen on gateway 2026.9.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from openclaw.errors import Action, Code, GatewayError
from openclaw.frames import Json, number, record, records, seconds, text
from openclaw.turns import AgentInfo, Answer, Hello, MediaRef, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

SILENT: Final = "NO_REPLY"
RESUMED_BY: Final = "main_session_restart_recovery"
"""`provenance.sourceTool` of the user row by which a restarted gateway continues an interrupted turn."""

_FAILURE_TEXTS: Final = frozenset(
    {"The agent run failed before producing a reply.", "[assistant turn failed before producing content]"}
)
"""Sentences the gateway puts where a reply is missing (`gateway-error-details` of its source)."""

_COOLDOWN: Final = re.compile(r"retry after about (\d{1,6}) (second|minute|hour)", re.IGNORECASE)
"""A gateway whose model refused its key leaves the model alone for a while, and says so in words only."""

_MEDIA_LINE: Final = re.compile(r"^[ \t]*MEDIA:[ \t]*(\S.*?)[ \t]*$\n?", re.M)
_PERMANENT_REASONS: Final = frozenset({"format", "auth", "auth_permanent", "billing", "model_not_found"})
_DEVICE_FAULTS: Final = frozenset({"DEVICE_IDENTITY_REQUIRED", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})
_AGENT_GONE: Final = re.compile(
    r"unknown agent|agent .* (no longer exists|not found)|belongs to \"[^\"]*\", not", re.IGNORECASE
)


# --- errors -----------------------------------------------------------------------------------------------------------


def read_error(error: Json) -> GatewayError:
    """Name the `error` of a response frame."""
    details = record(error.get("details"))
    message = text(error.get("message"))
    wait = seconds(error.get("retryAfterMs", details.get("retryAfterMs")))
    code = _code(text(error.get("code")), text(details.get("code")), text(details.get("reason")), message)
    if wait is None and code in (Code.STARTING, Code.DRAINING, Code.LOCKED_OUT):
        wait = 300.0 if code is Code.LOCKED_OUT else 1.0
    request_id = text(details.get("requestId")) if code is Code.PAIRING_REQUIRED else ""
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
    return GatewayError(Code.RUN_FAILED, message, action=action, retry_after=_cooldown(message))


def _cooldown(message: str) -> float | None:
    found = _COOLDOWN.search(message)
    return int(found[1]) * {"second": 1.0, "minute": 60.0, "hour": 3600.0}[found[2].lower()] if found else None


# --- answers ----------------------------------------------------------------------------------------------------------


def read_result(payload: Json, *, reason: str = "", final: Json | None = None) -> Answer:
    """Read the second response of `agent`; `final` is the message of the run's `chat final` event.

    Raise GatewayError for a run that failed, was aborted or took too long: the texts in such payloads are the
    gateway's own sentences and never an answer.
    """
    status, summary = text(payload.get("status")), text(payload.get("summary"))
    payloads = records(record(payload.get("result")).get("payloads"))
    if status == "timeout":
        raise _ended_early(payload)
    if status != "ok":
        raise run_failed(summary or text(payload.get("error")), reason)
    shown = [item for item in payloads if not item.get("isError")]
    if payloads and not shown:
        raise run_failed(text(payloads[0].get("text")), reason)
    if any(text(item.get("text")).strip() in _FAILURE_TEXTS for item in shown):
        raise run_failed("the run ended without a reply", reason)
    urls = [url for item in shown for url in _payload_urls(item)]
    said = "\n\n".join(part for item in shown if (part := text(item.get("text")).strip()))
    return make_answer(said, urls, _artifacts(final or {}), text(payload.get("runId")))


def read_wait(payload: Json, *, reason: str = "") -> Answer:
    """Read the answer of `agent.wait` for a run that has ended; artifacts stay in the transcript."""
    status = text(payload.get("status"))
    if status == "timeout" or payload.get("stopReason") == "rpc":
        raise _ended_early(payload)
    if status != "ok":
        raise run_failed(text(payload.get("error")), reason)
    reply = record(payload.get("terminalReply"))
    if text(reply.get("text")).strip() in _FAILURE_TEXTS:
        raise run_failed("the run ended without a reply", reason)
    return answer_from_text(text(reply.get("text")), (), text(payload.get("runId")))


def _ended_early(payload: Json) -> GatewayError:
    if payload.get("stopReason") in ("rpc", "abort", "user"):
        return GatewayError(Code.RUN_ABORTED, text(payload.get("summary")))
    # The gateway has ended the run: asking again would take as long again.
    return GatewayError(Code.TIMEOUT, "the gateway ended the run at its time limit", action=Action.PERMANENT)


def make_answer(said: str, urls: Iterable[str], artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    named = list(dict.fromkeys(urls))
    media = tuple(MediaRef(url=url, name=_basename(url)) for url in named if url.startswith(("https://", "http://")))
    missing = tuple(_basename(url) for url in named if not url.startswith(("https://", "http://")))
    visible = "" if said.strip() == SILENT else said
    return Answer(visible, media + tuple(artifacts), run_id, missing)


def answer_from_text(said: str, artifacts: Iterable[MediaRef], run_id: str) -> Answer:
    """Make an answer of raw text, in which a line `MEDIA:<address>` names a file (the live result has them apart)."""
    return make_answer(_MEDIA_LINE.sub("", said).strip(), _MEDIA_LINE.findall(said), artifacts, run_id)


def _payload_urls(item: Json) -> list[str]:
    many = item.get("mediaUrls")
    return [url for url in (many if isinstance(many, list) else [item.get("mediaUrl")]) if url and isinstance(url, str)]


def _basename(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/").rsplit("/", 1)[-1]


def _artifacts(message: Json) -> tuple[MediaRef, ...]:
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
        return text(record(self.raw.get("__openclaw")).get("runId"))

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

    def answer(self) -> Answer:
        return answer_from_text(message_text(self.raw), _artifacts(self.raw), self.run_id)


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
        ours = [row for row in rows if row.run_id in runs and not row.is_user]
        if done := [row for row in ours if row.is_complete]:
            return done[-1].answer()
        if any(row.is_aborted for row in ours):
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
            tick_interval=seconds(policy.get("tickIntervalMs")) or standard.tick_interval,
        ),
    )


def granted_scopes(payload: Json) -> set[str]:
    scopes = record(payload.get("auth")).get("scopes")
    return {scope for scope in scopes if isinstance(scope, str)} if isinstance(scopes, list) else set()


def read_agents(payload: Json) -> list[AgentInfo]:
    return [
        AgentInfo(text(item.get("id")), text(item.get("name")), text(record(item.get("model")).get("primary")))
        for item in records(payload.get("agents"))
        if item.get("id")
    ]
