"""Makes the parameters of a gateway's method from a turn. Pure."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from openclaw.errors import Code, GatewayError

if TYPE_CHECKING:
    from openclaw.frames import Json
    from openclaw.turns import Attachment, Policy, Turn


def make_agent_params(turn: Turn, policy: Policy) -> Json:
    params: Json = {
        "sessionKey": turn.session_key,
        "agentId": turn.agent_id,
        "message": turn.message,
        "idempotencyKey": turn.idempotency_key,
        "timeout": math.ceil(turn.timeout),
    }
    if turn.extra_system_prompt:
        params["extraSystemPrompt"] = turn.extra_system_prompt
    if turn.attachments:
        _check_sizes(turn, policy)
        params["attachments"] = [_encode_attachment(item) for item in turn.attachments]
    return params


def make_send_params(turn: Turn, policy: Policy) -> Json:
    """Make the parameters of `chat.send`, which takes no system prompt: it is put before the message."""
    _check_sizes(turn, policy)
    return {
        "sessionKey": turn.session_key,
        "message": "\n\n".join(part for part in (turn.extra_system_prompt, turn.message) if part),
        "idempotencyKey": turn.idempotency_key,
        "timeoutMs": math.ceil(turn.timeout * 1000),
        "attachments": [_encode_attachment(item) for item in turn.attachments],
    }


def _encode_attachment(item: Attachment) -> Json:
    content = base64.b64encode(item.content).decode()
    return {"type": item.kind, "mimeType": item.mime, "fileName": item.name, "content": content}


def _check_sizes(turn: Turn, policy: Policy) -> None:
    """Raise `too_large` for what the gateway would refuse: it ends the connection, with all its turns, if a frame is too long."""
    for item in turn.attachments:
        if len(item.content) > (policy.image_bytes if item.kind == "image" else policy.attachment_bytes):
            raise GatewayError(Code.TOO_LARGE, f"{item.name}: {len(item.content)} bytes")
    encoded = sum(len(item.content) for item in turn.attachments) * 4 // 3 + len(turn.message.encode()) + 65_536
    if encoded > policy.max_payload:
        raise GatewayError(Code.TOO_LARGE, f"{encoded} bytes in one message")
