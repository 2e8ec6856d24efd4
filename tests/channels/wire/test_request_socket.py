"""A WebSocket with requests and acknowledgements, against a server on loopback that answers as each test wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.wire.request_socket import Frame, RequestSocket, open_socket
from channels_wechat.wire.ssrf_guard import Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.WebSocketResponse], Awaitable[None]]

LOCAL = Guard(["127.0.0.1:*"])


async def serve(handler: Handler, use: Callable[[str], Awaitable[Any]]) -> Any:
    """Run `use(url)` while a server gives each connection to the handler."""

    async def accept(request: web.Request) -> web.StreamResponse:
        if request.path == "/elsewhere":
            raise web.HTTPFound("/")
        if request.path == "/busy":
            raise web.HTTPServiceUnavailable
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await handler(ws)
        return ws

    application = web.Application()
    application.router.add_get("/{path:.*}", accept)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        return await use(f"ws://127.0.0.1:{port}/")
    finally:
        await runner.cleanup()


def talk(handler: Handler, use: Callable[[RequestSocket], Awaitable[Any]]) -> Any:
    """Run `use(socket)` while the socket is read. Returns what it returned, and the frames that were no acknowledgements."""

    async def connected(url: str) -> Any:
        came: list[Frame] = []

        async def read(socket: RequestSocket) -> None:
            try:
                async for frame in socket.receive():
                    came.append(frame)  # noqa: PERF401 - seen at once, not at the end
            finally:
                socket.lose()

        async with open_socket(url, LOCAL) as raw:
            socket = RequestSocket(raw, lambda frame: str(frame.get("ack", "")))
            reading = asyncio.create_task(read(socket))
            try:
                return await use(socket), came
            finally:
                reading.cancel()

    return asyncio.run(serve(handler, connected))


def failure(work: Callable[[], Any]) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        work()
    return caught.value


def test_each_request_gets_its_own_acknowledgement_whatever_the_order() -> None:
    async def handler(ws: web.WebSocketResponse) -> None:
        first, second = await ws.receive_json(), await ws.receive_json()
        await ws.send_json({"event": "news"})
        for frame in (second, first):
            await ws.send_json({"ack": frame["id"], "said": frame["text"]})
        await ws.receive()

    async def use(socket: RequestSocket) -> list[Frame]:
        asked = (socket.request(name, {"id": name, "text": text}, 10) for name, text in (("a", "eins"), ("b", "zwei")))
        return await asyncio.gather(*asked)

    found, came = talk(handler, use)
    assert [frame["said"] for frame in found] == ["eins", "zwei"]
    assert came == [{"event": "news"}]


def test_the_next_request_of_an_id_waits_for_the_last_acknowledgement() -> None:
    seen: list[str] = []

    async def handler(ws: web.WebSocketResponse) -> None:
        for _number in range(3):
            frame = await ws.receive_json()
            seen.append(f"got {frame['text']}")
            await asyncio.sleep(0.05)
            seen.append(f"acknowledged {frame['text']}")
            await ws.send_json({"ack": frame["id"]})
        await ws.receive()

    async def use(socket: RequestSocket) -> None:
        await asyncio.gather(*(socket.request("same", {"id": "same", "text": f"{n}"}, 10) for n in range(3)))

    talk(handler, use)
    assert seen == [f"{what} {number}" for number in range(3) for what in ("got", "acknowledged")]


def test_who_is_not_answered_in_time_does_not_know_the_outcome_and_the_id_is_ambiguous() -> None:

    async def handler(ws: web.WebSocketResponse) -> None:
        frame = await ws.receive_json()
        await ws.receive_json()
        await ws.send_json({"ack": frame["id"]})
        await ws.send_json({"ack": "other"})
        await ws.receive()

    async def use(socket: RequestSocket) -> tuple[ChannelError, bool, bool]:
        with pytest.raises(ChannelError) as caught:
            await socket.request("id", {"id": "id"}, 0.1)
        before = socket.is_ambiguous("id")
        await socket.request("other", {"id": "other"}, 10)
        return caught.value, before, socket.is_ambiguous("id")

    (error, before, after), came = talk(handler, use)
    assert (error.code, error.action) == ("timeout", Action.UNKNOWN)
    assert (before, after) == (True, False)
    assert came == []


def test_a_connection_that_breaks_leaves_what_waits_unknown() -> None:
    async def handler(ws: web.WebSocketResponse) -> None:
        await ws.receive_json()
        assert ws._req is not None
        assert ws._req.transport is not None
        ws._req.transport.abort()

    error = failure(lambda: talk(handler, lambda socket: socket.request("id", {"id": "id"}, 10)))
    assert (error.code, error.action) == ("connection_lost", Action.UNKNOWN)


@pytest.mark.parametrize("breaks", [True, False])
def test_a_close_in_order_is_told_from_a_break(breaks: bool) -> None:
    async def handler(ws: web.WebSocketResponse) -> None:
        await ws.send_str("no JSON")
        if breaks and ws._req and ws._req.transport:
            ws._req.transport.abort()
        else:
            await ws.close()

    async def read(url: str) -> list[Frame]:
        async with open_socket(url, LOCAL) as raw:
            return [frame async for frame in RequestSocket(raw, lambda _frame: "").receive()]

    if breaks:
        error = failure(lambda: asyncio.run(serve(handler, read)))
        assert (error.code, error.action) == ("connection_lost", Action.RETRY)
    else:
        assert asyncio.run(serve(handler, read)) == [{}]


@pytest.mark.parametrize(
    ("path", "guard", "code", "action"),
    [
        ("elsewhere", LOCAL, "http_302", Action.CONFIG),
        ("busy", LOCAL, "http_503", Action.RETRY),
        ("", Guard(), "address_private", Action.CONFIG),
    ],
)
def test_what_cannot_be_opened_says_why(path: str, guard: Guard, code: str, action: Action) -> None:
    async def never(ws: web.WebSocketResponse) -> None:
        raise AssertionError("opened")

    async def connect(url: str) -> None:
        async with open_socket(url + path, guard):
            pass

    error = failure(lambda: asyncio.run(serve(never, connect)))
    assert (error.code, error.action) == (code, action)


@pytest.mark.parametrize(
    ("url", "code"),
    [("ftp://a.example", "address_invalid"), ("ws://[", "address_invalid"), ("ws://127.0.0.1:9/", "connect")],
)
def test_an_address_that_leads_nowhere_is_said(url: str, code: str) -> None:
    async def connect() -> None:
        async with open_socket(url, LOCAL):
            pass

    assert failure(lambda: asyncio.run(connect())).code == code
