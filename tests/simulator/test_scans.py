"""Scan to create: a code, its scan on the phone, and the bot that comes of it (facts: wecom.md 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from channels_wechat.simulator import SimulatorError
from tests.simulator.bot_socket import BotSocket

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient


def fetch(client: SimulatorClient, path: str, **query: Any) -> dict[str, Any]:
    return requests.get(f"{client.url}/ai/qc/{path}", params=query, timeout=10).json()


def make_code(client: SimulatorClient) -> dict[str, Any]:
    return fetch(client, "generate", source="bridge", plat=0)["data"]


def test_a_code_that_is_confirmed_makes_a_bot_that_can_connect(client: SimulatorClient) -> None:
    code = make_code(client)
    assert fetch(client, "query_result", scode=code["scode"])["data"] == {"status": "wait"}
    client.scan_code(code["scode"], "scan")
    assert fetch(client, "query_result", scode=code["scode"])["data"] == {"status": "scanned"}
    client.scan_code(code["scode"], name="Neuer Bot", aibotid="NEW")
    data = fetch(client, "query_result", scode=code["scode"])["data"]
    assert data["status"] == "success"
    assert data["bot_info"]["botid"] == "NEW"
    with BotSocket(client.websocket_url, "NEW") as socket:
        assert socket.subscribe(data["bot_info"]["secret"])["errcode"] == 0
    assert client.scans() == [{"scode": code["scode"], "source": "bridge", "status": "success", "bot": "NEW"}]
    assert data["bot_info"]["secret"] not in str(client.call("GET", "directory"))


def test_a_code_expires_and_is_used_once(client: SimulatorClient) -> None:
    first, second = make_code(client), make_code(client)
    client.scan_code(first["scode"], "expire")
    client.advance(301)
    for code in (first, second):
        assert fetch(client, "query_result", scode=code["scode"])["data"] == {"status": "expired"}
        with pytest.raises(SimulatorError, match="expired"):
            client.scan_code(code["scode"])
    third = make_code(client)
    with pytest.raises(SimulatorError, match="exists"):
        client.scan_code(third["scode"], aibotid="AIBOT")
    client.scan_code(third["scode"])
    with pytest.raises(SimulatorError, match="success"):
        client.scan_code(third["scode"])


@pytest.mark.parametrize(("scode", "how", "why"), [("unknown", "scan", "no such scode"), ("", "tap", "how")])
def test_a_wrong_scan_is_refused(client: SimulatorClient, scode: str, how: str, why: str) -> None:
    with pytest.raises(SimulatorError, match=why):
        client.scan_code(scode or make_code(client)["scode"], how)
    assert fetch(client, "query_result", scode="unknown")["errcode"] == 40058


def test_the_address_of_a_code_opens_what_the_phone_shows(client: SimulatorClient) -> None:
    code = fetch(client, "generate", source="<bridge>", plat=0)["data"]
    assert code["auth_url"].startswith(client.url)
    assert "&lt;bridge&gt;" in requests.get(code["auth_url"], timeout=10).text
    assert "success" in requests.post(code["auth_url"], data={"how": "confirm"}, timeout=10).text
    assert requests.post(code["auth_url"], data={"how": "confirm"}, timeout=10).status_code == 400
    assert client.scans()[0]["status"] == "success"


def test_a_fault_breaks_it(client: SimulatorClient) -> None:
    client.fault("ai/qc/generate", "html", status=502)
    assert requests.get(f"{client.url}/ai/qc/generate", timeout=10).status_code == 502
    assert client.record()["faults"] == {"ai/qc/generate html": 1}
    assert make_code(client)["scode"]
