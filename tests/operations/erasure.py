"""A follower who leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.files.storage import default_storage

from bridge.models import Attachment, Message
from tests.support.factories import FAN, hear

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


def leave(account: ChannelAccount, person: str = FAN, **fields: Any) -> Message:
    event = {"kind": "event", "follows": False, "erase": True, "raw": {"FromUserName": person}, **fields}
    return hear(account, "unsubscribe", person, **event)


def stored_files() -> list[str]:
    names = Attachment.objects.exclude(file="").values_list("file", flat=True)
    return [name for name in names if default_storage.exists(name)]
