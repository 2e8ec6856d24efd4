"""One WebSocket to a gateway: handshake, requests and their answers, events, the heartbeat (gateway protocol 3 and 4).

A frame is JSON text: `{"type": "req", id, method, params}`, `{"type": "res", id, ok, payload | error}` or
`{"type": "event", event, payload}`. Nothing is replayed after a reconnect, so a wire lives once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from channels_wechat.contract.explanations import Action
from openclaw.device import Signer
from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, decode, number, record, seconds, text
from openclaw.reach import FRAME_LIMIT, open_session, why_failed
from openclaw.reading import granted_scopes, read_error, read_hello

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from openclaw.turns import Endpoint, Hello

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 15.0
CALL_TIMEOUT: Final = 60.0
"""Seconds; the slowest call seen is `sessions.list` on a cold gateway with 19 s."""
REOPEN_SECONDS: Final = 1.0
ANSWERS_LIMIT: Final = 16
"""Responses to one request that wait to be read; `agent` has two."""

# A gateway accepts only client ids it knows; this pair keeps its scopes on loopback with the token alone.
SIGNER: Final = Signer(
    client_id="gateway-client",
    mode="backend",
    role="operator",
    scopes=("operator.read", "operator.write"),
    platform="linux",
)


def address(base_url: str, scheme: str) -> str:
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


Answers = asyncio.Queue[Json | GatewayError]


class Wire:
    """An open connection; `closed` is set once it is gone, with the reason in `lost`."""

    def __init__(self, endpoint: Endpoint, on_event: Callable[[str, Json], None]) -> None:
        self.endpoint = endpoint
        self.closed = asyncio.Event()
        self.lost = GatewayError(Code.CONNECTION_LOST)
        self._on_event = on_event
        self._waiting: dict[str, Answers] = {}
        self._number = 0
        self._challenge: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._tick_interval = CONNECT_TIMEOUT
        self._open = contextlib.AsyncExitStack()

    async def open(self) -> Hello:
        """Connect and shake hands; raise GatewayError and leave nothing open when that fails."""
        url = address(self.endpoint.base_url, "ws")
        http = await self._open.enter_async_context(open_session(self.endpoint))
        try:
            self._socket = await self._dial(http, url)
            self._open.push_async_callback(self._socket.close)
            self._open.push_async_callback(_stop, asyncio.create_task(self._read()))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._shake_hands()
        except TimeoutError:
            await self.close()
            raise GatewayError(Code.UNREACHABLE, "connected, but the gateway says nothing") from None
        except GatewayError as error:
            await self.close()
            # Nothing was asked yet, so no outcome can be unknown.
            raise error.fresh(Action.RETRY if error.action is Action.UNKNOWN else None) from None
        except BaseException:
            await self.close()
            raise

    async def _dial(self, http: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await http.ws_connect(url, max_msg_size=FRAME_LIMIT, compress=0)
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(error.status) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise GatewayError(Code.BAD_URL) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayError(Code.UNREACHABLE, why_failed(error)) from None

    async def _shake_hands(self) -> Hello:
        challenge = await self._challenge
        payload = await self.call("connect", self._connect_params(challenge), timeout=CONNECT_TIMEOUT)
        hello = read_hello(payload)
        if not set(SIGNER.scopes) <= granted_scopes(payload):
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
            nonce, signed_at = text(challenge.get("nonce")), int(number(challenge.get("ts")) or 0)
            token = endpoint.token or endpoint.device_token
            params["device"] = endpoint.device.sign(SIGNER, nonce=nonce, signed_at=signed_at, token=token)
        return params

    async def call(self, method: str, params: Json, *, timeout: float = CALL_TIMEOUT) -> Json:
        """Send a request and return the payload of its (first) response."""
        async with self.request(method, params) as answers:
            return await receive(answers, timeout)

    @contextlib.asynccontextmanager
    async def request(self, method: str, params: Json) -> AsyncIterator[Answers]:
        """Send a request and give the queue of its responses: `agent` answers twice under one id."""
        if self.closed.is_set():
            # Nothing leaves: not the request's fault, and the next connection may be there at once.
            raise GatewayError(self.lost.code, self.lost.detail, action=Action.WAIT, retry_after=REOPEN_SECONDS)
        self._number += 1
        number = str(self._number)
        answers: Answers = asyncio.Queue(ANSWERS_LIMIT)
        self._waiting[number] = answers
        try:
            await self._send({"type": "req", "id": number, "method": method, "params": params})
            yield answers
        finally:
            self._waiting.pop(number, None)

    async def _send(self, frame: Json) -> None:
        try:
            await self._socket.send_str(json.dumps(frame, ensure_ascii=False))
        except (aiohttp.ClientError, OSError):
            self._end(GatewayError(Code.CONNECTION_LOST))
            raise self.lost.fresh() from None

    async def _read(self) -> None:
        try:
            while True:
                # The gateway ticks; two intervals of silence mean that the connection is dead.
                message = await self._socket.receive(timeout=2 * self._tick_interval)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                self._dispatch(decode(message.data))
        except (TimeoutError, ValueError, aiohttp.ClientError, OSError):
            pass
        finally:
            self._end(_closed(self._socket.close_code))

    def _dispatch(self, frame: Json) -> None:
        payload = record(frame.get("payload"))
        if frame.get("type") == "res":
            self._answer(text(frame.get("id")), frame, payload)
        elif frame.get("event") == "connect.challenge":
            if not self._challenge.done():
                self._challenge.set_result(payload)
        elif frame.get("event") == "shutdown":
            wait = seconds(payload.get("restartExpectedMs"))
            self.lost = GatewayError(
                Code.DRAINING, text(payload.get("reason")), action=Action.UNKNOWN, retry_after=wait
            )
        elif frame.get("type") == "event":
            try:
                self._on_event(text(frame.get("event")), payload)
            except Exception:  # one caller's callback must not end everybody's connection
                logger.exception("a callback for the event %s failed", frame.get("event"))

    def _answer(self, number: str, frame: Json, payload: Json) -> None:
        queue = self._waiting.get(number)
        if queue is None:
            return
        # A failed run is a response with an error and with a payload of its own: the reader of runs wants the payload.
        failed = not frame.get("ok") and "status" not in payload
        if queue.full():
            raise ValueError("answers that nobody asked for")
        queue.put_nowait(read_error(record(frame.get("error"))) if failed else payload)

    def _end(self, error: GatewayError) -> None:
        if self.closed.is_set():
            return
        if self.lost.code is not Code.DRAINING:
            self.lost = error
        self.closed.set()
        if not self._challenge.done():
            self._challenge.set_exception(self.lost.fresh())
            self._challenge.exception()  # marks it as seen when nobody waits any more
        for queue in self._waiting.values():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(self.lost.fresh())

    async def close(self) -> None:
        self._end(GatewayError(Code.CONNECTION_LOST, "closed by the bridge"))
        await self._open.aclose()


async def _stop(task: asyncio.Task[None]) -> None:
    """Waits without taking the task's cancellation for its own, or its own for the task's."""
    task.cancel()
    await asyncio.wait([task])


async def receive(answers: Answers, timeout: float) -> Json:
    """Return the next response; raise its error, or `timeout` (outcome unknown) after that many seconds."""
    try:
        async with asyncio.timeout(timeout):
            answer = await answers.get()
    except TimeoutError:
        raise GatewayError(Code.TIMEOUT) from None
    if isinstance(answer, GatewayError):
        raise answer
    return answer


def _refused(status: int) -> GatewayError:
    """Name an HTTP answer to the WebSocket upgrade."""
    if status in (502, 503, 504):
        return GatewayError(Code.STARTING, f"HTTP {status}", retry_after=1.0)
    if status == 429:
        return GatewayError(Code.LOCKED_OUT, "HTTP 429", retry_after=300.0)
    return GatewayError(Code.NOT_A_GATEWAY, f"HTTP {status}")


def _closed(close_code: int | None) -> GatewayError:
    if close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return GatewayError(Code.CONNECTION_LOST, f"a frame of more than {FRAME_LIMIT} bytes")
    # 1012 service restart, 1013 try again later
    if close_code in (1012, 1013):
        return GatewayError(Code.DRAINING, f"close {close_code}", action=Action.UNKNOWN, retry_after=1.0)
    return GatewayError(Code.CONNECTION_LOST, f"close {close_code}" if close_code else "")
