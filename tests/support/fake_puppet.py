"""A puppet service of Wechaty on loopback, over real gRPC, written from the facts and not from the code that it checks.

Its messages are made from the table below. Like upstream's service (wechaty-puppet-service 1.19.9) it gives its events to one stream at a
time, keeps none while there is no stream, repeats the token in its refusals, throws with a stack trace, gives its own messages as events,
and ends when somebody asks for a file under a uuid that it does not know.
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "insecure_CANARY-puppet-token"
BOT, ALICE, BOB = "wxid_bot", "wxid_alice", "wxid_bob"
ROOM = "19876543210@chatroom"
TRACE = "\n    at RecordingPuppet.send (file:///srv/puppet/secret/path.mjs:51:36)"
FOREVER = 60.0

# name: field=number and a type: none a text, o an optional one, S texts, i int32, u uint64, d double, y bytes, Y optional ones, else a
# message.
TABLE = """
Empty:
Id: id=1
MemberIds: member_ids=1S
Value: value=1
Event: type=1i payload=2
Message: id=1 filename=2 text=3 timestamp=4u type=5i talker_id=6 room_id=7 listener_id=8 mention_ids=9S
Contact: id=1 gender=2i type=3i name=4 avatar=5 address=6 alias=7
Room: id=1 topic=2 avatar=3 owner_id=4 admin_ids=5S member_ids=6S
MemberRequest: id=1 member_id=2
Member: id=1 room_alias=2 inviter_id=3 avatar=4 name=5
Place: address=2 latitude=3d longitude=4d name=5
PlaceAnswer: location=1Place
Link: description=1 thumbnail_url=2 title=3 url=4
LinkAnswer: old=1 link=2Link
Program: appid=1 description=2 page_path=3 title=7 username=8
ProgramAnswer: old=1 program=2Program
Invitation: id=1 inviter_id=2 topic=3 member_count=4i member_ids=5S timestamp=6u
Friendship: id=1 contact_id=2 hello=3 type=4i stranger=5 ticket=6
SendText: conversation_id=1 text=2 mentional_ids=3S
SendFile: conversation_id=1 file_box=2
Sent: old=1Value id=2
Chunk: chunk=1y
BoxChunk: data=1Y name=2o
FilePart: file_box_chunk=1BoxChunk
"""
# rpc: request, answer, and "<" where the answer streams, ">" where the request does.
CALLS = """
Start Empty Empty|Stop Empty Empty|Logout Empty Empty|Ding Value Empty|Version Empty Value|Event Empty Event <
ContactPayload Id Contact|RoomPayload Id Room|RoomMemberList Id MemberIds|RoomMemberPayload MemberRequest Member
RoomInvitationPayload Id Invitation|RoomInvitationAccept Id Empty|FriendshipPayload Id Friendship|FriendshipAccept Id Empty
MessagePayload Id Message|MessageContact Id Id|MessageLocation Id PlaceAnswer|MessageUrl Id LinkAnswer|MessageMiniProgram Id ProgramAnswer
MessageFile Id Value|MessageFileStream Id FilePart <|MessageSendText SendText Sent|MessageSendFile SendFile Sent
Download Id Chunk <|Upload Chunk Id >
"""
KINDS = {"": 9, "S": 9, "o": 9, "i": 5, "u": 4, "d": 1, "y": 12, "Y": 12}  # numbers of FieldDescriptorProto.Type
EVENTS = {
    "heartbeat": 1, "message": 2, "dong": 3, "error": 16, "friendship": 17, "invite": 18, "join": 19, "leave": 20, "topic": 21, "scan": 22,
    "ready": 23, "login": 25, "logout": 26, "dirty": 27,
}  # fmt: skip
ATTACHMENT, AUDIO, IMAGE, TEXT, RECALLED = 1, 2, 6, 7, 13


def _build() -> dict[str, Any]:
    described = descriptor_pb2.FileDescriptorProto(name="fake_puppet.proto", package="fake_puppet", syntax="proto3")
    names = []
    for line in TABLE.strip().splitlines():
        name, _, fields = line.partition(":")
        names.append(name)
        message = described.message_type.add(name=name)
        for each in fields.split():
            label, number, kind = re.fullmatch(r"(\w+)=(\d+)(\w*)", each).groups()  # type: ignore[union-attr]
            made = message.field.add(name=label, number=int(number), label=3 if kind == "S" else 1)
            if kind not in KINDS:
                made.type, made.type_name = 11, f".fake_puppet.{kind}"
                continue
            made.type = KINDS[kind]  # type: ignore[assignment]
            if kind in ("o", "Y"):
                made.proto3_optional, made.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{label}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(described.SerializeToString())
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"fake_puppet.{n}")) for n in names}


M = _build()


@dataclass
class Sent:
    """What a client had this account say. box: of a file, without its bytes; content: these."""

    to: str
    text: str = ""
    mentions: list[str] = field(default_factory=list)
    name: str = ""
    content: bytes = b""
    box: int = 0
    id: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Fault:
    """What a call meets instead of its answer. code: None: no answer until the client gives up; after: the deed is done before."""

    code: grpc.StatusCode | None
    words: str = ""
    times: int = 1
    after: bool = False


class FakePuppet:
    """echoes: whether own messages come as events; gives_ids: whether a call that sends gives an id; echo_first: the event comes so many
    seconds before the answer. calls: how often each was made."""

    def __init__(self, *, token: str = TOKEN, tls: tuple[bytes, bytes] | None = None, logged_in: bool = True) -> None:
        self.token, self.tls, self.me = token, tls, BOT if logged_in else ""
        self.echoes, self.gives_ids, self.echo_first = True, True, 0.0
        self.says_hello, self.answers_dings = True, True
        self.alters: Callable[[str], str] = str  # what a text is in its echo
        self.contacts = {BOT: "LabBot", ALICE: "Alice", BOB: "Bob"}
        self.aliases: dict[tuple[str, str], str] = {}
        self.rooms: dict[str, dict[str, Any]] = {ROOM: {"topic": "Lab room", "members": [BOT, ALICE, BOB]}}
        self.messages: dict[str, dict[str, Any]] = {}
        self.details: dict[str, Any] = {}
        self.boxes: dict[str, Any] = {}
        self.streams: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.invitations: dict[str, dict[str, Any]] = {}
        self.friendships: dict[str, dict[str, Any]] = {}
        self.accepted: list[str] = []
        self.sent: list[Sent] = []
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, Fault] = {}
        self.lock, self.numbers = threading.Lock(), itertools.count(1)
        self.thawed = threading.Event()
        self.thawed.set()
        self.stream: queue.Queue[tuple[int, str]] | None = None
        self.has_died = False
        self.replaced: dict[bytes, bytes] = {}
        self.port = 0
        self.start()

    # --- the service

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        until = time.monotonic() + 10
        while True:
            self.server = grpc.server(
                ThreadPoolExecutor(40, thread_name_prefix="puppet"), options=[("grpc.so_reuseport", 0)]
            )
            self.server.add_generic_rpc_handlers((self._handlers(),))
            try:
                self.port = self._listen(f"127.0.0.1:{self.port}")
                break
            except RuntimeError:  # the port is not free again yet
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self.server.start()
        self.has_died = False

    def _listen(self, address: str) -> int:
        if self.tls is None:
            return self.server.add_insecure_port(address)
        return self.server.add_secure_port(address, grpc.ssl_server_credentials([self.tls]))

    def stop(self) -> None:
        """Ends without a word: streams and calls break."""
        self.thawed.set()
        self.stream = None
        self.server.stop(0).wait(10)

    def freeze(self) -> None:
        """Nothing is answered any more and no event comes, though the connection stands."""
        self.thawed.clear()

    def thaw(self) -> None:
        self.thawed.set()

    def fail(
        self, rpc: str, code: grpc.StatusCode | None, words: str = "", *, times: int = 1, after: bool = False
    ) -> None:
        self.faults[rpc] = Fault(code, words, times, after)

    def cuts(self, text: str, with_: bytes = b"\xed\xa0\xbd") -> None:
        """From now on answers and events have these bytes, of the same length, where the text would stand."""
        self.replaced[text.encode()] = with_

    def _serialize(self, answer: Any) -> bytes:
        encoded: bytes = answer.SerializeToString()
        for text, bytes_ in self.replaced.items():
            encoded = encoded.replace(text, bytes_)
        return encoded

    @property
    def is_listened_to(self) -> bool:
        return self.stream is not None

    # --- what happens in WeChat

    def emit(self, kind: str | int, **payload: Any) -> None:
        stream = self.stream
        if stream is not None:
            stream.put((EVENTS[kind] if isinstance(kind, str) else kind, json.dumps(payload)))

    def emit_raw(self, number: int, text: str) -> None:
        if self.stream is not None:
            self.stream.put((number, text))

    def say(self, text: str = "hello", *, sender: str = ALICE, room: str = ROOM, **fields: Any) -> str:
        """Somebody writes; with `room=""` to the account itself, or, where the account's owner writes, to `to`."""
        message = fields.pop("id", f"msg-{next(self.numbers)}")
        to = fields.pop("to", ALICE if sender == self.me else BOT)
        place = {"room_id": room} if room else {"listener_id": to}
        told = {"type": TEXT, "timestamp": int(time.time() * 1000), **fields}
        self.messages[message] = {"id": message, "text": text, "talker_id": sender, **place, **told}
        self.emit("message", messageId=message)
        return message

    def share(self, content: bytes, name: str, *, how: str = "inline", url: str = "", **fields: Any) -> str:
        """A file. how: inline, uuid, url, buffer (upstream's bug: only the stream works), gone."""
        message = f"msg-{next(self.numbers)}"
        if how == "inline":
            self.boxes[message] = {"type": 1, "name": name, "base64": base64.b64encode(content).decode()}
        elif how == "uuid":
            self.boxes[message] = content, name
        elif how == "url":
            self.boxes[message] = {"type": 2, "name": name, "url": url, **fields.pop("box", {})}
        elif how == "buffer":
            self.streams[message] = name, content
        return self.say("", id=message, filename=name, **{"type": ATTACHMENT, **fields})

    def log_in(self, me: str = BOT) -> None:
        self.me = me
        self.emit("login", contactId=me)

    def log_out(self) -> None:
        before, self.me = self.me, ""
        self.emit("logout", contactId=before, data="the phone")

    def scan(self, code: str = "https://login.weixin.qq.com/l/LAB", status: int = 2) -> None:
        self.emit("scan", qrcode=code, status=status)

    def join(self, person: str, name: str, by: str = ALICE) -> None:
        self.contacts[person] = name
        self.rooms[ROOM]["members"].append(person)
        self.emit("join", roomId=ROOM, inviteeIdList=[person], inviterId=by, timestamp=int(time.time()))

    def rename(self, topic: str, by: str = ALICE) -> None:
        before, self.rooms[ROOM]["topic"] = self.rooms[ROOM]["topic"], topic
        self.emit("topic", roomId=ROOM, changerId=by, oldTopic=before, newTopic=topic, timestamp=int(time.time()))

    def invite(self, topic: str = "A new room") -> str:
        number = f"inv-{next(self.numbers)}"
        self.invitations[number] = {
            "id": number,
            "inviter_id": ALICE,
            "topic": topic,
            "member_count": 3,
            "timestamp": int(time.time()),
        }
        self.emit("invite", roomInvitationId=number)
        return number

    def befriend(self, hello: str = "Hi, I am Dave", kind: int = 2) -> str:
        number = f"friend-{next(self.numbers)}"
        self.contacts["wxid_dave"] = "Dave"
        self.friendships[number] = {"id": number, "contact_id": "wxid_dave", "hello": hello, "type": kind}
        self.emit("friendship", friendshipId=number)
        return number

    # --- calls

    def _handlers(self) -> grpc.GenericRpcHandler:
        table = {}
        for line in CALLS.replace("|", "\n").strip().splitlines():
            name, asked, answered, *streams = line.split()
            make = {"": grpc.unary_unary_rpc_method_handler, "<": grpc.unary_stream_rpc_method_handler}
            made = make.get("".join(streams), grpc.stream_unary_rpc_method_handler)
            table[name] = made(
                self._guarded(name, getattr(self, f"_{name}"), streams),
                request_deserializer=M[asked].FromString,
                response_serializer=self._serialize,
            )
        return grpc.method_handlers_generic_handler("wechaty.Puppet", table)

    def _guarded(self, name: str, handle: Callable[[Any], Any], streams: list[str]) -> Callable[[Any, Any], Any]:
        def begin(context: Any) -> None:
            with self.lock:
                self.calls[name] += 1
            self._authenticate(context)
            self._wait_thawed(context)

        def once(request: Any, context: Any) -> Any:
            begin(context)
            if fault := self._take_fault(name):
                if fault.after:
                    handle(request)
                self._meet(fault, context)
            try:
                answer = handle(request)
            except LookupError as error:
                context.abort(grpc.StatusCode.UNKNOWN, f"Error: {error.args[0]}{TRACE}")
            self._wait_thawed(context)
            return answer

        def parts(request: Any, context: Any) -> Iterator[Any]:
            begin(context)
            if fault := self._take_fault(name):
                self._meet(fault, context)
            if name == "Event":
                yield from self._events(context)
            elif name == "Download" and request.id not in self.uploads:
                self.has_died = True
                threading.Thread(target=self.stop).start()
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            else:
                yield from handle(request)

        return parts if streams == ["<"] else once

    def _authenticate(self, context: Any) -> None:
        told = dict(context.invocation_metadata()).get("authorization", "")
        word, _, token = told.partition(" ")
        if word != "Wechaty":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"Invalid authorization type: {word!r}")
        if token != self.token:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f'Invalid Wechaty TOKEN "{token}"')

    def _wait_thawed(self, context: Any) -> None:
        while not self.thawed.wait(0.02) and context.is_active():
            pass

    def _take_fault(self, rpc: str) -> Fault | None:
        with self.lock:
            fault = self.faults.get(rpc)
            if fault is None or not fault.times:
                return None
            fault.times -= 1
            return fault

    def _meet(self, fault: Fault, context: Any) -> None:
        if fault.code is not None:
            context.abort(fault.code, fault.words)
        until = time.monotonic() + FOREVER
        while context.is_active() and time.monotonic() < until:
            time.sleep(0.02)
        context.abort(grpc.StatusCode.CANCELLED, "")

    def _events(self, context: Any) -> Iterator[Any]:
        mine: queue.Queue[tuple[int, str]] = queue.Queue()
        with self.lock:
            taken = self.stream is not None
            if not taken:
                self.stream = mine
        if taken:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "GrpcServerImpl.event() can not call twice.")
        if self.says_hello:
            mine.put((1, json.dumps({"data": "Wechaty Puppet gRPC stream connect successfully"})))
        if self.me:
            mine.put((25, json.dumps({"contactId": self.me})))
        try:
            while context.is_active() and self.stream is mine:
                if self.thawed.wait(0.02):
                    try:
                        kind, payload = mine.get(timeout=0.02)
                    except queue.Empty:
                        continue
                    yield M["Event"](type=kind, payload=payload)
        finally:
            if self.stream is mine:
                self.stream = None

    def _Event(self, _request: Any) -> Any: ...

    def _Start(self, _request: Any) -> Any:
        return M["Empty"]()

    _Stop = _Start

    def _Logout(self, _request: Any) -> Any:
        self.log_out()
        return M["Empty"]()

    def _Ding(self, request: Any) -> Any:
        if self.answers_dings:
            self.emit("dong", data=request.value)
        return M["Empty"]()

    def _Version(self, _request: Any) -> Any:
        return M["Value"](value="1.19.9")

    def _ContactPayload(self, request: Any) -> Any:
        return M["Contact"](id=request.id, name=self.contacts[request.id])

    def _RoomPayload(self, request: Any) -> Any:
        room = self.rooms[request.id]
        return M["Room"](id=request.id, topic=room["topic"], member_ids=room["members"])

    def _RoomMemberList(self, request: Any) -> Any:
        return M["MemberIds"](member_ids=self.rooms[request.id]["members"])

    def _RoomMemberPayload(self, request: Any) -> Any:
        alias = self.aliases.get((request.id, request.member_id), "")
        return M["Member"](id=request.member_id, room_alias=alias, name=self.contacts[request.member_id])

    def _RoomInvitationPayload(self, request: Any) -> Any:
        return M["Invitation"](**self.invitations[request.id])

    def _RoomInvitationAccept(self, request: Any) -> Any:
        self.accepted.append(self.invitations[request.id]["id"])
        return M["Empty"]()

    def _FriendshipPayload(self, request: Any) -> Any:
        return M["Friendship"](**self.friendships[request.id])

    def _FriendshipAccept(self, request: Any) -> Any:
        self.accepted.append(self.friendships[request.id]["id"])
        return M["Empty"]()

    def _MessagePayload(self, request: Any) -> Any:
        return M["Message"](**self.messages[request.id])

    def _MessageContact(self, request: Any) -> Any:
        return M["Id"](id=self.details[request.id])

    def _MessageLocation(self, request: Any) -> Any:
        return M["PlaceAnswer"](location=M["Place"](**self.details[request.id]))

    def _MessageUrl(self, request: Any) -> Any:
        detail = self.details[request.id]
        return M["LinkAnswer"](old=detail) if isinstance(detail, str) else M["LinkAnswer"](link=M["Link"](**detail))

    def _MessageMiniProgram(self, request: Any) -> Any:
        return M["ProgramAnswer"](program=M["Program"](**self.details[request.id]))

    def _MessageFile(self, request: Any) -> Any:
        if request.id in self.streams:
            raise LookupError(
                "FileBox.toJSON() can only work on limited FileBoxType(s). See: <https://github.com/huan/file-box/issues/25>"
            )
        box = self.boxes[request.id]
        if isinstance(box, tuple):
            uuid = f"uuid-{next(self.numbers)}"
            self.uploads[uuid] = box[0]
            box = {"type": 7, "boxType": 7, "name": box[1], "uuid": uuid}
        return M["Value"](value=json.dumps(box))

    def _MessageFileStream(self, request: Any) -> Any:
        if request.id not in self.streams:
            return
        name, content = self.streams[request.id]
        yield M["FilePart"](file_box_chunk=M["BoxChunk"](name=name))
        for start in range(0, len(content), 1000):
            yield M["FilePart"](file_box_chunk=M["BoxChunk"](data=content[start : start + 1000]))

    def _Download(self, request: Any) -> Any:
        content = self.uploads[request.id]
        for start in range(0, len(content), 65536):
            yield M["Chunk"](chunk=content[start : start + 65536])

    def _Upload(self, request: Any) -> Any:
        uuid = f"uuid-{next(self.numbers)}"
        self.uploads[uuid] = b"".join(part.chunk for part in request)
        return M["Id"](id=uuid)

    def _MessageSendText(self, request: Any) -> Any:
        sent = Sent(request.conversation_id, request.text, list(request.mentional_ids))
        return self._note_sent(sent, {"text": self.alters(request.text), "type": TEXT, "mention_ids": sent.mentions})

    def _MessageSendFile(self, request: Any) -> Any:
        box = json.loads(request.file_box)
        content = base64.b64decode(box["base64"]) if box["type"] == 1 else self.uploads[box["uuid"]]
        sent = Sent(request.conversation_id, name=box["name"], content=content, box=box["type"])
        return self._note_sent(sent, {"filename": box["name"], "type": ATTACHMENT})

    def _note_sent(self, sent: Sent, message: dict[str, Any]) -> Any:
        if not self.me:
            raise LookupError("not logged in")
        if sent.to not in self.rooms and sent.to not in self.contacts:
            raise LookupError(f"no payload for {sent.to}")
        sent.id = f"sent-{next(self.numbers)}"
        with self.lock:
            self.sent.append(sent)
        if self.echoes:
            self.say(sender=self.me, room=sent.to if sent.to in self.rooms else "", to=sent.to, id=sent.id, **message)
            time.sleep(self.echo_first)
        return M["Sent"](id=sent.id) if self.gives_ids else M["Sent"]()


@contextmanager
def fake_puppet(**options: Any) -> Iterator[FakePuppet]:
    puppet = FakePuppet(**options)
    try:
        yield puppet
    finally:
        puppet.stop()
