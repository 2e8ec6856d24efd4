"""Access tokens of WeChat accounts (facts: official_account.md 1): two families that leave each other alone."""

import secrets
from collections import Counter
from dataclasses import dataclass

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.weixin.accounts import WeixinAccount
from channels_wechat.simulator.weixin.quotas import day

FORCED_A_DAY, FORCED_APART = 20, 30.0


@dataclass
class Token:
    account: WeixinAccount
    expires: float
    valid: bool = True


class Tokens:
    def __init__(self, world: World) -> None:
        self._world = world
        self._all: dict[str, Token] = {}
        self._current: dict[tuple[str, str], str] = {}  # by family and appid
        self._forced: Counter[tuple[str, int]] = Counter()
        self._forced_at: dict[str, float] = {}

    def owner(self, text: str) -> WeixinAccount | None:
        """Whose token this is or was."""
        token = self._all.get(text)
        return token.account if token else None

    def check(self, text: str) -> WeixinAccount:
        if not text:
            raise PlatformError(41001, "access_token missing")
        token = self._all.get(text)
        if token is None:
            raise PlatformError(40014, "invalid access_token")
        if not token.valid:
            raise PlatformError(40001, "invalid credential, access_token is invalid or not latest")
        if token.expires <= self._world.now():
            raise PlatformError(42001, "access_token expired")
        return token.account

    def ordinary(self, account: WeixinAccount) -> tuple[str, int]:
        """A new token each time; the one before it lives on for about five minutes."""
        if old := self._of("ordinary", account):
            old.expires = min(old.expires, self._world.now() + self._overlap())
        return self._issue("ordinary", account)

    def stable(self, account: WeixinAccount, force: bool) -> tuple[str, int]:
        """The same token until five minutes before its end; forced: a new one, and the old one is dead at once."""
        token = self._of("stable", account)
        if force:
            self._count_forced(account)
            if token:
                token.valid = False
        elif token and token.valid and token.expires - self._world.now() > self._overlap():
            return self._current["stable", account.appid], int(token.expires - self._world.now())
        return self._issue("stable", account)

    def _of(self, family: str, account: WeixinAccount) -> Token | None:
        return self._all.get(self._current.get((family, account.appid), ""))

    def _overlap(self) -> float:
        settings = self._world.settings
        return min(settings.token_overlap, settings.token_ttl / 2)

    def _count_forced(self, account: WeixinAccount) -> None:
        now = self._world.now()
        if now - self._forced_at.get(account.appid, float("-inf")) < FORCED_APART:
            raise PlatformError(45011, "force_refresh within 30 seconds of the last one")
        if self._forced[account.appid, day(now)] >= FORCED_A_DAY:
            raise PlatformError(45009, "reach max api daily quota limit: force_refresh")
        self._forced[account.appid, day(now)] += 1
        self._forced_at[account.appid] = now
        self._world.record.counters["tokens_forced"] += 1

    def _issue(self, family: str, account: WeixinAccount) -> tuple[str, int]:
        text, ttl = f"{secrets.randbelow(90) + 10}_{secrets.token_urlsafe(120)}", self._world.settings.token_ttl
        self._all[text] = Token(account, self._world.now() + ttl)
        self._current[family, account.appid] = text
        self._world.record.counters["tokens_issued"] += 1
        return text, int(ttl)

    def invalidate(self, account: WeixinAccount) -> None:
        """Taken back before their time: 40001 from now on, in both families."""
        for token in self._all.values():
            if token.account is account and token.valid:
                token.valid = False
                self._world.record.counters["tokens_invalidated"] += 1

    def expire(self, account: WeixinAccount) -> None:
        """Their time is over: 42001 from now on, in both families."""
        for token in self._all.values():
            if token.account is account:
                token.expires = min(token.expires, self._world.now())
