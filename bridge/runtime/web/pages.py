"""Runs Django for the pages and the API, with limits: a client over a limit gets 503 before it uses a thread, a connection or disk space.

Django stays a WSGI application in a few threads. Its own ASGI handler starts a thread for each request, and reads a whole file into memory
to send it; here a body is read, and a response is sent, without a thread, so that slow clients hold none.
"""

from __future__ import annotations

import asyncio
import logging
import re
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgiref.wsgi import WsgiToAsgiInstance
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http.request import split_domain_port, validate_host
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from bridge.runtime.conf import capacity
from bridge.runtime.db.threads import execute_on
from bridge.runtime.web.http import Refused, Response
from bridge.runtime.web.languages import language_of
from bridge.security import proxies
from bridge.security.logins import LoginLimit
from bridge.security.visitors import may_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import IO
    from wsgiref.types import WSGIEnvironment

    from bridge.runtime.web.http import Request, Send
    from bridge.runtime.web.threads import Threads

log = logging.getLogger(__name__)
LOGIN_PATH = "/admin/login"
# Bytes of a response that are read at a time.
PIECE_BYTES = 256 * capacity.KIB
BUSY = _("The bridge is busy. Please try again in a moment.")
# Paths that Django or its middleware may know; all others are answered without it.
KNOWN_PATHS = re.compile(r"/(?:$|admin(?:/|$)|api/|static/)")


@dataclass
class StartedResponse:
    """A response that Django has started. first: its first bytes; rest: what follows, or None if nothing does."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    first: bytes = b""
    rest: Iterator[bytes] | None = None
    close: Callable[[], None] = lambda: None


class Slots:
    """Bounds how many requests are under way at the same time, in all and for one caller."""

    def __init__(self, max_total: int, max_for_one: int) -> None:
        self.max_total, self.max_for_one = max_total, max_for_one
        self.used: Counter[str] = Counter()

    @contextmanager
    def slot(self, caller: str) -> Iterator[None]:
        """Take a slot for the time of the block. Raises Refused (503)."""
        if self.used.total() >= self.max_total or self.used[caller] >= self.max_for_one:
            raise Refused(503, BUSY, retry_after="2")
        self.used[caller] += 1
        try:
            yield
        finally:
            self.used[caller] -= 1
            if not self.used[caller]:
                del self.used[caller]


class Pages:
    """Answers the page requests of one web process. It belongs to one event loop."""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.handler = WSGIHandler()
        self.bodies = Slots(capacity.MAX_PAGE_BODIES, capacity.MAX_PAGES_FOR_ONE)
        self.pages = Slots(capacity.MAX_PAGES, capacity.MAX_PAGES_FOR_ONE)
        self.running = asyncio.Semaphore(capacity.PAGE_THREADS)
        self.logins = asyncio.Semaphore(capacity.MAX_LOGINS)
        self.large = asyncio.Semaphore(capacity.MAX_LARGE_BODIES)
        self.login_limit = LoginLimit(threads.logins)

    async def answer(self, request: Request, send: Send) -> None:
        """Answer a request. Raises Refused before anything is sent, ClientGone."""
        _check_head(request)
        caller = proxies.network_of(request.client)
        is_login = request.method == "POST" and request.path.rstrip("/") == LOGIN_PATH
        if is_login and (wait := await self.login_limit.seconds_to_wait(caller)):
            await _make_login_refusal(request, wait).send(send)
            return
        async with self._receive_body(request, caller) as body:
            with self.pages.slot(caller):
                started = await self._run_in_thread(request, body, self.logins if is_login else None)
        if is_login and started.status == 302:
            self.login_limit.succeeded(caller)
        await self._send(started, request.method, send)

    # --- the body

    @asynccontextmanager
    async def _receive_body(self, request: Request, caller: str) -> AsyncIterator[IO[bytes]]:
        """Read a small body into memory, or a large one into a temporary file if the client is logged in and the page exists."""
        with tempfile.SpooledTemporaryFile(max_size=capacity.MAX_ANONYMOUS_BODY) as file:
            with self.bodies.slot(caller):
                fits = await self._read(request, file, capacity.MAX_ANONYMOUS_BODY, capacity.ANONYMOUS_BODY_SECONDS)
            if fits:
                file.seek(0)
                yield file
                return
            if not await execute_on(self.threads.pages, may_upload, request.headers, request.path):
                raise Refused(413, _("The body is too large, or you are not logged in."))
            async with self.large:
                if not await self._read(request, file, capacity.MAX_BODY, capacity.BODY_SECONDS):
                    raise Refused(413, _("The body is too large."))
                file.seek(0)
                yield file

    async def _read(self, request: Request, file: IO[bytes], limit: int, seconds: float) -> bool:
        """Read the body into the file. Return False where it is larger than `limit`. Raises Refused (408), ClientGone."""
        if request.declared_length > limit:
            return False
        try:
            async with asyncio.timeout(seconds):
                async for piece in request.pieces():
                    file.write(piece)
                    if file.tell() > limit:
                        return False
        except TimeoutError:
            raise Refused(408, _("The body did not come in time.")) from None
        return True

    # --- Django

    async def _run_in_thread(
        self, request: Request, body: IO[bytes], login: asyncio.Semaphore | None
    ) -> StartedResponse:
        try:
            async with asyncio.timeout(capacity.PAGE_WAIT_SECONDS):
                if login:
                    await login.acquire()
                try:
                    await self.running.acquire()
                except BaseException:
                    if login:
                        login.release()
                    raise
        except TimeoutError:
            raise Refused(503, BUSY, retry_after="5") from None
        try:
            return await asyncio.shield(execute_on(self.threads.pages, self._start, _make_environ(request, body)))
        finally:
            self.running.release()
            if login:
                login.release()

    def _start(self, environ: WSGIEnvironment) -> StartedResponse:
        """Run the view and read the first piece of its response. Called in a thread."""
        started = StartedResponse()

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
            started.status, started.headers = int(status.split()[0]), headers

        result: Any = self.handler(environ, start_response)
        started.close = result.close
        pieces = iter(result)
        started.first, more = _read_piece(pieces)
        if more:
            started.rest = pieces
        else:
            result.close()
        return started

    async def _send(self, started: StartedResponse, method: str, send: Send) -> None:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in started.headers]
        await send({"type": "http.response.start", "status": started.status, "headers": headers})
        if started.rest is None:
            await send({"type": "http.response.body", "body": started.first})
            return
        try:
            await send({"type": "http.response.body", "body": started.first, "more_body": True})
            more = method != "HEAD"
            while more:
                piece, more = await execute_on(self.threads.pages, _read_piece, started.rest)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            await execute_on(self.threads.pages, started.close)


def _read_piece(pieces: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return the next bytes of a response, and whether there may be more."""
    parts, size = [], 0
    for part in pieces:
        parts.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            return b"".join(parts), True
    return b"".join(parts), False


