"""What the simulated WeCom saw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.core.files.base import ContentFile

from tests.support.factories import AGENT

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

SEND = "message/send"


def seen(company: SimulatorClient, who: str = "zhangsan") -> list[str]:
    """The texts a member was shown by the app, in order."""
    chat = f"app:{AGENT}:{who}"
    known = [row["chat"] for row in company.chats()]
    return [entry["text"] for entry in company.transcript(chat)] if chat in known else []


def calls(company: SimulatorClient, path: str = SEND) -> list[dict]:
    """The bodies of the calls, in order."""
    return [json.loads(call["body"] or "{}") for call in company.calls(path)]


def checked(company: SimulatorClient) -> list[bool]:
    """Which calls asked the platform to swallow a repetition."""
    return [body.get("enable_duplicate_check") == 1 for body in calls(company)]


def png() -> ContentFile:
    from openclaw.stub.answers import make_picture

    file = ContentFile(make_picture(1), name="chart.png")
    file.content_type = "image/png"
    return file
