"""What a process does before it says that it works: every statement is prepared, and nothing that waits is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection

from bridge.models import Attempt, Carrier, Delivery
from bridge.pipeline.agent.turn import claim_turns
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Success
from bridge.runtime.worker.warm_up import prepare_statements, warm_up
from tests.support.factories import app, gateway, hear, route, send, turn

if TYPE_CHECKING:
    import redis

STATEMENTS = {
    "claim": "%WITH RECURSIVE queue%",
    "begin": "%asked AS (%",
    "succeed": "%closed AS (%",
    "take": "%heard AS MATER%",
}
_USES = "SELECT count(*), sum(generic_plans) FROM pg_prepared_statements WHERE statement LIKE %s"


def uses() -> dict[str, tuple[int, int]]:
    """Name of the statement → how often it is prepared on this connection, and how often it ran as prepared."""
    found = {}
    with connection.cursor() as cursor:
        for name, text in STATEMENTS.items():
            cursor.execute(_USES, [text])
            count, ran = cursor.fetchone()
            found[name] = count, int(ran or 0)
    return found


@pytest.mark.django_db(transaction=True)
def test_the_workers_first_delivery_finds_its_statements_prepared(valkey: redis.Redis) -> None:
    connection.close()
    send(app())
    prepare_statements(Carrier.WORKER, most=16)
    before = uses()
    assert [count for count, _ran in before.values()] == [1, 1, 1, 1]
    (claimed,) = claims.claim(Carrier.WORKER, "holder", 16, most=16)
    attempt = settle.open_attempt(claimed, {})
    assert settle.mark_all_delivered([Success(claimed, attempt)]) != [None]
    after = uses()
    for name in ("claim", "begin", "succeed"):
        assert after[name] == (1, before[name][1] + 1), name


@pytest.mark.django_db(transaction=True)
def test_the_connectors_first_turn_finds_its_statements_prepared(valkey: redis.Redis) -> None:
    account = app()
    asked = route(account, gateway("http://127.0.0.1:1")).gateway
    connection.close()
    prepare_statements(Carrier.CONNECTOR, gateway_id=1)
    turn(account)
    before = uses()
    assert len(claim_turns("holder", 50, asked)) == 1
    after = uses()
    for name in ("claim", "begin"):
        assert after[name] == (1, before[name][1] + 1), name


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("carrier", "more"), [(Carrier.WORKER, {"most": 16}), (Carrier.CONNECTOR, {"gateway_id": 1})])
def test_nothing_that_waits_is_touched(valkey: redis.Redis, carrier: Carrier, more: dict[str, Any]) -> None:
    account = app()
    found = gateway("http://127.0.0.1:1")
    route(account, found)
    turn(account)
    send(account, peer_id="lisi")
    message = hear(account, sender="wangwu")
    before = list(Delivery.objects.order_by("pk").values())
    warm_up(carrier, **({"gateway_id": found.pk} if "gateway_id" in more else more))
    assert list(Delivery.objects.order_by("pk").values()) == before
    assert len(before) == 2
    assert not Attempt.objects.exists()
    message.refresh_from_db()
    assert message.routed_at is None


@pytest.mark.django_db(transaction=True)
def test_without_a_database_a_process_starts_all_the_same(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    with pytest.raises(OperationalError):
        connection.ensure_connection()
    warm_up(Carrier.WORKER, most=16)
    assert "the first answers will be slower" in caplog.text
