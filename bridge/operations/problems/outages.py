"""Finds accounts, gateways and webhooks that do not work, and how much waits for them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.explanations.tables import nest_cause
from bridge.models import Delivery, State, Target, WebhookEndpoint
from bridge.operations.problems.problem import Problem
from channels_wechat.contract.explanations import Cause
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operations.problems.problem import Names

# A short failure is no incident: accounts and gateways have this long to work again by themselves.
MIN_OUTAGE = timedelta(minutes=2)
# A turn that a gateway refused this often, in half a minute, is tried for up to an hour: staff should know before that.
MIN_REFUSED_TRIES = 4
# A call of a webhook that was refused this often has been tried for minutes.
MIN_FAILED_CALLS = 4


def _is_down() -> Q:
    return Q(state=Health.STOPPED) | Q(state=Health.FAILING, state_since__lt=timezone.now() - MIN_OUTAGE)


def find_accounts_down(_names: Names) -> Iterator[Problem]:
    """Find each account that stopped, or has been failing for a while."""
    rows = list(ChannelAccount.objects.filter(_is_down(), enabled=True).defer("credentials"))
    waiting = _count_waiting("account", Target.CHANNEL, [row.pk for row in rows])
    for row in rows:
        params = _params_of_outage(row, "channel", row.kind)
        yield Problem(
            f"account:{row.pk}",
            "account_down",
            params,
            account_id=row.pk,
            error_code=row.state_code,
            count=waiting.get(row.pk, 0),
            first_seen_at=row.state_since,
        )


def find_gateways_down(_names: Names) -> Iterator[Problem]:
    """Find each gateway that stopped, or has been failing for a while."""
    rows = list(Gateway.objects.filter(_is_down(), enabled=True).defer("token", "device_key", "device_token"))
    waiting = _count_waiting("gateway", Target.AGENT, [row.pk for row in rows])
    for row in rows:
        yield Problem(
            f"gateway:{row.pk}",
            "gateway_down",
            _params_of_outage(row, "agent"),
            gateway_id=row.pk,
            error_code=row.state_code,
            count=waiting.get(row.pk, 0),
            first_seen_at=row.state_since,
        )


def _count_waiting(place: str, target: Target, ids: list[int]) -> dict[int, int]:
    """Count what waits for these accounts or gateways, by the index delivery_fair; no query where nothing is down."""
    if not ids:
        return {}
    rows = Delivery.objects.filter(state=State.PENDING, target=target, **{f"{place}__in": ids}).order_by()
    return dict(rows.values_list(place).annotate(n=Count("pk")))


def _params_of_outage(row: ChannelAccount | Gateway, target: str, kind: str = "") -> dict[str, Any]:
    return {"name": row.name, "because": nest_cause(Cause(row.state_code, row.state_params), target, kind)}


def find_refusing_gateways(names: Names) -> Iterator[Problem]:
    """Find each gateway that is connected and refuses turns again and again."""
    refused = Delivery.objects.filter(target=Target.AGENT, state=State.PENDING, tries__gte=MIN_REFUSED_TRIES)
    counted = refused.filter(gateway__enabled=True).order_by().values_list("gateway")
    for pk, count, first, last in counted.annotate(n=Count("pk"), first=Min("queued_at"), last=Max("queued_at")):
        params = {"name": names.gateways.get(pk, ""), "count": count}
        yield Problem(
            f"turns:{pk}",
            "gateway_takes_no_turns",
            params,
            gateway_id=pk,
            count=count,
            first_seen_at=first,
            last_seen_at=last,
        )


def find_disabled_webhooks(_names: Names) -> Iterator[Problem]:
    """Find each webhook that the bridge disabled because of its answers."""
    for row in WebhookEndpoint.objects.filter(enabled=False).exclude(disabled_code="").only("name", "disabled_code"):
        params = {"name": row.name, "because": nest_cause(Cause(row.disabled_code), "webhook")}
        yield Problem(f"hook:{row.pk}", "webhook_disabled", params, endpoint_id=row.pk, error_code=row.disabled_code)


def find_failing_webhooks(names: Names) -> Iterator[Problem]:
    """Find each enabled webhook whose calls fail and are tried again."""
    failing = Delivery.objects.filter(target=Target.WEBHOOK, state=State.PENDING, tries__gte=MIN_FAILED_CALLS)
    counted = failing.filter(endpoint__enabled=True).order_by().values_list("endpoint", "code")
    for pk, code, count, first, last in counted.annotate(n=Count("pk"), first=Min("queued_at"), last=Max("queued_at")):
        params = {
            "name": names.endpoints.get(pk, ""),
            "count": count,
            "because": nest_cause(Cause(code), "webhook"),
        }
        yield Problem(
            f"calls:{pk}:{code}",
            "webhook_failing",
            params,
            endpoint_id=pk,
            error_code=code,
            count=count,
            first_seen_at=first,
            last_seen_at=last,
        )
