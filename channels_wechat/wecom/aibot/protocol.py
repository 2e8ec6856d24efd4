"""Frames of an AI bot's long connection (page 101463): {"cmd", "headers": {"req_id"}, "body"}; an acknowledgement has no cmd."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import message_uuid
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.errors import error_for
from channels_wechat.wire.api_answers import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.messages import Peer
    from channels_wechat.wire.request_socket import Frame

SUBSCRIBE, PING = "aibot_subscribe", "ping"
MESSAGE, EVENT = "aibot_msg_callback", "aibot_event_callback"
RESPOND, WELCOME, UPDATE = "aibot_respond_msg", "aibot_respond_welcome_msg", "aibot_respond_update_msg"
SEND = "aibot_send_msg"
UPLOAD_BEGIN, UPLOAD_CHUNK, UPLOAD_END = (f"aibot_upload_media_{step}" for step in ("init", "chunk", "finish"))
CHAT_TYPES = {"direct": 1, "group": 2}

# The codes that `instead` and `learned_from` know.
STREAM_OVER, REQUEST_UNKNOWN, NOT_SUPPORTED, NO_SUCH_CHAT = "846608", "846605", "600039", "93006"
# What a chat may refuse, by the names that `Outgoing.refused` has: these are learned, and then not tried for a day.
Way = Literal["stream", "push", "reply"]
STREAMS: Way = "stream"
PUSHES: Way = "push"
REFUSALS: dict[Way, set[str]] = {STREAMS: {NOT_SUPPORTED}, PUSHES: {NOT_SUPPORTED, NO_SUCH_CHAT}}


class Question(NamedTuple):
    """What a message is answered by. stream: the id of its stream, the message's uuid, by which a verdict names the answer."""

    stream: str
    req_id: str


_HANDLE = re.compile(r"([0-9a-f]{32}) (.+)")


def handle_maker(account_key: str, req_id: str) -> Callable[[str], str]:
    """Return what makes of a message's key the text of its `Question`, as `Peer.reply`."""
    return lambda key: f"{message_uuid(account_key, key).hex} {req_id}"


def read_handle(reply: str) -> Question | None:
    """None for the address of a message that came by callback, and where there is nothing."""
    found = _HANDLE.fullmatch(reply)
    return Question(found[1], found[2]) if found else None


def new_id(cmd: str) -> str:
    return f"{cmd}_{secrets.token_hex(12)}"


def frame(cmd: str, req_id: str, body: Any = None) -> Frame:
    made: Frame = {"cmd": cmd, "headers": {"req_id": req_id}}
    return made if body is None else {**made, "body": body}


def find_acknowledged(received: Frame) -> str:
    """The id of the request that a frame acknowledges; empty where it is none."""
    return "" if received.get("cmd") else word(received, "headers", "req_id")


def check(ack: Frame, *, harmless: bool = False, way: Way = "reply", peer: Peer | None = None) -> dict[str, Any]:
    """Return the body of an acknowledgement. Raises ChannelError; what this chat refuses to everybody, with its name."""
    code = whole(ack.get("errcode"), None)
    if code == 0:
        body = ack.get("body")
        return body if isinstance(body, dict) else {}
    if code is None:
        raise WECOM_AIBOT.error("html", WECOM_AIBOT["html"].action_for(harmless))
    raise _with_refusal(error_for({**ack, "errcode": code}, harmless=harmless, table=WECOM_AIBOT), way, peer)


def _with_refusal(error: ChannelError, way: Way, peer: Peer | None) -> ChannelError:
    """Name what is learned of the chat. Not that the bot may not write to a person, who may write to the bot in a minute."""
    is_general = way == STREAMS or (peer is not None and peer.kind == "group")
    if is_general and error.code in REFUSALS.get(way, ()):
        error.capability, error.of_peer = way, True
    return error
