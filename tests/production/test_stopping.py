"""SIGTERM in the middle of work: each process finishes what it holds or hands it over, and exits with 0 within its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from accounts.models import Connection
from bridge.models import Attempt, Delivery, Message, Outcome, State
from tests.production.image import ENV, compose
from tests.production.processes import running, signed
from tests.support import factories
from tests.support.factories import AGENT, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
SERVICES: dict[str, Any] = compose(ENV)["services"]


def grace(name: str) -> float:
    """Seconds a container of this process gets before it is killed."""
    return float(SERVICES[name]["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("name", ["web", "callbacks"])
def test_a_web_server_answers_what_it_was_asked(tmp_path: Path, company: SimulatorClient, name: str) -> None:
    account = factories.app(company.url)
    company.settings(callback_timeout=60, callback_tries=1)
    with running(name, tmp_path) as web:
        signed(web, tmp_path)
        company.post("apps", agentid=AGENT, callback_url=f"http://127.0.0.1:{web.port}/callbacks/{account.key}")
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE bridge_message IN EXCLUSIVE MODE")
            said = company.say("halt", app=AGENT, from_="lisi")
            eventually(_somebody_waits_for_the_table)
            web.terminate()
            eventually(lambda: not web.listens())
            assert web.running
        assert company.wait_taken(said)["outcome"] == "delivered"
        assert web.stopped(grace(name)) == 0
    assert Message.objects.filter(idempotency_key=said["id"]).count() == 1


def _somebody_waits_for_the_table() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'bridge_message'::regclass")
        return bool(cursor.fetchone()[0])


def test_the_worker_settles_the_send_under_way(tmp_path: Path, company: SimulatorClient) -> None:
    account = factories.app(company.url)
    company.fault("message/send", "slow_after", times=1, seconds=6)
    with running("worker", tmp_path) as worker:
        signed(worker, tmp_path)
        first = factories.to_send(account, "under way")
        eventually(lambda: Attempt.objects.filter(delivery=first, finished_at=None).exists())
        worker.terminate()
        eventually(lambda: "Warm shutdown" in worker.said())
        later = factories.to_send(account, "after the stop")
        assert worker.stopped(grace("worker")) == 0
    assert (factories.state(first), factories.outcomes(first)) == (State.DELIVERED, [Outcome.OK])
    assert factories.state(later) == State.PENDING
    assert not Delivery.objects.filter(state=State.SENDING).exists()
    assert len(company.calls("message/send")) == 1


def test_the_clock_stops(tmp_path: Path, valkey: object) -> None:
    with running("beat", tmp_path) as beat:
        signed(beat, tmp_path)
        beat.terminate()
        assert beat.stopped(grace("beat")) == 0


def test_the_connector_hands_an_open_turn_to_the_next(
    tmp_path: Path, company: SimulatorClient, stub: RunningStub
) -> None:
    """At once: with the leases given back the next one need not wait until they run out."""
    gateway = factories.gateway(stub.base_url)
    account = factories.app(company.url)
    factories.route(account, gateway)
    with running("connector", tmp_path) as first:
        signed(first, tmp_path)
        turn = factories.turn(account, "think !slow=8")
        eventually(lambda: stub.record)
        held = Connection.objects.get(gateway=gateway)
        first.terminate()
        assert first.stopped(grace("connector")) == 0
    assert held.owner
    left = Connection.objects.get(gateway=gateway)
    assert (left.owner, left.is_held) == ("", False)
    assert factories.state(turn) == State.PENDING
    with running("connector", tmp_path) as second:
        eventually(lambda: factories.state(turn) == State.DELIVERED, 60)
        second.terminate()
        assert second.stopped(grace("connector")) == 0
    assert [run["count"] for run in stub.record] == [1]
    assert Message.objects.filter(direction="out", reply_to=turn.message).count() == 1


def test_a_second_connector_takes_over_while_the_first_leaves(
    tmp_path: Path, company: SimulatorClient, stub: RunningStub
) -> None:
    gateway = factories.gateway(stub.base_url)
    account = factories.app(company.url)
    factories.route(account, gateway)
    (tmp_path / "second").mkdir()
    with running("connector", tmp_path) as first, running("connector", tmp_path / "second") as second:
        signed(first, tmp_path)
        signed(second, tmp_path / "second")
        eventually(lambda: stub.connections)
        assert stub.connections == 1
        owner = Connection.objects.get(gateway=gateway).owner
        leaving, staying = (first, second) if f":{first.popen.pid}:" in owner else (second, first)
        turn = factories.turn(account, "think !slow=6")
        eventually(lambda: stub.record)
        leaving.terminate()
        assert leaving.stopped(grace("connector")) == 0
        eventually(lambda: f":{staying.popen.pid}:" in Connection.objects.get(gateway=gateway).owner, 30)
        eventually(lambda: factories.state(turn) == State.DELIVERED, 60)
        staying.terminate()
        assert staying.stopped(grace("connector")) == 0
    assert [run["count"] for run in stub.record] == [1]
