"""The fallback where WebSockets are not allowed, and the admin's *Test*.

`POST /v1/chat/completions` has no idempotency key: a lost connection aborts the run at the gateway, so a turn is
asked again from the start (facts of gateway 2026.9.6; its session is the same as over the WebSocket).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import aiohttp

from channels_wechat.contract.explanations import Action
from channels_wechat.wire.http import parse_retry_after
from openclaw.client import GatewayClient
from openclaw.errors import Code, GatewayError
from openclaw.frames import Json, decode, record, records, text
from openclaw.reach import ERROR_LIMIT, open_session, read_bounded, why_failed
from openclaw.reading import answer_from_text, is_silent_so_far
from openclaw.turns import AgentInfo, Answer, Attachment, Endpoint, Turn
from openclaw.wire import address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CONNECT_TIMEOUT: Final = 15.0
BODY_LIMIT: Final = 20 * 2**20
LINE_LIMIT: Final = 4 * 2**20
ANSWER_LIMIT: Final = 2**20
"""Bytes of a line of the stream, characters of an answer: thirty times what any model says."""
NOTHING_SAID: Final = "No response from OpenClaw."
"""What the endpoint puts where the agent said nothing, or only named files: not an answer."""
INLINE_LIMIT: Final = 100_000
"""Bytes of a text file that go into the message itself; a longer one would push the question out of sight."""


# --- asking -----------------------------------------------------------------------------------------------------------


async def ask_http(
    session: aiohttp.ClientSession, endpoint: Endpoint, turn: Turn, on_partial: Callable[[str], None]
) -> Answer:
    """Run a turn over HTTP and return its answer; `on_partial` gets the whole text so far.

    Raise GatewayError; a connection that breaks off is `connection_lost` with RETRY, because the gateway then aborts
    the run. The gateway cannot name files over HTTP other than by an address in the text.
    """
    url = address(endpoint.base_url, "http") + "/v1/chat/completions"
    body = json.dumps(_body(turn), ensure_ascii=False).encode()
    if len(body) > BODY_LIMIT:
        raise GatewayError(Code.TOO_LARGE, f"{len(body)} bytes in one message")
    headers = {
        "Authorization": f"Bearer {endpoint.token}",
        "Content-Type": "application/json",
        "x-openclaw-session-key": turn.session_key,
    }
    limit = aiohttp.ClientTimeout(total=turn.timeout, sock_connect=CONNECT_TIMEOUT)
    try:
        async with session.post(url, data=body, headers=headers, timeout=limit) as response:
            if response.status != 200:
                raise _refused(response, await read_bounded(response, ERROR_LIMIT))
            said = await _read_stream(response, on_partial)
    except aiohttp.ClientConnectorError as error:
        raise GatewayError(Code.UNREACHABLE, why_failed(error)) from None
    except TimeoutError:  # leaving the block has ended the connection, and with it the run
        raise GatewayError(Code.TIMEOUT, "stopped by the bridge at its time limit", action=Action.PERMANENT) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: what came is not the endpoint's stream
        raise GatewayError(Code.CONNECTION_LOST, why_failed(error), action=Action.RETRY) from None
    return answer_from_text("" if said == NOTHING_SAID else said, (), turn.idempotency_key)


def _body(turn: Turn) -> Json:
    messages: list[Json] = []
    if turn.extra_system_prompt:
        messages.append({"role": "system", "content": turn.extra_system_prompt})
    images = [item for item in turn.attachments if item.kind == "image"]
    files = [_as_text(item) for item in turn.attachments if item.kind == "file"]
    said = "\n\n".join([turn.message, *files])
    content: str | list[Json] = said
    if images:
        content = [{"type": "text", "text": said}, *({"type": "image_url", "image_url": _data(i)} for i in images)]
    messages.append({"role": "user", "content": content})
    return {"model": f"openclaw/{turn.agent_id}", "stream": True, "messages": messages}


def _data(image: Attachment) -> Json:
    return {"url": f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}"}


def _as_text(item: Attachment) -> str:
    """Return a text file as a fenced block, of any other file that it exists and cannot be passed on."""
    size = len(item.content)
    if size <= INLINE_LIMIT and (item.mime.startswith("text/") or item.mime in ("application/json", "application/xml")):
        try:
            words = item.content.decode()
        except UnicodeDecodeError:
            words = ""
        if words:
            fence = "`" * max(3, _longest_fence(words) + 1)
            return f"{item.name}:\n{fence}\n{words}\n{fence}"
    return f"[The user sent the file {item.name} ({item.mime}, {size} bytes). It cannot be transferred here.]"


def _longest_fence(words: str) -> int:
    """Of backticks at the start of a line; blanks before them do not count."""
    lines = [line.lstrip() for line in words.splitlines()]
    return max((len(line) - len(line.lstrip("`")) for line in lines), default=0)


async def _read_stream(response: aiohttp.ClientResponse, on_partial: Callable[[str], None]) -> str:
    """Return the text of a stream of `data: {chunk}` lines; it is whole only with `[DONE]`."""
    said, done = "", False
    async for raw in _whole_lines(response):
        line = raw.decode()
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            done = True
        elif line.startswith("data:"):
            chunk = decode(data)
            if chunk.get("error"):
                raise _failed(record(chunk["error"]))
            piece = "".join(text(record(c.get("delta")).get("content")) for c in records(chunk.get("choices")))
            said += piece
            if len(said) > ANSWER_LIMIT:
                raise GatewayError(Code.ANSWER_TOO_LARGE, f"more than {ANSWER_LIMIT} characters")
            if piece and said != NOTHING_SAID and not is_silent_so_far(said):
                on_partial(said)
    if not done:
        raise GatewayError(Code.CONNECTION_LOST, "the stream broke off", action=Action.RETRY)
    return said


def _failed(error: Json) -> GatewayError:
    """Name a failed run; the status is 200 by then, and `api_error` is what may pass."""
    action = Action.RETRY if error.get("type") == "api_error" else Action.PERMANENT
    return GatewayError(Code.RUN_FAILED, text(error.get("message")), action=action)


async def _whole_lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield lines of up to LINE_LIMIT bytes; the stream reader's own line limit is shorter than a long answer's chunk."""
    rest = b""
    async for data in response.content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise GatewayError(Code.ANSWER_TOO_LARGE, f"a line of more than {LINE_LIMIT} bytes")
        for line in lines:
            yield line


