"""A WebSocket to a platform on which each request is acknowledged under its id, and the platform says things on its own.

The platform tells acknowledgements apart by the id alone, so of one id only one request is under way at a time.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from channels_wechat.contract.explanations import Action
from channels_wechat.contract.text import clean_json, sendable_json
from channels_wechat.wire.errors import WIRE
from channels_wechat.wire.guarded_session import Target, error_for_refused_status, open_session
from channels_wechat.wire.http import encode_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.http_client import AddressGuard

Frame = dict[str, Any]
CONNECT_SECONDS = 15.0
FRAME_BYTES = 16 * 2**20
# How long the other side may take to close a connection that we close.
CLOSE_SECONDS = 2.0


class _Turns:
    """Who wants to send under one id, one after the other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class RequestSocket:
    """An open WebSocket.

    find_id: returns the id of the request that a frame acknowledges; empty for any other frame. note_frame: called for each frame.
    """

    def __init__(
        self,
        raw: aiohttp.ClientWebSocketResponse,
        find_id: Callable[[Frame], str],
        note_frame: Callable[[], None] = lambda: None,
    ) -> None:
        self._raw, self._find_id, self._note_frame = raw, find_id, note_frame
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._turns: dict[str, _Turns] = {}
        # Ids of requests that were never acknowledged: what comes for one may belong to that request or to a later one.
        self._unanswered: set[str] = set()
        self._is_lost = False

    async def request(self, name: str, frame: Frame, seconds: float) -> Frame:
        """Send a frame under this id, and return its acknowledgement.

        Raises ChannelError: "connection_lost" (not sent: WAIT, else UNKNOWN), "timeout" (UNKNOWN).
        """
        async with self._turn(name):
            return await self._request(name, frame, seconds)

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        turns = self._turns.setdefault(name, _Turns())
        turns.users += 1
        try:
            async with turns.lock:
                yield
        finally:
            turns.users -= 1
            if not turns.users:
                del self._turns[name]

    async def _request(self, name: str, frame: Frame, seconds: float) -> Frame:
        answer = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):  # also of sending, which waits where the other side reads nothing
                await self._send(frame)
                acknowledgement: Frame = await answer
                return acknowledgement
        except TimeoutError:
            self._unanswered.add(name)
            raise WIRE.error("timeout", Action.UNKNOWN) from None
        finally:
            self._waiting.pop(name, None)

    async def _send(self, frame: Frame) -> None:
        if self._is_lost or self._raw.closed:
            raise WIRE.error("connection_lost", Action.WAIT, retry_after=1.0)
        try:
            await self._raw.send_str(encode_json(sendable_json(frame)).decode())
        except (aiohttp.ClientError, OSError) as error:
            raise WIRE.error("connection_lost", Action.UNKNOWN) from error

    def is_ambiguous(self, name: str) -> bool:
        """Whether an acknowledgement under this id could be that of an earlier request."""
        return name in self._unanswered

    async def receive(self) -> AsyncIterator[Frame]:
        """Yield what is no acknowledgement until the other side closes the connection in order. Raises ChannelError where it breaks."""
        while True:
            message = await self._raw.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._note_frame()
                frame = _read_frame(message.data)
                if not self._acknowledge(frame):
                    yield frame
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                if self._raw.close_code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE):
                    raise WIRE.error("connection_lost")
                return
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise WIRE.error("connection_lost") from self._raw.exception()

    def _acknowledge(self, frame: Frame) -> bool:
        name = self._find_id(frame)
        answer = self._waiting.get(name) if name else None
        if answer and not answer.done():
            answer.set_result(frame)
        elif name:
            self._unanswered.discard(name)
        return bool(name)

    def lose(self, error: ChannelError | None = None) -> None:
        """Nobody reads any more: end the requests that wait, of which nobody knows whether they were carried out, and send no more."""
        self._is_lost = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error or WIRE.error("connection_lost", Action.UNKNOWN))


def _read_frame(text: str) -> Frame:
    """An empty one for what is no JSON object."""
    with suppress(ValueError, RecursionError):
        found = clean_json(json.loads(text, strict=False))
        return found if isinstance(found, dict) else {}
    return {}


# --- opening one


@asynccontextmanager
async def open_socket(url: str, guard: AddressGuard) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a WebSocket to an allowed address. url: `ws`, `wss`, or `http`, `https` for them. Raises ChannelError."""
    target = Target(url, guard)
    async with open_session(target) as session:
        raw = await _connect(session, target)
        try:
            yield raw
        finally:
            await raw.close()


async def _connect(session: aiohttp.ClientSession, target: Target) -> aiohttp.ClientWebSocketResponse:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await target.check_literal()
            timeout = aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS)
            url = urlsplit(target.url)._replace(scheme="wss" if target.secure else "ws").geturl()
            return await session.ws_connect(url, max_msg_size=FRAME_BYTES, compress=0, timeout=timeout)
    except aiohttp.WSServerHandshakeError as error:
        raise error_for_refused_status(error.status) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise WIRE.error("address_invalid") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise WIRE.error("connect", detail=f"{target.host}: {type(error).__name__}") from error
