"""A platform that is reached over one long connection, and a kind of account for it: JSON, a line each, over TCP on loopback.

The platform repeats a message until it is acknowledged, and carries out a request once for each idempotency key. The kind uses nothing
but the contract. Who holds the connection in the product is not said here: the test does.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import socketserver
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Queue
from typing import TYPE_CHECKING, Any, ClassVar

from Crypto.Cipher import AES
from django import forms

from bridge.pipeline.inbound import receive
from channels_wechat.contract.capabilities import Downloads
from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.inbound_fields import as_list, word
from channels_wechat.contract.messages import Inbound, MediaItem, Payload, Peer, Receipt, Upload
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from accounts.models import ChannelAccount
    from channels_wechat.contract.messages import Content, Outgoing

Frame = dict[str, Any]
KIND = "fakechat"
WAIT_SECONDS = 20.0


# --- the platform


class FakePlatform(socketserver.ThreadingTCPServer):
    """sent: idempotency key → what people read. requests: everything that it was asked, in order.

    loses: types of frames of which the next one is taken, and then the connection is cut before anything is answered.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.waiting: dict[str, Frame] = {}
        self.files: dict[str, bytes] = {}
        self.sent: dict[str, Frame] = {}
        self.requests: list[Frame] = []
        self.loses: set[str] = set()

    def say(self, key: str, text: str = "", **fields: Any) -> None:
        """Somebody writes; it waits until the bridge acknowledges it."""
        self.waiting[key] = {"type": "message", "id": key, "from": "ann", "text": text, **fields}

    def file(self, name: str, content: bytes) -> Frame:
        """A file as a message names it: its id, and the key that only it is encrypted with."""
        key, handle = secrets.token_bytes(32), secrets.token_hex(8)
        cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
        encrypted, tag = cipher.encrypt_and_digest(content)
        self.files[handle] = encrypted + tag
        return {"id": handle, "name": name, "key": key.hex()}

    def take(self, frame: Frame) -> Frame | None:
        """What it answers; None for what it does not answer."""
        self.requests.append(frame)
        if frame["type"] == "acknowledge":
            if "acknowledge" not in self.loses:
                self.waiting.pop(frame["id"], None)
            return None
        result: Frame = {"type": "result", "request": frame["request"]}
        if frame["type"] == "fetch":
            return {**result, "content": base64.b64encode(self.files[frame["file"]]).decode()}
        key = frame["key"] if frame["check_repeats"] else secrets.token_hex(8)
        self.sent.setdefault(key, {"to": frame["to"], "text": frame["text"]})
        return {**result, "id": f"sent-{list(self.sent).index(key)}"}


class _Line(socketserver.StreamRequestHandler):
    """One connection to the platform."""

    server: FakePlatform

    def handle(self) -> None:
        for frame in list(self.server.waiting.values()):
            self._write(frame)
        for line in self.rfile:
            frame = json.loads(line)
            answer = self.server.take(frame)
            if frame["type"] in self.server.loses:
                self.server.loses.remove(frame["type"])
                return
            if answer:
                self._write(answer)

    def _write(self, frame: Frame) -> None:
        self.wfile.write(json.dumps(frame).encode() + b"\n")


