"""gettoken and what a call without a good token hears (facts: wecom.md 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform


def test_the_same_token_while_it_is_valid(client: SimulatorClient, platform: Platform) -> None:
    first, second = platform.fetch_token(), platform.fetch_token()
    assert first["access_token"] == second["access_token"]
    assert 7100 < first["expires_in"] <= 7200
    assert client.record()["counters"] == {"token_requests": 2, "tokens_issued": 1}


def test_an_invalidated_token_is_40014_and_replaced(client: SimulatorClient, platform: Platform) -> None:
    token = platform.token()
    client.invalidate_token(1)
    assert platform.call("message/send", {}, access_token=token)["errcode"] == 40014
    assert platform.token() != token
    assert client.record()["counters"]["tokens_invalidated"] == 1


def test_an_expired_token_is_42001_and_replaced(client: SimulatorClient, platform: Platform) -> None:
    client.settings(token_ttl=60)
    token = platform.token()
    client.advance(61)
    assert platform.call("message/send", {}, access_token=token)["errcode"] == 42001
    assert platform.token() != token
    client.expire_token(1)
    assert platform.fetch_token()["errcode"] == 0


def test_wrong_secret_and_corpid(client: SimulatorClient, platform: Platform) -> None:
    assert platform.fetch_token(secret="wrong")["errcode"] == 40001
    assert platform.fetch_token(corpid="nobody")["errcode"] == 40013
    assert platform.call("message/send", {}, access_token="")["errcode"] == 41001
    assert platform.call("message/send", {}, access_token="invented")["errcode"] == 40014
    assert client.record()["counters"] == {"wrong_secrets": 1}


def test_an_untrusted_ip_is_named(client: SimulatorClient, platform: Platform) -> None:
    client.app(1, trusted_ip=False)
    answer = platform.send()
    assert answer["errcode"] == 60020
    assert "from ip: 127.0.0.1" in answer["errmsg"]


def test_secrets_are_not_in_the_record_or_the_directory(client: SimulatorClient, platform: Platform) -> None:
    platform.send()
    seen = str(client.calls()) + str(client.call("GET", "directory"))
    assert "app-secret" not in seen
    assert platform.token() not in seen


def test_wrong_method_and_unknown_path(client: SimulatorClient, platform: Platform) -> None:
    assert platform.look("message/send").json()["errcode"] == 40035
    assert platform.look("nothing/here").status_code == 404
