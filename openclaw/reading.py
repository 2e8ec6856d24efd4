"""Reads the gateway's frames: errors, answers, usage, agents. Pure.

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

NAME_LIMIT: Final = 200
"""Characters of a name that a gateway gives an agent or a model."""
MOST_AGENTS: Final = 500
LONGEST_REFUSAL: Final = 3600.0
"""Seconds. A gateway may ask for a longer wait; a request that comes too early is only refused once more."""
LONGEST_TICK: Final = 300.0
"""Seconds between two ticks. With a longer interval the end of a connection would be noticed too late."""

FAILURE_TEXTS: Final = frozenset(
    {
        "The agent run failed before producing a reply.",
        "[assistant turn failed before producing content]",
        "⚠️ Agent couldn't generate a response. Please try again.",
    }
)
"""Sentences that the gateway writes in place of a missing reply (`gateway-error-details` of its source)."""

_COOLDOWN: Final = re.compile(r"retry after about (\d{1,6}) (second|minute|hour)", re.IGNORECASE)
"""A gateway whose model refused the key does not ask that model for a while, and says so only in this sentence."""

_LOCKED: Final = re.compile(r"another OpenClaw process owns |database is locked", re.IGNORECASE)
"""The error of a gateway whose own SQLite files are locked. Since 2026.9 its own threads may lock them at the first turns after a
start: it waits five seconds, and then the run fails. If it was closing the database of an agent at that moment, every later run of
that agent fails with the same error until a restart (`openclaw-agent-execution` of its source)."""

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


def make_run_error(message: str, events: EventSummary) -> GatewayError:
    """Return the error for a failed run: permanent for reasons that stay, else one after which it is asked again."""
    if _LOCKED.search(message[:SCAN_LIMIT]) and not events.has_started:
        return GatewayError(Code.RUN_NOT_STARTED, message)
    action = Action.PERMANENT if events.reason in _PERMANENT_REASONS else Action.RETRY
    return GatewayError(Code.RUN_FAILED, message, action=action, retry_after=_read_cooldown(message[:SCAN_LIMIT]))


def _read_cooldown(message: str) -> float | None:
    match = _COOLDOWN.search(message)
    return int(match[1]) * {"second": 1.0, "minute": 60.0, "hour": 3600.0}[match[2].lower()] if match else None


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventSummary:
    """What the events of a run told about it, in addition to its response.

    reason: `errorDetail.failoverReason` of a failure; disposition: that of `terminalReply`, if the gateway sends it;
    was_cancelled: somebody aborted the run; has_started: the gateway was about to ask the model, which every version sends
    first; has_failed: its last attempt ended in an error, which 2026.7 may call "ok" in
    the response; final: the message of `chat final`.
    """

    reason: str = ""
    disposition: str = ""
    was_cancelled: bool = False
    has_started: bool = False
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
        raise make_run_error(as_text(payload.get("summary")) or as_text(payload.get("error")), events)
    payloads = _read_payloads(payload, result)
    visible = [item for item in payloads if not item.get("isError")]
    if payloads and (events.has_failed or not visible):
        raise make_run_error(as_text(payloads[0].get("text")), events)
    if events.disposition == "empty" or any(as_text(item.get("text")).strip() in FAILURE_TEXTS for item in visible):
        raise make_run_error("the run ended without a reply", events)
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
    """Read the text of the answer from `agent.wait`, for a run that has ended; callers take its files from the history.

    None: the run has ended, and the gateway (before 2026.8) does not give its answer. Raises like `read_result`.
    """
    _raise_if_ended_early(payload, events)
    reply, run_id = as_object(payload.get("terminalReply")), as_text(payload.get("runId"))
    if reply.get("disposition") == SILENT_DISPOSITION:
        return Answer("", run_id=run_id)
    if payload.get("status") != "ok":
        raise make_run_error(as_text(payload.get("error")), events)
    if not reply:
        return None
    answer_text = as_text(reply.get("text"))
    if reply.get("disposition") == "empty" or answer_text.strip() in FAILURE_TEXTS:
        raise make_run_error("the run ended without a reply", events)
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
    return make_usage(agent, as_object(agent.get("usage")), as_number(meta.get("costUsd")))


def make_usage(source: Json, usage: Json, cost: float | None = None) -> Usage | None:
    if not usage:
        return None
    counts = {name: max(0, int(as_number(usage.get(key)) or 0)) for name, key in USAGE_COUNTS.items()}
    model = "/".join(part for part in (as_text(source.get("provider")), as_text(source.get("model"))) if part)[
        :NAME_LIMIT
    ]
    total = as_number(as_object(usage.get("cost")).get("total"))
    return Usage(model, **counts, cost=cost if total is None else total)


USAGE_COUNTS: Final = {"input": "input", "output": "output", "cache_read": "cacheRead", "cache_write": "cacheWrite"}


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