@contextmanager
def fake_platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        thread = threading.Thread(target=platform.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield platform
        finally:
            platform.shutdown()
            thread.join(WAIT_SECONDS)


# --- our end of the connection


class FakeConnection:
    """One thread reads: results go to whoever asked, messages into `messages`, which ends with None when the connection does."""

    def __init__(self, platform: FakePlatform) -> None:
        self._socket = socket.create_connection(platform.server_address, WAIT_SECONDS)  # type: ignore[arg-type]
        self._socket.settimeout(None)
        self._writing = threading.Lock()
        self._asked: dict[int, Future[Frame]] = {}
        self._number = 0
        self.messages: Queue[Frame | None] = Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def request(self, **frame: Any) -> Frame:
        """Raises ChannelError: whether it was carried out is unknown where the connection ends before the answer."""
        answer: Future[Frame] = Future()
        with self._writing:
            self._number += 1
            self._asked[self._number] = answer
            self._write({**frame, "request": self._number})
        try:
            return answer.result(WAIT_SECONDS)
        except ConnectionError as error:
            raise WIRE.error("reset", Action.UNKNOWN) from error

    def acknowledge(self, message: str) -> None:
        with self._writing:
            self._write({"type": "acknowledge", "id": message})

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_SECONDS)
        self._socket.close()

    def _write(self, frame: Frame) -> None:
        self._socket.sendall(json.dumps(frame).encode() + b"\n")

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                frame = json.loads(line)
                if frame["type"] == "result":
                    self._asked.pop(frame["request"]).set_result(frame)
                else:
                    self.messages.put(frame)
        for answer in self._asked.values():
            answer.set_exception(ConnectionError())
        self.messages.put(None)


@contextmanager
def connected(account: ChannelAccount, platform: FakePlatform) -> Iterator[FakeConnection]:
    """The account speaks over this connection until the block ends."""
    connection = FakeConnection(platform)
    FakeChat.connections[str(account.key)] = connection
    try:
        yield connection
    finally:
        del FakeChat.connections[str(account.key)]
        connection.close()


def receive_waiting(account: ChannelAccount, connection: FakeConnection, most: int) -> list[int | None]:
    """Store what comes, until the connection ends or so many came: the ids of the rows, None for a repetition.

    A message is acknowledged when its row is committed; before, the platform must still repeat it.
    """
    rows: list[int | None] = []
    while len(rows) < most and (frame := connection.messages.get(timeout=WAIT_SECONDS)):
        message = parse(frame)
        (row,) = receive.store_each([receive.build_row(account, message)])
        if row is not None:
            receive.wake_router(with_files=bool(message.media))
        rows.append(row)
        connection.acknowledge(message.key)
    return rows


# --- the kind


def parse(frame: Frame) -> Inbound:
    """Pure."""
    room, sender = word(frame, "room", "id"), word(frame, "from")
    files = tuple(
        MediaItem("file", word(file, "id"), word(file, "name"), key=word(file, "key"))
        for file in as_list(frame.get("files"))
    )
    return Inbound(
        key=word(frame, "id"),
        kind="text" if frame["text"] else "file",
        peer=Peer("group", room) if room else Peer("direct", sender),
        sender=sender,
        text=word(frame, "text"),
        media=files,
        raw={name: value for name, value in frame.items() if name != "files"},
        title=word(frame, "room", "title"),
        own=frame.get("own") is True,
    )


class FakeCredentials(CredentialsForm):
    name = forms.CharField()


class FakeChat(Downloads):
    """connections: account's key → the connection that it speaks over."""

    kind = KIND
    label = "Fake chat"
    Credentials = FakeCredentials
    receives_from = frozenset({"direct", "group"})
    connections: ClassVar[dict[str, FakeConnection]] = {}

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["name"])

    def render(self, content: Content) -> list[Payload]:
        return [Payload({"text": content.text})]

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        return 3600

    def send(self, outgoing: Outgoing) -> Receipt:
        request = {"to": outgoing.peer.id, "text": outgoing.payload.body["text"]}
        result = self._connection.request(
            type="send", key=outgoing.key, check_repeats=outgoing.check_repeats, **request
        )
        return Receipt(remote_id=result["id"])

    def download(self, item: MediaItem) -> Upload:
        body = base64.b64decode(self._connection.request(type="fetch", file=item.handle)["content"])
        cipher = AES.new(bytes.fromhex(item.key), AES.MODE_GCM, nonce=bytes(12))
        return Upload(item.kind, item.name, "text/plain", cipher.decrypt_and_verify(body[:-16], body[-16:]))

    @property
    def _connection(self) -> FakeConnection:
        return self.connections[self.identity.key]
