"""Scan to create (facts: wecom.md 6.3): a code that a member scans with WeCom, who then agrees to a new AI bot.

The form of the answers is Tencent's own tool's; only `success` is known of the statuses, the others are ours.
"""

import secrets
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.faults import Faults, Handler, apply
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.company import LONG_CONNECTION, Bot, Company

KEEP = 1000
HOW = ("scan", "confirm", "expire")
UNKNOWN = 40058
PAGE = """<!doctype html><meta charset="utf-8"><title>Simulated WeCom</title><h1>Create an AI bot?</h1>
<p>What the phone shows of the code for {source}: {status}.</p>
<form method="post"><button name="how" value="scan">Scan</button> <button name="how" value="confirm">Create the bot</button>
<button name="how" value="expire">Let it expire</button></form>"""


@dataclass
class Scan:
    scode: str
    source: str
    began: float
    status: str = "wait"  # scanned, success, expired
    bot: Bot | None = None


class Scans:
    def __init__(self, company: Company, faults: Faults) -> None:
        self.company, self.world = company, company.world
        self._faults = faults
        self._scans: Recent[str, Scan] = Recent(KEEP)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ai/qc/generate", self._served(self.generate)),
            web.get("/ai/qc/query_result", self._served(self.query_result)),
            web.get("/ai/qc/gen", self.page),
            web.post("/ai/qc/gen", self.press),
        ]

    def _served(self, handle: Handler) -> Handler:
        """Record the call, and meet a fault for its path."""

        async def respond(request: web.Request) -> web.StreamResponse:
            noted = self.world.record.call(request.path.removeprefix("/"), dict(request.query))
            fault = self._faults.take(noted.path)
            if fault is None:
                return await handle(request)
            self.world.record.broken(noted, fault.kind)
            return await apply(fault, request, lambda: handle(request), self.world.settings.hang_seconds)

        return respond

    async def generate(self, request: web.Request) -> web.Response:
        scan = Scan(secrets.token_urlsafe(24), request.query.get("source", ""), self.world.now())
        self._scans[scan.scode] = scan
        query = urlencode({"source": scan.source, "scode": scan.scode})
        return answer({"scode": scan.scode, "auth_url": f"{self.world.base_url}/ai/qc/gen?{query}"})

    async def query_result(self, request: web.Request) -> web.Response:
        scan = self._scans.get(request.query.get("scode", ""))
        if scan is None:
            return web.json_response({"errcode": UNKNOWN, "errmsg": "invalid scode"})
        self._expire(scan)
        data: JSON = {"status": scan.status}
        if scan.bot is not None:
            data["bot_info"] = {"botid": scan.bot.aibotid, "secret": scan.bot.secret}
        return answer(data)

    async def page(self, request: web.Request) -> web.Response:
        """What `auth_url` opens: instead of a phone's scan."""
        scan = self._scan(request.query.get("scode", ""))
        text = PAGE.format(source=escape(scan.source), status=escape(scan.status))
        headers = {"Content-Security-Policy": "default-src 'none'; form-action 'self'"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def press(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            self.act({"scode": request.query.get("scode", ""), "how": str(form.get("how"))})
        except ControlError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await self.page(request)

    def _scan(self, scode: str) -> Scan:
        scan = self._scans.get(scode)
        if scan is None:
            raise web.HTTPNotFound(text="no such code")
        self._expire(scan)
        return scan

    def _expire(self, scan: Scan) -> None:
        if scan.bot is None and self.world.now() - scan.began > self.world.settings.scan_seconds:
            scan.status = "expired"

    # -- the control API -------------------------------------------------------------------------------------------------

    def act(self, spec: JSON) -> JSON:
        """A member scans the code, agrees to it (which makes the bot), or lets it expire."""
        scan, how = self._scans.get(str(spec.get("scode"))), spec.get("how")
        if scan is None:
            raise ControlError("no such scode")
        if how not in HOW:
            raise ControlError(f"`how` must be one of {', '.join(HOW)}")
        self._expire(scan)
        if scan.status in ("success", "expired"):
            raise ControlError(f"the code is {scan.status}")
        if how == "confirm":
            scan.bot = self._make_bot(spec)
        scan.status = {"scan": "scanned", "confirm": "success", "expire": "expired"}[str(how)]
        return self.describe(scan)

    def _make_bot(self, spec: JSON) -> Bot:
        aibotid = str(spec.get("aibotid") or f"aib{secrets.token_urlsafe(18)}")
        if aibotid in self.company.bots:
            raise ControlError("a bot with this aibotid exists")
        name, secret = str(spec.get("name") or "New bot"), secrets.token_urlsafe(32)
        bot = self.company.bots[aibotid] = Bot(aibotid, name, LONG_CONNECTION, secret)
        return bot

    def listed(self) -> list[JSON]:
        for scan in self._scans.values():
            self._expire(scan)
        return [self.describe(scan) for scan in self._scans.values()]

    def describe(self, scan: Scan) -> JSON:
        bot = scan.bot.aibotid if scan.bot else ""
        return {"scode": scan.scode, "source": scan.source, "status": scan.status, "bot": bot}


def answer(data: JSON) -> web.Response:
    return web.json_response({"errcode": 0, "errmsg": "ok", "data": data})