def _make_environ(request: Request, body: IO[bytes]) -> WSGIEnvironment:
    """Return the WSGI environment that asgiref makes, with the length that was read, because a body in chunks declares none."""
    body.seek(0, 2)
    length = body.tell()
    body.seek(0)
    instance: Any = WsgiToAsgiInstance(None)  # type: ignore[no-untyped-call]
    instance.scope = request.scope
    environ: WSGIEnvironment = instance.build_environ(request.scope, body)
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(length) if length else ""
    return environ


def _check_head(request: Request) -> None:
    """Refuse heads for which Django would make an error page and log a traceback. Raises Refused."""
    if not KNOWN_PATHS.match(request.path):
        raise Refused(404, _("There is nothing here."))
    if sum(len(name) + len(value) for name, value in request.scope["headers"]) > capacity.MAX_HEAD:
        raise Refused(431, _("The head of the request is too large."))
    hosts = [value for name, value in request.scope["headers"] if name == b"host"]
    domain, _port = split_domain_port(hosts[0].decode("latin-1") if len(hosts) == 1 else "")
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        raise Refused(400, _("The Host header is missing, malformed, or none of ALLOWED_HOSTS."))


def _make_login_refusal(request: Request, seconds: float) -> Response:
    minutes = max(1, -(-int(seconds) // 60))
    with override(language_of(request)):
        html = render_to_string("429_address.html", {"minutes": minutes})
    return Response(
        429, html.encode(), "text/html; charset=utf-8", {"retry-after": str(int(seconds) + 1), "connection": "close"}
    )
