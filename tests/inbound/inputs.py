"""Callbacks from their text to their delivery."""

from __future__ import annotations

from typing import Any

from bridge.models import Delivery, Target
from bridge.pipeline.inbound import router
from tests.inbound.test_no_event_lost import callback, push
from tests.support.callbacks import call
from tests.support.factories import AGENT, CORP, app, bot, mini, official, route

ACCOUNTS = {"official_account": official, "mini_program": mini, "wecom_app": app, "wecom_aibot": bot}


def receive(kind: str, plain: Any, **columns: Any) -> Delivery:
    """By the callback route of an account with a mapping for everyone, and routed: the agent's delivery."""
    account = ACCOUNTS[kind]()
    route(account, **columns)
    assert call(account, *callback(kind, plain)).status == 200
    router.route_waiting()
    return Delivery.objects.get(target=Target.AGENT)


def of_fan(fields: str, kind: str = "text") -> str:
    return push(f"{fields}<MsgId>7</MsgId>", kind=kind)


def of_member(fields: str, kind: str = "text") -> str:
    return push(f"{fields}<MsgId>7</MsgId><AgentID>{AGENT}</AgentID>", sender="zhangsan", to=CORP, kind=kind)
