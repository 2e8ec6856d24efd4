"""Frames of the long connection: one JSON object in each text message, {"cmd", "headers": {"req_id"}, "body"}."""

import json
from dataclasses import dataclass, field
from typing import Any

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON

SUBSCRIBE, PING = "aibot_subscribe", "ping"
RESPOND, WELCOME, UPDATE = "aibot_respond_msg", "aibot_respond_welcome_msg", "aibot_respond_update_msg"
SEND = "aibot_send_msg"
UPLOAD_INIT, UPLOAD_CHUNK, UPLOAD_FINISH = (f"aibot_upload_media_{step}" for step in ("init", "chunk", "finish"))
MESSAGE_CALLBACK, EVENT_CALLBACK = "aibot_msg_callback", "aibot_event_callback"


@dataclass(frozen=True)
class Frame:
    cmd: str
    req_id: str
    body: JSON = field(default_factory=dict)

    def without_secret(self) -> str:
        """Return the frame as the record keeps it."""
        body = {name: value for name, value in self.body.items() if name != "secret"}
        return json.dumps({"cmd": self.cmd, "headers": {"req_id": self.req_id}, "body": body}, ensure_ascii=False)


def read_frame(text: str) -> Frame:
    """Return what a client sent; 40035 for anything that is no frame."""
    try:
        found: Any = json.loads(text)
        cmd, req_id, body = found["cmd"], found["headers"]["req_id"], found.get("body") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlatformError(40035, "data format error") from error
    if not (isinstance(cmd, str) and isinstance(req_id, str) and req_id and isinstance(body, dict)):
        raise PlatformError(40035, "data format error")
    return Frame(cmd, req_id, body)


def acknowledgement(req_id: str, errcode: int = 0, errmsg: str = "ok", body: JSON | None = None) -> JSON:
    """An acknowledgement has no cmd: only the request's req_id says what it answers."""
    ack: JSON = {"headers": {"req_id": req_id}}
    return ack | ({"body": body} if body else {}) | {"errcode": errcode, "errmsg": errmsg}


def callback(cmd: str, req_id: str, body: JSON) -> JSON:
    return {"cmd": cmd, "headers": {"req_id": req_id}, "body": body}
