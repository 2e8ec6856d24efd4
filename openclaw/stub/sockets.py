"""The stub's WebSocket side: protocol 4, one `Connection` per client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web
from Crypto.Signature import eddsa

from openclaw.stub import versions
from openclaw.stub.answers import make_picture
from openclaw.stub.gateway import Gateway, Json, read_agent_id
from openclaw.stub.parameters import CLIENTS, find_problem
from openclaw.stub.run import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

VERSION = "stub-1"
MAX_PAYLOAD = 26_214_400
SIGNATURE_MS = 120_000  # how old a device's signature may be


class Refused(Exception):
    """An error response; `close` is the close code that follows it."""

    def __init__(self, code: str, message: str, details: Json | None = None, *, close: int = 0, **more: Any) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({"details": details} if details else {}) | more
        self.close = close


class Sockets:
    """All connections of the gateway."""

    def __init__(self, gateway: Gateway, tick: float) -> None:
        self.gateway = gateway
        self.tick = tick
        self.open: set[Connection] = set()
        gateway.broadcast = self.broadcast
        gateway.drop_connections = self.drop

    async def accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_PAYLOAD, compress=False)
        await socket.prepare(request)
        await Connection(self, socket, request).serve()
        return socket

    def broadcast(self, event: str, payload: Json) -> None:
        frame = json.dumps({"type": "event", "event": event, "payload": payload}, ensure_ascii=False)
        for connection in self.open:
            connection.push(frame)

    def drop(self) -> None:
        for connection in list(self.open):
            connection.abort()

    async def drain(self, restart_expected: int) -> None:
        """Announce a shutdown and close every connection, as an orderly restart does."""
        self.gateway.faults.draining = True
        self.broadcast("shutdown", {"reason": "restart", "restartExpectedMs": restart_expected})
        for connection in list(self.open):
            await connection.flush()
            await connection.socket.close(code=WSCloseCode.SERVICE_RESTART, message=b"service restart")


class Connection:
    def __init__(self, sockets: Sockets, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.sockets = sockets
        self.gateway = sockets.gateway
        self.socket = socket
        self._transport = request.transport
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._nonce = secrets.token_hex(8)
        self._is_signed_in = False

    async def serve(self) -> None:
        self._start_task(self._send_frames())
        challenge = {"nonce": self._nonce, "ts": int(time.time() * 1000)}
        self.push(json.dumps({"type": "event", "event": "connect.challenge", "payload": challenge}))
        try:
            async for message in self.socket:
                if message.type is not WSMsgType.TEXT or not await self._handle_request(json.loads(message.data)):
                    break
        finally:
            self.sockets.open.discard(self)
            for task in self._tasks:
                task.cancel()

    def _start_task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def push(self, frame: str) -> None:
        self._outbox.put_nowait(frame)

    async def flush(self) -> None:
        await self._outbox.join()

    def abort(self) -> None:
        """End the TCP connection without closing the WebSocket."""
        if self._transport:
            self._transport.abort()

    async def _send_frames(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self.socket.send_str(await self._outbox.get())
                self._outbox.task_done()

    async def _send_ticks(self) -> None:
        while True:
            await asyncio.sleep(self.sockets.tick)
            if not self.gateway.faults.silent:
                self.push(json.dumps({"type": "event", "event": "tick", "payload": {"ts": int(time.time() * 1000)}}))

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _handle_request(self, frame: Json) -> bool:
        """Answer one request. Return False if the connection has to end."""
        number, method, params = frame["id"], frame["method"], frame.get("params") or {}
        try:
            if not self._is_signed_in:
                self._send_response(number, self._handle_connect(method, params))
            elif problem := find_problem(method, params):
                raise Refused("INVALID_REQUEST", f"invalid {method} params: {problem}")
            elif method in ("agent", "agent.wait"):
                self._start_task(
                    self._answer_later(number, self._handle_agent if method == "agent" else self._handle_wait, params)
                )
            else:
                self._send_response(number, self._answer_query(method, params))
        except Refused as refusal:
            self._send_error(number, refusal)
            if refusal.close:
                await self.flush()
                await self.socket.close(code=refusal.close)
                return False
        return True

    def _send_response(self, number: str, payload: Json) -> None:
        ok = payload.get("status") != "error" or "endedAt" in payload
        error = {} if ok else {"error": {"code": "UNAVAILABLE", "message": payload.get("summary", "")}}
        frame = {"type": "res", "id": number, "ok": ok, "payload": payload} | error
        self.push(json.dumps(frame, ensure_ascii=False))

    def _send_error(self, number: str, refusal: Refused) -> None:
        self.push(json.dumps({"type": "res", "id": number, "ok": False, "error": refusal.error}, ensure_ascii=False))

    async def _answer_later(self, number: str, work: Callable[[str, Json], Awaitable[None]], params: Json) -> None:
        try:
            await work(number, params)
        except Refused as refusal:
            self._send_error(number, refusal)

    def _handle_connect(self, method: str, params: Json) -> Json:
        if method != "connect":
            raise Refused("INVALID_REQUEST", "first request must be connect", close=1008)
        faults = self.gateway.faults
        low, high = params.get("minProtocol", 0), params.get("maxProtocol", 0)
        if not low <= faults.protocol <= high:
            details = {"code": "PROTOCOL_MISMATCH", "expectedProtocol": faults.protocol}
            raise Refused("INVALID_REQUEST", "protocol mismatch", details, close=1002)
        client = params.get("client") or {}
        if CLIENTS.get(client.get("id", "")) != client.get("mode", ""):
            raise Refused("INVALID_REQUEST", "invalid connect params: at /client/id", close=1008)
        self._sign_in(params)
        self._is_signed_in = True
        self.sockets.open.add(self)
        self._start_task(self._send_ticks())
        return self._make_hello([] if faults.no_scopes else params.get("scopes", []), faults.protocol)

    def _sign_in(self, params: Json) -> None:
        faults, token = self.gateway.faults, (params.get("auth") or {}).get("token", "")
        if faults.locked_out:
            raise Refused(
                "UNAVAILABLE",
                "unauthorized: too many failed authentication attempts (retry later)",
                {"code": "AUTH_RATE_LIMITED"},
                close=1008,
                retryAfterMs=300_000,
            )
        if not secrets.compare_digest(str(token).encode(), self.gateway.token.encode()):
            details = {"code": "AUTH_TOKEN_MISMATCH"}
            raise Refused("INVALID_REQUEST", "unauthorized: gateway token mismatch", details, close=1008)
        signed_at = (params.get("device") or {}).get("signedAt", time.time() * 1000)
        if abs(time.time() * 1000 - signed_at) > SIGNATURE_MS:
            details = {"code": "DEVICE_AUTH_SIGNATURE_EXPIRED"}
            raise Refused("INVALID_REQUEST", "device signature expired", details, close=1008)
        self._check_device(params)
        if faults.pairing:
            details = {"code": "PAIRING_REQUIRED", "requestId": "req-1", "reason": "not-paired"}
            raise Refused("NOT_PAIRED", "device pairing required", details, close=1008)
        if faults.starting:
            details = {"reason": "startup-sidecars"}
            raise Refused("UNAVAILABLE", "gateway starting; retry shortly", details, close=1013, retryAfterMs=500)
        if faults.draining:
            raise Refused("UNAVAILABLE", "gateway is draining for restart", close=1013)

    def _check_device(self, params: Json) -> None:
        """Check the signature of a client that names a device. It signs the shared token if it sent one, else the device's own token."""
        device, client, auth = params.get("device"), params.get("client") or {}, params.get("auth") or {}
        if not device:
            return
        parts = (
            *("v3", device.get("id"), client.get("id"), client.get("mode"), params.get("role")),
            *(",".join(params.get("scopes", [])), device.get("signedAt"), auth.get("token") or auth.get("deviceToken")),
            *(self._nonce, client.get("platform"), client.get("deviceFamily", "")),
        )
        key, signature = (base64.urlsafe_b64decode(str(device.get(name)) + "==") for name in ("publicKey", "signature"))
        try:
            eddsa.new(eddsa.import_public_key(key), "rfc8032").verify("|".join(map(str, parts)).encode(), signature)
        except ValueError:
            details = {"code": "DEVICE_AUTH_SIGNATURE_INVALID"}
            raise Refused("INVALID_REQUEST", "device signature invalid", details, close=1008) from None

    def _make_hello(self, scopes: list[str], protocol: int) -> Json:
        limits = {"maxBytes": 19_464_192, "maxImageBytes": 6_291_456}
        boot = {} if self.gateway.faults.version == versions.OLDEST else {"bootId": self.gateway.boot_id}
        return {
            "type": "hello-ok",
            "protocol": protocol,
            "server": {"version": VERSION, "connId": str(uuid.uuid4())} | boot,
            "auth": {"role": "operator", "scopes": scopes},
            "policy": {
                "maxPayload": MAX_PAYLOAD,
                "tickIntervalMs": int(self.sockets.tick * 1000),
                "attachments": limits,
            },
        }

    def _answer_query(self, method: str, params: Json) -> Json:
        session = str(params.get("sessionKey", ""))
        if method == "agents.list":
            agents = [{"id": agent, "model": {"primary": "stub/parrot"}} for agent in self.gateway.agents]
            return {"defaultId": self.gateway.agents[0], "agents": agents}
        if method == "chat.history":
            max_characters = int(params.get("maxChars", versions.HISTORY_LIMIT))
            return self.gateway.history(session.lower(), int(params.get("limit", 200)), max_characters)
        if method == "chat.send":
            return self._send_chat(params)
        if method == "chat.abort":
            stopped = self.gateway.abort(session.lower(), params.get("runId", ""))
            return {"ok": True, "aborted": bool(stopped), "runIds": stopped}
        if method == "artifacts.download":
            return _make_download(str(params.get("artifactId", "")))
        if method == "health":
            return {"ok": True}
        raise Refused("FORBIDDEN", "missing scope: operator.admin")

    async def _handle_agent(self, number: str, params: Json) -> None:
        run = self.gateway.runs.get(params.get("idempotencyKey", ""))
        if run is None:
            run = self._start_run(params)
            accepted = {"runId": run.key, "sessionKey": run.session, "status": "accepted"}
            for _ in range(1 + self.gateway.faults.accepts_again):
                self._send_response(number, accepted)
        elif run.final is None:
            return self._send_response(number, {"runId": run.key, "status": "in_flight"})
        await run.done.wait()
        if run.final:
            self._send_response(number, run.final)
        return None

    def _start_run(self, params: Json, *, files_allowed: bool = False) -> Run:
        session = str(params.get("sessionKey", "")).lower()
        missing = [name for name in ("message", "idempotencyKey") if not params.get(name)]
        if missing:
            raise Refused("INVALID_REQUEST", f"invalid agent params: must have required property '{missing[0]}'")
        agent = params.get("agentId") or read_agent_id(session)
        if agent not in self.gateway.agents:
            raise Refused("INVALID_REQUEST", f'invalid agent params: unknown agent id "{agent}"')
        if self.gateway.faults.overloaded > 0:
            self.gateway.faults.overloaded -= 1
            raise Refused("UNAVAILABLE", "too many runs", retryable=True)
        attachments = params.get("attachments", [])
        images = sum(item.get("type") == "image" for item in attachments)
        files = tuple(str(item.get("fileName")) for item in attachments if item.get("type") != "image")
        if files and not files_allowed:
            raise Refused("INVALID_REQUEST", "non-image attachments are not supported on this entrypoint")
        return self.gateway.start(Run(params["idempotencyKey"], session, params["message"], images, files))

    def _send_chat(self, params: Json) -> Json:
        """Start a turn as `agent` does, but answer at once. The stub does not add the message to the current run of a busy session."""
        if str(params.get("message")).startswith("/"):
            return self._run_command(params)
        if run := self.gateway.runs.get(params.get("idempotencyKey", "")):
            return {"runId": run.key, "status": "in_flight" if run.final is None else "ok"}
        return {"runId": self._start_run(params, files_allowed=True).key, "status": "started"}

    def _run_command(self, params: Json) -> Json:
        """Answer a command, as the gateway itself does: the agent does not get it."""
        key, session = str(params["idempotencyKey"]), str(params.get("sessionKey", "")).lower()
        if key in self.gateway.commands:
            return {"runId": key, "status": "ok"}
        self.gateway.commands[key] = params["message"]
        self.gateway.send_chat_event(
            Run(key, session, ""), "final", stopReason="stop", message=_make_message("🦞 a stub")
        )
        return {"runId": key, "status": "started"}

    async def _handle_wait(self, number: str, params: Json) -> None:
        run = self.gateway.runs.get(params.get("runId", ""))
        if run is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.done.wait(), params.get("timeoutMs", 30_000) / 1000)
        self._send_response(
            number, versions.make_wait_response(self.gateway.faults.version, params.get("runId", ""), run)
        )


def _make_message(text: str) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def _make_download(artifact: str) -> Json:
    if artifact.startswith("link_"):
        return {"artifact": {"id": artifact}, "url": f"/_stub/image/{artifact}.png"}
    if not artifact.startswith("artifact_"):
        details = {"type": "artifact_not_found", "artifactId": artifact}
        raise Refused("INVALID_REQUEST", "artifact not found", details)
    data = base64.b64encode(make_picture(len(artifact))).decode()
    return {"artifact": {"id": artifact, "mimeType": "image/png"}, "encoding": "base64", "data": data}
