"""Tokens of WeChat accounts: two isolated families, their limits, the whitelist (facts: official_account.md 1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.simulator.weixin import FAN, MINI, OFFICIAL

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.weixin import Api

SEND = "cgi-bin/message/custom/send"


def test_the_stable_token_is_the_same_until_shortly_before_its_end(wechat: SimulatorClient, api: Api) -> None:
    first = api.stable()
    assert set(first) == {"access_token", "expires_in"}
    assert first["expires_in"] == 7200
    wechat.advance(6800)
    again = api.stable()
    assert again["access_token"] == first["access_token"]
    assert again["expires_in"] <= 400
    wechat.advance(150)
    rolled = api.stable()
    assert rolled["access_token"] != first["access_token"]
    assert api.call(SEND, {}, first["access_token"])["errcode"] == 40003
    wechat.advance(300)
    assert api.call(SEND, {}, first["access_token"])["errcode"] == 42001
    assert api.call(SEND, {}, rolled["access_token"])["errcode"] == 40003


def test_a_forced_refresh_kills_the_old_token_and_is_rationed(wechat: SimulatorClient, api: Api) -> None:
    old, new = api.stable(), api.stable(force_refresh=True)
    assert new["access_token"] != old["access_token"]
    assert api.call(SEND, {}, old["access_token"])["errcode"] == 40001
    assert api.stable(force_refresh=True)["errcode"] == 45011
    for _ in range(19):
        wechat.advance(31)
        assert "access_token" in api.stable(force_refresh=True)
    wechat.advance(31)
    assert api.stable(force_refresh=True)["errcode"] == 45009
    assert "access_token" in api.stable()
    wechat.advance(86400)
    assert "access_token" in api.stable(force_refresh=True)


def test_the_ordinary_token_is_new_each_time_and_the_last_one_lives_for_five_minutes(
    wechat: SimulatorClient, api: Api
) -> None:
    first, second = api.ordinary()["access_token"], api.ordinary()["access_token"]
    assert first != second
    assert api.call(SEND, {}, first)["errcode"] == 40003
    wechat.advance(301)
    assert api.call(SEND, {}, first)["errcode"] == 42001
    assert api.call(SEND, {}, second)["errcode"] == 40003


def test_the_families_leave_each_other_alone(wechat: SimulatorClient, api: Api) -> None:
    stable, ordinary = api.stable()["access_token"], api.ordinary()["access_token"]
    api.stable(force_refresh=True)
    assert api.call(SEND, {}, ordinary)["errcode"] == 40003
    api.ordinary()
    wechat.advance(301)
    assert api.call(SEND, {}, stable)["errcode"] == 40001
    assert api.call(SEND, {}, api.stable()["access_token"])["errcode"] == 40003


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"appid": "wxnobody"}, 40013),
        ({"appid": ""}, 41002),
        ({"secret": ""}, 41004),
        ({"secret": "wrong"}, 40125),
        ({"grant_type": "password"}, 40002),
    ],
)
def test_why_there_is_no_token(api: Api, changes: dict[str, str], errcode: int) -> None:
    for answer in (api.stable(**changes), api.ordinary(**changes)):
        assert answer["errcode"] == errcode
        assert re.search(r"rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", answer["errmsg"])


def test_an_address_outside_the_whitelist_is_named(wechat: SimulatorClient, api: Api) -> None:
    wechat.official(OFFICIAL, ip_whitelist=["203.0.113.7"])
    answer = api.stable()
    assert answer["errcode"] == 40164
    assert "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist rid: " in answer["errmsg"]
    assert "access_token" in api.stable(MINI)
    wechat.official(OFFICIAL, ip_whitelist=["127.0.0.1"])
    assert "access_token" in api.stable()


def test_a_token_can_be_spoiled(wechat: SimulatorClient, api: Api) -> None:
    token = api.stable()["access_token"]
    wechat.invalidate_token(official=OFFICIAL)
    assert api.call(SEND, {}, token)["errcode"] == 40001
    fresh = api.stable()["access_token"]
    assert fresh != token
    wechat.expire_token(official=OFFICIAL)
    assert api.call(SEND, {}, fresh)["errcode"] == 42001
    assert api.call(SEND, {}, "invented")["errcode"] == 40014


def test_the_ordinary_token_has_a_daily_quota(wechat: SimulatorClient, api: Api) -> None:
    wechat.official(OFFICIAL, daily_limits={"token": 2})
    assert [api.ordinary().get("errcode", 0) for _ in range(3)] == [0, 0, 45009]
    assert "access_token" in api.stable()


def test_the_secret_is_kept_nowhere(wechat: SimulatorClient, api: Api) -> None:
    wechat.fault("stable_token", "errcode", errcode=-1)
    assert api.stable()["errcode"] == -1
    api.ordinary()
    api.send()
    kept = str(wechat.calls()) + str(wechat.call("GET", "directory")) + str(wechat.standing(FAN))
    assert "weixin-secret" not in kept


@pytest.mark.parametrize(("method", "path", "errcode"), [("GET", "stable_token", 43002), ("POST", "token", 43001)])
def test_the_method_matters(api: Api, method: str, path: str, errcode: int) -> None:
    assert api.http.request(method, f"{api.url}/cgi-bin/{path}", timeout=10).json()["errcode"] == errcode


@pytest.mark.parametrize("body", [b"{", b"[]"])
def test_the_body_of_stable_token_is_an_object(api: Api, body: bytes) -> None:
    assert api.http.post(f"{api.url}/cgi-bin/stable_token", data=body, timeout=10).json()["errcode"] == 47001
