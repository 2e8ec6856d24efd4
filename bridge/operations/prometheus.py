"""The figures of /metrics, read from database and Valkey at each scrape, so that every process answers with the work of all.

No query counts all of a table: open work, failures and the outbox are read by their partial indexes and to MAX_COUNT rows only, so that
neither a million messages nor a hundred thousand in the queue make a scrape slow. Totals are counted in Valkey as things happen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from accounts import counters, valkey
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount, Connection
from bridge.models import Carrier, Incident
from bridge.operations import sql
from bridge.runtime.spool import journal
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from bridge.runtime.db.prepared import Statement

    Totals = dict[counters.Counted, int]

# Counting stops here; a figure of this means "this or more".
MAX_COUNT = 20_000
# A query that takes longer is cancelled, so that it does not delay the scrape; then all figures of the database are left out.
QUERY_TIMEOUT = "2s"

# Name in accounts/counters → metric, help.
COUNTERS = {
    "messages": ("bridge_messages", "Messages stored, by direction.", ["direction"]),
    "attempts": ("bridge_attempts", "Calls to agents, platforms and webhooks that ended.", ["target", "outcome"]),
    "agent_tokens": ("bridge_agent_tokens", "Tokens that turns of agents took, by kind and model.", ["kind", "model"]),
    "agent_cost_microdollars": ("bridge_agent_cost_microdollars", "What turns of agents cost, by model.", ["model"]),
    "token_failures": ("bridge_token_failures", "Access tokens that could not be fetched.", ["account"]),
}


class Figures(Collector):
    """All figures that can be read now. Where the database or Valkey is away, a figure says so and theirs are left out."""

    def __init__(self, *, database: bool) -> None:
        self.database = database

    def collect(self) -> Iterator[Metric]:
        totals = counters.read_totals()
        yield _build_gauge("bridge_valkey_up", "Whether Valkey answers.", int(totals is not None))
        yield from _counter_metrics(totals or {})
        yield from _sweep_metrics()
        yield from _spool_metrics()
        rows = self._from_rows(totals or {})
        yield _build_gauge("bridge_database_up", "Whether the database answers.", int(bool(rows)))
        yield from rows

    def _from_rows(self, totals: Totals) -> list[Metric]:
        try:
            with transaction.atomic():
                return [*_database_metrics(), _callback_metric(totals)] if self.database else []
        except (InterfaceError, OperationalError):
            return []


def render_metrics(*, database: bool) -> bytes:
    """Return the figures in Prometheus' text format. database: false where it is known not to answer, so that no query waits for it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(database=database))
    return generate_latest(registry)


def _counter_metrics(totals: Totals) -> Iterator[Metric]:
    for name, (metric, text, labels) in COUNTERS.items():
        family = CounterMetricFamily(metric, text, labels=labels)
        for values, count in _select_counts(totals, name):
            family.add_metric([values[label] for label in labels], count)
        yield family


def _callback_metric(totals: Totals) -> Metric:
    """Count callbacks by the account's id. Valkey counts them by the account's key, which is part of a secret address."""
    text = "Callbacks, by the account's id and result: ok, or why refused."
    family = CounterMetricFamily("bridge_callbacks", text, labels=["account", "result"])
    ids = {str(key): pk for key, pk in ChannelAccount.objects.values_list("key", "pk")}
    for values, count in _select_counts(totals, "callbacks"):
        if values["account"] in ids:
            family.add_metric([str(ids[values["account"]]), values["result"]], count)
    return family


def _select_counts(totals: Totals, name: str) -> list[tuple[dict[str, str], int]]:
    return [(dict(labels), count) for (counted, labels), count in totals.items() if counted == name]


def _sweep_metrics() -> Iterator[Metric]:
    age = sweep_age(valkey.try_valkey(lambda client: client.get("swept"), None))
    if age is not None:
        yield _build_gauge(
            "bridge_sweep_age_seconds", "Since worker and beat last swept; more than a few is trouble.", age
        )


def _spool_metrics() -> Iterator[Metric]:
    waiting = journal.read_status()
    yield _build_gauge("bridge_spool_messages", "Callbacks on disk that wait for the database.", waiting.messages)
    yield _build_gauge("bridge_spool_bytes", "What they take on disk.", waiting.bytes)
    yield _build_gauge(
        "bridge_spool_unreadable", "Callbacks on disk that no key of FIELD_KEYS opens.", waiting.unreadable
    )


def sweep_age(swept: Any) -> float | None:
    """Return the seconds since `incidents.record_sweep` wrote this; None where there is no value."""
    return None if swept is None else max(0.0, time.time() - float(swept))


