"""Whatever a gateway says, by WebSocket or HTTP, is read or is a GatewayError."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openclaw import frames, reading, transcript
from openclaw.errors import GatewayError
from openclaw.http import ask_http, probe
from openclaw.turns import Answer, Endpoint, Turn
from openclaw.wire import Wire
from tests.fuzz.strangers import objects, storable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NAMES = (
    "status", "ok", "error", "summary", "runId", "result", "payloads", "text",
    "isError", "mediaUrls", "mediaUrl", "stopReason", "rpc", "timeout", "terminalReply", "code",
    "details", "reason", "requestId", "message", "retryAfterMs", "content", "artifactId", "title",
    "mimeType", "type", "role", "user", "assistant", "idempotencyKey", "__openclaw", "provenance",
    "sourceTool", "openclawAbort", "aborted", "messages", "sessionInfo", "activeRunIds", "pendingInputs", "items",
    "state", "inFlightRun", "protocol", "server", "version", "bootId", "policy", "maxPayload",
    "attachments", "maxBytes", "tickIntervalMs", "auth", "deviceToken", "scopes", "agents", "id",
    "name", "model", "primary", "ts", "nonce", "payload", "event", "res",
    "connect.challenge", "shutdown", "restartExpectedMs", "choices", "delta", "UNAVAILABLE", "PAIRING_REQUIRED",
)  # fmt: skip
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
READERS: list[Callable[[dict[str, Any]], Any]] = [
    reading.read_result,
    reading.read_wait,
    reading.read_error,
    reading.read_hello,
    reading.read_agents,
    reading.read_granted_scopes,
    lambda payload: reading.read_result(payload, reading.EventSummary(final=payload)),
    lambda payload: _ask_transcript(transcript.read_transcript(payload)),
]


def _ask_transcript(found: transcript.Transcript) -> Any:
    keys = [row.key.removesuffix(":user") for row in found.rows]
    asked = [
        (found.find_outcome(key), found.find_interrupted_run(key), found.find_answer(key)) for key in [*keys, "1.1"]
    ]
    return found.is_running, found.active_runs(), found.is_pending("1.1"), asked


def _stream(chunks: list[dict[str, Any]]) -> bytes:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n"


@QUICK
@given(objects(*NAMES))
@example({"protocol": [], "policy": {"tickIntervalMs": "soon", "maxPayload": 10**400}})
@example({"retryAfterMs": 10**400, "code": "UNAVAILABLE"})
@example({"status": "error", "summary": f"retry after about {'9' * 5000} hours"})
def test_any_object_is_read_or_a_named_error(found: dict[str, Any]) -> None:
    payload = frames.decode_object(json.dumps(found))
    for read in READERS:
        try:
            answer = read(payload)
        except GatewayError as error:
            answer = error
        if isinstance(answer, GatewayError):
            assert storable(str(answer))
            assert answer.retry_after is None or 0 <= answer.retry_after <= frames.LARGEST_NUMBER
        assert storable(answer)


@QUICK
@given(st.binary(max_size=200) | objects(*NAMES).map(lambda found: json.dumps(found).encode()))
@example(b"[" * 100_000)
@example(b'{"a":' * 600 + b"1" + b"}" * 600)
@example(b'{"a": ' + b"9" * 5000 + b"}")
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        found = frames.decode_object(data)
    except ValueError:
        return
    assert isinstance(found, dict)
    assert storable(found)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.binary(max_size=60) | objects(*NAMES).map(json.dumps) | st.text(max_size=30), max_size=4))
@example(['{"event": "connect.challenge", "payload": {"ts": "later", "nonce": 7}}'])
@example(['{"type": "event", "event": "shutdown", "payload": {"restartExpectedMs": 1e999}}'])
@example(["[" * 100_000])
def test_a_gateway_of_nonsense_is_a_named_error(frames: list[bytes | str]) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for frame in frames:
            await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
        try:
            message = await socket.receive(timeout=0.1)
        except TimeoutError:
            await socket.close()
            return socket
        if message.type is WSMsgType.TEXT:  # whoever gets so far is answered with nonsense as well
            asked = json.loads(message.data)
            await socket.send_str(
                json.dumps({"type": "res", "id": asked["id"], "ok": True, "payload": {"protocol": {}}})
            )
        await socket.close()
        return socket

    async def connect(url: str) -> None:
        wire = Wire(Endpoint(url, "token"), lambda _event, _payload: None)
        with pytest.raises(GatewayError):
            await wire.open()
        await wire.close()

    asyncio.run(_served(handle, connect))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([200, 200, 200, 400, 404, 429, 500, 503]),
    st.binary(max_size=80) | st.lists(objects(*NAMES), max_size=3).map(_stream),
    st.sampled_from(["5", "\xb2", "9" * 400, "soon", ""]),
)
@example(200, b"data: \xff\xfe\n", "")
@example(200, b"data: " + b"[" * 100_000 + b"\n", "")
@example(400, b'{"error": {"message": "\\ud800"}}', "")
def test_an_endpoint_of_nonsense_is_an_answer_or_a_named_error(status: int, body: bytes, retry_after: str) -> None:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, body=body, headers={"Retry-After": retry_after, "Content-Type": "text/plain; charset=x"}
        )

    async def ask(url: str) -> None:
        turn = Turn("agent:main:x", "main", "hello", "1.1", timeout=10.0)
        async with aiohttp.ClientSession() as session:
            found: Answer | GatewayError
            try:
                found = await ask_http(session, Endpoint(url, "token"), turn, lambda _partial: None)
            except GatewayError as error:
                found = error
        assert storable(str(found))
        wait = found.retry_after if isinstance(found, GatewayError) else None
        assert wait is None or 0 <= wait <= 3600

    asyncio.run(_served(handle, ask))


def test_probing_nonsense_is_a_named_error() -> None:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\xff{", content_type="application/json")

    async def ask(url: str) -> None:
        with pytest.raises(GatewayError):
            await probe(Endpoint(url, "token"))

    asyncio.run(_served(handle, ask))


async def _served(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], use: Callable[[str], Awaitable[None]]
) -> None:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await use(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()
