"""Nothing goes where a gateway redirects to, nothing to forbidden addresses, and no answer is without end (A9)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from channels_wechat.contract.explanations import Action
from openclaw import http
from openclaw.client import GatewayClient
from openclaw.errors import Code, GatewayError
from openclaw.reach import FRAME_LIMIT, _GuardedResolver, find_failure, open_session
from openclaw.session import make_session_key
from openclaw.turns import Endpoint, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = make_session_key("main", "account", "group", "wrGroup", 0)
TURN = Turn(KEY, "main", "what somebody wrote", "k", timeout=20)
Handler = "Callable[[web.Request], Awaitable[web.StreamResponse]]"


class Server:
    """A server on loopback that answers everything by `handler`, and counts."""

    def __init__(self, handler: Any) -> None:
        self.handler, self.seen = handler, 0

    async def __aenter__(self) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.seen += 1
            return await self.handler(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def __aexit__(self, *_error: object) -> None:
        await self.runner.cleanup()


async def by_socket(endpoint: Endpoint) -> None:
    client = GatewayClient(endpoint)
    try:
        await client.connect()
        await client.closed.wait()
        raise client.lost
    finally:
        await client.close()


async def by_http(endpoint: Endpoint) -> None:
    async with open_session(endpoint) as session:
        await http.ask_http(session, endpoint, TURN, lambda _partial: None)


async def by_probe(endpoint: Endpoint) -> None:
    await http.probe(endpoint)


async def by_download(endpoint: Endpoint) -> None:
    await GatewayClient(endpoint)._fetch_artifact("/files/1")


WAYS = [by_socket, by_http, by_probe, by_download]


def failure(work: Awaitable[None]) -> GatewayError:
    async def run() -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await asyncio.wait_for(work, 60)
        return caught.value

    return asyncio.run(run())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", WAYS)
def test_no_redirect_is_followed(way: Callable[[Endpoint], Awaitable[None]], status: int) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(text="{}")

    async def run() -> tuple[GatewayError, int]:
        other = Server(elsewhere)
        async with other as target:

            async def redirect(request: web.Request) -> web.StreamResponse:
                return web.Response(status=status, headers={"Location": f"{target}/v1"})

            async with Server(redirect) as url:
                with pytest.raises(GatewayError) as caught:
                    await way(Endpoint(url, "the-token"))
        return caught.value, other.seen

    error, seen = asyncio.run(run())
    assert (error.code, error.action, seen) == (Code.REDIRECTED, Action.CONFIG, 0)
    assert "redirect" in str(error.sentence)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"]
)
@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_address_is_refused_whatever_the_list_says(way: Any, host: str) -> None:
    error = failure(way(Endpoint(f"http://{host}:18789", "t", private_hosts=("0.0.0.0/0:*", "[::/0]:*"))))
    assert (error.code, error.action) == (Code.FORBIDDEN_ADDRESS, Action.CONFIG)


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_leads_to_one_is_refused_too(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS answers metadata; and where it answers two, only the other one is connected to."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)
    assert failure(way(Endpoint("http://metadata.example:80", "t"))).code == Code.FORBIDDEN_ADDRESS


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_must_stand_in_the_list_with_its_port(way: Any) -> None:
    assert failure(way(Endpoint("http://127.0.0.1:9", "t", private_hosts=()))).code == Code.FORBIDDEN_ADDRESS
    assert (
        failure(way(Endpoint("http://127.0.0.1:9", "t", private_hosts=("127.0.0.1:10",)))).code
        == Code.FORBIDDEN_ADDRESS
    )
    assert (
        failure(way(Endpoint("http://127.0.0.1:9", "t", private_hosts=("127.0.0.1:9",)))).code != Code.FORBIDDEN_ADDRESS
    )


@pytest.mark.parametrize(
    ("url", "listed", "is_refused"),
    [
        ("http://127.0.0.1", "127.0.0.1:80", False),
        ("http://127.0.0.1", "127.0.0.1:443", True),
        *((f"{scheme}://127.0.0.1", "127.0.0.1:443", False) for scheme in ("https", "wss")),
        *((f"{scheme}://127.0.0.1", "127.0.0.1:80", True) for scheme in ("https", "wss")),
        ("https://127.0.0.1:9", "127.0.0.1:9", False),
    ],
)
def test_an_address_without_a_port_has_that_of_its_scheme(url: str, listed: str, is_refused: bool) -> None:
    resolver = _GuardedResolver(Endpoint(url, "t", private_hosts=(listed,)))
    if not is_refused:
        resolver.check_literal()
        return
    with pytest.raises(GatewayError) as caught:
        resolver.check_literal()
    assert caught.value.code is Code.FORBIDDEN_ADDRESS
    assert (
        caught.value.params["detail"]["code"] == "address_private"
    )  # a code, so that each reader has their own language
    assert caught.value.detail.startswith("The address is on a private network. Name host and port in ")
    assert caught.value.detail.endswith("if that is meant.")


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_a_public_gateway_with_tls_stands_in_no_list(scheme: str) -> None:
    _GuardedResolver(Endpoint(f"{scheme}://93.184.216.34", "t", private_hosts=())).check_literal()


async def a_file(request: web.Request) -> web.StreamResponse:
    is_ours = request.headers.get("Authorization") == "Bearer the-token" and request.path == "/files/1"
    return web.Response(body=b"x" * 1000, status=200 if is_ours else 404)


def fetched(url: str, token: str = "the-token", path: str = "/files/1") -> bytes:
    async def run() -> bytes:
        async with Server(a_file) as served:
            return await GatewayClient(Endpoint(url or served, token))._fetch_artifact(path)

    return asyncio.run(run())


def test_a_file_is_fetched_with_the_token_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched("") == b"x" * 1000
    monkeypatch.setattr("openclaw.client.BODY_LIMIT", 1000)
    assert len(fetched("")) == 1000
    monkeypatch.setattr("openclaw.client.BODY_LIMIT", 999)
    with pytest.raises(GatewayError, match="answer_too_large"):
        fetched("")


@pytest.mark.parametrize(
    ("url", "token", "path", "code"),
    [
        ("", "another", "/files/1", Code.MEDIA_GONE),
        ("", "the-token", "/files/2", Code.MEDIA_GONE),
        ("http://127.0.0.1:1", "the-token", "/files/1", Code.UNREACHABLE),
    ],
)
def test_a_file_that_cannot_be_fetched_is_named_by_its_cause(url: str, token: str, path: str, code: Code) -> None:
    with pytest.raises(GatewayError) as caught:
        fetched(url, token, path)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("status", "code", "seconds"),
    [
        *((status, Code.STARTING, 1.0) for status in (502, 503, 504)),
        (429, Code.LOCKED_OUT, 300.0),
        *((status, Code.NOT_A_GATEWAY, None) for status in (200, 401, 403, 404, 500)),
    ],
)
def test_what_a_proxy_answers_instead_of_a_gateway(status: int, code: Code, seconds: float | None) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async def run() -> None:
        async with Server(refuse) as url:
            await by_socket(Endpoint(url, "t"))

    error = failure(run())
    assert (error.code, error.retry_after) == (code, seconds)


CHALLENGE = {"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}}
MAY_READ, MAY_BOTH = ["operator.read"], ["operator.read", "operator.write"]


def greets(scopes: list[str] | None, close_code: int | None) -> Any:
    """A gateway that lets us in with these rights, or not at all, and then closes, or says nothing more."""

    async def greet(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(CHALLENGE)
        asked = await socket.receive()
        if scopes is not None and asked.type is WSMsgType.TEXT:
            hello = {"type": "hello-ok", "protocol": 4, "auth": {"scopes": scopes}}
            await socket.send_json({"type": "res", "id": json.loads(asked.data)["id"], "ok": True, "payload": hello})
        if close_code:
            await socket.close(code=close_code)
        else:
            await socket.receive()
        return socket

    return greet


@pytest.mark.parametrize(
    ("scopes", "close_code", "code", "action"),
    [
        (None, 1000, Code.CONNECTION_LOST, Action.RETRY),  # nothing was asked yet
        (None, 1012, Code.DRAINING, Action.RETRY),
        (None, None, Code.UNREACHABLE, Action.RETRY),
        ([], None, Code.MISSING_SCOPE, Action.CONFIG),
        (MAY_READ, None, Code.MISSING_SCOPE, Action.CONFIG),
        (MAY_BOTH, 1000, Code.CONNECTION_LOST, Action.UNKNOWN),
        (MAY_BOTH, 1006, Code.CONNECTION_LOST, Action.UNKNOWN),
        (MAY_BOTH, 1012, Code.DRAINING, Action.UNKNOWN),
        (MAY_BOTH, 1013, Code.DRAINING, Action.UNKNOWN),
    ],
)
def test_how_a_connection_ends(
    monkeypatch: pytest.MonkeyPatch, scopes: list[str] | None, close_code: int | None, code: Code, action: Action
) -> None:
    if not (scopes or close_code):
        monkeypatch.setattr("openclaw.wire.CONNECT_TIMEOUT", 0.5)

    async def run() -> None:
        async with Server(greets(scopes, close_code)) as url:
            await by_socket(Endpoint(url, "t"))

    error = failure(run())
    assert (error.code, error.action) == (code, action)
    assert error.retry_after == (1.0 if code is Code.DRAINING else None)


def test_a_public_gateway_wants_tls() -> None:
    assert failure(by_socket(Endpoint("http://93.184.216.34:80", "t", private_hosts=()))).code == Code.FORBIDDEN_ADDRESS


async def endless_frame(request: web.Request) -> web.StreamResponse:
    """A frame that says it has 2**40 bytes, and one that goes on in pieces."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    transport = request.transport
    assert transport is not None
    transport.write(b"\x81\x7f" + (2**40).to_bytes(8, "big"))
    await pour(transport.write)
    return socket


