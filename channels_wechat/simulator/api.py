"""The front door of the simulated API: routing, tokens, trusted IP, faults, and the record of every call."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from channels_wechat.simulator import faults, record
from channels_wechat.simulator.errors import PlatformError
from channels_wechat.simulator.limits import Windows
from channels_wechat.simulator.state import JSON, App, World
from channels_wechat.simulator.tokens import Tokens

# A \\uXXXX escape counts only when its backslash is not itself escaped.
ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u([0-9a-fA-F]{4})")


@dataclass
class Platform:
    """What the endpoints share."""

    world: World
    tokens: Tokens
    windows: Windows
    faults: faults.Faults


@dataclass
class Call:
    """One request of a client. `app` is the owner of the access token; unset where none is needed."""

    platform: Platform
    request: web.Request
    _app: App | None = None
    body: JSON = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.platform.world

    @property
    def app(self) -> App:
        return cast("App", self._app)

    def query(self, name: str) -> str:
        return self.request.query.get(name, "")


Answer = JSON | web.StreamResponse


@dataclass(frozen=True)
class Endpoint:
    method: str
    handle: Callable[[Call], Awaitable[Answer]]
    needs_token: bool = True
    json_body: bool = True


def read_json(raw: bytes) -> JSON:
    """40033 for escaped non-ASCII, 40035 for anything that is not a JSON object in UTF-8."""
    if any(int(code, 16) > 0x7F for code in ESCAPE.findall(raw)):
        raise PlatformError(40033, "invalid charset: the body holds characters in \\uxxxx form")
    try:
        body = json.loads(raw.decode())
    except ValueError as error:
        raise PlatformError(40035, "data format error") from error
    if not isinstance(body, dict):
        raise PlatformError(40035, "data format error")
    return body


async def _readable(request: web.Request) -> str:
    """What is kept of a body."""
    return (await request.read()).decode(errors="replace")[: record.BODY]


class FrontDoor:
    def __init__(self, platform: Platform, endpoints: dict[str, Endpoint]) -> None:
        self.platform = platform
        self.endpoints = endpoints

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        call = self.platform.world.record.call(path, dict(request.query))
        fault = self.platform.faults.take(path)
        if fault is None:
            return await self._process(path, request, call)
        self.platform.world.record.broken(call, fault.kind)
        call.body = await _readable(request)
        if fault.kind == "errcode":
            self.platform.world.record.answered(call, fault.errcode)
        return await faults.apply(
            fault, request, lambda: self._process(path, request, call), self.platform.world.settings.hang_seconds
        )

    async def _process(self, path: str, request: web.Request, noted: record.Call) -> web.StreamResponse:
        try:
            answer = await self._answer(path, request, noted)
        except PlatformError as error:
            answer = {"errcode": error.errcode, "errmsg": error.errmsg}
        if isinstance(answer, web.StreamResponse):
            self.platform.world.record.answered(noted, 0)
            return answer
        self.platform.world.record.answered(noted, answer.get("errcode", 0))
        return web.json_response({"errcode": 0, "errmsg": "ok"} | answer)

    async def _answer(self, path: str, request: web.Request, noted: record.Call) -> Answer:
        endpoint = self.endpoints.get(path)
        if endpoint is None:
            raise web.HTTPNotFound(text="<html><h1>404 Not Found</h1></html>", content_type="text/html")
        if request.method != endpoint.method:
            raise PlatformError(40035, f"require {endpoint.method} method")
        call = Call(self.platform, request)
        if endpoint.needs_token:
            call._app = self._authorise(request)
            noted.account = call.app.id
        if endpoint.json_body and endpoint.method == "POST":
            noted.body = await _readable(request)
            call.body = read_json(await request.read())
        return await endpoint.handle(call)

    def _authorise(self, request: web.Request) -> App:
        app = self.platform.tokens.check(request.query.get("access_token", ""))
        if not app.trusted_ip:
            hint = "not allow to access from your ip, hint: [simulated], "
            raise PlatformError(60020, f"{hint}from ip: {request.remote}, more info at the simulator's page")
        return app
