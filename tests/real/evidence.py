"""What a failed test of this folder prints: the newest deliveries with their attempts, accounts and gateways, and the ends of the logs.

Whether a failure is the bridge's, the gateway's or the test's own is seen in these, and a rare failure does not come again when asked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from accounts.models import ChannelAccount
from bridge.models import Attempt, Delivery
from openclaw.models import Gateway

if TYPE_CHECKING:
    from pathlib import Path

NEWEST_DELIVERIES: Final = 12
LAST_LINES: Final = 80
LINE_LENGTH: Final = 500


def describe_deliveries() -> str:
    """The newest deliveries, oldest first, each followed by its attempts. What they keep of requests is without secrets."""
    newest = Delivery.objects.select_related("message").order_by("-pk")[:NEWEST_DELIVERIES]
    return "\n".join(_describe_delivery(row) for row in reversed(newest)) or "no delivery was stored"


def describe_states() -> str:
    """Whether each account and gateway works: a delivery of one that is stopped or disabled waits."""
    rows = [*ChannelAccount.objects.order_by("pk"), *Gateway.objects.order_by("pk")]
    return "\n".join(f"{row}: {row.state} {row.state_code}, enabled {row.enabled}" for row in rows)


def _describe_delivery(row: Delivery) -> str:
    asked = row.message.text if row.message else ""
    facts = {"state": row.state, "reason": row.reason, "tries": row.tries, "run": row.run_number, "due_at": row.due_at}
    head = f"delivery {row.pk} to {row.target}, message {row.message_id} {asked[:80]!r}: {_join(facts)}"
    lines = [head, f"    {row.error}", *(_describe_attempt(attempt) for attempt in row.attempts.order_by("number"))]
    return "\n".join(line for line in lines if line.strip())


def _describe_attempt(attempt: Attempt) -> str:
    facts = {"outcome": attempt.outcome, "code": attempt.code, "from": attempt.started_at, "to": attempt.finished_at}
    exchanged = {"request": attempt.request, "response": attempt.response}
    said = [f"{name} {json.dumps(value, ensure_ascii=False, default=str)}" for name, value in exchanged.items()]
    lines = [f"attempt {attempt.number}: {_join(facts)}", attempt.error, *said]
    return "\n".join(f"    {line[:LINE_LENGTH]}" for line in lines if line)


def _join(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in ("", None))


def read_last_lines(log: Path) -> str:
    """The end of a log; a very long line is cut."""
    if not log.exists():
        return f"{log.name} does not exist"
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join(line[:LINE_LENGTH] for line in lines)
