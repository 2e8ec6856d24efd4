"""The frames in which the gateways 2026.9.6, 2026.8.2 and 2026.7.35 differ, as they were recorded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from openclaw.stub.run import Run

Json = dict[str, Any]

NEWEST: Final = "2026.9.6"
OLDEST: Final = "2026.7.35"
HISTORY_LIMIT: Final = 8000
WAIT_LIMIT: Final = 4095
TRUNCATED: Final = "\n...(truncated)..."
NO_REPLY: Final = "⚠️ Agent couldn't generate a response. Please try again."
USAGE: Final = {"input": 600, "output": 5, "cacheRead": 400, "cacheWrite": 0, "total": 1005}


def make_meta(version: str) -> Json:
    cost = {} if version == OLDEST else {"cost": {"total": 0.000665}}
    return {"agentMeta": {"provider": "stub", "model": "parrot", "usage": USAGE | cost}}


def make_start_event(run: Run) -> Json:
    """Make the `agent` event that comes before the model is asked."""
    return _make_agent_event(run, "lifecycle", {"phase": "start", "startedAt": int(time.time() * 1000)})


def make_not_started_event(run: Run, error: str) -> Json:
    """Make the `agent` event of a run that failed before that, as it was recorded of the newest version."""
    return _make_agent_event(run, "lifecycle", {"phase": "error", "error": error, "executionSettled": True})


def make_end_events(version: str, run: Run, text: str, url: str | None) -> list[Json]:
    """Make the `agent` events at the end of a run that answered, which come before its `chat final`."""
    media = {"mediaUrls": [url]} if url else {}
    full_text = f"{text}\nMEDIA:{url}" if url else text
    return [
        _make_agent_event(run, "assistant", {"text": text, "delta": text} | media),
        _make_agent_event(run, "lifecycle", {"phase": "finishing", "stopReason": "stop", "aborted": False}),
        _make_end_event(
            version, run, "end", {"stopReason": "stop", "livenessState": "working"}, _make_terminal_reply(full_text)
        ),
    ]


class SilentEnd(NamedTuple):
    """The end of a run without an answer: its `agent` event, the error of its `chat` event (or empty), its second response."""

    payload: Json
    error: str
    final: Json


def make_silent_end(version: str, run: Run, disposition: str) -> SilentEnd:
    """Make the end of a run without an answer. disposition: silent, if the agent said NO_REPLY, or empty, if the model gave nothing.

    For the newest gateway both are failed runs.
    """
    has_failed = disposition == "empty" or version == NEWEST
    details: Json = {"error": NO_REPLY, "livenessState": "abandoned"} if has_failed else {"stopReason": "stop"}
    result: Json = {"payloads": [], "meta": make_meta(version)}
    if has_failed:
        error_mark = {"isError": True} if version == NEWEST else {}
        result["payloads"] = [{"text": NO_REPLY, "mediaUrl": None} | error_mark]
    is_ok = not has_failed or version == OLDEST
    status = {"status": "ok", "summary": "completed"} if is_ok else {"status": "error", "summary": "failed"}
    return SilentEnd(
        _make_end_event(version, run, "error" if has_failed else "end", details, {"disposition": disposition}),
        NO_REPLY if has_failed else "",
        {"runId": run.key, **status, "result": result, "disposition": disposition},
    )


def make_abort_response(version: str, run: Run) -> Json:
    if version == NEWEST:
        return {"runId": run.key, "status": "timeout", "summary": "aborted", "stopReason": "rpc"}
    if version == OLDEST:
        return {
            "runId": run.key,
            "status": "error",
            "summary": "EmbeddedAttemptSessionTakeoverError: This operation was aborted",
        }
    result = {"payloads": [], "meta": make_meta(version) | {"aborted": True}}
    return {"runId": run.key, "status": "error", "summary": "failed", "stopReason": "aborted", "result": result}


def make_row(version: str, stored_row: Json, max_characters: int) -> Json:
    """Make a row of `chat.history`: cut at `max_characters`, and for the oldest gateway without the run's id."""
    row, metadata = dict(stored_row), dict(stored_row.get("__openclaw", {}))
    if version == OLDEST:
        metadata.pop("runId", None)
        if str(row.get("idempotencyKey", "")).endswith(":user"):
            row.pop("idempotencyKey")  # this version keeps it only for `chat.send`
    content = row.get("content")
    if isinstance(content, list) and len(str(content[0].get("text", ""))) > max_characters:
        row["content"] = [content[0] | {"text": content[0]["text"][:max_characters] + TRUNCATED}, *content[1:]]
        metadata |= {"truncated": True, "reason": "display-cap"}
    return row | {"__openclaw": metadata}


def make_wait_response(version: str, key: str, run: Run | None) -> Json:
    """Make the payload of `agent.wait`. An unknown run gives a timeout without an end."""
    if run is None or not run.final:
        return {"runId": key, "status": "timeout"}
    payload: Json = {"runId": key, "endedAt": int(time.time() * 1000)}
    final = run.final
    disposition = final.get("disposition")
    reply: Json = {} if version == OLDEST else {"terminalReply": {"disposition": disposition}} if disposition else {}
    if final["status"] == "ok" and not disposition:
        reply = (
            {} if version == OLDEST else {"terminalReply": _make_terminal_reply(final["result"]["payloads"][0]["text"])}
        )
    if final["status"] == "ok":
        return payload | {"status": "ok", "stopReason": "stop"} | reply
    stop_reason = {"stopReason": "rpc"} if final.get("stopReason") else {}
    return payload | {"status": "error", "error": final["summary"]} | stop_reason | reply


def _make_terminal_reply(text: str) -> Json:
    return {"disposition": "visible", "text": text if len(text) <= WAIT_LIMIT else text[:WAIT_LIMIT] + "…"}


def _make_end_event(version: str, run: Run, phase: str, details: Json, reply: Json) -> Json:
    data: Json = {"phase": phase, "aborted": False, "endedAt": int(time.time() * 1000)} | details
    if version != OLDEST:
        data["terminalReply"] = reply
    if version == NEWEST:
        receipt = {"runId": run.key, "successfulToolNames": [], "terminalDisposition": reply["disposition"]}
        data |= {"executionSettled": True, "terminalReceipt": receipt}
    return _make_agent_event(run, "lifecycle", data)


def _make_agent_event(run: Run, stream: str, data: Json) -> Json:
    return {"runId": run.key, "sessionKey": run.session, "stream": stream, "data": data}
