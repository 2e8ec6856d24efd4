"""Stores the usage of a turn, tokens and money, with its attempt.

The gateway reports it up to some hundred milliseconds after the answer, when the delivery is settled already.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from accounts import counters
from bridge.pipeline.agent import sql
from bridge.runtime.db.batching import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openclaw.turns import Usage

# The columns of `Usage`, of which /metrics counts the tokens by kind and model.
TOKEN_KINDS = ("input", "output", "cache_read", "cache_write")


class TurnUsage(NamedTuple):
    """The usage of an attempt's turn."""

    attempt_id: int
    usage: Usage


def _store_all(used: Sequence[TurnUsage]) -> list[int]:
    rows = [{"attempt": one.attempt_id, "usage": asdict(one.usage)} for one in used]
    sql.STORE_USAGE.fetch(rows=json.dumps(rows))
    for one in used:
        _count_tokens(one.usage)
    return [one.attempt_id for one in used]


def _count_tokens(usage: Usage) -> None:
    for kind in TOKEN_KINDS:
        if count := getattr(usage, kind):
            counters.add("agent_tokens", count, kind=kind, model=usage.model)
    if usage.cost:
        counters.add("agent_cost_microdollars", round(usage.cost * 1_000_000), model=usage.model)


# Turns that end at one moment are stored in one statement.
store_usage = GroupCommit(_store_all)
