"""The rows of an answer's parts, as they are first written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.models import Carrier, Delivery, Reason, State, Target
from bridge.pipeline.delivery import lanes, settle
from channels_wechat.contract.explanations import NO_CAUSE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.models import Message
    from channels_wechat.contract.explanations import Cause


def build_part(message: Message, part: int, payload: Mapping[str, Any], **columns: Any) -> Delivery:
    """Return a part that the worker sends, unless the columns say otherwise."""
    place = {"carrier": Carrier.WORKER, "lane": lanes.lane_of_answers(message.conversation_id)}
    return Delivery(
        target=Target.CHANNEL,
        message=message,
        account=message.account,
        part=part,
        payload=payload,
        fingerprint=Delivery.fingerprint_of(payload),
        **(place | columns),
    )


def build_dead_part(
    message: Message, part: int, payload: Mapping[str, Any], reason: Reason, cause: Cause = NO_CAUSE, **columns: Any
) -> Delivery:
    """Return a part that nothing can carry, kept with its text and the reason."""
    return settle.set_final_state(build_part(message, part, payload, **columns), State.DEAD, reason, cause)
