"""A platform that is reached over one long connection, and a kind of account for it: JSON, a line each, over TCP on loopback.

The platform repeats a message until it is acknowledged, and carries out a request once for each idempotency key. It serves one connection
for each device: a later one ends the earlier one. The kind uses nothing but the contract.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from Crypto.Cipher import AES
from django import forms

from channels_wechat.contract.capabilities import Downloads
from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.connection import Connection, ConnectionRefused, ConnectionState
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Explanation
from channels_wechat.contract.inbound_fields import as_list, word
from channels_wechat.contract.messages import Inbound, Limit, MediaItem, Payload, Peer, Receipt, Upload
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.messages import Content, Outgoing

Frame = dict[str, Any]
KIND = "fakechat"
WAIT_SECONDS = 20.0


# --- the platform


class FakePlatform(socketserver.ThreadingTCPServer):
    """sent: idempotency key → what people read. requests: everything that it was asked, in order.

    loses: types of frames of which the next one is taken, and then the connection is cut before anything is answered. refuses: the
    code with which it refuses to be subscribed to. subscribed: the devices, in order.
    answers: type of a frame → what it is answered with, in order, and then with the last one.
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
        self.refuses = ""
        self.subscribed: list[str] = []
        self.answers: dict[str, list[Frame]] = {}
        self.line: _Line | None = None

    def say(self, key: str, text: str = "", **fields: Any) -> None:
        """Somebody writes; it waits until the bridge acknowledges it."""
        self.waiting[key] = {"type": "message", "id": key, "from": "ann", "text": text, **fields}
        if self.line:
            self.line.write(self.waiting[key])

    def tell(self, **frame: Any) -> None:
        """Something that is no message, such as the state of a login."""
        assert self.line
        self.line.write(frame)

    def file(self, name: str, content: bytes) -> Frame:
        """A file as a message names it: its id, and the key that only it is encrypted with."""
        key, handle = secrets.token_bytes(32), secrets.token_hex(8)
        cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
        encrypted, tag = cipher.encrypt_and_digest(content)
        self.files[handle] = encrypted + tag
        return {"id": handle, "name": name, "key": key.hex()}

    def kick(self) -> None:
        """Somebody else connects with the same credentials."""
        if self.line:
            self.line.write({"type": "kicked"})
            self.line.cut()

    def cut(self) -> None:
        """The connection ends."""
        if self.line:
            self.line.cut()

    def take(self, frame: Frame, line: _Line) -> Frame | None:
        """What it answers; None for what it does not answer."""
        self.requests.append(frame)
        if frame["type"] == "acknowledge":
            if "acknowledge" not in self.loses:
                self.waiting.pop(frame["id"], None)
            return None
        result: Frame = {"type": "result", "request": frame["request"]}
        if frame["type"] == "subscribe":
            if self.refuses:
                return {**result, "refused": self.refuses}
            self.kick()
            self.line = line
            self.subscribed.append(frame["device"])
            return result
        if frame["type"] in ("partial", "end"):
            return result
        if frame["type"] in self.answers:
            steps = self.answers[frame["type"]]
            return {**result, **(steps.pop(0) if len(steps) > 1 else steps[0])}
        if frame["type"] == "fetch":
            return {**result, "content": base64.b64encode(self.files[frame["file"]]).decode()}
        key = frame["key"] if frame["check_repeats"] else secrets.token_hex(8)
        self.sent.setdefault(key, {"to": frame["to"], "text": frame["text"]})
        return {**result, "id": f"sent-{list(self.sent).index(key)}"}


