"""The stub where it must be like a real gateway beyond what the client's tests show: its file, its process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openclaw import wire
from openclaw.client import Answer, Endpoint, GatewayClient, Turn
from openclaw.errors import GatewayError
from openclaw.session import make_session_key
from openclaw.stub import RunningStub, gateway, store
from openclaw.stub.answers import make_picture, plan_answer

KEY = make_session_key("main", "account", "group", "wrGroup", 0)
ROOT = Path(__file__).parents[2]


class Process:
    """`python -m openclaw.stub` on a free port."""

    def __init__(self, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "openclaw.stub", "--token", "t", "--port", str(port), "--pace", "0", *options]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=dict(os.environ))
        assert self.popen.stdout
        self.base_url = self.popen.stdout.readline().decode().split()[-1]

    def end(self, number: signal.Signals) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(20)
        if self.popen.stdout:
            self.popen.stdout.close()
        return code

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.base_url + path, data, timeout=10) as response:
            return json.load(response)

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self.call("/_stub/record")["runs"]


async def _asked(base_url: str, turn: Turn) -> Answer:
    client = GatewayClient(Endpoint(base_url, "t"))
    try:
        await client.connect()
        return await client.ask(turn)
    finally:
        await client.close()


async def _recovered(base_url: str, turn: Turn) -> Answer | None:
    client = GatewayClient(Endpoint(base_url, "t"))
    try:
        await client.connect()
        return await client.recover(turn)
    finally:
        await client.close()


@pytest.mark.parametrize("options", [(), ("--no-resume",)])
def test_killed_process_keeps_its_transcripts(tmp_path: Path, options: tuple[str, ...]) -> None:
    state = ("--state", str(tmp_path / "stub.jsonl"), *options)
    done, cut = Turn(KEY, "main", "hello", "1"), Turn(KEY, "main", "!tokens=20 !slow=2", "2")
    first = Process(*state)
    answer = asyncio.run(_asked(first.base_url, done))

    async def ask_and_kill() -> None:
        task = asyncio.create_task(_asked(first.base_url, cut))
        limit = time.monotonic() + 10
        while len(await asyncio.to_thread(lambda: first.runs)) < 2 and time.monotonic() < limit:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(first.end, signal.SIGKILL)
        with pytest.raises(GatewayError):
            await task

    asyncio.run(ask_and_kill())
    second = Process(*state)
    try:
        assert asyncio.run(_recovered(second.base_url, done)) == answer
        recovered = asyncio.run(_recovered(second.base_url, cut))
        assert (recovered.text.split()[-1] if recovered else None) == (None if options else "w19")
        assert [run["count"] for run in second.runs if run["key"] in ("1", "2")] == [1, 1]
    finally:
        assert second.end(signal.SIGTERM) == 0


def test_half_a_line_at_the_end_of_the_file_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "stub.jsonl"
    path.write_text('{"entry": "row", "sess')
    process = Process("--state", str(path))
    assert process.runs == []
    assert process.end(signal.SIGINT) == 0


def test_control_endpoints() -> None:
    process = Process("--agents", "alone")
    try:
        assert process.call("/health") == {"ok": True, "status": "live"}
        assert process.call("/readyz")["ready"] is True
        assert process.call("/_stub/faults", {"fail_runs": 2})["fail_runs"] == 2
        assert process.call("/_stub/say", {"sessionKey": KEY, "text": "hi"})["runId"]
        before = process.call("/_stub/record")["bootId"]
        assert process.call("/_stub/restart", {"history": False})["bootId"] != before
    finally:
        assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("hello", "收到：hello"),
        ("张三: 你好", "收到，张三：你好"),
        ("张三：你好：世界", "收到，张三：你好：世界"),
        ("context\n\n李四: 在吗\n", "收到，李四：在吗"),
        ("", "收到："),
        ("张三: !say=只说这个", "只说这个"),
        ("张三: !tokens=3", "w0 w1 w2"),
        ("!noreply", "NO_REPLY"),
    ],
)
def test_what_the_parrot_says(message: str, words: str) -> None:
    thought = plan_answer(message)
    assert thought.text == words
    assert "".join(thought.pieces) == words


FILE = {"type": "file", "mimeType": "text/plain", "fileName": "a.txt", "content": "aGVsbG8="}


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("agent", {"timeoutMs": 5}, "timeoutMs"),
        ("agent", {"timeout": 0.5}, "timeout"),
        ("agent", {"timeout": -1}, "timeout"),
        ("agent", {"message": None}, "message"),
        ("chat.send", {"timeout": 5}, "timeout"),
        ("chat.send", {"extraSystemPrompt": "be brief"}, "extraSystemPrompt"),
        ("agent.wait", {"runId": "k", "timeoutMs": True}, "timeoutMs"),
        ("chat.history", {"sessionKey": KEY, "limit": "200"}, "limit"),
        ("chat.abort", {"session": KEY}, "session"),
        ("artifacts.download", {"attachments": []}, "attachments"),
        ("agents.list", {"agentId": "main"}, "agentId"),
        *(
            ("agent", {"attachments": [wrong]}, "attachments")
            for wrong in ("a", {}, {**FILE, "mimeType": "text"}, {**FILE, "content": "hello"}, {**FILE, "size": 5})
        ),
    ],
)
def test_what_a_gateway_would_refuse_is_refused(method: str, params: dict[str, Any], says: str) -> None:
    async def call() -> None:
        client = GatewayClient(Endpoint(stub.base_url, stub.token))
        try:
            await client.connect()
            await client._wire.call(method, params)
        finally:
            await client.close()

    with (
        RunningStub() as stub,
        pytest.raises(GatewayError, match=f"invalid_request: invalid {method} params: .*{says}"),
    ):
        asyncio.run(call())


@pytest.mark.parametrize(("name", "mode"), [("django-bridge", "backend"), ("gateway-client", "cli"), ("cli", "")])
def test_a_client_of_another_name_is_not_let_in(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SIGNER", replace(wire.SIGNER, client_id=name, mode=mode))
    with RunningStub() as stub, pytest.raises(GatewayError, match="/client/id"):
        asyncio.run(_asked(stub.base_url, Turn(KEY, "main", "hello", "k")))


def test_picture_is_a_png_and_the_same_for_a_seed() -> None:
    assert make_picture(1) == make_picture(1) != make_picture(2)
    assert make_picture(1).startswith(b"\x89PNG\r\n\x1a\n")


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_RUNS", 4)
    monkeypatch.setattr(store, "MAX_SESSIONS", 2)
    monkeypatch.setattr(store, "MAX_ROWS", 6)
    kept = store.Store()
    for session in ("one", "two", "three"):
        for number in range(5):
            key = f"{session}.{number}"
            kept.add_queued(session, key, "hello")
            kept.add_user_row(session, key, "hello", "")
            kept.add_run(session, key, "hello", "")
            kept.add_assistant_row(session, key, [{"type": "text", "text": "hello"}])
    assert list(kept.rows) == ["two", "three"]
    assert [row["__openclaw"]["seq"] for row in kept.rows["three"]] == [5, 6, 7, 8, 9, 10]
    assert [run["key"] for run in kept.list_runs()] == [f"three.{number}" for number in (1, 2, 3, 4)]
    assert set(kept.queued) <= {"two", "three"}


def test_runs_that_are_over_are_forgotten_and_those_under_way_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "MAX_RUNS", 3)

    async def play() -> gateway.Gateway:
        home = gateway.Gateway("token", ["main"], store.Store())
        slow = home.start(gateway.Run("slow", "agent:main:slow", "!slow=5 hello"))
        for number in range(6):
            await home.start(gateway.Run(f"{number}", f"agent:main:{number}", "hello")).done.wait()
        assert "slow" in home.runs
        assert slow.task
        slow.task.cancel()
        await slow.done.wait()
        for number in range(6, 12):
            await home.start(gateway.Run(f"{number}", f"agent:main:{number}", "hello")).done.wait()
        return home

    home = asyncio.run(play())
    assert list(home.runs) == ["9", "10", "11"]
    assert len(home._locks) <= 4
