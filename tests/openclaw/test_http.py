"""The HTTP fallback and the admin's Test against the stub gateway."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from channels_wechat.contract.explanations import Action
from openclaw import http
from openclaw.errors import Code, GatewayError
from openclaw.session import make_session_key
from openclaw.stub import RunningStub
from openclaw.turns import Answer, Attachment, Endpoint, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KEY = make_session_key("main", "account", "group", "wrGroup", 0)


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    with RunningStub() as running:
        yield running


def ask(base_url: str, turn: Turn, token: str = "stub-token") -> tuple[Answer, list[str]]:
    partials: list[str] = []

    async def run() -> Answer:
        async with aiohttp.ClientSession() as session:
            return await http.ask_http(session, Endpoint(base_url, token), turn, partials.append)

    return asyncio.run(run()), partials


def ask_error(base_url: str, message: str = "hello", token: str = "stub-token", timeout: float = 20.0) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(base_url, Turn(KEY, "main", message, "k", timeout=timeout), token)
    return caught.value


def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], work: Callable[[str], object]) -> object:
    """Run `work` with the address of a server that answers everything by `handler`."""

    async def run() -> object:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await asyncio.to_thread(work, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_answer_streams(stub: RunningStub) -> None:
    answer, partials = ask(stub.base_url, Turn(KEY, "main", "!tokens=6 !slow=0.2", "k"))
    assert answer == Answer("w0 w1 w2 w3 w4 w5", run_id="k")
    assert len(partials) >= 2
    assert partials[-1] == answer.text
    assert stub.record[0]["session_key"] == KEY


def test_silent_agent_gives_an_empty_answer_and_no_partial(stub: RunningStub) -> None:
    stub.faults.version = "2026.8.2"
    answer, partials = ask(stub.base_url, Turn(KEY, "main", "!noreply", "k"))
    assert (answer.text, partials) == ("", [])


def test_newest_gateway_does_not_tell_silence_from_a_failure_over_http(stub: RunningStub) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(stub.base_url, Turn(KEY, "main", "!noreply", "k"))
    assert (caught.value.code, caught.value.action) == (Code.RUN_FAILED, Action.RETRY)


def test_stand_in_for_nothing_said_is_no_answer(stub: RunningStub) -> None:
    answer, partials = ask(stub.base_url, Turn(KEY, "main", f"!say={http.EMPTY_ANSWER}", "k"))
    assert (answer.text, partials[-1:]) == ("", [partials[-1]] if partials else [])
    assert http.EMPTY_ANSWER not in partials


def streamed(*chunks: dict[str, Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def stream(request: web.Request) -> web.StreamResponse:
        lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return web.Response(text=f": a comment\n{lines}data: [DONE]\n\n", content_type="text/event-stream")

    return stream


def piece(**delta: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def test_each_piece_that_says_something_is_shown_once() -> None:
    pieces = (piece(role="assistant"), piece(content="po"), piece(), piece(content="ng"), piece(content=""))
    found = served(streamed(*pieces), lambda url: ask(url, Turn(KEY, "main", "hello", "k")))
    assert found == (Answer("pong", run_id="k"), ["po", "pong"])


@pytest.mark.parametrize(
    ("kind", "action"),
    [("api_error", Action.RETRY), ("invalid_request_error", Action.PERMANENT), ("unheard_of", Action.PERMANENT)],
)
def test_only_what_may_pass_is_asked_again(kind: str, action: Action) -> None:
    error = served(streamed(piece(content="po"), {"error": {"type": kind, "message": "it broke"}}), ask_error)
    assert isinstance(error, GatewayError)
    assert (error.code, error.action, error.detail) == (Code.RUN_FAILED, action, "it broke")


def test_a_request_says_all_of_a_turn() -> None:
    asked: list[tuple[str, str, Any]] = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers["Authorization"], await request.json()))
        return await streamed(piece(content="pong"))(request)

    image = Attachment("image", "a.png", "image/png", b"\x89PNG")
    both = Turn(KEY, "main", "look", "k", "be brief", (image,))
    served(note, lambda url: [ask(url, turn) for turn in (both, Turn(KEY, "main", "hello", "l"))])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    system = {"role": "system", "content": "be brief"}
    said = [
        [system, {"role": "user", "content": [{"type": "text", "text": "look"}, picture]}],
        [{"role": "user", "content": "hello"}],
    ]
    assert asked == [
        ("/v1/chat/completions", "Bearer stub-token", {"model": "openclaw/main", "stream": True, "messages": messages})
        for messages in said
    ]


@pytest.mark.parametrize("mime", ["text/plain", "text/csv", "application/json", "application/xml"])
def test_what_is_text_goes_into_the_message(stub: RunningStub, mime: str) -> None:
    file = Attachment("file", "a", mime, b"one\n  ````\n")
    ask(stub.base_url, Turn(KEY, "main", "look", "k", attachments=(file,)))
    assert stub.record[0]["message"] == "look\n\na:\n`````\none\n  ````\n\n`````"


def test_images_go_along_and_text_files_into_the_message(stub: RunningStub) -> None:
    attachments = (
        Attachment("image", "a.png", "image/png", b"\x89PNG"),
        Attachment("file", "a.md", "text/markdown", "# 你好\n```\ncode\n```".encode()),
        Attachment("file", "b.pdf", "application/pdf", b"%PDF"),
        Attachment("file", "c.txt", "text/plain", b"\xff\xfe"),
    )
    answer, _ = ask(stub.base_url, Turn(KEY, "main", "look", "k", "be brief", attachments))
    assert "看到 1 张图" in answer.text
    asked = stub.record[0]["message"]
    assert asked.startswith("look\n\na.md:\n````\n# 你好\n```\ncode\n```\n````")
    assert "b.pdf (application/pdf, 4 bytes). It cannot be transferred here" in asked
    assert "c.txt (text/plain, 2 bytes). It cannot be transferred here" in asked


def test_a_long_text_file_does_not_push_the_question_out_of_sight(stub: RunningStub) -> None:
    most = http.INLINE_LIMIT
    attachments = tuple(Attachment("file", f"{n}.txt", "text/plain", b"x" * n) for n in (most, most + 1))
    ask(stub.base_url, Turn(KEY, "main", "look", "k", attachments=attachments))
    asked = stub.record[0]["message"]
    assert f"{most}.txt:\n```\n{'x' * most}\n```" in asked
    assert asked.endswith(f"{most + 1}.txt (text/plain, {most + 1} bytes). It cannot be transferred here.]")


def test_wrong_token(stub: RunningStub) -> None:
    error = ask_error(stub.base_url, token="wrong")
    assert (error.code, error.action) == (Code.BAD_TOKEN, Action.CONFIG)
    assert "wrong" not in str(error)


def test_unknown_agent(stub: RunningStub) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(stub.base_url, Turn(KEY.replace("main", "ghost"), "ghost", "hello", "k"))
    assert (caught.value.code, caught.value.action) == (Code.UNKNOWN_AGENT, Action.PERMANENT)


def test_lock_out(stub: RunningStub) -> None:
    stub.faults.locked_out = True
    error = ask_error(stub.base_url)
    assert (error.code, error.action, error.retry_after) == (Code.LOCKED_OUT, Action.WAIT, 300.0)


def test_starting(stub: RunningStub) -> None:
    stub.faults.starting = True
    error = ask_error(stub.base_url)
    assert (error.code, error.action, error.retry_after) == (Code.STARTING, Action.WAIT, 1.0)


@pytest.mark.parametrize(("message", "action"), [("!fail", Action.RETRY), ("!fail=400", Action.PERMANENT)])
def test_failed_run_inside_the_stream(stub: RunningStub, message: str, action: Action) -> None:
    error = ask_error(stub.base_url, message)
    assert (error.code, error.action) == (Code.RUN_FAILED, action)


def test_run_over_its_limit_is_aborted(stub: RunningStub) -> None:
    error = ask_error(stub.base_url, "!tokens=50 !slow=30", timeout=0.3)
    assert (error.code, error.action) == (Code.TIMEOUT, Action.PERMANENT)
    assert ask(stub.base_url, Turn(KEY, "main", "next", "k"))[0].text == "收到：next"


def test_nothing_at_the_address() -> None:
    error = ask_error("http://127.0.0.1:1")
    assert (error.code, error.action) == (Code.UNREACHABLE, Action.RETRY)
    assert error.detail == "the connection was refused: no program listens on this port"


def test_connection_that_breaks_off_may_be_asked_again() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n')
        await response.write_eof()
        return response

    error = served(cut, ask_error)
    assert isinstance(error, GatewayError)
    assert (error.code, error.action) == (Code.CONNECTION_LOST, Action.RETRY)


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (400, Code.INVALID_REQUEST, Action.PERMANENT),
        (401, Code.BAD_TOKEN, Action.CONFIG),
        (403, Code.MISSING_SCOPE, Action.CONFIG),
        (404, Code.HTTP_DISABLED, Action.CONFIG),
        (405, Code.HTTP_DISABLED, Action.CONFIG),
        (408, Code.RUN_FAILED, Action.RETRY),
        (413, Code.TOO_LARGE, Action.PERMANENT),
        (429, Code.LOCKED_OUT, Action.WAIT),
        (500, Code.RUN_FAILED, Action.RETRY),
        (502, Code.UNAVAILABLE, Action.RETRY),
        (503, Code.STARTING, Action.WAIT),
        (504, Code.RUN_FAILED, Action.RETRY),
        (418, Code.INVALID_REQUEST, Action.PERMANENT),
        (507, Code.RUN_FAILED, Action.RETRY),
    ],
)
def test_status_by_name(status: int, code: Code, action: Action) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>no</html>")

    error = served(refuse, ask_error)
    assert isinstance(error, GatewayError)
    assert (error.code, error.action) == (code, action)
    assert error.detail == ("" if action is Action.WAIT else f"HTTP {status}")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Unknown agent 'ghost'.", Code.UNKNOWN_AGENT),
        ("Multiple agents are configured, but this operation has no explicit owner", Code.INVALID_REQUEST),
        ("Unknown field: tools", Code.INVALID_REQUEST),
    ],
)
def test_a_refused_request_names_its_cause(said: str, code: Code) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=400)

    error = served(refuse, ask_error)
    assert isinstance(error, GatewayError)
    assert (error.code, error.detail, error.action) == (code, said, Action.PERMANENT)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("99999", 3600.0),
        ("", None),
        ("0", None),
        ("-1", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_how_long_to_wait(status: int, header: str, seconds: float | None) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": header} if header else {})

    error = served(refuse, ask_error)
    assert isinstance(error, GatewayError)
    assert error.retry_after == (seconds or {429: 60.0, 503: 1.0}[status])


def test_too_large_a_body_is_not_sent(stub: RunningStub) -> None:
    image = Attachment("image", "a.png", "image/png", bytes(16_000_000))
    with pytest.raises(GatewayError, match="too_large"):
        ask(stub.base_url, Turn(KEY, "main", "look", "k", attachments=(image,)))
    assert stub.record == []


# --- Test -------------------------------------------------------------------------------------------------------------


def test_probe_finds_version_agents_and_latency(stub: RunningStub) -> None:
    found = http.test_gateway(Endpoint(stub.base_url, stub.token))
    assert (found.version, found.transport, found.error) == ("stub-1", "websocket", None)
    assert [agent.id for agent in found.agents] == ["main", "support"]
    assert found.latency_ms > 0


@pytest.mark.parametrize(
    ("fault", "value", "code"),
    [
        ("no_scopes", True, Code.MISSING_SCOPE),
        ("pairing", True, Code.PAIRING_REQUIRED),
        ("protocol", 5, Code.PROTOCOL_MISMATCH),
    ],
)
def test_probe_falls_back_to_http(stub: RunningStub, fault: str, value: object, code: Code) -> None:
    setattr(stub.faults, fault, value)
    found = http.test_gateway(Endpoint(stub.base_url, stub.token))
    assert (found.version, found.transport) == (None, "http")
    assert [agent.id for agent in found.agents] == ["main", "support"]
    assert found.error
    assert found.error.code is code


def test_probe_of_a_gateway_that_starts_does_not_ask_by_another_way(stub: RunningStub) -> None:
    stub.faults.starting = True
    with pytest.raises(GatewayError) as caught:
        http.test_gateway(Endpoint(stub.base_url, stub.token))
    assert caught.value.code is Code.STARTING


def test_probe_over_http_lists_agents_and_no_other_models() -> None:
    """What else stands behind the same address has models of its own."""
    names = ("openclaw", "openclaw/default", "openclaw/main", "gpt-5", "other/openclaw/x", "")

    async def models(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": name} for name in names]})

    def probe(base_url: str) -> tuple[str, list[str]]:
        found = http.test_gateway(Endpoint(base_url, "t"))
        return found.transport, [agent.id for agent in found.agents]

    assert served(models, probe) == ("http", ["main"])


@pytest.mark.parametrize(("token", "code"), [("wrong", Code.BAD_TOKEN), ("", Code.BAD_TOKEN)])
def test_probe_names_the_error(stub: RunningStub, token: str, code: Code) -> None:
    start = time.monotonic()
    with pytest.raises(GatewayError) as caught:
        http.test_gateway(Endpoint(stub.base_url, token))
    assert caught.value.code is code
    assert time.monotonic() - start < 10


def test_probe_of_another_server_names_the_websocket_error() -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>hello</html>")

    def probe(base_url: str) -> Code:
        with pytest.raises(GatewayError) as caught:
            http.test_gateway(Endpoint(base_url, "t"))
        return caught.value.code

    assert served(page, probe) is Code.NOT_A_GATEWAY
