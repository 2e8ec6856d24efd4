"""A client of a Wechaty puppet service as plain as can be: gRPC calls from a table of its own, and the events in a list.

It shares no code with the simulator nor with the channel: both are checked by it, and so is the real service (facts: wechaty.md 4).
"""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from channels_wechat.simulator.client import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JSON = dict[str, Any]
INLINE, UUID = 1, 7  # types of a FileBox
CHUNK = 64 * 1024

# name: field=number and its type: s(trings), i(nt32), u(int64), l (int64), b(ool), y (bytes), o (optional text), or a message.
MESSAGES = """
Nothing:
Id: id=1
Ids: ids=1s
Members: ids=1s
Text: text=1
Time: seconds=1l nanos=2i
Event: type=1i payload=2
Message: id=1 filename=2 text=3 timestamp=4u type=5i talker=6 room=7 listener=8 mentions=9s receive_time=10Time
Contact: id=1 gender=2i type=3i name=4 avatar=5 alias=7 friend=9b weixin=13
Room: id=1 topic=2 avatar=3 owner=4 admins=5s members=6s handle=7
MemberQuestion: room=1 member=2
Member: id=1 room_alias=2 inviter=3 avatar=4 name=5
TopicQuestion: room=1 topic=3o
Topic: topic=2
Invitation: id=1 inviter=2 topic=3 member_count=4i members=5s timestamp=6u avatar=7 invitation=8 receiver=9 receive_time=10Time
Friendship: id=1 contact=2 hello=3 type=4i stranger=5 ticket=6 scene=7i
SendText: conversation=1 text=2 mentions=3s
SendFile: conversation=1 box=2
Sent: old_id=1Text id=2
Success: success=1b
Chunk: data=1y
Part: data=1y name=2o
SendPart: conversation=1o part=2Part
FilePart: part=1Part
Health: status=1i
"""

CALLS = {
    "Start": ("Nothing", "Nothing"),
    "Stop": ("Nothing", "Nothing"),
    "Logout": ("Nothing", "Nothing"),
    "Ding": ("Text", "Nothing"),
    "Version": ("Nothing", "Text"),
    "ContactList": ("Nothing", "Ids"),
    "ContactPayload": ("Id", "Contact"),
    "MessagePayload": ("Id", "Message"),
    "MessageFile": ("Id", "Text"),
    "MessageRecall": ("Id", "Success"),
    "MessageSendText": ("SendText", "Sent"),
    "MessageSendFile": ("SendFile", "Sent"),
    "RoomList": ("Nothing", "Ids"),
    "RoomPayload": ("Id", "Room"),
    "RoomTopic": ("TopicQuestion", "Topic"),
    "RoomMemberList": ("Id", "Members"),
    "RoomMemberPayload": ("MemberQuestion", "Member"),
    "RoomInvitationPayload": ("Id", "Invitation"),
    "RoomInvitationAccept": ("Id", "Nothing"),
    "FriendshipPayload": ("Id", "Friendship"),
    "FriendshipAccept": ("Id", "Nothing"),
}
EVENTS = {1: "HEARTBEAT", 2: "MESSAGE", 3: "DONG", 16: "ERROR", 17: "FRIENDSHIP", 18: "ROOM_INVITE", 19: "ROOM_JOIN"}
EVENTS |= {20: "ROOM_LEAVE", 21: "ROOM_TOPIC", 22: "SCAN", 23: "READY", 25: "LOGIN", 26: "LOGOUT", 27: "DIRTY"}


def build_messages() -> dict[str, Any]:
    field_type = descriptor_pb2.FieldDescriptorProto
    kinds = {"": field_type.TYPE_STRING, "s": field_type.TYPE_STRING, "o": field_type.TYPE_STRING}
    kinds |= {"i": field_type.TYPE_INT32, "u": field_type.TYPE_UINT64, "l": field_type.TYPE_INT64}
    kinds |= {"b": field_type.TYPE_BOOL, "y": field_type.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="puppet_client.proto", package="raw", syntax="proto3")
    names = []
    for line in MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        names.append(name)
        message = file.message_type.add(name=name)
        for part in fields.split():
            field_name, number, kind = re.fullmatch(r"(\w+)=(\d+)(\w*)", part).groups()  # type: ignore[union-attr]
            label = field_type.LABEL_REPEATED if kind == "s" else field_type.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=int(number), label=label)
            if kind in kinds:
                field.type = kinds[kind]
            else:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".raw.{kind}"
            if kind == "o":  # its absence can be told
                field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"raw.{name}")) for name in names}


M = build_messages()


