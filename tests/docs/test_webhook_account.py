"""docs/connect/webhook_account: the OpenAPI description is what the code does, and the example is a gateway that works."""

from __future__ import annotations

import base64
import copy
import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import jsonschema
import pytest
import yaml
from drf_spectacular.validation import validate_schema

from bridge.models import Attachment, Delivery, Message, State
from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Content, File, Outgoing, Peer, Upload
from openclaw.stub.answers import make_picture
from tests.channels.harness import Reply, recorder
from tests.channels.webhook_account.gateway import INBOUND, OUTBOUND, channel, headers, parse
from tests.channels.webhook_account.test_parsing import WRONG
from tests.end_to_end.test_end_to_end import worker
from tests.structure import ROOT
from tests.support import factories
from tests.support.callbacks import call, web_server
from tests.support.connecting import RunningConnector
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from openclaw.stub import RunningStub

PAGES = ROOT / "docs/connect"
DESCRIPTION = yaml.safe_load((PAGES / "webhook_account.openapi.yaml").read_text())
CLIENT = PAGES / "webhook_account_client.py"
MOST_LINES = 40
IN = DESCRIPTION["paths"]["/callbacks/{key}"]["post"]["requestBody"]["content"]["application/json"]
OUT = DESCRIPTION["webhooks"]["delivery"]["post"]
POSTED = {name: DESCRIPTION["components"]["examples"][name]["value"] for name in IN["examples"]}
NOTE = Upload("file", "note.txt", "text/plain", b"hello\n")
SPOILT: tuple[Any, ...] = (7, True, "", " ", "x", [], {}, [7])


@cache
def validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": DESCRIPTION["components"]}
    )


def example(name: str) -> Any:
    return DESCRIPTION["components"]["examples"][name]["value"]


# --- the description


def test_the_description_is_openapi() -> None:
    validate_schema(DESCRIPTION)


def test_every_example_fits_the_schema_of_its_place() -> None:
    answers = {
        name: answer["content"]["application/json"] for name, answer in OUT["responses"].items() if "content" in answer
    }
    places = {"Event": IN, "Delivery": OUT["requestBody"]["content"]["application/json"], "Taken": answers["2XX"]}
    places["Refusal"] = answers["4XX"]
    used = [(schema, name) for schema, place in places.items() for name in place["examples"]]
    assert {name for _schema, name in used} == set(DESCRIPTION["components"]["examples"])
    for schema, name in used:
        validator(schema).validate(example(name))


@pytest.mark.django_db
@pytest.mark.parametrize("name", POSTED)
def test_every_example_of_an_event_is_stored_once(name: str) -> None:
    account = factories.own_connection()
    body = json.dumps(POSTED[name]).encode()
    for _twice in range(2):
        assert call(account, body, headers=headers(body)).status == 200
    kind = {"message": "text", "reaction": "unsupported"}.get(POSTED[name]["type"], "event")
    stored = Message.objects.get()
    assert stored.kind == {"files": "file", "inline": "mixed"}.get(name, kind)
    assert stored.peer_id == POSTED[name]["conversation"]["id"]


def test_every_example_of_a_delivery_is_what_is_sent() -> None:
    group, ann = Peer("group", "room-7"), Peer("direct", "wxid_ann")
    contents = [
        (group, Content(text="At **nine**.", ai=True)),
        (group, Content(text="See above.", data={"mentions": ["wxid_ann"]})),
        (ann, Content(files=(File("file", "note.txt", "text/plain", 6, "1"),))),
    ]
    with recorder() as receiver:
        receiver.will(Reply(json.dumps({"id": "f-1"}).encode()))
        own = channel(receiver.url)
        handle = own.upload(NOTE)
        for peer, content in contents:
            (payload,) = own.render(content)
            own.send(Outgoing(peer, payload, handle, key="k"))
        own.test()
    sent = [request.json for request in receiver.requests]
    assert sent == [example(name) for name in ("file", "text", "mention", "named", "test")]


def is_taken(event: Any) -> bool:
    try:
        parse(event)
    except CallbackRefused:
        return False
    return True


@pytest.mark.parametrize("event", [event for _field, event in WRONG], ids=[field for field, _event in WRONG])
def test_what_the_code_refuses_the_description_does_not_allow(event: dict[str, Any]) -> None:
    assert not validator("Event").is_valid(event)


@pytest.mark.parametrize("name", POSTED)
def test_code_and_description_agree_on_every_spoilt_example(name: str) -> None:
    """Each value of the example in turn is left out, or another one stands in its place."""
    different = [event for event in spoilt(POSTED[name]) if is_taken(event) != validator("Event").is_valid(event)]
    assert different == []


