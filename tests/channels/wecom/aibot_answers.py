"""Payloads of an AI bot."""

from __future__ import annotations

from typing import Any

PNG = b"\x89PNG\r\n\x1a\n" + b"A" * 20
CARD = {
    "card_type": "text_notice",
    "main_title": {"title": "转人工?"},
    "card_action": {"type": 1, "url": "https://example.com/c/42"},
}


def markdown(text: str) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": text}}
