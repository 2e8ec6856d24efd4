"""The parameters of each method. A real gateway refuses parameters that are not in its schemas, so this one does too."""

from __future__ import annotations

import base64
from typing import Any, Final

_TEXT_PARAMETERS: Final = {
    "agent": {"sessionKey", "agentId", "message", "idempotencyKey", "extraSystemPrompt", "thinking", "model", "label", "lane"},
    "agent.wait": {"runId"},
    "agents.list": set[str](),
    "artifacts.download": {"sessionKey", "artifactId", "runId"},
    "chat.abort": {"sessionKey", "runId"},
    "chat.history": {"sessionKey", "cursor"},
    "chat.send": {"sessionKey", "agentId", "message", "idempotencyKey", "thinking", "queueMode"},
}  # fmt: skip
_NUMBER_PARAMETERS: Final = {
    "agent": {"timeout"},
    "agent.wait": {"timeoutMs"},
    "chat.history": {"limit", "maxChars"},
    "chat.send": {"timeoutMs"},
}
_METHODS_WITH_FILES: Final = ("agent", "chat.send")
_FILE_FIELDS: Final = {"type", "mimeType", "fileName", "content"}
CLIENTS: Final = {"gateway-client": "backend", "cli": "cli", "test": "test", "webchat": "webchat"}
"""The ids of clients that this stand-in accepts, and their modes; a real gateway has some more."""


def find_problem(method: str, params: dict[str, Any]) -> str:
    """Return the gateway's message about a wrong parameter; empty if all are right, or if the method is unknown."""
    if method not in _TEXT_PARAMETERS:
        return ""
    for name, value in params.items():
        if name in _TEXT_PARAMETERS[method]:
            is_valid = isinstance(value, str)
        elif name in _NUMBER_PARAMETERS.get(method, ()):
            is_valid = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif name == "attachments" and method in _METHODS_WITH_FILES:
            is_valid = isinstance(value, list) and all(map(_is_file, value))
        else:
            return f"unexpected property '{name}'"
        if not is_valid:
            return f"at /{name}: of another type"
    return ""


def _is_file(item: Any) -> bool:
    if not isinstance(item, dict) or set(item) != _FILE_FIELDS or "/" not in item["mimeType"]:
        return False
    try:
        return bool(base64.b64encode(base64.b64decode(item["content"], validate=True)).decode() == item["content"])
    except ValueError:
        return False
