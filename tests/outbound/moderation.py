"""A Mini Program whose messages are checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bridge.models import Carrier, Delivery
from channels_wechat.contract.messages import Window
from tests.support.factories import USER, answer, claim, row, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient


TEXT, MEDIA, SEND = "wxa/msg_sec_check", "wxa/media_check_async", "message/custom/send"
OPEN = Window(5, 48 * 3600)


def asked(account: ChannelAccount, text: str = "你好", **fields: Any) -> Delivery:
    """A question as its claimer has it."""
    delivery = turn(account, text, USER, window=OPEN, **fields)
    return next(each for each in claim(Carrier.CONNECTOR) if each.pk == delivery.pk)


def said(account: ChannelAccount, text: str) -> Delivery:
    """The first part of an agent's answer."""
    return answer(turn(account, "你好", USER, window=OPEN).message, text).deliveries.order_by("part")[0]


def checks(wechat: SimulatorClient, path: str = TEXT) -> list[dict[str, Any]]:
    return [json.loads(call["body"]) for call in wechat.calls(path)]


def why(delivery: Delivery) -> tuple[str, str]:
    return row(delivery).state, row(delivery).reason
