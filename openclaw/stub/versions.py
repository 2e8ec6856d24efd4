"""In what the gateways 2026.9.6, 2026.8.2 and 2026.7.35 differ, as their frames were recorded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openclaw.stub.gateway import Gateway, Run

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


def end(gateway: Gateway, run: Run, words: str, url: str | None) -> None:
    """The events of a run that answered, before its `chat final`."""
    media = {"mediaUrls": [url]} if url else {}
    _agent(gateway, run, "assistant", {"text": words, "delta": words} | media)
    _agent(gateway, run, "lifecycle", {"phase": "finishing", "stopReason": "stop", "aborted": False})
    said = f"{words}\nMEDIA:{url}" if url else words
    _end(gateway, run, "end", {"stopReason": "stop", "livenessState": "working"}, _reply(said))


def say_nothing(gateway: Gateway, run: Run, disposition: str) -> None:
    """silent: the agent said NO_REPLY; empty: the model gave nothing. The newest gateway calls both a failed run."""
    failed = disposition == "empty" or gateway.faults.plays == NEWEST
    more: Json = {"error": NO_REPLY, "livenessState": "abandoned"} if failed else {"stopReason": "stop"}
    _end(gateway, run, "error" if failed else "end", more, {"disposition": disposition})
    result: Json = {"payloads": [], "meta": meta(gateway.faults.plays)}
    if failed:
        gateway.tell(run, "error", errorMessage=NO_REPLY)
        mark = {"isError": True} if gateway.faults.plays == NEWEST else {}
        result["payloads"] = [{"text": NO_REPLY, "mediaUrl": None} | mark]
    said_ok = not failed or gateway.faults.plays == OLDEST
    status = {"status": "ok", "summary": "completed"} if said_ok else {"status": "error", "summary": "failed"}
    run.final = {"runId": run.key, **status, "result": result, "disposition": disposition}


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


def _end(gateway: Gateway, run: Run, phase: str, more: Json, reply: Json) -> None:
    data: Json = {"phase": phase, "aborted": False, "endedAt": int(time.time() * 1000)} | more
    if gateway.faults.plays != OLDEST:
        data["terminalReply"] = reply
    if gateway.faults.plays == NEWEST:
        receipt = {"runId": run.key, "successfulToolNames": [], "terminalDisposition": reply["disposition"]}
        data |= {"executionSettled": True, "terminalReceipt": receipt}
    _agent(gateway, run, "lifecycle", data)


def _agent(gateway: Gateway, run: Run, stream: str, data: Json) -> None:
    payload = {"runId": run.key, "sessionKey": run.session, "stream": stream, "data": data}
    gateway.broadcast("agent", payload)
