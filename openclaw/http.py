"""Asks agents over HTTP, where WebSockets cannot be used, and tests a gateway for the admin's *Test*.

`POST /v1/chat/completions` has no idempotency key: a lost connection aborts the run at the gateway, so a turn is
asked again from the start (as gateway 2026.9.6 does; the session is the same as over the WebSocket).
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
from openclaw.frames import Json, as_object, as_objects, as_text, decode_object
from openclaw.reach import ERROR_LIMIT, find_failure, open_session, read_bounded
from openclaw.reading import answer_from_text, is_silent_so_far
from openclaw.turns import AgentInfo, Answer, Attachment, Endpoint, Turn
from openclaw.wire import make_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CONNECT_TIMEOUT: Final = 15.0
BODY_LIMIT: Final = 20 * 2**20
LINE_LIMIT: Final = 4 * 2**20
ANSWER_LIMIT: Final = 2**20
"""Bytes of a line of the stream, and characters of an answer: thirty times the longest answer of any model."""
EMPTY_ANSWER: Final = "No response from OpenClaw."
"""What the endpoint sends if the agent wrote nothing, or only named files. It is not an answer."""
INLINE_LIMIT: Final = 100_000
"""Bytes of a text file that is put into the message. A longer one would leave the model little room for the question."""


# --- asking -----------------------------------------------------------------------------------------------------------


async def ask_http(
    session: aiohttp.ClientSession, endpoint: Endpoint, turn: Turn, on_partial: Callable[[str], None]
) -> Answer:
    """Run a turn over HTTP and return its answer; `on_partial` gets the whole text so far.

    Raise GatewayError. A connection that breaks off is `connection_lost` with RETRY, because the gateway then aborts
    the run. The gateway cannot name files over HTTP other than by an address in the text.
    """
    url = make_url(endpoint.base_url, "http") + "/v1/chat/completions"
    body = json.dumps(_make_body(turn), ensure_ascii=False).encode()
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
                raise _error_for_status(response, await read_bounded(response, ERROR_LIMIT))
            answer_text = await _read_stream(response, on_partial)
    except aiohttp.ClientConnectorError as error:
        raise GatewayError(Code.UNREACHABLE, find_failure(error)) from None
    except TimeoutError:  # the end of the block has closed the connection, which ends the run
        raise GatewayError(Code.TIMEOUT, "stopped by the bridge at its time limit", action=Action.PERMANENT) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: what came is not the endpoint's stream
        raise GatewayError(Code.CONNECTION_LOST, find_failure(error), action=Action.RETRY) from None
    return answer_from_text("" if answer_text == EMPTY_ANSWER else answer_text, (), turn.idempotency_key)


def _make_body(turn: Turn) -> Json:
    messages: list[Json] = []
    if turn.extra_system_prompt:
        messages.append({"role": "system", "content": turn.extra_system_prompt})
    images = [item for item in turn.attachments if item.kind == "image"]
    files = [_describe_file(item) for item in turn.attachments if item.kind == "file"]
    message = "\n\n".join([turn.message, *files])
    content: str | list[Json] = message
    if images:
        content = [
            {"type": "text", "text": message},
            *({"type": "image_url", "image_url": _make_data_url(i)} for i in images),
        ]
    messages.append({"role": "user", "content": content})
    return {"model": f"openclaw/{turn.agent_id}", "stream": True, "messages": messages}


def _make_data_url(image: Attachment) -> Json:
    return {"url": f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}"}


def _describe_file(item: Attachment) -> str:
    """Return a text file as a fenced block; for any other file, a line that says that it cannot be sent."""
    size = len(item.content)
    if size <= INLINE_LIMIT and (item.mime.startswith("text/") or item.mime in ("application/json", "application/xml")):
        try:
            content = item.content.decode()
        except UnicodeDecodeError:
            content = ""
        if content:
            fence = "`" * max(3, _length_of_longest_fence(content) + 1)
            return f"{item.name}:\n{fence}\n{content}\n{fence}"
    return f"[The user sent the file {item.name} ({item.mime}, {size} bytes). It cannot be transferred here.]"


def _length_of_longest_fence(content: str) -> int:
    """Count the backticks of the longest fence, at the start of a line or after spaces."""
    lines = [line.lstrip() for line in content.splitlines()]
    return max((len(line) - len(line.lstrip("`")) for line in lines), default=0)


async def _read_stream(response: aiohttp.ClientResponse, on_partial: Callable[[str], None]) -> str:
    """Return the text of a stream of `data: {chunk}` lines. It is complete only if `[DONE]` ends it."""
    answer_text, is_complete = "", False
    async for raw in _read_lines(response):
        line = raw.decode()
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            is_complete = True
        elif line.startswith("data:"):
            chunk = decode_object(data)
            if chunk.get("error"):
                raise _error_for_failed_run(as_object(chunk["error"]))
            delta = "".join(as_text(as_object(c.get("delta")).get("content")) for c in as_objects(chunk.get("choices")))
            answer_text += delta
            if len(answer_text) > ANSWER_LIMIT:
                raise GatewayError(Code.ANSWER_TOO_LARGE, f"more than {ANSWER_LIMIT} characters")
            if delta and answer_text != EMPTY_ANSWER and not is_silent_so_far(answer_text):
                on_partial(answer_text)
    if not is_complete:
        raise GatewayError(Code.CONNECTION_LOST, "the stream broke off", action=Action.RETRY)
    return answer_text


def _error_for_failed_run(error: Json) -> GatewayError:
    """Return the error of a failed run, whose HTTP status was 200 already. Only an `api_error` may be temporary."""
    action = Action.RETRY if error.get("type") == "api_error" else Action.PERMANENT
    return GatewayError(Code.RUN_FAILED, as_text(error.get("message")), action=action)


async def _read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield lines of up to LINE_LIMIT bytes. The limit of aiohttp's own reader is shorter than the line of a long answer."""
    rest = b""
    async for received in response.content.iter_any():
        *lines, rest = (rest + received).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise GatewayError(Code.ANSWER_TOO_LARGE, f"a line of more than {LINE_LIMIT} bytes")
        for line in lines:
            yield line


