"""The front door of iLink's API: whose token a call carries, what stands in its headers, faults, and the record of every call."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from channels_wechat.simulator.core import record
from channels_wechat.simulator.core.faults import Faults, apply
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.ilink.world import Bot, IlinkWorld

LOGIN_LOST = -14


class Refused(Exception):
    """An answer with a code."""

    def __init__(self, ret: int, errmsg: str) -> None:
        super().__init__(ret, errmsg)
        self.ret, self.errmsg = ret, errmsg


@dataclass
class Call:
    """One call with a bot's token."""

    bot: Bot
    body: JSON


Handle = Callable[[Call], Awaitable[JSON]]
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    def __init__(self, ilink: IlinkWorld, faults: Faults) -> None:
        self.ilink, self._faults = ilink, faults

    @property
    def world(self) -> World:
        return self.ilink.world

    def serve_public(self, handle: Respond) -> Respond:
        """For a call without a token: record it, and meet a fault for its path (`ilink/get_bot_qrcode`, `c2c/upload`)."""

        async def respond(request: web.Request) -> web.StreamResponse:
            noted = self.world.record.call(_path_of(request), dict(request.query))
            return await self._with_faults(noted, request, lambda: handle(request))

        return respond

    def serve_authorised(self, handle: Handle) -> Respond:
        async def respond(request: web.Request) -> web.StreamResponse:
            noted = self.world.record.call(_path_of(request), dict(request.query))
            raw = await request.read()
            noted.body = raw.decode(errors="replace")[: record.BODY]
            return await self._with_faults(noted, request, lambda: self._process(noted, request, raw, handle))

        return respond

    async def _with_faults(
        self, noted: record.Call, request: web.Request, process: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        fault = self._faults.take(noted.path)
        if fault is None:
            return await process()
        self.world.record.broken(noted, fault.kind)
        if fault.kind == "errcode":
            self.world.record.answered(noted, fault.errcode)
            return web.json_response({"ret": fault.errcode, "errmsg": fault.errmsg})
        return await apply(fault, request, process, self.world.settings.hang_seconds)

    async def _process(self, noted: record.Call, request: web.Request, raw: bytes, handle: Handle) -> web.Response:
        try:
            bot = self._bot_of(request)
            noted.account = bot.id
            answer = await handle(Call(bot, self._read(noted, request, raw)))
        except Refused as refused:
            self.world.record.answered(noted, refused.ret)
            return web.json_response({"ret": refused.ret, "errcode": refused.ret, "errmsg": refused.errmsg})
        self.world.record.answered(noted, 0)
        return web.json_response({"ret": 0} | answer)

    def _bot_of(self, request: web.Request) -> Bot:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        bot = self.ilink.find_bot(token)
        if bot is None or bot.is_lost:
            raise Refused(LOGIN_LOST, "session timeout")
        return bot

    def _read(self, noted: record.Call, request: web.Request, raw: bytes) -> JSON:
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise Refused(-1, "invalid json") from error
        if not isinstance(body, dict):
            raise Refused(-1, "invalid json")
        self._check(noted, request, body)
        return body

    def _check(self, noted: record.Call, request: web.Request, body: JSON) -> None:
        """What the platform may let pass and the documents do not."""
        expected = {
            "Content-Type": "application/json",
            "AuthorizationType": "ilink_bot_token",
            "iLink-App-Id": "bot",
        }
        for name, value in expected.items():
            if request.headers.get(name, "") != value:
                self.world.record.violation("header", noted.path, f"{name}: {request.headers.get(name)}")
        if not request.headers.get("iLink-App-ClientVersion", "").isdigit():
            self.world.record.violation("header", noted.path, "iLink-App-ClientVersion")
        self._check_number(noted, request.headers.get("X-WECHAT-UIN", ""))
        if not (isinstance(body.get("base_info"), dict) and body["base_info"].get("channel_version")):
            self.world.record.violation("base_info", noted.path)

    def _check_number(self, noted: record.Call, text: str) -> None:
        """A decimal number of 32 bits in base64, another one in each request."""
        try:
            is_right = 0 <= int(base64.b64decode(text, validate=True).decode()) < 2**32
        except (binascii.Error, ValueError):
            is_right = False
        if not is_right or text in self.ilink.seen_numbers:
            self.world.record.violation("X-WECHAT-UIN", noted.path, text)
        self.ilink.seen_numbers[text] = True


def _path_of(request: web.Request) -> str:
    """`ilink/sendmessage`, `c2c/upload`."""
    return request.path.removeprefix("/").replace("ilink/bot/", "ilink/").replace("msg/", "")
