"""The puppet service's calls and numbers (`puppet.proto`), as they travel on the wire."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf.message import DecodeError

from channels_wechat.wechaty import puppet_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

Q = TypeVar("Q", bound="Message")
A = TypeVar("A", bound="Message")
# Above this a time stamp is in milliseconds: puppets send either.
LARGEST_SECONDS = 1e11
# Half of a character of two UTF-16 units, as encoders of JavaScript write it, where a puppet cut a name or a text within an emoji. It is
# no UTF-8, which a proto3 text has to be. Of the same length: the mark of a character that is lost.
HALF, LOST = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]"), b"\xef\xbf\xbd"


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Q, A]):
    """One call of the service."""

    name: str
    request: type[Q]
    answer: type[A]

    @property
    def read(self) -> Callable[[bytes], A]:
        return reader_of(self.answer)

    @property
    def path(self) -> str:
        return f"/wechaty.Puppet/{self.name}"


def reader_of(kind: type[A]) -> Callable[[bytes], A]:
    """Return what decodes a message, also one in whose texts a character was cut in half. It raises DecodeError."""

    def read(encoded: bytes) -> A:
        try:
            return kind.FromString(encoded)
        except DecodeError:
            return kind.FromString(HALF.sub(LOST, encoded))

    return read


START = Rpc("Start", pb.Empty, pb.Empty)
LOGOUT = Rpc("Logout", pb.Empty, pb.Empty)
DING = Rpc("Ding", pb.Text, pb.Empty)
VERSION = Rpc("Version", pb.Empty, pb.Text)
EVENT = Rpc("Event", pb.Empty, pb.EventData)
CONTACT = Rpc("ContactPayload", pb.Id, pb.ContactData)
ROOM = Rpc("RoomPayload", pb.Id, pb.RoomData)
MEMBERS = Rpc("RoomMemberList", pb.Id, pb.MemberIds)
MEMBER = Rpc("RoomMemberPayload", pb.MemberRequest, pb.MemberData)
INVITATION = Rpc("RoomInvitationPayload", pb.Id, pb.InvitationData)
ACCEPT_INVITATION = Rpc("RoomInvitationAccept", pb.Id, pb.Empty)
FRIENDSHIP = Rpc("FriendshipPayload", pb.Id, pb.FriendshipData)
ACCEPT_FRIENDSHIP = Rpc("FriendshipAccept", pb.Id, pb.Empty)
MESSAGE = Rpc("MessagePayload", pb.Id, pb.MessageData)
MESSAGE_CONTACT = Rpc("MessageContact", pb.Id, pb.Id)
MESSAGE_LOCATION = Rpc("MessageLocation", pb.Id, pb.LocationAnswer)
MESSAGE_URL = Rpc("MessageUrl", pb.Id, pb.LinkAnswer)
MESSAGE_MINI_PROGRAM = Rpc("MessageMiniProgram", pb.Id, pb.MiniProgramAnswer)
MESSAGE_FILE = Rpc("MessageFile", pb.Id, pb.Text)
MESSAGE_FILE_STREAM = Rpc("MessageFileStream", pb.Id, pb.FileStreamPart)
SEND_TEXT = Rpc("MessageSendText", pb.SendText, pb.Sent)
SEND_FILE = Rpc("MessageSendFile", pb.SendFile, pb.Sent)
DOWNLOAD = Rpc("Download", pb.Id, pb.Chunk)
UPLOAD = Rpc("Upload", pb.Chunk, pb.Id)


class Event(enum.IntEnum):
    """The events that are read; services send others too, and later ones will send more."""

    MESSAGE = 2
    ERROR = 16
    FRIENDSHIP = 17
    ROOM_INVITE = 18
    ROOM_JOIN = 19
    ROOM_LEAVE = 20
    ROOM_TOPIC = 21
    SCAN = 22
    LOGIN = 25
    LOGOUT = 26
    DIRTY = 27


class Type(enum.IntEnum):
    """The types of messages by the numbers of wechaty-puppet, which travel in a field whose enum in upstream's .proto has others.

    From CHANNEL on they are those of the fork @juzi/wechaty.
    """

    UNKNOWN = 0
    ATTACHMENT = 1
    AUDIO = 2
    CONTACT = 3
    CHAT_HISTORY = 4
    EMOTICON = 5
    IMAGE = 6
    TEXT = 7
    LOCATION = 8
    MINI_PROGRAM = 9
    GROUP_NOTE = 10
    TRANSFER = 11
    RED_ENVELOPE = 12
    RECALLED = 13
    URL = 14
    VIDEO = 15
    POST = 16
    CHANNEL = 17
    SYSTEM = 18
    MARKDOWN = 19
    CALL_RECORD = 20
    CHANNEL_CARD = 21


class ScanStatus(enum.IntEnum):
    """How far a login by QR code is."""

    UNKNOWN = 0
    CANCEL = 1
    WAITING = 2
    SCANNED = 3
    CONFIRMED = 4
    TIMEOUT = 5


class Dirty(enum.IntEnum):
    """What an event of the type DIRTY says has changed."""

    CONTACT = 2
    ROOM = 3
    ROOM_MEMBER = 4


class FriendshipType(enum.IntEnum):
    CONFIRM = 1
    RECEIVE = 2
    VERIFY = 3


def unix_seconds(timestamp: float) -> int:
    """Return a time stamp of the service, in seconds or milliseconds, as whole Unix seconds."""
    return int(timestamp / 1000 if timestamp > LARGEST_SECONDS else timestamp)


def sent_id(sent: pb.Sent) -> str:
    """Return the id of a message that was sent; empty where the puppet gives none."""
    return sent.id or sent.id_box.value
