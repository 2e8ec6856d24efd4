"""What a real gateway takes with each method: its schemas are closed, so it refuses what it does not know."""

from __future__ import annotations

import base64
from typing import Any, Final

_TEXTS: Final = {
    "agent": {"sessionKey", "agentId", "message", "idempotencyKey", "extraSystemPrompt", "thinking", "model", "label", "lane"},
    "agent.wait": {"runId"},
    "agents.list": set[str](),
    "artifacts.download": {"sessionKey", "artifactId", "runId"},
    "chat.abort": {"sessionKey", "runId"},
    "chat.history": {"sessionKey", "cursor"},
    "chat.send": {"sessionKey", "agentId", "message", "idempotencyKey", "thinking", "queueMode"},
}  # fmt: skip
_NUMBERS: Final = {
    "agent": {"timeout"},
    "agent.wait": {"timeoutMs"},
    "chat.history": {"limit", "maxChars"},
    "chat.send": {"timeoutMs"},
}
_TAKES_FILES: Final = ("agent", "chat.send")
_OF_A_FILE: Final = {"type", "mimeType", "fileName", "content"}
CLIENTS: Final = {"gateway-client": "backend", "cli": "cli", "test": "test", "webchat": "webchat"}
"""The ids of clients that this stand-in knows, and their modes; a real gateway has some more."""


def what_is_wrong(method: str, params: dict[str, Any]) -> str:
    """What a gateway says of parameters that are not of this method; empty where they are, or where the method is not known."""
    if method not in _TEXTS:
        return ""
    for name, value in params.items():
        if name in _TEXTS[method]:
            right = isinstance(value, str)
        elif name in _NUMBERS.get(method, ()):
            right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif name == "attachments" and method in _TAKES_FILES:
            right = isinstance(value, list) and all(map(_is_file, value))
        else:
            return f"unexpected property '{name}'"
        if not right:
            return f"at /{name}: of another type"
    return ""


def _is_file(item: Any) -> bool:
    if not isinstance(item, dict) or set(item) != _OF_A_FILE or "/" not in item["mimeType"]:
        return False
    try:
        return bool(base64.b64encode(base64.b64decode(item["content"], validate=True)).decode() == item["content"])
    except ValueError:
        return False
