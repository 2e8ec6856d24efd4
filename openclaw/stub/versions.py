"""In what the gateways 2026.9.6, 2026.8.2 and 2026.7.35 differ, as their frames were recorded."""

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
TAKEN: Final = {"input": 600, "output": 5, "cacheRead": 400, "cacheWrite": 0, "total": 1005}


def meta(plays: str) -> Json:
    cost = {} if plays == OLDEST else {"cost": {"total": 0.000665}}
    return {"agentMeta": {"provider": "stub", "model": "parrot", "usage": TAKEN | cost}}


def end(plays: str, run: Run, words: str, url: str | None) -> list[Json]:
    """The `agent` events of a run that answered, before its `chat final`."""
    media = {"mediaUrls": [url]} if url else {}
    said = f"{words}\nMEDIA:{url}" if url else words
    return [
        _agent(run, "assistant", {"text": words, "delta": words} | media),
        _agent(run, "lifecycle", {"phase": "finishing", "stopReason": "stop", "aborted": False}),
        _end(plays, run, "end", {"stopReason": "stop", "livenessState": "working"}, _reply(said)),
    ]


class Silence(NamedTuple):
    """An end without an answer: its `agent` event, the error of its `chat` event (empty where there is none), its second response."""

    payload: Json
    error: str
    final: Json


def say_nothing(plays: str, run: Run, disposition: str) -> Silence:
    """silent: the agent said NO_REPLY; empty: the model gave nothing. The newest gateway calls both a failed run."""
    failed = disposition == "empty" or plays == NEWEST
    more: Json = {"error": NO_REPLY, "livenessState": "abandoned"} if failed else {"stopReason": "stop"}
    result: Json = {"payloads": [], "meta": meta(plays)}
    if failed:
        mark = {"isError": True} if plays == NEWEST else {}
        result["payloads"] = [{"text": NO_REPLY, "mediaUrl": None} | mark]
    said_ok = not failed or plays == OLDEST
    status = {"status": "ok", "summary": "completed"} if said_ok else {"status": "error", "summary": "failed"}
    return Silence(
        _end(plays, run, "error" if failed else "end", more, {"disposition": disposition}),
        NO_REPLY if failed else "",
        {"runId": run.key, **status, "result": result, "disposition": disposition},
    )


def aborted(plays: str, run: Run) -> Json:
    if plays == NEWEST:
        return {"runId": run.key, "status": "timeout", "summary": "aborted", "stopReason": "rpc"}
    if plays == OLDEST:
        return {
            "runId": run.key,
            "status": "error",
            "summary": "EmbeddedAttemptSessionTakeoverError: This operation was aborted",
        }
    result = {"payloads": [], "meta": meta(plays) | {"aborted": True}}
    return {"runId": run.key, "status": "error", "summary": "failed", "stopReason": "aborted", "result": result}


def row(plays: str, stored: Json, most: int) -> Json:
    """A row of `chat.history`: cut at so many characters, and on the oldest gateway without the run's id."""
    shown, inner = dict(stored), dict(stored.get("__openclaw", {}))
    if plays == OLDEST:
        inner.pop("runId", None)
        if str(shown.get("idempotencyKey", "")).endswith(":user"):
            shown.pop("idempotencyKey")  # stays only with `chat.send`
    content = shown.get("content")
    if isinstance(content, list) and len(str(content[0].get("text", ""))) > most:
        shown["content"] = [content[0] | {"text": content[0]["text"][:most] + TRUNCATED}, *content[1:]]
        inner |= {"truncated": True, "reason": "display-cap"}
    return shown | {"__openclaw": inner}


def outcome(plays: str, key: str, run: Run | None) -> Json:
    """The payload of `agent.wait`; an unknown run is a timeout without an end."""
    if run is None or not run.final:
        return {"runId": key, "status": "timeout"}
    ended: Json = {"runId": key, "endedAt": int(time.time() * 1000)}
    final = run.final
    disposition = final.get("disposition")
    reply: Json = {} if plays == OLDEST else {"terminalReply": {"disposition": disposition}} if disposition else {}
    if final["status"] == "ok" and not disposition:
        reply = {} if plays == OLDEST else {"terminalReply": _reply(final["result"]["payloads"][0]["text"])}
    if final["status"] == "ok":
        return ended | {"status": "ok", "stopReason": "stop"} | reply
    stopped = {"stopReason": "rpc"} if final.get("stopReason") else {}
    return ended | {"status": "error", "error": final["summary"]} | stopped | reply


def _reply(said: str) -> Json:
    return {"disposition": "visible", "text": said if len(said) <= WAIT_LIMIT else said[:WAIT_LIMIT] + "…"}


def _end(plays: str, run: Run, phase: str, more: Json, reply: Json) -> Json:
    data: Json = {"phase": phase, "aborted": False, "endedAt": int(time.time() * 1000)} | more
    if plays != OLDEST:
        data["terminalReply"] = reply
    if plays == NEWEST:
        receipt = {"runId": run.key, "successfulToolNames": [], "terminalDisposition": reply["disposition"]}
        data |= {"executionSettled": True, "terminalReceipt": receipt}
    return _agent(run, "lifecycle", data)


def _agent(run: Run, stream: str, data: Json) -> Json:
    return {"runId": run.key, "sessionKey": run.session, "stream": stream, "data": data}
