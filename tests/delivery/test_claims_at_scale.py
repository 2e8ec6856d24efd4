"""Claims of many at once and over a large backlog: no lane is out of order, and few rows are touched."""

from __future__ import annotations

import itertools
import re
import threading
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction

from bridge.models import Delivery
from bridge.pipeline.agent.shares import reserve_of
from bridge.pipeline.delivery import claim_sql
from bridge.pipeline.inbound import router
from bridge.runtime.db.prepared import execute_prepared
from tests.delivery.backlog import deliver, strangers, take, two_accounts
from tests.support.factories import at_once, hear

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.models import Gateway

pytestmark = pytest.mark.django_db


# --- the order within a lane, whoever claims -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_no_lane_is_out_of_order_and_nobody_starves_with_many_at_once() -> None:
    public, other, home = two_accounts(16)
    for _number, account, person in itertools.product(range(4), (public, other), strangers(6)):
        hear(account, "?", person)
        hear(account, "?", person)
        router.route_waiting()
    taken: dict[str, list[int]] = {}
    doubled: list[str] = []
    lock = threading.Lock()

    def connector(name: str) -> None:
        while Delivery.objects.filter(target="agent").exclude(state="delivered").exists():
            for mine in take(home, 3, name):
                under_way = Delivery.objects.filter(lane=mine.lane, state="sending").count()
                with lock:
                    taken.setdefault(mine.lane, []).append(mine.pk)
                    doubled.extend([mine.lane] if under_way != 1 else [])
                deliver(mine)

    at_once(*[lambda name=f"connector{number}": connector(name) for number in range(4)])
    assert doubled == []
    assert len(taken) == 12
    for lane, order in taken.items():
        assert order == list(Delivery.objects.filter(lane=lane).order_by("seq").values_list("pk", flat=True))
        assert len(order) == 8


# --- what it costs -------------------------------------------------------------------------------------------------------------


def backlog(account: ChannelAccount, home: Gateway, rows: int, talks: int) -> None:
    """So many questions of so many conversations, in one statement."""
    connection.cursor().execute(
        """
        WITH talk AS (
          INSERT INTO bridge_conversation (account_id, peer_kind, peer_id, title, mode, session_epoch, created_at)
          SELECT %(account)s, 'direct', 'p' || n, '', 'bot', 0, now() FROM generate_series(1, %(talks)s) n RETURNING id
        ), said AS (
          INSERT INTO bridge_message (uuid, account_id, direction, source, client, idempotency_key, request_hash, kind, text, data,
            raw, sender, addressed, peer_kind, peer_id, reply_address, conversation_id, routed_at, created_at)
          SELECT gen_random_uuid(), %(account)s, 'in', 'channel', '', %(account)s || '-' || talk.id || '-' || n, '', 'text', 'x', '{}',
            '{}', 'p', true, 'direct', 'p', '', talk.id, now(), now() FROM talk, generate_series(1, %(each)s) n
          RETURNING id, conversation_id
        )
        INSERT INTO bridge_delivery (target, carrier, message_id, account_id, gateway_id, lane, part, payload, fingerprint, state, reason,
          code, code_params, tries, run_number, replays, due_at, turn_at, holder, remote_id, queued_at, created_at)
        SELECT 'agent', 'connector', id, %(account)s, %(gateway)s, 'in:' || conversation_id, 0, '{"x": 1}', '', 'pending', '', '', '{}', 0,
          0, 0, now() - interval '1 hour', now() - interval '1 hour' + make_interval(secs => 10 * n), '', '', now(), now()
        FROM (SELECT id, conversation_id, row_number() OVER (PARTITION BY conversation_id ORDER BY id) AS n FROM said ORDER BY id) AS s
        """,
        {"account": account.pk, "gateway": home.pk, "talks": talks, "each": rows // talks},
    )


def touched(home: Gateway, limit: int) -> tuple[int, int]:
    """(claimed, rows that the plan's nodes read) of a claim with a generic plan."""
    values = {
        "carriers": ["connector"], "carrier": "connector", "holder": "me", "lease": 30, "limit": limit, "first": home.pk,
        "last": home.pk, "most": None, "horizon": 7200, "ahead": claim_sql.AHEAD,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    lines = [
        line for (line,) in execute_prepared("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + claim_sql.CLAIM.sql, values)
    ]
    read = 0
    for line in lines:
        found = re.search(r"(Scan|Search).*actual rows=([\d.]+) loops=(\d+)", line)
        read += int(float(found[2]) * int(found[3])) if found else 0
        removed = re.search(r"Rows Removed by .*Filter: (\d+)", line)
        read += int(removed[1]) if removed else 0
    return Delivery.objects.filter(state="sending", holder="me").count(), read


def test_a_claim_over_a_backlog_of_100_000_touches_few_rows() -> None:
    public, other, home = two_accounts(100)
    backlog(public, home, 100_000, 1_000)
    backlog(other, home, 100, 100)
    connection.cursor().execute("ANALYZE bridge_delivery, bridge_message, bridge_conversation")
    for limit in (1, 8, 50):
        with transaction.atomic():
            claimed, read = touched(home, limit)
            assert claimed == limit
            assert read < 3_000
            again, read = touched(home, limit)  # while some lanes are under way
            assert again == min(2 * limit, 100 - reserve_of(100))
            assert read < 3_000
            transaction.set_rollback(True)
