"""The front door of WeCom's API: whose token it is, and whether the address is a trusted one (facts: wecom.md 1)."""

from aiohttp import web

from channels_wechat.simulator.core.calls import FrontDoor
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.wecom.calls import Platform
from channels_wechat.simulator.wecom.company import App


class WeComDoor(FrontDoor[Platform, App]):
    def authorise(self, path: str, request: web.Request) -> App:
        app = self.platform.tokens.check(request.query.get("access_token", ""))
        if not app.trusted_ip:
            hint = "not allow to access from your ip, hint: [simulated], "
            raise PlatformError(60020, f"{hint}from ip: {request.remote}, more info at the simulator's page")
        if errcode := app.refused.get(path):
            raise PlatformError(errcode, "no privilege: simulated")
        return app