def spoilt(event: Any) -> Iterator[Any]:
    for path in paths(event):
        for value in (None, *SPOILT):
            changed = copy.deepcopy(event)
            place = changed
            for step in path[:-1]:
                place = place[step]
            if value is not None:
                place[path[-1]] = value
            else:
                del place[path[-1]]
            yield changed


def paths(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, value in steps:
        yield (*before, step)
        yield from paths(value, (*before, step))


# --- the example


class Client:
    """The example as a process: `say` is a line that somebody types, `printed` the deliveries that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)

    def say(self, event: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{json.dumps(event)}\n")
        self.process.stdin.flush()

    def printed(self) -> Any:
        return json.loads(self.lines.get(timeout=30))


@contextmanager
def running(callback_url: str, port: int) -> Iterator[Client]:
    secrets = {"INBOUND_SECRET": INBOUND, "OUTBOUND_SECRET": OUTBOUND}
    environ = {**os.environ, **secrets, "CALLBACK_URL": callback_url, "PORT": str(port)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, str(CLIENT)], text=True, env=environ, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield Client(process)
        finally:
            process.terminate()


class Forgetful(ThreadingHTTPServer):
    """Stands before the bridge and passes every request on; the answer to the first one is lost."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(("127.0.0.1", 0), PassOn)
        self.address, self.passed = address, 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class PassOn(BaseHTTPRequestHandler):
    server: Forgetful

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = {name: value for name, value in self.headers.items() if name.lower().startswith("webhook-")}
        with urlopen(Request(self.server.address + self.path, body, signed), timeout=20) as answer:
            status = answer.status
        self.server.passed += 1
        if self.server.passed > 1:
            self.send_response(status)
            self.end_headers()

    def log_message(self, *words: Any) -> None:
        """Quiet."""


def line(key: str, text: str = "", **more: Any) -> dict[str, Any]:
    talk = {"kind": "direct", "id": "wxid_ann", "title": "Ann"}
    return {"type": "message", "id": key, "conversation": talk, "text": text, **more}


def test_the_example_is_short() -> None:
    assert len(CLIENT.read_text().splitlines()) <= MOST_LINES


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
def test_the_example_is_a_gateway_that_works(stub: RunningStub, tmp_path: Path) -> None:
    """A message in and its answer out, a file in and a file out, and repetitions in both directions."""
    port = free_port()
    account = factories.own_connection(f"http://127.0.0.1:{port}/", own_id="")
    factories.route(account, factories.gateway(stub.base_url))
    with web_server() as url, worker(), RunningConnector(), Forgetful(url) as front:
        with running(f"{front.url}/callbacks/{account.key}", port) as client:
            client.say(line("m-1", "hello"))
            assert client.printed() == {
                "type": "message", "text": "收到：hello", "format": "text", "ai": True,
                "conversation": {"kind": "direct", "id": "wxid_ann"},
            }  # fmt: skip
            factories.eventually(lambda: front.passed == 2)  # the first answer was lost, so that it was posted again

            picture = base64.b64encode(make_picture(3)).decode()
            client.say(line("m-2", files=[{"content": picture, "name": "a.png"}]))
            assert "看到 1 张图" in client.printed()["text"]
            with Attachment.objects.get(message__idempotency_key="m-2").file.open("rb") as stored:
                assert stored.read() == make_picture(3)

            client.say(line("m-3", "!image"))
            told, uploaded, named = client.printed(), client.printed(), client.printed()
            assert (told["text"], uploaded["type"]) == ("给你一张图。", "file")
            content = base64.b64decode(uploaded["content"])
            (file,) = named["files"]
            assert (file["size"], content[:4], bool(file["id"])) == (len(content), b"\x89PNG", True)
            factories.eventually(lambda: not Delivery.objects.exclude(state=State.DELIVERED).exists())

            # The same delivery once more, as after a lost answer: it is answered the same and printed once.
            own = channel(f"http://127.0.0.1:{port}/")
            (payload,) = own.render(Content(text="once"))
            again = [own.send(Outgoing(Peer("direct", "wxid_ann"), payload, key="k-1")).remote_id for _ in range(2)]
            own.test()
            assert again == ["k-1", "k-1"]
            assert [client.printed().get("text"), client.printed()] == ["once", {"type": "test"}]
        front.shutdown()
    assert Message.objects.filter(direction="in").count() == 3
    assert [run["count"] for run in stub.record] == [1, 1, 1]
