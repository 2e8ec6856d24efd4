"""Which table explains a row's codes, and a cause within a cause."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from accounts.explanations import explanations_of
from bridge.explanations.own import OWN
from bridge.explanations.webhooks import ALERT, WEBHOOK
from channels_wechat.contract.explanations import explain
from openclaw.errors import EXPLANATIONS as GATEWAY

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Cause, Params, Table


@cache
def table_for(target: str, kind: str = "") -> Table:
    """Return the codes of the other side and the bridge. target: a `Target`, or "alert"; kind: of the account, where it is WeChat."""
    others = {"agent": GATEWAY, "webhook": WEBHOOK, "alert": ALERT}
    theirs = others[target] if target in others else explanations_of(kind)
    return {**OWN, **theirs}


def nest_cause(cause: Cause, target: str, kind: str = "") -> dict[str, Any]:
    """Return the cause as a parameter of another one, with the name of its table."""
    return {**cause.as_json(), "target": target, "kind": kind}


def explain_with(table: Table, code: str, params: Params) -> str:
    """`explain`, also where a parameter is a cause of another table, as `nest_cause` returns it."""
    return explain(table, code, {name: show_nested(value) for name, value in params.items()})


def show_nested(value: Any) -> Any:
    if not isinstance(value, dict) or "target" not in value:
        return value
    return explain_with(table_for(value["target"], value["kind"]), value["code"], value["params"])