def _database_metrics() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{QUERY_TIMEOUT}'")
    yield from _delivery_metrics()
    yield from _account_metrics()
    yield from _gateway_metrics()
    incidents = Incident.objects.filter(closed_at=None).count()
    yield _build_gauge("bridge_incidents_open", "Incidents that are active.", incidents)
    yield _build_gauge("bridge_database_bytes", "Size of the database on disk.", _fetch_figure(sql.DATABASE_SIZE))


def _delivery_metrics() -> Iterator[Metric]:
    more = f"{MAX_COUNT} means {MAX_COUNT} or more in all."
    text = f"Deliveries that are open, by target and state; {more}"
    rows = sql.OPEN_DELIVERIES.fetch(most=MAX_COUNT)
    yield _build_family(
        "bridge_deliveries_open", text, ["target", "state"], [((r.target, r.state), r.total) for r in rows]
    )
    text = f"Deliveries that are held back, by reason (review: for a person); {more}"
    held = sql.HELD_DELIVERIES.fetch(most=MAX_COUNT)
    yield _build_family("bridge_deliveries_held", text, ["reason"], [((row.reason,), row.total) for row in held])
    text = "How long the delivery that has been due longest has been due."
    oldest = sql.OLDEST_DUE.fetch(carriers=[str(carrier) for carrier in Carrier])
    yield _build_family(
        "bridge_delivery_oldest_due_seconds", text, ["target"], [((row.target,), row.seconds) for row in oldest]
    )
    text = f"Failed and uncertain deliveries that nobody dismissed; {more}"
    rows = sql.FAILED_DELIVERIES.fetch(most=MAX_COUNT)
    yield _build_family(
        "bridge_dead_letters", text, ["target", "state"], [((r.target, r.state), r.total) for r in rows]
    )
    unrouted, files = (
        _fetch_figure(sql.UNROUTED_MESSAGES, most=MAX_COUNT),
        _fetch_figure(sql.WAITING_FILES, most=MAX_COUNT),
    )
    yield _build_gauge("bridge_messages_unrouted", "Messages received and not routed yet.", unrouted)
    yield _build_gauge("bridge_files_waiting", "Files that are still to be fetched.", files)


def _account_metrics() -> Iterator[Metric]:
    accounts = list(ChannelAccount.objects.only("name", "kind", "enabled", "state"))
    labels = ["account", "name", "kind"]
    rows = [((a.pk, a.name, a.kind), int(_is_up(a))) for a in accounts]
    yield _build_family(
        "bridge_account_up", "1: works or was not used yet; 0: fails, stopped, or is off.", labels, rows
    )
    tokens = list(AccessToken.objects.only("account", "generation", "failure_code", "wait_until"))
    refreshed = CounterMetricFamily("bridge_token_refreshes", "Access tokens fetched.", labels=["account"])
    for token in tokens:
        refreshed.add_metric([str(token.account_id)], token.generation)
    yield refreshed
    refused = [((token.account_id,), int(token.refused)) for token in tokens]
    yield _build_family("bridge_token_refused", "1: the platform refused the account's secret.", ["account"], refused)


def _gateway_metrics() -> Iterator[Metric]:
    gateways = list(Gateway.objects.only("name", "enabled", "state"))
    held = Connection.objects.exclude(owner="").filter(owner_until__gt=timezone.now(), gateway__isnull=False)
    held_ids, labels = set(held.values_list("gateway_id", flat=True)), ["gateway", "name"]
    up = [((g.pk, g.name), int(_is_up(g))) for g in gateways]
    yield _build_family("bridge_gateway_up", "1: works or was not used yet; 0: fails, stopped, or is off.", labels, up)
    owned = [((g.pk, g.name), int(g.pk in held_ids)) for g in gateways]
    yield _build_family("bridge_gateway_owned", "1: a connector holds the connection.", labels, owned)
    turns = {row.gateway_id: row.total for row in sql.TURNS_UNDER_WAY.fetch()}
    rows = [((g.pk, g.name), turns.get(g.pk, 0)) for g in gateways]
    yield _build_family("bridge_agent_turns_open", "Turns of agents under way.", labels, rows)


def _is_up(side: ChannelAccount | Gateway) -> bool:
    return side.enabled and side.state in (Health.NEW, Health.OK)


def _fetch_figure(statement: Statement[sql.Figure], **values: int) -> int:
    return statement.fetch(**values)[0].figure


def _build_family(name: str, text: str, labels: list[str], rows: Iterable[tuple[tuple[Any, ...], float]]) -> Metric:
    """Return a gauge with labels. rows: the labels' values, and the figure."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, figure in rows:
        family.add_metric([str(value) for value in values], figure)
    return family


def _build_gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
