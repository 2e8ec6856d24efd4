"""Calls a day by path, and what an account may ask and do about them (facts: official_account.md 12)."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.weixin.accounts import WeixinAccount

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
