"""Finds why deliveries failed: one problem for each reason and code at an account, a gateway or a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.explanations.tables import nest_cause
from bridge.models import Delivery, State, Target
from bridge.operations.problems.problem import Problem, Unknown
from bridge.operations.problems.sql import FAILURES_BY_CAUSE
from channels_wechat.contract.explanations import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operations.problems.problem import Names
    from bridge.operations.problems.sql import FailureGroup

# How the causes begin.
CAUSES = ("dead:", "uncertain:")
# An incident is opened for so many causes at most, the most frequent ones; the list of dead letters has them all.
MAX_CAUSES = 200
# The others only keep the incident that is open. Beyond so many nothing is known of the rest.
MAX_GROUPS = 2000


def find_failures(names: Names) -> Iterator[Problem | Unknown]:
    groups = FAILURES_BY_CAUSE.fetch(most=MAX_GROUPS)
    # The newest failure of each group gives the sentence its parameters.
    newest = Delivery.objects.filter(pk__in=[group.newest for group in groups]).order_by()
    params: dict[int, dict[str, Any]] = dict(newest.values_list("pk", "code_params"))
    for number, group in enumerate(groups):
        yield _problem_of(group, params.get(group.newest, {}), names, opens=number < MAX_CAUSES)
    if len(groups) == MAX_GROUPS:
        yield from map(Unknown, CAUSES)


def _problem_of(group: FailureGroup, params: dict[str, Any], names: Names, *, opens: bool) -> Problem:
    place, pk, name = _place_of(group, names)
    kind = names.kinds.get(group.account_id or 0, "") if group.target == Target.CHANNEL else ""
    is_uncertain = group.state == State.UNCERTAIN
    return Problem(
        f"{group.state}:{place}:{pk}:{group.reason}:{group.code}",
        "uncertain" if is_uncertain else f"{place}_failures",
        {
            "name": name,
            "count": group.total,
            "because": nest_cause(Cause(group.code, params), group.target, kind) if group.code else "",
        },
        account_id=group.account_id,
        gateway_id=group.gateway_id,
        endpoint_id=group.endpoint_id,
        reason=group.reason,
        error_code=group.code,
        count=group.total,
        first_seen_at=group.first,
        last_seen_at=group.last,
        opens=opens,
    )


def _place_of(group: FailureGroup, names: Names) -> tuple[str, int | None, str]:
    """Return where they failed: account, gateway or webhook, its id and its name."""
    if group.endpoint_id:
        return "webhook", group.endpoint_id, names.endpoints.get(group.endpoint_id, "")
    if group.gateway_id:
        return "gateway", group.gateway_id, names.gateways.get(group.gateway_id, "")
    return "account", group.account_id, names.accounts.get(group.account_id or 0, "")
