"""The front door of api.weixin.qq.com: its refusals carry a rid, its errors are its own (facts: official_account.md 0, 1.4)."""

import secrets
import time

from aiohttp import web

from channels_wechat.simulator.core.calls import FrontDoor, read_json
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.weixin.accounts import WeixinAccount
from channels_wechat.simulator.weixin.calls import Platform

NEVER_COUNTED = frozenset({"clear_quota", "openapi/quota/get"})
AS_TEXT = frozenset({"media/get"})  # its JSON arrives as text/plain


def new_rid() -> str:
    return f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"


class WeixinDoor(FrontDoor[Platform, WeixinAccount]):
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
        account = self.platform.tokens.check(request.query.get("access_token", ""))
        if not account.may(path):
            raise PlatformError(48001, "api unauthorized")
        if path not in NEVER_COUNTED:
            self.platform.quotas.take(account, path)
        return account