async def endless_pieces(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    transport = request.transport
    assert transport is not None
    piece = b"x" * 65536
    transport.write(b"\x01\x7f" + len(piece).to_bytes(8, "big") + piece)
    await pour(lambda _data: transport.write(b"\x00\x7f" + len(piece).to_bytes(8, "big") + piece))
    return socket


async def pour(write: Callable[[bytes], Any]) -> None:
    for _piece in range(2 * FRAME_LIMIT // 65536):
        try:
            write(b"x" * 65536)
        except (ConnectionError, RuntimeError):
            return
        await asyncio.sleep(0)


async def endless_line(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"data: ")
    while True:
        await response.write(b"x" * 65536)


async def endless_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    line = json.dumps({"choices": [{"delta": {"content": "x" * 10_000}}]}).encode()
    while True:
        await response.write(b"data: " + line + b"\n\n")


async def endless_error(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=500)
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def endless_file(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


@pytest.mark.parametrize(
    ("way", "handler", "code"),
    [
        (by_socket, endless_frame, Code.CONNECTION_LOST),
        (by_socket, endless_pieces, Code.CONNECTION_LOST),
        (by_http, endless_line, Code.ANSWER_TOO_LARGE),
        (by_http, endless_answer, Code.ANSWER_TOO_LARGE),
        (by_http, endless_error, Code.ANSWER_TOO_LARGE),
        (by_download, endless_file, Code.ANSWER_TOO_LARGE),
    ],
)
def test_no_answer_is_without_end(way: Any, handler: Any, code: Code) -> None:
    async def run() -> tuple[GatewayError, int]:
        async with Server(handler) as url:
            tracemalloc.start()
            try:
                with pytest.raises(GatewayError) as caught:
                    await asyncio.wait_for(way(Endpoint(url, "t")), 120)
                return caught.value, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    error, most = asyncio.run(run())
    assert error.code == code, error
    assert most < 4 * FRAME_LIMIT


def test_answers_that_nobody_asked_for_end_the_connection() -> None:
    """Two answers belong to a request; a thousand would wait in memory."""

    async def flood(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})
        asked = await socket.receive()
        assert asked.type is WSMsgType.TEXT
        number = json.loads(asked.data)["id"]
        for _answer in range(1000):
            await socket.send_json({"type": "res", "id": number, "ok": True, "payload": {"status": "accepted"}})
        await socket.receive()
        return socket

    async def run() -> GatewayError:
        async with Server(flood) as url:
            with pytest.raises(GatewayError) as caught:
                await asyncio.wait_for(by_socket(Endpoint(url, "t")), 60)
        return caught.value

    assert isinstance(asyncio.run(run()), GatewayError)


# --- the cause in words


async def why(port: int, scheme: str = "http") -> str:
    endpoint = Endpoint(f"{scheme}://127.0.0.1:{port}", "token")
    try:
        async with open_session(endpoint, aiohttp.ClientTimeout(total=0.5)) as session, session.get(endpoint.base_url):
            return ""
    except (aiohttp.ClientError, OSError) as error:
        return GatewayError(Code.UNREACHABLE, find_failure(error)).detail


@pytest.mark.parametrize(
    ("does", "scheme", "said"),
    [
        ("closes", "http", "the other side closed the connection"),
        ("waits", "http", "no answer came in time"),
        ("speaks", "https", "no secure connection came about"),
        ("speaks", "http", "the other side closed the connection"),
    ],
)
def test_a_connection_that_fails_says_why_in_words(does: str, scheme: str, said: str) -> None:
    async def run() -> str:
        closed = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if does == "waits":
                await reader.read()
            if does == "speaks":
                writer.write(b"220 mail.example ESMTP\r\n")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            closed.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            found = await why(server.sockets[0].getsockname()[1], scheme)
            await asyncio.wait_for(closed.wait(), 20)
            return found

    assert asyncio.run(run()).startswith(said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way from this server to that host"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "there is no way from this server to that host"),
        (OSError("Multiple exceptions: [Errno 111] failed ('::1', 1), [Errno 111] failed"), "the connection was refused"),
        (socket.gaierror(-2, "Name or service not known"), "nobody knows a host of this name"),
        (ValueError("no JSON"), "what came is not what a gateway answers"),
        (RuntimeError(), "the other side closed the connection"),
    ],
)  # fmt: skip
def test_no_cause_is_the_name_of_a_class(error: Exception, said: str) -> None:
    detail = GatewayError(Code.UNREACHABLE, find_failure(error)).detail
    assert detail.startswith(said)
    assert type(error).__name__ not in detail
