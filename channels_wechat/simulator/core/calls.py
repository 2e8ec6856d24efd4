"""The front door of a simulated API: routing, tokens, faults, and the record of every call."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Protocol, TypeVar, cast

from aiohttp import web

from channels_wechat.simulator.core import faults, record
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.state import JSON, World

# A \\uXXXX escape counts only when its backslash is not itself escaped.
ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u([0-9a-fA-F]{4})")


@dataclass
class Platform:
    """What the endpoints share; each of the two platforms adds its own."""

    world: World
    windows: Windows
    faults: faults.Faults


class Owner(Protocol):
    """An account that an access token belongs to."""

    @property
    def id(self) -> str: ...


P = TypeVar("P", bound=Platform)
A = TypeVar("A", bound=Owner)


@dataclass
class Call(Generic[P, A]):
    """One request of a client. `owner`: whose access token it carries; unset where none is needed."""

    platform: P
    request: web.Request
    owner: A | None = None
    body: JSON = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.platform.world

    @property
    def account(self) -> A:
        """The owner, for an endpoint that needs a token."""
        return cast("A", self.owner)

    def query(self, name: str) -> str:
        return self.request.query.get(name, "")


Answer = JSON | web.StreamResponse


@dataclass(frozen=True)
class Endpoint(Generic[P, A]):
    """`bare`: a success carries no errcode, as many of WeChat's do."""

    method: str
    handle: Callable[[Call[P, A]], Awaitable[Answer]]
    needs_token: bool = True
    json_body: bool = True
    bare: bool = False


def read_json(raw: bytes, malformed: int = 40035) -> JSON:
    """40033 for escaped non-ASCII, `malformed` for anything that is not a JSON object in UTF-8."""
    if any(int(code, 16) > 0x7F for code in ESCAPE.findall(raw)):
        raise PlatformError(40033, "invalid charset: the body holds characters in \\uxxxx form")
    try:
        body = json.loads(raw.decode())
    except ValueError as error:
        raise PlatformError(malformed, "data format error") from error
    if not isinstance(body, dict):
        raise PlatformError(malformed, "data format error")
    return body


class FrontDoor(Generic[P, A]):
    """Each platform has its own, with its own words for a refusal."""

    secret_bodies: ClassVar[frozenset[str]] = frozenset()  # paths whose bodies hold a secret: never kept

    def __init__(self, platform: P, endpoints: dict[str, Endpoint[P, A]]) -> None:
        self.platform = platform
        self.endpoints = endpoints

    async def serve(self, path: str, request: web.Request) -> web.StreamResponse:
        call = self.platform.world.record.call(path, dict(request.query))
        fault = self.platform.faults.take(path)
        if fault is None:
            return await self._process(path, request, call)
        self.platform.world.record.broken(call, fault.kind)
        call.body = await self._readable(path, request)
        if fault.kind == "errcode":
            self.platform.world.record.answered(call, fault.errcode)
            fault = replace(fault, errmsg=self.worded(fault.errmsg))
        return await faults.apply(
            fault, request, lambda: self._process(path, request, call), self.platform.world.settings.hang_seconds
        )

    async def _readable(self, path: str, request: web.Request) -> str:
        """What is kept of a body."""
        if path in self.secret_bodies:
            return ""
        return (await request.read()).decode(errors="replace")[: record.BODY]

    async def _process(self, path: str, request: web.Request, noted: record.Call) -> web.StreamResponse:
        try:
            answer = await self._answer(path, request, noted)
        except PlatformError as error:
            self.platform.world.record.answered(noted, error.errcode)
            return self.written(path, {"errcode": error.errcode, "errmsg": self.worded(error.errmsg)})
        self.platform.world.record.answered(noted, 0)
        if isinstance(answer, web.StreamResponse):
            return answer
        return self.written(path, answer if self.endpoints[path].bare else {"errcode": 0, "errmsg": "ok"} | answer)

    async def _answer(self, path: str, request: web.Request, noted: record.Call) -> Answer:
        endpoint = self.endpoints.get(path)
        if endpoint is None:
            raise web.HTTPNotFound(text="<html><h1>404 Not Found</h1></html>", content_type="text/html")
        if request.method != endpoint.method:
            raise self.wrong_method(endpoint.method)
        call: Call[P, A] = Call(self.platform, request)
        if endpoint.needs_token:
            call.owner = self.authorise(path, request)
            noted.account = call.owner.id
        if endpoint.json_body and endpoint.method == "POST":
            noted.body = await self._readable(path, request)
            call.body = self.read(await request.read())
        return await endpoint.handle(call)

    # -- what a platform does in its own way ----------------------------------------------------------------------------

    def read(self, raw: bytes) -> JSON:
        return read_json(raw)

    def worded(self, errmsg: str) -> str:
        return errmsg

    def written(self, path: str, answer: JSON) -> web.Response:
        return web.json_response(answer)

    def wrong_method(self, needed: str) -> PlatformError:
        return PlatformError(40035, f"require {needed} method")

    def authorise(self, path: str, request: web.Request) -> A:
        """The owner of the call's access token, or the platform's refusal."""
        raise NotImplementedError
