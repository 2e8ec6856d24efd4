"""The front door of api.weixin.qq.com: its refusals carry a rid, its errors are its own (facts: official_account.md 0, 1.4)."""

import secrets
import time

from aiohttp import web

from channels_wechat.simulator.core.calls import FrontDoor, read_json
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.weixin.accounts import WeixinAccount

NEVER_COUNTED = frozenset({"clear_quota", "openapi/quota/get"})
AS_TEXT = frozenset({"media/get"})  # its JSON arrives as text/plain


def new_rid() -> str:
    return f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"


class WeixinDoor(FrontDoor):
    secret_bodies = frozenset({"stable_token"})

    def read(self, raw: bytes) -> JSON:
        if not raw.strip():
            raise PlatformError(44002, "empty post data")
        return read_json(raw, malformed=47001)

    def worded(self, errmsg: str) -> str:
        return f"{errmsg} rid: {new_rid()}"

    def written(self, path: str, answer: JSON) -> web.Response:
        return web.json_response(answer, content_type="text/plain" if path in AS_TEXT else "application/json")

    def wrong_method(self, needed: str) -> PlatformError:
        return PlatformError(43002 if needed == "POST" else 43001, f"require {needed} method")

    def authorise(self, path: str, request: web.Request) -> WeixinAccount:
        account = self.platform.weixin_tokens.check(request.query.get("access_token", ""))
        if not account.may(path):
            raise PlatformError(48001, "api unauthorized")
        if path not in NEVER_COUNTED:
            self.platform.quotas.take(account, path)
        return account


class Doors:
    """One address for both platforms. A path that both have belongs to the platform whose token the call carries."""

    def __init__(self, wecom: FrontDoor, weixin: WeixinDoor) -> None:
        self._wecom, self._weixin = wecom, weixin

    async def cgi(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        return await self._door(path, request).serve(path, request)

    async def wxa(self, request: web.Request) -> web.StreamResponse:
        """/wxa/… and /wxaapi/…: only WeChat has them."""
        return await self._weixin.serve(request.path.removeprefix("/"), request)

    def _door(self, path: str, request: web.Request) -> FrontDoor:
        if path not in self._weixin.endpoints:
            return self._wecom
        if path not in self._wecom.endpoints:
            return self._weixin
        owner = self._weixin.platform.weixin_tokens.owner(request.query.get("access_token", ""))
        return self._weixin if owner else self._wecom
