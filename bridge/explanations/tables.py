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
    """The codes of the other side, and the bridge's own. target: a `Target`, or "alert"; kind: of the account, where it is WeChat."""
    others = {"agent": GATEWAY, "webhook": WEBHOOK, "alert": ALERT}
    theirs = others[target] if target in others else explanations_of(kind)
    return {**OWN, **theirs}


def within(cause: Cause, target: str, kind: str = "") -> dict[str, Any]:
    """The cause as a parameter of another one, with what names its table."""
    return {**cause.as_json(), "target": target, "kind": kind}


def explain_with(table: Table, code: str, params: Params) -> str:
    """`explain`, also where a parameter is a cause of another table, as `within` gives it."""
    return explain(table, code, {name: shown_within(value) for name, value in params.items()})


def shown_within(value: Any) -> Any:
    if not isinstance(value, dict) or "target" not in value:
        return value
    return explain_with(table_for(value["target"], value["kind"]), value["code"], value["params"])
