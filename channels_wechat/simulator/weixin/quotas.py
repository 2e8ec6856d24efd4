"""Calls a day by path, and what an account may ask and do about them (facts: official_account.md 12)."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.weixin.accounts import WeixinAccount

if TYPE_CHECKING:
    from channels_wechat.simulator.core.calls import Answer, Call

CHINA = timedelta(hours=8)
USUAL = 500_000
DAILY = {
    "token": 2000,
    "media/upload": 100_000,
    "media/get": 200_000,
    "user/info": 5_000_000,
    "wxa/msg_sec_check": 2_000_000,
    "message/subscribe/send": 10_000_000,
}
PER_MINUTE = {"wxa/msg_sec_check": 4000, "stable_token": 10_000}
CLEARS_A_MONTH = 10


def day(now: float) -> int:
    """The number of the day in Shanghai, where quotas begin anew at midnight."""
    return (datetime.fromtimestamp(now, UTC) + CHINA).toordinal()


def month(now: float) -> str:
    return (datetime.fromtimestamp(now, UTC) + CHINA).strftime("%Y-%m")


class Quotas:
    def __init__(self, world: World) -> None:
        self._world = world
        self._used: Counter[tuple[str, str, int]] = Counter()
        self._cleared: Counter[tuple[str, str]] = Counter()

    def limit(self, account: WeixinAccount, path: str) -> int:
        return account.daily_limits.get(path, DAILY.get(path, USUAL))

    def used(self, account: WeixinAccount, path: str) -> int:
        return self._used[account.appid, path, day(self._world.now())]

    def take(self, account: WeixinAccount, path: str) -> None:
        if self.used(account, path) >= self.limit(account, path):
            raise PlatformError(45009, "reach max api daily quota limit")
        self._used[account.appid, path, day(self._world.now())] += 1

    def clear(self, account: WeixinAccount) -> None:
        key = (account.appid, month(self._world.now()))
        if self._cleared[key] >= CLEARS_A_MONTH:
            raise PlatformError(48006, "forbid to clear quota because of reaching the limit")
        self._cleared[key] += 1
        self._used = Counter({used: count for used, count in self._used.items() if used[0] != account.appid})


def known_path(call: "Call") -> str:
    """The endpoint behind a cgi_path like "/cgi-bin/message/custom/send"."""
    given = str(call.body.get("cgi_path") or "")
    if given.startswith("/sns/"):
        raise PlatformError(76022, "could not use this cgi_path, no permission")
    path = given.removeprefix("/cgi-bin/").removeprefix("/")
    if not given.startswith("/") or path not in call.platform.weixin_paths:
        raise PlatformError(76021, "cgi_path not found, please check")
    return path


async def quota_get(call: "Call") -> "Answer":
    path = known_path(call)
    limit, used = (call.platform.quotas.limit(call.weixin, path), call.platform.quotas.used(call.weixin, path))
    rate = {"rate_limit": {"call_count": PER_MINUTE[path], "refresh_second": 60}} if path in PER_MINUTE else {}
    return {"quota": {"daily_limit": limit, "used": used, "remain": max(0, limit - used)}} | rate


async def clear_quota(call: "Call") -> "Answer":
    if call.body.get("appid") != call.weixin.appid:
        raise PlatformError(40013, "invalid appid")
    call.platform.quotas.clear(call.weixin)
    return {}
