"""The login: a code that somebody scans with WeChat and confirms, sometimes with a number, or at another address."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.ilink.door import Door
from channels_wechat.simulator.ilink.world import Bot

KEEP = 1000
MOST_WRONG = 3
WAIT, SCANNED, ASKS, CONFIRMED, EXPIRED, BLOCKED, BOUND = (
    "wait",
    "scaned",
    "need_verifycode",
    "confirmed",
    "expired",
    "verify_code_blocked",
    "binded_redirect",
)
REDIRECTED = "scaned_but_redirect"
ENDED = frozenset({CONFIRMED, EXPIRED, BLOCKED, BOUND})
HOW = ("scan", "ask", "redirect", "confirm", "expire")
PAGE = """<!doctype html><meta charset="utf-8"><title>Simulated WeChat</title><h1>Connect an agent?</h1>
<p>What the phone shows: {status}{number}.</p>
<form method="post"><label>You are <select name="from">{people}</select></label>
<button name="how" value="scan">Scan</button> <button name="how" value="ask">Scan, and show a number</button>
<button name="how" value="confirm">Confirm</button> <button name="how" value="expire">Let it expire</button></form>"""


@dataclass
class Code:
    """`number`: what the phone shows and somebody types. `told`: the status of the last answer."""

    qrcode: str = field(repr=False)
    own_tokens: list[str] = field(repr=False)
    began: float
    status: str = WAIT
    told: str = ""
    person: str = ""
    number: str = ""
    wrong: int = 0
    host: str = ""
    bot: Bot | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class IlinkScans:
    def __init__(self, door: Door) -> None:
        self.door, self.ilink, self.world = door, door.ilink, door.world
        self._codes: Recent[str, Code] = Recent(KEEP)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/ilink/bot/get_bot_qrcode", self.door.serve_public(self.make)),
            web.get("/ilink/bot/get_qrcode_status", self.door.serve_public(self.status)),
            web.get("/ilink/phone", self.page),
            web.post("/ilink/phone", self.press),
        ]

    async def make(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.query.get("bot_type") != "3" or not isinstance(body.get("local_token_list"), list):
            return web.json_response({"ret": -1, "errmsg": "invalid parameter"})
        code = Code(secrets.token_urlsafe(24), body["local_token_list"][:10], self.world.now())
        self._codes[code.qrcode] = code
        address = f"{self.world.base_url}/ilink/phone?{urlencode({'qrcode': code.qrcode})}"
        return web.json_response({"ret": 0, "qrcode": code.qrcode, "qrcode_img_content": address})

    async def status(self, request: web.Request) -> web.Response:
        """Hold until the status is another one than was told before, or the time is over."""
        code = self._codes.get(request.query.get("qrcode", ""))
        if code is None:
            return web.json_response({"ret": -1, "errmsg": "invalid qrcode"})
        if typed := request.query.get("verify_code", ""):
            self._type(code, typed)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.world.settings.ilink_hold_seconds):
                while code.status == code.told and code.status not in ENDED and not self._expire(code):
                    code.news.clear()
                    await code.news.wait()
        self._expire(code)
        return web.json_response({"ret": 0} | self._tell(code))

    def _tell(self, code: Code) -> JSON:
        code.told = code.status
        answer: JSON = {"status": code.status}
        if code.status == REDIRECTED:
            answer["redirect_host"] = code.host
            code.status = code.told = SCANNED  # the other host goes on from here
        if code.status == CONFIRMED and code.bot:
            bot = code.bot
            answer |= {"bot_token": bot.token, "ilink_bot_id": bot.id, "ilink_user_id": bot.owner}
            answer["baseurl"] = self.world.base_url
        return answer

    def _type(self, code: Code, typed: str) -> None:
        if code.status != ASKS:
            return
        code.wrong += typed != code.number
        self._set(code, SCANNED if typed == code.number else BLOCKED if code.wrong >= MOST_WRONG else ASKS)
        code.told = "" if code.status == ASKS else code.told

    def _expire(self, code: Code) -> bool:
        if code.status not in ENDED and self.world.now() - code.began > self.world.settings.scan_seconds:
            code.status = EXPIRED
        return code.status == EXPIRED

    def _set(self, code: Code, status: str) -> None:
        code.status = status
        code.news.set()

    # -- instead of a phone -----------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        code = self._codes.get(request.query.get("qrcode", ""))
        if code is None:
            raise web.HTTPNotFound(text="no such code")
        self._expire(code)
        people = "".join(
            f'<option value="{escape(one.id)}"{" selected" if one.id == code.person else ""}>{escape(one.name)}</option>'
            for one in self.ilink.people.values()
        )
        number = f" {code.number}" if code.status == ASKS else ""
        text = PAGE.format(status=escape(code.status), number=escape(number), people=people)
        headers = {"Content-Security-Policy": "default-src 'none'; form-action 'self'"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def press(self, request: web.Request) -> web.Response:
        form = await request.post()
        spec = {"qrcode": request.query.get("qrcode", ""), "how": str(form.get("how")), "from": str(form.get("from"))}
        try:
            self.act(spec)
        except ControlError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await self.page(request)

    # -- the control API --------------------------------------------------------------------------------------------------

    def act(self, spec: JSON) -> JSON:
        """A person scans the code, is shown a number, is sent to another host, confirms, or lets it expire."""
        code, how = self._codes.get(str(spec.get("qrcode"))), spec.get("how")
        if code is None:
            raise ControlError("no such qrcode")
        if how not in HOW:
            raise ControlError(f"`how` must be one of {', '.join(HOW)}")
        if self._expire(code) or code.status in ENDED:
            raise ControlError(f"the code is {code.status}")
        if how != "expire":
            code.person = self.ilink.person(spec.get("from") or code.person).id
        if how == "ask":
            code.number = str(spec.get("number") or f"{secrets.randbelow(90) + 10}")
        if how == "redirect":
            code.host = str(spec.get("host") or urlsplit(self.world.base_url).netloc)
        became = {"scan": SCANNED, "ask": ASKS, "redirect": REDIRECTED, "expire": EXPIRED}
        self._set(code, self._confirm(code) if how == "confirm" else became[str(how)])
        return self.describe(code)

    def _confirm(self, code: Code) -> str:
        """Who is bound here already, as the client's own tokens show, gets no new login."""
        old = self.ilink.current.get(code.person)
        if old and not old.is_lost and old.token in code.own_tokens:
            return BOUND
        if code.status == ASKS:
            raise ControlError("the number was not typed yet")
        code.bot = self.ilink.log_in(self.ilink.person(code.person))
        return CONFIRMED

    def listed(self) -> list[JSON]:
        for code in self._codes.values():
            self._expire(code)
        return [self.describe(code) for code in self._codes.values()]

    def describe(self, code: Code) -> JSON:
        shown: JSON = {"qrcode": code.qrcode, "status": code.status, "from": code.person}
        return shown | {"number": code.number, "bot": code.bot.id if code.bot else ""}
