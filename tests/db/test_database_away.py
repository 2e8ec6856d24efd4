"""While the database is away nothing is forgotten and nothing ends. What callbacks do then: `tests.spool.test_callbacks`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper

from accounts import channels
from accounts.health import Health
from bridge.models import Delivery, Message
from bridge.pipeline.delivery import claims
from bridge.pipeline.outbound import sender
from bridge.runtime.db.outage import install_pool_check, retry_while_db_down
from tests.support.away import database_away
from tests.support.callbacks import call, from_app
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    app,
    claimed,
    due,
    eventually,
    gateway,
    in_thread,
    outcomes,
    route,
    shift,
    state,
    to_send,
    turn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db(transaction=True)
AWAY_SECONDS = 1.2


def test_a_pool_tries_no_less_often_the_longer_its_server_is_away() -> None:
    """psycopg doubles the pause between two tries until reconnect_timeout; whoever waits then begins anew."""
    code = (
        "from django.conf import settings as s; print(s.DATABASES['default']['OPTIONS']['pool']['reconnect_timeout'])"
    )
    env = {**os.environ, "DB_POOL_SIZE": "12", "DJANGO_SETTINGS_MODULE": "bridge.settings"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 10


def test_a_pool_gives_out_no_connection_whose_server_has_gone() -> None:
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 3, "max_size": 3}}
    pooled = DatabaseWrapper({**connection.settings_dict, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}, "default")
    install_pool_check(pooled)
    try:
        pooled.pool.open(wait=True)
        with connection.cursor() as cursor:
            for one in [pooled.pool.getconn() for _ in range(3)]:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [one.info.backend_pid])
                pooled.pool.putconn(one)
        for _ in range(3):
            with pooled.cursor() as cursor:
                cursor.execute("SELECT 1")
            pooled.close()
    finally:
        pooled.close_pool()


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.usefixtures("valkey")
def test_a_callback_of_an_account_that_nobody_knows_yet_is_not_taken_and_its_repetition_is() -> None:
    account = app()
    channels._enabled.clear()
    body, query = from_app("你好", 7)
    with database_away():
        assert call(account, body, query).status == 503
    assert not Message.objects.exists()
    assert call(account, body, query).status == 200
    assert Message.objects.get().text == "你好"


def test_patience_ends_with_the_databases_absence(beside: ThreadPoolExecutor) -> None:
    with database_away():
        with pytest.raises(OperationalError):
            Message.objects.count()
        asked = beside.submit(in_thread(lambda: retry_while_db_down(Message.objects.count)))
        time.sleep(AWAY_SECONDS)
    assert asked.result(10) == 0


def test_what_the_platform_answered_is_written_down_when_the_database_is_back(
    company: SimulatorClient, beside: ThreadPoolExecutor
) -> None:
    delivery = to_send(app(company.url))
    company.fault("message/send", "slow_after", seconds=1)
    sent = beside.submit(in_thread(lambda: _carry_until_sent(delivery)))
    company.wait_for(lambda: company.calls("message/send"))
    with database_away():
        time.sleep(1 + AWAY_SECONDS)
    sent.result(20)
    assert (state(delivery), outcomes(delivery)) == ("delivered", ["ok"])


def _carry_until_sent(delivery: Delivery) -> None:
    """A noisy machine's Valkey may miss its 100 ms; then the rate limits hold back what they cannot count."""
    while state(delivery) == "pending":
        due(delivery)
        sender.process_delivery(claimed(delivery))


def test_a_delivery_claimed_before_is_left_to_its_lease(company: SimulatorClient) -> None:
    delivery = to_send(app(company.url))
    ours = claimed(delivery)
    with database_away():
        sender.process_delivery(ours)
    assert (state(delivery), outcomes(delivery)) == ("sending", [])
    shift(delivery, lease_until=-1)
    claims.sweep()
    assert state(delivery) == "pending"


@pytest.mark.usefixtures("valkey")
def test_a_connector_keeps_its_turns_and_their_answers(stub: RunningStub) -> None:
    account, home = app(), gateway(stub.base_url)
    route(account, home)
    asked = turn(account, "!slow=2 !say=one answer")
    with RunningConnector() as running:
        eventually(lambda: stub.record)
        with database_away():
            time.sleep(2 + AWAY_SECONDS)  # the answer comes meanwhile
        eventually(lambda: state(asked) == "delivered")
        assert running.thread.is_alive()
        later = turn(account, "!say=another")
        eventually(lambda: state(later) == "delivered")
    assert (outcomes(asked), outcomes(later)) == (["ok"], ["ok"])
    assert [run["count"] for run in stub.record] == [1, 1]
    home.refresh_from_db()
    assert home.state == Health.OK
