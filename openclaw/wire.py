"""One WebSocket to a gateway: handshake, requests and their answers, events, the heartbeat (gateway protocol 3 and 4).

A frame is JSON text: `{"type": "req", id, method, params}`, `{"type": "res", id, ok, payload | error}` or
`{"type": "event", event, payload}`. The gateway repeats nothing after a reconnect, so each connection has
a Wire of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from channels_wechat.contract.explanations import Action
from openclaw.device import Signer
from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, as_number, as_object, as_seconds, as_text, decode_object
from openclaw.reach import FRAME_LIMIT, find_failure, open_session
from openclaw.reading import read_error, read_granted_scopes, read_hello

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from openclaw.turns import Endpoint, Hello

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 15.0
CALL_TIMEOUT: Final = 60.0
"""Seconds; the slowest call measured was `sessions.list` on a gateway that had just started, with 19 s."""
RECONNECT_SECONDS: Final = 1.0
MAX_WAITING_RESPONSES: Final = 16
"""Responses to one request that may wait to be read; `agent` gives two."""

# A gateway accepts only client ids that it knows. With this id and mode the token alone gives the scopes on loopback.
SIGNER: Final = Signer(
    client_id="gateway-client",
    mode="backend",
    role="operator",
    scopes=("operator.read", "operator.write"),
    platform="linux",
)


def make_url(base_url: str, scheme: str) -> str:
    """Return the base URL for "http" or "ws" (with TLS kept), without a trailing slash."""
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None
    if not usable or parts.username or parts.query or parts.fragment:
        raise GatewayError(Code.BAD_URL)
    secure = "s" if parts.scheme in ("https", "wss") else ""
    return urlunsplit((scheme + secure, parts.netloc, parts.path.rstrip("/"), "", ""))


ResponseQueue = asyncio.Queue[Json | GatewayError]


class Wire:
    """An open connection. `closed` is set when it has ended, and `lost` is the reason. last_frame_at: Unix time of the last frame."""

    def __init__(self, endpoint: Endpoint, on_event: Callable[[str, Json], None]) -> None:
        self.endpoint = endpoint
        self.closed = asyncio.Event()
        self.lost = GatewayError(Code.CONNECTION_LOST)
        self.last_frame_at = 0.0
        self._on_event = on_event
        self._queues: dict[str, ResponseQueue] = {}
        self._last_number = 0
        self._challenge: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._tick_interval = CONNECT_TIMEOUT
        self._resources = contextlib.AsyncExitStack()

    async def open(self) -> Hello:
        """Connect and do the handshake. Raise GatewayError, with everything closed, if that fails."""
        url = make_url(self.endpoint.base_url, "ws")
        http = await self._resources.enter_async_context(open_session(self.endpoint))
        try:
            self._socket = await self._open_socket(http, url)
            self._resources.push_async_callback(self._socket.close)
            self._resources.push_async_callback(_cancel_and_wait, asyncio.create_task(self._read_frames()))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._shake_hands()
        except TimeoutError:
            await self.close()
            raise GatewayError(Code.UNREACHABLE, "connected, but the gateway sends nothing") from None
        except GatewayError as error:
            await self.close()
            # No request was sent yet, so no outcome can be unknown.
            raise error.copy(Action.RETRY if error.action is Action.UNKNOWN else None) from None
        except BaseException:
            await self.close()
            raise

    async def _open_socket(self, http: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await http.ws_connect(url, max_msg_size=FRAME_LIMIT, compress=0)
        except aiohttp.WSServerHandshakeError as error:
            raise _error_for_status(error.status) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise GatewayError(Code.BAD_URL) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayError(Code.UNREACHABLE, find_failure(error)) from None

    async def _shake_hands(self) -> Hello:
        challenge = await self._challenge
        payload = await self.call("connect", self._connect_params(challenge), timeout=CONNECT_TIMEOUT)
        hello = read_hello(payload)
        if not set(SIGNER.scopes) <= read_granted_scopes(payload):
            raise GatewayError(Code.MISSING_SCOPE, "the gateway granted no scopes")
        self._tick_interval = hello.policy.tick_interval
        return hello

    def _connect_params(self, challenge: Json) -> Json:
        endpoint = self.endpoint
        auth = {"token": endpoint.token, "deviceToken": endpoint.device_token}
        params: Json = {
            "minProtocol": 3,
            "maxProtocol": 4,
            "client": {
                "id": SIGNER.client_id,
                "version": "0.1.0",
                "platform": SIGNER.platform,
                "mode": SIGNER.mode,
                "displayName": "wechat-openclaw-bridge",
            },
            "role": SIGNER.role,
            "scopes": list(SIGNER.scopes),
            "caps": [],
            "auth": {name: value for name, value in auth.items() if value},
        }
        if endpoint.device:
            nonce, signed_at = as_text(challenge.get("nonce")), int(as_number(challenge.get("ts")) or 0)
            token = endpoint.token or endpoint.device_token
            params["device"] = endpoint.device.sign(SIGNER, nonce=nonce, signed_at=signed_at, token=token)
        return params

    async def call(self, method: str, params: Json, *, timeout: float = CALL_TIMEOUT) -> Json:
        """Send a request and return the payload of its (first) response."""
        async with self.request(method, params) as answers:
            return await receive_response(answers, timeout)

    @contextlib.asynccontextmanager
    async def request(self, method: str, params: Json) -> AsyncIterator[ResponseQueue]:
        """Send a request and yield the queue of its responses: `agent` answers twice with one id."""
        if self.closed.is_set():
            # The request was not sent, so it can be tried on the next connection, which may be open soon.
            raise GatewayError(self.lost.code, self.lost.detail, action=Action.WAIT, retry_after=RECONNECT_SECONDS)
        self._last_number += 1
        number = str(self._last_number)
        answers: ResponseQueue = asyncio.Queue(MAX_WAITING_RESPONSES)
        self._queues[number] = answers
        try:
            await self._send_frame({"type": "req", "id": number, "method": method, "params": params})
            yield answers
        finally:
            self._queues.pop(number, None)

    async def _send_frame(self, frame: Json) -> None:
        try:
            await self._socket.send_str(json.dumps(frame, ensure_ascii=False))
        except (aiohttp.ClientError, OSError):
            self._mark_lost(GatewayError(Code.CONNECTION_LOST))
            raise self.lost.copy() from None

    async def _read_frames(self) -> None:
        try:
            while True:
                # The gateway sends a tick in each interval. No frame during two intervals means that the connection is lost.
                message = await self._socket.receive(timeout=2 * self._tick_interval)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                self.last_frame_at = time.time()
                self._handle_frame(decode_object(message.data))
        except (TimeoutError, ValueError, aiohttp.ClientError, OSError):
            pass
        finally:
            self._mark_lost(_error_for_close_code(self._socket.close_code))

    def _handle_frame(self, frame: Json) -> None:
        payload = as_object(frame.get("payload"))
        if frame.get("type") == "res":
            self._handle_response(as_text(frame.get("id")), frame, payload)
        elif frame.get("event") == "connect.challenge":
            if not self._challenge.done():
                self._challenge.set_result(payload)
        elif frame.get("event") == "shutdown":
            wait = as_seconds(payload.get("restartExpectedMs"))
            self.lost = GatewayError(
                Code.DRAINING, as_text(payload.get("reason")), action=Action.UNKNOWN, retry_after=wait
            )
        elif frame.get("type") == "event":
            try:
                self._on_event(as_text(frame.get("event")), payload)
            except Exception:  # an error in the callback of one caller must not end the connection of all
                logger.exception("a callback for the event %s failed", frame.get("event"))

    def _handle_response(self, number: str, frame: Json, payload: Json) -> None:
        queue = self._queues.get(number)
        if queue is None:
            return
        # The response to a failed run has an error and also a payload with a status. The code that reads runs needs the payload.
        failed = not frame.get("ok") and "status" not in payload
        if queue.full():
            raise ValueError("more responses than a request can have")
        queue.put_nowait(read_error(as_object(frame.get("error"))) if failed else payload)

    def _mark_lost(self, error: GatewayError) -> None:
        if self.closed.is_set():
            return
        if self.lost.code is not Code.DRAINING:
            self.lost = error
        self.closed.set()
        if not self._challenge.done():
            self._challenge.set_exception(self.lost.copy())
            self._challenge.exception()  # so that asyncio logs no exception that was never retrieved
        for queue in self._queues.values():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(self.lost.copy())

    async def close(self) -> None:
        self._mark_lost(GatewayError(Code.CONNECTION_LOST, "closed by the bridge"))
        await self._resources.aclose()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end. `asyncio.wait` keeps its cancellation apart from one of the caller."""
    task.cancel()
    await asyncio.wait([task])


