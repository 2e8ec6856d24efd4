"""A follower of an Official Account, and what we say to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.files.base import ContentFile

from accounts import reply_windows
from bridge.models import Delivery, Reason
from tests.support.factories import FAN, to_send

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


HELD, DELIVERED, PENDING = ("held", Reason.WINDOW), ("delivered", ""), ("pending", "")


def left(account: ChannelAccount, who: str = FAN) -> int:
    return reply_windows.count_remaining(account.pk, who)


def png() -> ContentFile[Any]:
    from openclaw.stub.answers import make_picture

    file = ContentFile(make_picture(1), name="chart.png")
    file.content_type = "image/png"  # type: ignore[attr-defined]
    return file


def say(account: ChannelAccount, *texts: str, **fields: Any) -> list[Delivery]:
    return [to_send(account, text, FAN, **fields) for text in texts]
