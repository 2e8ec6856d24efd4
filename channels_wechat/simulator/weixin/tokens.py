"""Access tokens of WeChat accounts (facts: official_account.md 1): two families that leave each other alone."""

import json
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.weixin.accounts import OfficialAccount, WeixinAccount
from channels_wechat.simulator.weixin.quotas import day

if TYPE_CHECKING:
    from channels_wechat.simulator.core.calls import Answer, Call

FORCED_A_DAY, FORCED_APART = 20, 30.0
STABLE_A_MINUTE = 10_000


@dataclass
class WeixinToken:
    account: WeixinAccount
    expires: float
    valid: bool = True


class WeixinTokens:
    def __init__(self, world: World) -> None:
        self._world = world
        self._all: dict[str, WeixinToken] = {}
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

    def _of(self, family: str, account: WeixinAccount) -> WeixinToken | None:
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
        self._all[text] = WeixinToken(account, self._world.now() + ttl)
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


def customer(call: "Call", given: JSON) -> WeixinAccount:
    """The account that asks for a token, or why it gets none."""
    for name, missing in (("appid", 41002), ("secret", 41004)):
        if not given.get(name):
            raise PlatformError(missing, f"{name} missing")
    if given.get("grant_type") != "client_credential":
        raise PlatformError(40002, "invalid grant_type")
    account = call.world.weixin.get(str(given["appid"]))
    if account is None:
        raise PlatformError(40013, "invalid appid")
    if given["secret"] != account.secret:
        call.world.record.counters["wrong_secrets"] += 1
        raise PlatformError(40125, "invalid appsecret")
    check_address(call, account)
    return account


def check_address(call: "Call", account: WeixinAccount) -> None:
    """40164 names the address; Mini Programs have no whitelist."""
    ip = str(call.request.remote)
    if isinstance(account, OfficialAccount) and account.ip_whitelist is not None and ip not in account.ip_whitelist:
        raise PlatformError(40164, f"invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist")


def counted(call: "Call", account: WeixinAccount, path: str) -> None:
    call.world.record.counters["token_requests"] += 1
    call.platform.quotas.take(account, path)


async def token(call: "Call") -> "Answer":
    account = customer(call, dict(call.request.query))
    counted(call, account, "token")
    text, seconds = call.platform.weixin_tokens.ordinary(account)
    return {"access_token": text, "expires_in": seconds}


async def stable_token(call: "Call") -> "Answer":
    """Its body holds the secret: it is read here and not kept."""
    try:
        given = json.loads(await call.request.read())
    except ValueError as error:
        raise PlatformError(47001, "data format error") from error
    if not isinstance(given, dict):
        raise PlatformError(47001, "data format error")
    account = customer(call, given)
    counted(call, account, "stable_token")
    if not call.platform.windows.take(f"stable_token {account.appid}", (STABLE_A_MINUTE, 60.0)):
        raise PlatformError(45011, "api minute-quota reach limit, must slower, retry next minute")
    text, seconds = call.platform.weixin_tokens.stable(account, given.get("force_refresh") is True)
    return {"access_token": text, "expires_in": seconds}