class _Line(socketserver.StreamRequestHandler):
    """One connection to the platform."""

    server: FakePlatform

    def handle(self) -> None:
        with suppress(OSError):
            for line in self.rfile:
                frame = json.loads(line)
                answer = self.server.take(frame, self)
                if frame["type"] in self.server.loses:
                    self.server.loses.remove(frame["type"])
                    break
                if answer:
                    self.write(answer)
                if frame["type"] == "subscribe":
                    for waiting in list(self.server.waiting.values()):
                        self.write(waiting)
        if self.server.line is self:
            self.server.line = None

    def write(self, frame: Frame) -> None:
        with suppress(OSError):
            self.wfile.write(json.dumps(frame).encode() + b"\n")

    def cut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def fake_platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        FakeChat.address = platform.server_address
        thread = threading.Thread(target=platform.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield platform
        finally:
            platform.cut()
            platform.shutdown()
            thread.join(WAIT_SECONDS)


# --- our end of the connection


class FakeLink:
    """Requests are answered by number, whoever comes first."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.asked: dict[int, asyncio.Future[Frame]] = {}

    async def request(self, **frame: Any) -> Frame:
        number = len(self.asked)
        self.asked[number] = answer = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({**frame, "request": number}).encode() + b"\n")
        async with asyncio.timeout(WAIT_SECONDS):
            return await answer

    async def send(self, outgoing: Outgoing) -> Receipt:
        where = {"to": outgoing.peer.id, "reply": outgoing.peer.reply, "text": outgoing.payload.body["text"]}
        result = await self.request(type="send", key=outgoing.key, check_repeats=outgoing.check_repeats, **where)
        return Receipt(remote_id=result["id"])

    async def upload(self, file: Upload) -> str:
        raise NotImplementedError

    async def show_partial(self, reply: str, text: str) -> bool:
        await self.request(type="partial", reply=reply, text=text)
        return True

    async def end_partial(self, reply: str, text: str) -> None:
        await self.request(type="end", reply=reply, text=text)

    def lose(self) -> None:
        """Whether what was asked was carried out is unknown."""
        for answer in self.asked.values():
            if not answer.done():
                answer.set_exception(FAKE.error("connection_lost", Action.UNKNOWN))


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
        peer=Peer("group" if room else "direct", room or sender, reply=word(frame, "reply")),
        reply_seconds=3600,
        sender=sender,
        text=word(frame, "text"),
        media=files,
        raw={name: value for name, value in frame.items() if name != "files"},
        title=word(frame, "room", "title"),
        own=frame.get("own") is True,
    )


FAKE = Explanations(
    {
        **WIRE,
        "kicked": Explanation(Action.CONFIG, "Another program took the connection."),
        "bad_token": Explanation(Action.CONFIG, "The token is wrong."),
        "busy": Explanation(Action.RETRY, "The platform is busy."),
    }
)


class FakeCredentials(CredentialsForm):
    name = forms.CharField()


class FakeChat(Connection, Downloads):
    """address: of the platform. closes: until this is set, none of its connections can be closed."""

    kind = KIND
    label = "Fake chat"
    Credentials = FakeCredentials
    explanations = FAKE
    receives_from = frozenset({"direct", "group"})
    shows_partials = True
    address: ClassVar[Any] = None
    calls_a_minute: ClassVar[int] = 1000
    closes: ClassVar[threading.Event | None] = None

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["name"])

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple(Limit(scope, self.calls_a_minute, 60, scope, "a minute") for scope in ("direct", "group"))

    def render(self, content: Content) -> list[Payload]:
        return [Payload({"text": content.text})]

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        return 3600

    async def run(self, session: Session) -> None:
        try:
            reader, writer = await asyncio.open_connection(*self.address)
        except OSError as error:
            raise FAKE.error("connect") from error
        link = FakeLink(writer)
        frames = asyncio.create_task(self._read(reader, link, session))
        try:
            result = await link.request(type="subscribe", device=session.device_id)
            if refused := result.get("refused"):
                raise FAKE.error(refused)
            await self._begin(session, link)
            await frames
        finally:
            frames.cancel()
            link.lose()
            writer.close()
            while self.closes and not self.closes.is_set():
                await asyncio.sleep(0.02)

    async def _begin(self, session: Session, link: FakeLink) -> None:
        """The platform took the subscription."""
        await session.open(link)

    async def _take(self, frame: Frame, session: Session, link: FakeLink) -> bool:
        """Whether this was a frame that only a kind that inherits from this one knows."""
        return False

    async def _read(self, reader: asyncio.StreamReader, link: FakeLink, session: Session) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                session.note_frame()
                frame = json.loads(line)
                if frame["type"] == "kicked":
                    raise ConnectionRefused(ConnectionState.KICKED, FAKE.error("kicked"))
                if frame["type"] == "result":
                    link.asked[frame["request"]].set_result(frame)
                    continue
                if await self._take(frame, session, link):
                    continue
                message = parse(frame)
                await session.receive(message)
                link.writer.write(json.dumps({"type": "acknowledge", "id": message.key}).encode() + b"\n")

    def download(self, item: MediaItem) -> Upload:
        """By a connection of its own: whoever fetches files is another process than the one that holds the connection."""
        with socket.create_connection(self.address, WAIT_SECONDS) as line:
            line.sendall(json.dumps({"type": "fetch", "file": item.handle, "request": 0}).encode() + b"\n")
            body = base64.b64decode(json.loads(line.makefile("rb").readline())["content"])
        cipher = AES.new(bytes.fromhex(item.key), AES.MODE_GCM, nonce=bytes(12))
        return Upload(item.kind, item.name, "text/plain", cipher.decrypt_and_verify(body[:-16], body[-16:]))