async def receive_response(answers: ResponseQueue, timeout: float) -> Json:
    """Return the next response. Raise its error, or `timeout` (outcome unknown) after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            answer = await answers.get()
    except TimeoutError:
        raise GatewayError(Code.TIMEOUT) from None
    if isinstance(answer, GatewayError):
        raise answer
    return answer


def _error_for_status(status: int) -> GatewayError:
    """Return the error for an HTTP response to the WebSocket upgrade."""
    if status in (502, 503, 504):
        return GatewayError(Code.STARTING, f"HTTP {status}", retry_after=1.0)
    if status == 429:
        return GatewayError(Code.LOCKED_OUT, "HTTP 429", retry_after=300.0)
    return GatewayError(Code.NOT_A_GATEWAY, f"HTTP {status}")


def _error_for_close_code(close_code: int | None) -> GatewayError:
    """Return the error for the end of a connection."""
    if close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return GatewayError(Code.CONNECTION_LOST, f"a frame of more than {FRAME_LIMIT} bytes")
    # 1012 service restart, 1013 try again later
    if close_code in (1012, 1013):
        return GatewayError(Code.DRAINING, f"close {close_code}", action=Action.UNKNOWN, retry_after=1.0)
    return GatewayError(Code.CONNECTION_LOST, f"close {close_code}" if close_code else "")
