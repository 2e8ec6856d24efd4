"""Failures on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from channels_wechat.simulator import SimulatorError

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform
    from tests.simulator.receiver import Receiver

CHAT = "app:1:zhangsan"


def test_an_errcode_by_name_and_number_of_times(client: SimulatorClient, platform: Platform) -> None:
    client.fault("message/send", "errcode", errcode=45009, errmsg="api freq out of limit", times=2)
    answers = [platform.send()["errcode"] for _ in range(3)]
    assert answers == [45009, 45009, 0]
    assert len(client.transcript(CHAT)) == 1
    assert client.record()["errors"] == {"message/send 45009": 2}


@pytest.mark.parametrize(
    ("kind", "error", "shown"),
    [
        ("timeout_before", requests.ReadTimeout, 0),
        ("timeout_after", requests.ReadTimeout, 1),
        ("slow_after", requests.ReadTimeout, 1),
        ("reset", requests.ConnectionError, 0),
        ("reset_after", requests.ConnectionError, 1),
    ],
)
def test_lost_answers(
    client: SimulatorClient, platform: Platform, kind: str, error: type[Exception], shown: int
) -> None:
    token = platform.token()
    client.fault("message/send", kind, seconds=5)
    body = b'{"touser":"zhangsan","msgtype":"text","agentid":1,"text":{"content":"x"}}'
    with pytest.raises(error):
        platform.http.post(f"{platform.url}message/send?access_token={token}", data=body, timeout=0.5)
    assert len(client.transcript(CHAT)) == shown
    assert client.calls("message/send")[0]["fault"] == kind
    assert platform.raw("message/send", body, access_token=token)["errcode"] == 0


def test_a_rate_lets_some_calls_pass(client: SimulatorClient, platform: Platform) -> None:
    client.fault("message/send", "errcode", errcode=45009, times=0, rate=0.5)
    answers = [platform.send()["errcode"] for _ in range(40)]
    assert set(answers) == {0, 45009}
    assert client.record()["faults"] == {"message/send errcode": answers.count(45009)}
    with pytest.raises(SimulatorError, match="rate must be"):
        client.fault("message/send", "reset", rate=0)


def test_what_a_broken_call_carried_is_kept(client: SimulatorClient, platform: Platform) -> None:
    token = platform.token()
    client.fault("message/send", "reset")
    with pytest.raises(requests.ConnectionError):
        platform.http.post(f"{platform.url}message/send?access_token={token}", data=b"whose was it", timeout=5)
    assert client.calls("message/send")[0]["body"] == "whose was it"


@pytest.mark.parametrize("status", [200, 502])
def test_html_instead_of_json(client: SimulatorClient, platform: Platform, status: int) -> None:
    client.fault("user/get", "html", status=status)
    answer = platform.look("user/get", userid="lisi")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


@pytest.mark.parametrize("kind", ["slow", "slow_after"])
def test_slow(client: SimulatorClient, platform: Platform, kind: str) -> None:
    client.fault("user/get", kind, seconds=0.3)
    answer = platform.look("user/get", userid="lisi")
    assert answer.json()["errcode"] == 0
    assert answer.elapsed.total_seconds() >= 0.3


def test_a_users_file_can_be_out_of_reach(client: SimulatorClient, receiver: Receiver, platform: Platform) -> None:
    client.wait_taken(client.say(bot="AIBOT", from_="zhangsan", kind="file", data=b"x"))
    url = receiver.messages[0].json["file"]["url"]
    client.fault("media/bot", "html", status=502)
    assert [platform.http.get(url, timeout=10).status_code for _ in range(2)] == [502, 200]


def test_everything_until_cleared(client: SimulatorClient, platform: Platform) -> None:
    client.fault("*", "errcode", times=0)
    assert [platform.fetch_token()["errcode"] for _ in range(3)] == [-1, -1, -1]
    client.clear_faults()
    assert platform.fetch_token()["errcode"] == 0


def test_a_wrong_fault_is_refused(client: SimulatorClient) -> None:
    with pytest.raises(SimulatorError, match="kind must be one of"):
        client.fault("*", "explosion")
    with pytest.raises(SimulatorError, match="unknown fields: colour"):
        client.fault("*", "slow", colour="red")