def _refused(response: aiohttp.ClientResponse, body: bytes) -> GatewayError:
    """Name an HTTP status; bodies are `{"error": {"message", "type"}}`."""
    message = _message(body)
    wait = parse_retry_after(response.headers.get("Retry-After", ""))
    if response.status == 400 and "agent" in message.lower() and "unknown" in message.lower():
        return GatewayError(Code.UNKNOWN_AGENT, message)
    if response.status == 503:
        return GatewayError(Code.STARTING, message, retry_after=wait or 1.0)
    if response.status == 429:
        return GatewayError(Code.LOCKED_OUT, message, retry_after=wait or 60.0)
    code = _STATUS.get(response.status, Code.RUN_FAILED if response.status >= 500 else Code.INVALID_REQUEST)
    return GatewayError(code, message or f"HTTP {response.status}")


_STATUS: Final = {
    401: Code.BAD_TOKEN,
    403: Code.MISSING_SCOPE,
    404: Code.HTTP_DISABLED,
    405: Code.HTTP_DISABLED,
    408: Code.RUN_FAILED,  # the gateway gave up on the model after its own eight tries
    413: Code.TOO_LARGE,
    502: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}


def _message(body: bytes) -> str:
    try:
        return text(record(decode(body).get("error")).get("message"))
    except ValueError:
        return ""


# --- testing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeResult:
    """What *Test* found; `error` is why the WebSocket could not be used when only HTTP works.

    `latency_ms` is the time of one question (`agents.list`, or `/v1/models`). `device_token` is to be stored.
    """

    version: str | None
    agents: tuple[AgentInfo, ...]
    latency_ms: float
    transport: Literal["websocket", "http"]
    device_token: str = ""
    error: GatewayError | None = None


async def probe(endpoint: Endpoint) -> ProbeResult:
    """Try the WebSocket, then HTTP; raise the WebSocket's GatewayError when neither lets us in."""
    try:
        return await _probe_websocket(endpoint)
    except GatewayError as error:
        if error.code not in (Code.NOT_A_GATEWAY, Code.MISSING_SCOPE, Code.PROTOCOL_MISMATCH, Code.PAIRING_REQUIRED):
            raise
        try:
            return await _probe_http(endpoint, error)
        except (GatewayError, aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise error from None


async def _probe_websocket(endpoint: Endpoint) -> ProbeResult:
    client = GatewayClient(endpoint)
    try:
        hello = await client.connect()
        start = time.monotonic()
        agents = await client.agents()
        latency = (time.monotonic() - start) * 1000
        return ProbeResult(hello.version, tuple(agents), latency, "websocket", hello.device_token)
    finally:
        await client.close()


async def _probe_http(endpoint: Endpoint, error: GatewayError) -> ProbeResult:
    """Only `/v1/models` proves the token and that the chat endpoint is on; it tells no version."""
    url = address(endpoint.base_url, "http") + "/v1/models"
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    limit = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT)
    start = time.monotonic()
    async with open_session(endpoint, limit) as session, session.get(url, headers=headers) as response:
        body = await read_bounded(response, ERROR_LIMIT)
        if response.status != 200:
            raise _refused(response, body)
    names = (text(model.get("id")) for model in records(decode(body).get("data")))
    agents = tuple(AgentInfo(name.removeprefix("openclaw/")) for name in names if name.startswith("openclaw/"))
    listed = tuple(agent for agent in agents if agent.id != "default")
    return ProbeResult(None, listed, (time.monotonic() - start) * 1000, "http", error=error)


def test_gateway(endpoint: Endpoint) -> ProbeResult:
    """`probe` for synchronous code: an admin view."""
    return asyncio.run(probe(endpoint))
