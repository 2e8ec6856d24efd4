"""The server, its page and its control API."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

import channels_wechat.simulator
from channels_wechat.simulator import SimulatorError
from channels_wechat.simulator.core import record, state

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

PACKAGE = Path(channels_wechat.simulator.__file__).parent


def test_the_command_says_where_it_is_and_ends_when_told() -> None:
    command = [sys.executable, "-m", "channels_wechat.simulator", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line.startswith("simulator on http://127.0.0.1:")
            assert requests.get(f"{line.split()[-1]}/sim/record", timeout=10).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_page_needs_nothing_from_outside(client: SimulatorClient) -> None:
    page = requests.get(client.url, timeout=10)
    assert "<title>WeCom and WeChat simulator (not the real ones)</title>" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in PACKAGE.glob("static/*"):
        assert requests.get(f"{client.url}/static/{path.name}", timeout=10).status_code == 200
        assert "//cdn" not in path.read_text()


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_it_shares_no_code_with_what_it_checks(path: Path) -> None:
    """Imports reach the standard library, aiohttp, requests, the cipher and the simulator itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    allowed = ("aiohttp", "requests", "Crypto.Cipher", "channels_wechat.simulator")
    assert {name for name in foreign if not name.startswith(allowed)} == set()


def test_a_transcript_request_can_wait_for_news(client: SimulatorClient) -> None:
    said = client.say("一", bot="AIBOT", from_="zhangsan")
    first = client.call("GET", f"chat/{said['chat']}")
    client.say("二", bot="AIBOT", from_="zhangsan")
    news = client.call("GET", f"chat/{said['chat']}", params={"since": first["rev"], "wait": 10})
    assert [entry["text"] for entry in news["entries"]] == ["二"]
    assert client.call("GET", f"chat/{said['chat']}", params={"since": news["rev"]})["entries"] == []


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("apps", {"agentid": 1, "colour": "red"}, "unknown fields: colour"),
        ("members", {"userid": "x"}, "name"),
        ("tokens", {"app": 1, "how": "burn"}, "invalidate or expire"),
        ("tokens", {"bot": "AIBOT", "how": "expire"}, "only an app and a WeChat account"),
        ("click", {"entry": 99, "from": "zhangsan"}, "no such card"),
    ],
)
def test_wrong_control_requests_are_explained(
    client: SimulatorClient, path: str, body: dict[str, object], why: str
) -> None:
    with pytest.raises(SimulatorError, match=why):
        client.call("POST", path, body)


@pytest.mark.parametrize("data", [b"{", b"[]"])
def test_a_control_request_is_a_json_object(client: SimulatorClient, data: bytes) -> None:
    answer = requests.post(f"{client.url}/sim/say", data=data, timeout=10)
    assert (answer.status_code, "JSON" in answer.json()["error"]) == (400, True)


def test_waiting_ends(client: SimulatorClient) -> None:
    with pytest.raises(TimeoutError):
        client.wait_for(lambda: 0, timeout=0.1)


def test_the_record_can_be_forgotten(client: SimulatorClient) -> None:
    client.say("x", bot="AIBOT", from_="zhangsan")
    client.reset_record()
    assert client.deliveries() == []
    assert len(client.chats()) == 1


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "KEEP_CHATS", 3)
    monkeypatch.setattr(state, "KEEP_ENTRIES", 5)
    monkeypatch.setattr(state, "KEEP_MEDIA_BYTES", 10)
    world = state.World()
    for number in range(20):
        world.add("one", "zhangsan", "text", text=str(number))
    assert [entry.text for entry in world.chats["one"]] == ["15", "16", "17", "18", "19"]
    for chat in ("two", "three", "four"):
        world.add(chat, "zhangsan", "text")
    assert list(world.chats) == ["two", "three", "four"]
    ids = [world.keep_media("image", "a.png", b"1234", "image/png").id for _time in range(4)]
    assert list(world.media) == ids[-2:]


def test_its_record_is_bounded_and_its_counts_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "KEEP", 3)
    kept = record.Record()
    kept.deliveries["0"] = record.Delivery("0", "app:1", "chat", "text", "sending")
    for number in range(1, 10):
        kept.deliveries[str(number)] = record.Delivery(str(number), "app:1", "chat", "text", "delivered", [{}, {}])
        kept.streams[str(number)] = record.StreamState(str(number), "id", state="finished")
        kept.call("path", {})
        kept.violation("what", "message")
    assert list(kept.deliveries) == ["0", "8", "9"], "what is under way stays"
    assert list(kept.streams) == ["7", "8", "9"]
    told = kept.summary()
    assert told["deliveries"] == {"sending": 1, "delivered": 9}
    assert (told["posts"], told["streams"], told["calls"]) == (18, {"finished": 9}, {"path": 9})
