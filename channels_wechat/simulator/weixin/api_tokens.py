"""Access tokens of WeChat accounts, and what an account may ask and do about its quotas (facts: official_account.md 1, 12)."""

import json

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.weixin.accounts import OfficialAccount, WeixinAccount
from channels_wechat.simulator.weixin.calls import Call, Endpoint

PER_MINUTE = {"wxa/msg_sec_check": 4000, "stable_token": 10_000}


def customer(call: Call, given: JSON) -> WeixinAccount:
    """The account that asks for a token, or why it gets none."""
    for name, missing in (("appid", 41002), ("secret", 41004)):
        if not given.get(name):
            raise PlatformError(missing, f"{name} missing")
    if given.get("grant_type") != "client_credential":
        raise PlatformError(40002, "invalid grant_type")
    account = call.platform.weixin.accounts.get(str(given["appid"]))
    if account is None:
        raise PlatformError(40013, "invalid appid")
    if given["secret"] != account.secret:
        call.world.record.counters["wrong_secrets"] += 1
        raise PlatformError(40125, "invalid appsecret")
    check_address(call, account)
    return account


def check_address(call: Call, account: WeixinAccount) -> None:
    """40164 names the address; Mini Programs have no whitelist."""
    ip = str(call.request.remote)
    if isinstance(account, OfficialAccount) and account.ip_whitelist is not None and ip not in account.ip_whitelist:
        raise PlatformError(40164, f"invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist")


def counted(call: Call, account: WeixinAccount, path: str) -> None:
    call.world.record.counters["token_requests"] += 1
    call.platform.quotas.take(account, path)


async def token(call: Call) -> Answer:
    account = customer(call, dict(call.request.query))
    counted(call, account, "token")
    text, seconds = call.platform.tokens.ordinary(account)
    return {"access_token": text, "expires_in": seconds}


async def stable_token(call: Call) -> Answer:
    """Its body holds the secret: it is read here and not kept."""
    try:
        given = json.loads(await call.request.read())
    except ValueError as error:
        raise PlatformError(47001, "data format error") from error
    if not isinstance(given, dict):
        raise PlatformError(47001, "data format error")
    account = customer(call, given)
    counted(call, account, "stable_token")
    if not call.platform.windows.take(f"stable_token {account.appid}", (PER_MINUTE["stable_token"], 60.0)):
        raise PlatformError(45011, "api minute-quota reach limit, must slower, retry next minute")
    text, seconds = call.platform.tokens.stable(account, given.get("force_refresh") is True)
    return {"access_token": text, "expires_in": seconds}


def known_path(call: Call) -> str:
    """The endpoint behind a cgi_path like "/cgi-bin/message/custom/send"."""
    given = str(call.body.get("cgi_path") or "")
    if given.startswith("/sns/"):
        raise PlatformError(76022, "could not use this cgi_path, no permission")
    path = given.removeprefix("/cgi-bin/").removeprefix("/")
    if not given.startswith("/") or path not in call.platform.paths:
        raise PlatformError(76021, "cgi_path not found, please check")
    return path


async def quota_get(call: Call) -> Answer:
    path = known_path(call)
    limit, used = (call.platform.quotas.limit(call.account, path), call.platform.quotas.used(call.account, path))
    rate = {"rate_limit": {"call_count": PER_MINUTE[path], "refresh_second": 60}} if path in PER_MINUTE else {}
    return {"quota": {"daily_limit": limit, "used": used, "remain": max(0, limit - used)}} | rate


async def clear_quota(call: Call) -> Answer:
    if call.body.get("appid") != call.account.appid:
        raise PlatformError(40013, "invalid appid")
    call.platform.quotas.clear(call.account)
    return {}


def endpoints() -> dict[str, Endpoint]:
    return {
        "token": Endpoint("GET", token, needs_token=False, bare=True),
        "stable_token": Endpoint("POST", stable_token, needs_token=False, json_body=False, bare=True),
        "openapi/quota/get": Endpoint("POST", quota_get),
        "clear_quota": Endpoint("POST", clear_quota),
    }
