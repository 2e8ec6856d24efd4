"""The accounts with their services, and the page that a login code opens in place of a phone."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from html import escape

from aiohttp import web

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.faults import Faults
from channels_wechat.simulator.core.state import JSON, World, plain
from channels_wechat.simulator.wechaty import wire
from channels_wechat.simulator.wechaty.calls import Calls
from channels_wechat.simulator.wechaty.people import People
from channels_wechat.simulator.wechaty.puppets import Puppet
from channels_wechat.simulator.wechaty.service import Service
from channels_wechat.simulator.wechaty.world import Account, WechatyWorld

PAGE = """<!doctype html><meta charset="utf-8"><title>Simulated WeChat</title><h1>Log in as {name}?</h1>
<p>What the phone shows of the code: {status}.</p>
<form method="post"><button name="how" value="scan">Scan</button> <button name="how" value="confirm">Log in</button>
<button name="how" value="cancel">Cancel</button></form>"""
HOW = ("silence", "resume", "end", "cut", "away", "back", "heartbeat", "error")


class Services:
    def __init__(self, world: World, faults: Faults, host: str, spawn: Callable[[Awaitable[None]], object]) -> None:
        self.wechaty = WechatyWorld(world)
        self.people = People(self.wechaty)
        self._faults, self._host, self._spawn = faults, host, spawn
        self._services: dict[str, Service] = {}

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/wechaty/login/{code}", self.page), web.post("/wechaty/login/{code}", self.press)]

    async def open(self, account: Account, *, logged_in: bool) -> None:
        """Start the service of an account, unless it has one."""
        self.wechaty.accounts[account.id] = account
        if account.id in self._services:
            return
        puppet = Puppet(account, self.wechaty.world, logged_in=logged_in)
        calls = Calls(puppet, self.people)
        service = Service(puppet, calls, self._faults, self._host, self._spawn)
        self.people.puppets[account.id], self._services[account.id] = puppet, service
        await service.start()

    async def stop(self) -> None:
        for service in self._services.values():
            await service.stop()

    def puppet(self, account: Account) -> Puppet:
        return self.people.puppets[account.id]

    def describe(self, account: Account) -> JSON:
        return plain(account) | {"endpoint": self._services[account.id].endpoint} | self.puppet(account).describe()

    def streams(self, account_id: str = "") -> list[JSON]:
        found = [puppet for key, puppet in self.people.puppets.items() if account_id in ("", key)]
        return [asdict(facts) for puppet in found for facts in puppet.streams]

    async def disturb(self, account: Account, how: object) -> JSON:
        """Do something to the service or its stream (see the package's docstring)."""
        if how not in HOW:
            raise ControlError(f"`how` must be one of {', '.join(HOW)}")
        puppet, service = self.puppet(account), self._services[account.id]
        if how in ("silence", "resume"):
            puppet.hold_still(still=how == "silence")
        elif how == "end":
            puppet.end_stream("closed")
        elif how == "heartbeat":
            puppet.beat()
        elif how == "error":
            puppet.emit(wire.ERROR, {"gerror": '{"message":"simulated"}', "data": "simulated"})
        else:
            await {"cut": service.cut, "away": service.stop, "back": service.start}[str(how)]()
        return self.describe(account)

    # -- in place of a phone -----------------------------------------------------------------------------------------------

    def _find(self, code: str) -> Puppet:
        found = [puppet for puppet in self.people.puppets.values() if puppet.code == code]
        if not found:
            raise web.HTTPNotFound(text="this code is not valid any more")
        return found[0]

    async def page(self, request: web.Request) -> web.Response:
        """What a phone shows of the code."""
        puppet = self._find(request.match_info["code"])
        status = str(puppet.describe()["code_status"])
        text = PAGE.format(name=escape(puppet.account.name), status=escape(status))
        headers = {"Content-Security-Policy": "default-src 'none'; form-action 'self'"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def press(self, request: web.Request) -> web.Response:
        puppet, form = self._find(request.match_info["code"]), await request.post()
        try:
            puppet.act(str(form.get("how")))
        except ControlError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if puppet.code == request.match_info["code"]:
            return await self.page(request)
        return web.Response(text="logged in" if puppet.logged_in else "cancelled")
