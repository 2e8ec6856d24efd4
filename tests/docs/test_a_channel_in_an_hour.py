"""CONTRIBUTING's *a channel in an hour*, followed: its code as it stands there becomes a kind, and the kind is used."""

from __future__ import annotations

import ast
import hashlib
import hmac
import importlib
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import channels_wechat
from bridge.models import Message, State
from channels_wechat import KINDS
from tests.channels.harness import Reply, recorder
from tests.structure import ROOT
from tests.support.callbacks import call
from tests.support.factories import account, row, send, turn, work_off

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND = "toychat"
FIELDS = {"room": "lobby", "api_key": "k-1", "signing_key": "s-1"}
STEP = re.compile(r"^`([\w./]+)`\n\n```(?:python|toml)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE = dict(STEP.findall((ROOT / "CONTRIBUTING.md").read_text()))
REGISTRY, LAYERS = "channels_wechat/__init__.py", "pyproject.toml"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The new files of the steps, in a folder of their own."""
    folder = tmp_path_factory.mktemp("steps")
    for path, code in CODE.items():
        if path not in (REGISTRY, LAYERS):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(code)
    return folder


@pytest.fixture
def registered(written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(channels_wechat, "__path__", [*channels_wechat.__path__, str(written / "channels_wechat")])
    importlib.invalidate_caches()
    for kind, path in ast.literal_eval(f"{{{CODE[REGISTRY]}}}").items():
        monkeypatch.setitem(KINDS, kind, path)
    yield
    for name in [name for name in sys.modules if name.startswith(f"channels_wechat.{KIND}")]:
        del sys.modules[name]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def signature(signed: bytes) -> dict[str, str]:
    return {"signature": hmac.new(FIELDS["signing_key"].encode(), signed, hashlib.sha256).hexdigest()}


@pytest.mark.django_db
@pytest.mark.usefixtures("registered")
def test_an_account_of_the_new_kind_sends_a_text() -> None:
    with recorder() as platform:
        platform.will(Reply(b'{"id": "r1"}', 201))
        toy = account(KIND, FIELDS, name="Toy", api_base_url=platform.url)
        message = send(toy, "**hello**", "ann")
        assert work_off() == 1
    delivery = row(message.deliveries.get())
    assert (delivery.state, delivery.remote_id) == (State.DELIVERED, "r1")
    (request,) = platform.requests
    assert (request.path, request.json) == ("/messages", {"to": "ann", "text": "hello"})


@pytest.mark.django_db
@pytest.mark.usefixtures("registered")
def test_a_callback_of_the_new_kind_is_stored_once() -> None:
    toy = account(KIND, FIELDS, name="Toy", api_base_url="")
    assert call(toy, query={"echo": "42", **signature(b"42")}).body == b"42"
    body = json.dumps({"id": "m1", "from": "ann", "text": "hello"}).encode()
    assert [call(toy, body, query).status for query in (signature(body), signature(body), {})] == [200, 200, 403]
    stored = Message.objects.get(account=toy)
    assert (stored.text, stored.sender, stored.idempotency_key) == ("hello", "ann", "m1")


@pytest.mark.django_db
@pytest.mark.usefixtures("registered")
def test_staff_are_offered_the_new_kind_with_its_fields(admin_client: Any) -> None:
    page = admin_client.get("/admin/accounts/channelaccount/add/", {"kind": KIND}).content.decode()
    assert [name for name in FIELDS if f'name="{name}"' not in page] == []
    assert turn(account(KIND, FIELDS, name="Toy", api_base_url=""), sender="ann").reason == "no_route"


def test_the_tests_of_the_steps_pass(written: Path) -> None:
    """In a process of its own without our plugins, so that it needs no servers."""
    program = (
        "import sys, pytest, channels_wechat\n"
        f"channels_wechat.__path__.append({str(written / 'channels_wechat')!r})\n"
        "sys.exit(pytest.main(['-q', '-c', '/dev/null', '-p', 'no:cacheprovider', '--import-mode=importlib', sys.argv[1]]))"
    )
    tests = str(written / f"tests/channels/{KIND}/test_channel.py")
    run = python("-c", program, tests, PYTHONPATH=str(ROOT))
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b\d+ passed", run.stdout)


def test_the_code_of_the_steps_keeps_to_our_rules(written: Path) -> None:
    (written / LAYERS).write_text((ROOT / LAYERS).read_text())  # its exceptions for tests count from where it lies
    checked = python("-m", "ruff", "check", "--no-cache", str(written))
    assert checked.returncode == 0, checked.stdout
    formatted = python("-m", "ruff", "format", "--check", "--no-cache", str(written))
    assert formatted.returncode == 0, formatted.stdout


def test_the_layer_that_the_steps_widen_is_there() -> None:
    widened = CODE[LAYERS].strip()
    without = widened.replace(f"channels_wechat.{KIND} | ", "")
    assert widened != without
    assert without in (ROOT / LAYERS).read_text()