class PuppetClient:
    """`with PuppetClient(endpoint, token) as puppet:` opens a channel; `listen` opens the one stream of events."""

    def __init__(self, endpoint: str, token: str, *, ca: bytes | None = None, server_name: str = "insecure") -> None:
        self.metadata = (("authorization", f"Wechaty {token}"),)
        # Channels share what they know of an address, and would wait where another one has failed.
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if ca is None:
            self.channel = grpc.insecure_channel(endpoint, options)
        else:
            options.append(("grpc.ssl_target_name_override", server_name))
            self.channel = grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(ca), options)
        self.events: list[tuple[str, JSON]] = []
        self.ended: grpc.RpcError | None = None
        self._news = threading.Condition()
        self._reader: threading.Thread | None = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.channel.close()

    # --- calls

    def call(self, rpc: str, **fields: Any) -> Any:
        question, answer = CALLS[rpc]
        return self._unary(f"/wechaty.Puppet/{rpc}", answer)(
            M[question](**fields), timeout=WAIT_SECONDS, metadata=self.metadata
        )

    def _unary(self, path: str, answer: str) -> Any:
        return self.channel.unary_unary(path, lambda message: message.SerializeToString(), M[answer].FromString)

    def refusal(self, rpc: str, **fields: Any) -> tuple[str, str]:
        """Return the name of the status with which the call fails, and the first line of its details."""
        try:
            self.call(rpc, **fields)
        except grpc.RpcError as error:
            return error.code().name, first_line(error)
        raise AssertionError(f"{rpc} was not refused")

    def check_health(self) -> int:
        answer = self._unary("/grpc.health.v1.Health/Check", "Health")(M["Nothing"](), timeout=WAIT_SECONDS)
        return int(answer.status)

    def send_text(self, conversation: str, text: str, mentions: Iterable[str] = ()) -> str:
        return str(self.call("MessageSendText", conversation=conversation, text=text, mentions=list(mentions)).id)

    def send_box(self, conversation: str, box: JSON) -> str:
        return str(self.call("MessageSendFile", conversation=conversation, box=json.dumps(box)).id)

    def upload(self, data: bytes) -> str:
        send = self.channel.stream_unary(
            "/wechaty.Puppet/Upload", lambda message: message.SerializeToString(), M["Id"].FromString
        )
        parts = (M["Chunk"](data=data[at : at + CHUNK]) for at in range(0, len(data), CHUNK))
        return str(send(parts, timeout=WAIT_SECONDS, metadata=self.metadata).id)

    def send_stream(self, conversation: str, name: str, data: bytes) -> str:
        send = self.channel.stream_unary(
            "/wechaty.Puppet/MessageSendFileStream", lambda message: message.SerializeToString(), M["Sent"].FromString
        )

        def parts() -> Iterator[Any]:
            yield M["SendPart"](conversation=conversation)
            yield M["SendPart"](part=M["Part"](name=name))
            for at in range(0, len(data), CHUNK):
                yield M["SendPart"](part=M["Part"](data=data[at : at + CHUNK]))

        return str(send(parts(), timeout=WAIT_SECONDS, metadata=self.metadata).id)

    def file_box(self, message: str) -> JSON:
        box: JSON = json.loads(self.call("MessageFile", id=message).text)
        return box

    def read_box(self, box: JSON) -> bytes:
        if box["type"] == INLINE:
            return base64.b64decode(box["base64"])
        assert box["type"] == UUID
        return self.download(box["uuid"])

    def download(self, uuid: str, timeout: float = WAIT_SECONDS) -> bytes:
        return b"".join(part.data for part in self._read("Download", "Chunk", uuid, timeout))

    def file_stream(self, message: str) -> tuple[str, bytes]:
        parts = [answer.part for answer in self._read("MessageFileStream", "FilePart", message, WAIT_SECONDS)]
        return "".join(part.name for part in parts), b"".join(part.data for part in parts)

    def _read(self, rpc: str, answer: str, wanted: str, timeout: float) -> Any:
        read = self.channel.unary_stream(
            f"/wechaty.Puppet/{rpc}", lambda message: message.SerializeToString(), M[answer].FromString
        )
        return read(M["Id"](id=wanted), timeout=timeout, metadata=self.metadata)

    # --- events

    def listen(self) -> Self:
        """Open the stream; `ended` says how it ended."""
        open_stream = self.channel.unary_stream(
            "/wechaty.Puppet/Event", lambda message: message.SerializeToString(), M["Event"].FromString
        )
        self.ended = None
        self._stream = open_stream(M["Nothing"](), metadata=self.metadata)
        self._reader = threading.Thread(target=self._follow, args=(self._stream,), daemon=True)
        self._reader.start()
        return self

    def hang_up(self) -> None:
        if self._reader is not None:
            self._stream.cancel()
            self._reader.join(WAIT_SECONDS)

    def _follow(self, stream: Any) -> None:
        try:
            for event in stream:
                with self._news:
                    self.events.append((EVENTS.get(event.type, str(event.type)), json.loads(event.payload or "{}")))
                    self._news.notify_all()
        except grpc.RpcError as error:
            self.ended = error
        with self._news:
            self.ended = self.ended or stream
            self._news.notify_all()

    def named(self, name: str) -> list[JSON]:
        return [payload for found, payload in self.events if found == name]

    def wait(self, name: str, count: int = 1) -> JSON:
        """Return the payload of the event with this name and number."""
        self.wait_until(lambda: len(self.named(name)) >= count)
        return self.named(name)[count - 1]

    def wait_end(self) -> tuple[str, str]:
        """Return the name of the status with which the stream ended, and the first line of its details."""
        self.wait_until(lambda: self.ended)
        assert self.ended is not None
        return self.ended.code().name, first_line(self.ended)

    def wait_message(self, count: int = 1) -> Any:
        """Return the message of the event MESSAGE with this number."""
        return self.call("MessagePayload", id=self.wait("MESSAGE", count)["messageId"])

    def wait_until(self, holds: Callable[[], object]) -> None:
        with self._news:
            if not self._news.wait_for(holds, WAIT_SECONDS):
                raise TimeoutError(f"events: {self.events}, end: {self.ended}")


def first_line(error: Any) -> str:
    """Of what the service says; a trace of JavaScript may follow it."""
    return str(error.details() or "").split("\n")[0]
