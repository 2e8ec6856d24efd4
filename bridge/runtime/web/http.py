"""Requests and responses of the ASGI interface, for paths that Django does not handle."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from bridge.security import proxies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from django.utils.functional import _StrOrPromise

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

PLAIN = "text/plain; charset=utf-8"


class ClientGone(Exception):
    """The client closed the connection, so nobody waits for an answer."""


# After this time a client counts as disconnected: WeChat waits five seconds. A web server that was suspended would notice the end of the
# connection too late.
CLIENT_TIMEOUT_SECONDS = 5.0
# If the web server knows that the connection has ended, it reports that within this time.
LISTEN_SECONDS = 0.002


class Refused(Exception):
    """The request is refused with this status and text. headers: as in `Response`. The rest of its body is not read."""

    def __init__(self, status: int, text: _StrOrPromise, **headers: str) -> None:
        super().__init__(text)
        self.status, self.headers = status, headers

    def response(self) -> Response:
        """Return it in the language that is active."""
        headers = {name.replace("_", "-"): value for name, value in self.headers.items()}
        return Response(self.status, f"{self}\n".encode(), PLAIN, {**headers, "connection": "close"})


@dataclass(frozen=True)
class Response:
    """then: called after the response was sent, if the client is still there."""

    status: int
    body: bytes = b""
    content_type: str = PLAIN
    headers: dict[str, str] = field(default_factory=dict)
    then: Callable[[], None] | None = None

    async def send(self, send: Send) -> None:
        lines = [(b"content-type", self.content_type.encode()), (b"content-length", str(len(self.body)).encode())]
        lines += [(name.encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": lines})
        await send({"type": "http.response.body", "body": self.body})
        if self.then:
            self.then()


class Request:
    """A request. scope: with the headers that may be read. receive: gives the body piece by piece."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.started_at = time.monotonic()
        self.end_listener: asyncio.Future[dict[str, Any]] | None = None

    @cached_property
    def headers(self) -> dict[str, str]:
        """Return the headers by name in small letters; of several lines the last one."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.scope["headers"]}

    @cached_property
    def client(self) -> str:
        """Return the client's address as trusted proxies report it; empty on a unix socket."""
        peer = (self.scope.get("client") or ("",))[0]
        return proxies.client_of(peer, self.headers.get("x-forwarded-for", ""))

    @property
    def declared_length(self) -> int:
        """Return the declared length of the body; 0 where none is declared, as in chunks."""
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isascii() and declared.isdigit() else 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body piece by piece. Raises ClientGone."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGone
            more = bool(message.get("more_body"))
            if piece := message.get("body"):
                yield piece

    async def body(self, limit: int, seconds: float) -> bytes | None:
        """Return the whole body; None where it is larger than `limit` bytes. Raises Refused (408) after `seconds`, ClientGone."""
        if self.declared_length > limit:
            return None
        parts, size = [], 0
        try:
            async with asyncio.timeout(seconds):
                async for piece in self.pieces():
                    size += len(piece)
                    if size > limit:
                        return None
                    parts.append(piece)
        except TimeoutError:
            raise Refused(408, _("The body did not come in time.")) from None
        return b"".join(parts)

    def listen(self) -> asyncio.Future[dict[str, Any]]:
        """Start to wait for the end of the connection, after the body was read. Started later, a busy server would report it too late."""
        if self.end_listener is None:
            self.end_listener = asyncio.ensure_future(self.receive())
        return self.end_listener

    async def is_disconnected(self) -> bool:
        """Whether the client has closed the connection. Ask only after the whole body was read."""
        if time.monotonic() - self.started_at >= CLIENT_TIMEOUT_SECONDS:
            return True
        listening = self.listen()
        await asyncio.wait([listening], timeout=LISTEN_SECONDS)
        return listening.done() and listening.result()["type"] == "http.disconnect"

    def close(self) -> None:
        if self.end_listener:
            self.end_listener.cancel()
