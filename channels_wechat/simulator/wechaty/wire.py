"""The messages and the calls of a puppet service, as the public contract numbers them (facts: wechaty.md 4).

They are built from the tables below in a pool of their own: nothing is generated, and no other module's messages are shared.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "simulated"
SERVICE, HEALTH = "wechaty.Puppet", "grpc.health.v1.Health"

# field=number:type; text where no type stands, `texts` repeated, `text?` one whose absence can be told, or another message.
_MESSAGES = {
    "Empty": "",
    "Id": "id=1",
    "Ids": "ids=1:texts",
    "Value": "value=1",
    "Timestamp": "seconds=1:int64 nanos=2:int32",
    "Event": "type=1:int32 payload=2",
    "Message": "id=1 filename=2 text=3 timestamp=4:uint64 type=5:int32 talker_id=6 room_id=7 listener_id=8 mention_ids=9:texts"
    " receive_time=10:Timestamp",
    "Contact": "id=1 gender=2:int32 type=3:int32 name=4 avatar=5 address=6 alias=7 city=8 friend=9:bool province=10 signature=11"
    " star=12:bool weixin=13 phones=18:texts",
    "Room": "id=1 topic=2 avatar=3 owner_id=4 admin_ids=5:texts member_ids=6:texts handle=7",
    "MemberQuestion": "room_id=1 member_id=2",
    "Member": "id=1 room_alias=2 inviter_id=3 avatar=4 name=5",
    "TopicQuestion": "id=1 topic=3:text?",
    "Topic": "topic=2",
    "Invitation": "id=1 inviter_id=2 topic=3 member_count=4:int32 member_ids=5:texts timestamp=6:uint64 avatar=7 invitation=8"
    " receiver_id=9 receive_time=10:Timestamp",
    "Friendship": "id=1 contact_id=2 hello=3 type=4:int32 stranger=5 ticket=6 scene=7:int32",
    "SendText": "conversation_id=1 text=2 mention_ids=3:texts",
    "SendFile": "conversation_id=1 file_box=2",
    "Sent": "old_id=1:Value id=2",
    "Image": "id=1 type=2:int32",
    "Success": "success=1:bool",
    "Dirty": "type=1:int32 id=2",
    "Chunk": "chunk=1:bytes",
    "BoxChunk": "data=1:bytes name=2:text?",
    "SendFileStream": "conversation_id=1:text? chunk=2:BoxChunk",
    "FileStream": "chunk=1:BoxChunk",
    "Health": "status=1:int32",
}

# Calls with one question and one answer.
UNARY = {
    "Start": ("Empty", "Empty"),
    "Stop": ("Empty", "Empty"),
    "Logout": ("Empty", "Empty"),
    "Ding": ("Value", "Empty"),
    "Version": ("Empty", "Value"),
    "DirtyPayload": ("Dirty", "Empty"),
    "ContactList": ("Empty", "Ids"),
    "ContactPayload": ("Id", "Contact"),
    "FriendshipPayload": ("Id", "Friendship"),
    "FriendshipAccept": ("Id", "Empty"),
    "MessagePayload": ("Id", "Message"),
    "MessageFile": ("Id", "Value"),
    "MessageImage": ("Image", "Value"),
    "MessageRecall": ("Id", "Success"),
    "MessageSendText": ("SendText", "Sent"),
    "MessageSendFile": ("SendFile", "Sent"),
    "RoomList": ("Empty", "Ids"),
    "RoomPayload": ("Id", "Room"),
    "RoomTopic": ("TopicQuestion", "Topic"),
    "RoomMemberList": ("Id", "Ids"),
    "RoomMemberPayload": ("MemberQuestion", "Member"),
    "RoomInvitationPayload": ("Id", "Invitation"),
    "RoomInvitationAccept": ("Id", "Empty"),
}

HEARTBEAT, MESSAGE, DONG, ERROR, FRIENDSHIP, ROOM_INVITE = 1, 2, 3, 16, 17, 18
ROOM_JOIN, ROOM_LEAVE, ROOM_TOPIC, SCAN, READY, LOGIN, LOGOUT = 19, 20, 21, 22, 23, 25, 26

# The numbers that travel, which are wechaty-puppet's and not those of the .proto (facts: wechaty.md 4, TRAP).
MESSAGE_TYPES = {
    "unknown": 0,
    "file": 1,
    "voice": 2,
    "contact": 3,
    "chat_history": 4,
    "emoticon": 5,
    "image": 6,
    "text": 7,
}
MESSAGE_TYPES |= {"location": 8, "miniprogram": 9, "group_note": 10, "transfer": 11, "red_envelope": 12, "recalled": 13}
MESSAGE_TYPES |= {"link": 14, "video": 15, "post": 16}

_TYPES = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "text": _TYPES.TYPE_STRING,
    "texts": _TYPES.TYPE_STRING,
    "text?": _TYPES.TYPE_STRING,
    "bool": _TYPES.TYPE_BOOL,
    "int32": _TYPES.TYPE_INT32,
    "int64": _TYPES.TYPE_INT64,
    "uint64": _TYPES.TYPE_UINT64,
    "bytes": _TYPES.TYPE_BYTES,
}


def _describe_field(message: Any, text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(":")
    kind = kind or "text"
    label = _TYPES.LABEL_REPEATED if kind == "texts" else _TYPES.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _TYPES.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    if kind.endswith("?"):
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="simulated_puppet.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            _describe_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


# Name → message class.
M = _build()
