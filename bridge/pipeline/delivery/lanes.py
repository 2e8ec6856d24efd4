"""The names of lanes. Of one lane, one delivery is under way at a time, in the order of `seq`.

in:<conversation>    its messages on their way to an agent
out:<conversation>   answers on their way to WeChat
read:<message>       the parts of one answer that its reader fetches by the replies to their own callbacks
hook:…               the calls of one webhook (`WebhookEndpoint.lane`), and the alerts
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from bridge.models import Carrier

if TYPE_CHECKING:
    from bridge.models import Delivery

UNREAD = "read:"
UNREAD_SECONDS = 48 * 3600


def lane_of_turns(conversation_id: int | None) -> str:
    return f"in:{conversation_id}"


def lane_of_answers(conversation_id: int | None) -> str:
    return f"out:{conversation_id}"


def as_unread(message_id: int | None) -> dict[str, Any]:
    """Return the columns of a part that waits for its reader; after UNREAD_SECONDS the worker takes it and closes it as unread."""
    due_at = timezone.now() + timedelta(seconds=UNREAD_SECONDS)
    return {"carrier": Carrier.HTTP_REPLY, "lane": f"{UNREAD}{message_id or 0}", "due_at": due_at}


def is_unread_part(delivery: Delivery) -> bool:
    """Whether this part waits for its reader; where the worker has claimed it, the reader did not ask for it in time."""
    return delivery.lane.startswith(UNREAD)