def _error_for_status(response: aiohttp.ClientResponse, body: bytes) -> GatewayError:
    """Return the error for an HTTP status. Bodies are `{"error": {"message", "type"}}`."""
    message = _read_message(body)
    wait = parse_retry_after(response.headers.get("Retry-After", ""))
    if response.status == 400 and "agent" in message.lower() and "unknown" in message.lower():
        return GatewayError(Code.UNKNOWN_AGENT, message)
    if response.status == 503:
        return GatewayError(Code.STARTING, message, retry_after=wait or 1.0)
    if response.status == 429:
        return GatewayError(Code.LOCKED_OUT, message, retry_after=wait or 60.0)
    code = _CODES_BY_STATUS.get(response.status, Code.RUN_FAILED if response.status >= 500 else Code.INVALID_REQUEST)
    return GatewayError(code, message or f"HTTP {response.status}")


_CODES_BY_STATUS: Final = {
    401: Code.BAD_TOKEN,
    403: Code.MISSING_SCOPE,
    404: Code.HTTP_DISABLED,
    405: Code.HTTP_DISABLED,
    408: Code.RUN_FAILED,  # the gateway stopped asking the model after eight attempts of its own
    413: Code.TOO_LARGE,
    502: Code.UNAVAILABLE,
    504: Code.RUN_FAILED,  # a proxy gave up on the run, which may have cost something
}


def _read_message(body: bytes) -> str:
    try:
        return as_text(as_object(decode_object(body).get("error")).get("message"))
    except ValueError:
        return ""


# --- testing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeResult:
    """What *Test* shows. `error` says why the WebSocket could not be used, if only HTTP works.

    `latency_ms` is the time of one request (`agents.list`, or `/v1/models`). `device_token` has to be stored.
    """

    version: str | None
    agents: tuple[AgentInfo, ...]
    latency_ms: float
    transport: Literal["websocket", "http"]
    device_token: str = ""
    error: GatewayError | None = None


async def probe(endpoint: Endpoint) -> ProbeResult:
    """Try the WebSocket, then HTTP. Raise the GatewayError of the WebSocket if neither works."""
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
        agents = await client.list_agents()
        latency = (time.monotonic() - start) * 1000
        return ProbeResult(hello.version, tuple(agents), latency, "websocket", hello.device_token)
    finally:
        await client.close()


async def _probe_http(endpoint: Endpoint, error: GatewayError) -> ProbeResult:
    """Ask for `/v1/models`, which proves that the token is right and the chat endpoint enabled. It does not tell the version."""
    url = make_url(endpoint.base_url, "http") + "/v1/models"
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    limit = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT)
    start = time.monotonic()
    async with open_session(endpoint, limit) as session, session.get(url, headers=headers) as response:
        body = await read_bounded(response, ERROR_LIMIT)
        if response.status != 200:
            raise _error_for_status(response, body)
    names = (as_text(model.get("id")) for model in as_objects(decode_object(body).get("data")))
    agents = tuple(AgentInfo(name.removeprefix("openclaw/")) for name in names if name.startswith("openclaw/"))
    real_agents = tuple(agent for agent in agents if agent.id != "default")
    return ProbeResult(None, real_agents, (time.monotonic() - start) * 1000, "http", error=error)


def test_gateway(endpoint: Endpoint) -> ProbeResult:
    """Run `probe` in synchronous code, as an admin view is."""
    return asyncio.run(probe(endpoint))
