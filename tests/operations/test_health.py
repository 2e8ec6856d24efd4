"""What machines that watch are told, and that nothing hangs with a database or a Valkey that hangs."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import counters, valkey, work
from accounts.models import ChannelAccount, Connection
from bridge.models import Attachment, Delivery
from bridge.operations import health, incidents, prometheus, sql
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Failure
from bridge.runtime.db.prepared import Statement
from channels_wechat.contract.explanations import Action, Cause
from tests.support import factories
from tests.support.callbacks import Reply, call, from_app
from tests.support.factories import app, claimed, gateway, hear, picture, route, shift, to_send, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
TOKEN = "a-token-for-tests-only"
# Far above every time limit together, and far below "for ever".
PATIENCE = 15


def get(path: str, **environ: Any) -> Reply:
    """As a container's health check: http, and an address for a name."""
    return call(ChannelAccount(), path=path, HTTP_HOST="10.1.2.3:8000", **{"wsgi.url_scheme": "http"}, **environ)


def ready() -> tuple[int, dict[str, Any]]:
    reply = get("/readyz")
    return reply.status, json.loads(reply.body)


@contextmanager
def mute() -> Iterator[int]:
    """The port of a server that takes every connection and says nothing, as a frozen process."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _fresh_clients(settings: SettingsWrapper) -> Iterator[None]:
    settings.METRICS_TOKEN = TOKEN
    settings.ALLOWED_HOSTS = ["bridge.example"]
    yield
    health._valkey_client.cache_clear()
    valkey.client.cache_clear()
    valkey.circuit_breaker.until = 0.0


def move_valkey(settings: SettingsWrapper, port: int) -> None:
    settings.REDIS_URL = f"redis://:canary-password@127.0.0.1:{port}/0"
    health._valkey_client.cache_clear()
    valkey.client.cache_clear()


def test_a_process_that_answers_lives() -> None:
    reply = get("/livez")
    assert (reply.status, reply.body) == (200, b"ok\n")
    assert "Set-Cookie" not in reply.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_only_read(path: str) -> None:
    assert get(path, REQUEST_METHOD="POST").status == 405
    assert get(path, REQUEST_METHOD="HEAD").status != 405


def test_ready(valkey: redis.Redis) -> None:
    processes_work(valkey)
    checks = {"database": "ok", "broker": "ok", "sweep": "ok", "connector": "ok", "spool": "ok"}
    assert ready() == (200, {"ready": True, "missing": [], "checks": checks, "spool": 0})


def processes_work(valkey: redis.Redis) -> None:
    incidents.record_sweep()
    valkey.zadd(work.PROCESSES, {"connector:vm:7": time.time(), "worker:vm:8": time.time()})


def test_not_ready_without_a_connector(valkey: redis.Redis) -> None:
    incidents.record_sweep()
    valkey.zadd(work.PROCESSES, {"worker:vm:8": time.time()})
    status, body = ready()
    assert (status, body["missing"]) == (503, ["connector"])
    assert body["checks"]["connector"] == "there was no sign of a connector within the hour: does it run?"
    valkey.zadd(work.PROCESSES, {"connector:vm:7": time.time() - work.LOST_SECONDS - 1})
    assert b"s ago: does it run?" in health.check_readiness()[1]


def test_not_ready_without_a_sweep(valkey: redis.Redis) -> None:
    processes_work(valkey)
    valkey.delete("swept")
    status, body = ready()
    assert (status, body["missing"]) == (503, ["sweep"])
    assert body["checks"]["sweep"] == "there was no sweep yet: do worker and beat run?"


def test_not_ready_when_the_sweep_is_old(valkey: redis.Redis) -> None:
    processes_work(valkey)
    valkey.set("swept", time.time() - health.OLDEST_SWEEP_SECONDS - 1)
    status, body = ready()
    assert (status, body["missing"]) == (503, ["sweep"])
    assert "s ago: do worker and beat run?" in body["checks"]["sweep"]


@pytest.mark.parametrize("answers", [True, False], ids=["refuses", "hangs"])
def test_not_ready_without_valkey(settings: SettingsWrapper, valkey: redis.Redis, answers: bool) -> None:
    with mute() as port:
        move_valkey(settings, 9 if answers else port)
        began = time.monotonic()
        status, body = ready()
    assert time.monotonic() - began < PATIENCE
    assert (status, body["missing"]) == (503, ["broker", "sweep", "connector"])
    assert "canary" not in json.dumps(body)


@pytest.fixture
def lost_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """New connections go nowhere; the test's own stays."""
    before = dict(connection.settings_dict)
    with mute() as port:
        lost = {"HOST": "127.0.0.1", "PORT": port if request.param == "hangs" else 9, "PASSWORD": "canary-password"}
        connection.settings_dict.update(lost)
        try:
            yield
        finally:
            connection.settings_dict.update(before)


@pytest.mark.parametrize("lost_database", ["hangs", "refuses"], indirect=True)
def test_not_ready_without_the_database(lost_database: None, valkey: redis.Redis) -> None:
    processes_work(valkey)
    began = time.monotonic()
    status, body = ready()
    assert time.monotonic() - began < PATIENCE
    assert (status, body["missing"]) == (503, ["database"])
    assert "canary" not in json.dumps(body)
    assert get("/livez").status == 200


def test_without_a_token_there_are_no_metrics(settings: SettingsWrapper) -> None:
    settings.METRICS_TOKEN = ""
    assert get("/metrics", HTTP_AUTHORIZATION="Bearer ").status == 404


@pytest.mark.parametrize("given", ["", TOKEN, f"Bearer {TOKEN}x", "Bearer", "Bearer ", "Basic é", f"bearer {TOKEN}"])
def test_metrics_want_the_token(given: str) -> None:
    reply = get("/metrics", HTTP_AUTHORIZATION=given)
    assert (reply.status, reply.body) == (401, b"")
    assert reply.headers["WWW-Authenticate"] == "Bearer"


def scrape() -> dict[str, float]:
    """Sample with its labels, as written → figure."""
    reply = get("/metrics", HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(figure) for name, _space, figure in (line.rpartition(" ") for line in lines)}


def test_what_is_open_and_what_failed(valkey: redis.Redis) -> None:
    account = app()
    route(account)
    turn(account)
    hear(account, media=(picture(),))
    late, dead, gone = (to_send(account, str(number), f"user{number}") for number in range(3))
    shift(late, due_at=-100)
    for delivery in (dead, gone):
        shift(delivery, state="dead", reason="permanent", finished_at=0)
    shift(gone, dismissed_at=0)
    shift(to_send(account, "4", "user4"), state="held", reason="review")
    shift(to_send(account, "5", "user5"), state="uncertain", reason="unknown", finished_at=0)
    shift(to_send(account, "6", "user6"), state="sending", lease_until=30)
    Attachment.objects.create(message=hear(account), kind="image", state="failed", code_params={"text": "gone"})
    figures = scrape()
    assert figures['bridge_deliveries_open{state="held",target="channel"}'] == 1
    assert figures['bridge_deliveries_open{state="sending",target="channel"}'] == 1
    assert figures['bridge_dead_letters{state="uncertain",target="channel"}'] == 1
    assert figures['bridge_deliveries_held{reason="review"}'] == 1
    assert figures['bridge_deliveries_open{state="pending",target="channel"}'] == 1
    assert figures['bridge_deliveries_open{state="pending",target="agent"}'] == 1
    assert 100 <= figures['bridge_delivery_oldest_due_seconds{target="channel"}'] < 200
    assert figures['bridge_dead_letters{state="dead",target="channel"}'] == 1
    assert figures["bridge_messages_unrouted"] == 2
    assert figures["bridge_files_waiting"] == 1
    assert figures["bridge_database_bytes"] > 1_000_000
    assert (figures["bridge_database_up"], figures["bridge_valkey_up"]) == (1, 1)


def test_a_gateway_whose_connector_is_gone_is_nobodys(valkey: redis.Redis) -> None:
    over = timezone.now() - timedelta(seconds=1)
    link = gateway()
    Connection.objects.create(gateway=link, owner="connector", owner_until=over)
    assert scrape()[f'bridge_gateway_owned{{gateway="{link.pk}",name="{link.name}"}}'] == 0


def test_accounts_and_gateways(valkey: redis.Redis) -> None:
    good, bad, link = app(), app(agent_id=7, columns={"state": "stopped"}), gateway()
    route(good, link)
    delivery = claimed(turn(good))
    Connection.objects.create(gateway=link, owner="connector", owner_until=delivery.lease_until)
    turn(good, "waits for its turn", "lisi")
    for cause, over in (("account:1", None), ("account:2", timezone.now())):
        factories.incident(cause, "x", closed_at=over)
    figures = scrape()
    assert figures[f'bridge_account_up{{account="{good.pk}",kind="wecom_app",name="Acme app"}}'] == 1
    assert figures[f'bridge_account_up{{account="{bad.pk}",kind="wecom_app",name="{bad.name}"}}'] == 0
    label = f'{{gateway="{link.pk}",name="{link.name}"}}'
    assert (figures[f"bridge_gateway_up{label}"], figures[f"bridge_gateway_owned{label}"]) == (1, 1)
    assert figures[f"bridge_agent_turns_open{label}"] == 1
    assert figures["bridge_incidents_open"] == 1


def test_what_was_done_is_counted(valkey: redis.Redis) -> None:
    counters.flush()
    valkey.delete(counters.KEY)
    account = app()
    body, query = from_app()
    assert call(account, body, query).status == 200
    assert call(account, body, {**query, "msg_signature": "wrong"}).status == 403
    one, two = claimed(to_send(account)), claimed(to_send(account, peer_id="lisi"), "other")
    settle.mark_delivered(one, settle.open_attempt(one, {}))
    settle.fail(two, settle.open_attempt(two, {}), Failure(Action.PERMANENT, Cause("1", {"detail": "no"})))
    figures = scrape()
    assert figures['bridge_messages_total{direction="in"}'] == 1
    assert figures['bridge_messages_total{direction="out"}'] == 2
    assert figures['bridge_attempts_total{outcome="ok",target="channel"}'] == 1
    assert figures['bridge_attempts_total{outcome="error",target="channel"}'] == 1
    assert figures[f'bridge_callbacks_total{{account="{account.pk}",result="ok"}}'] == 1
    assert figures[f'bridge_callbacks_total{{account="{account.pk}",result="signature"}}'] == 1
    assert str(account.key) not in "".join(figures)


def test_the_sweep_s_age(valkey: redis.Redis) -> None:
    assert "bridge_sweep_age_seconds" not in scrape()
    valkey.set("swept", time.time() - 40)
    assert 40 <= scrape()["bridge_sweep_age_seconds"] < 60


def test_metrics_while_valkey_is_away(settings: SettingsWrapper, valkey: redis.Redis) -> None:
    counters.add("messages", direction="in")
    with mute() as port:
        move_valkey(settings, port)
        began = time.monotonic()
        figures = scrape()
    assert time.monotonic() - began < PATIENCE
    assert (figures["bridge_valkey_up"], figures["bridge_database_up"]) == (0, 1)
    assert not [name for name in figures if "_total" in name and "token" not in name]
    assert "bridge_sweep_age_seconds" not in figures


@pytest.mark.parametrize("lost_database", ["hangs"], indirect=True)
def test_metrics_while_the_database_hangs(lost_database: None, valkey: redis.Redis) -> None:
    counters.add("messages", direction="in")
    began = time.monotonic()
    figures = scrape()
    assert time.monotonic() - began < PATIENCE
    assert (figures["bridge_valkey_up"], figures["bridge_database_up"]) == (1, 0)
    assert figures['bridge_messages_total{direction="in"}'] >= 1
    assert "bridge_incidents_open" not in figures


@pytest.mark.django_db(transaction=True)
def test_a_slow_query_is_given_up(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Statement(sql.Figure, "SELECT 1 AS figure FROM pg_sleep(60)")
    monkeypatch.setattr(sql, "DATABASE_SIZE", slow)
    began = time.monotonic()
    assert scrape()["bridge_database_up"] == 0
    assert time.monotonic() - began < PATIENCE


def test_a_full_queue_is_counted_to_a_border_only(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_COUNT", 3)
    account = app()
    for number in range(5):
        hear(account)
        shift(to_send(account, str(number), f"user{number}"), state="dead", reason="permanent", finished_at=0)
        to_send(account, str(number), f"user{number}")
    figures = scrape()
    assert figures["bridge_messages_unrouted"] == 3
    assert figures['bridge_deliveries_open{state="pending",target="channel"}'] == 3
    assert figures['bridge_dead_letters{state="dead",target="channel"}'] == 3
    assert Delivery.objects.count() == 10


def test_every_figure_is_described(valkey: redis.Redis) -> None:
    text = get("/metrics", HTTP_AUTHORIZATION=f"Bearer {TOKEN}").body.decode()
    helps = [line.split(" ", 3)[2:] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) == len({name for name, _text in helps}) > 15
    assert all(name.startswith("bridge_") and len(text) > 10 for name, text in helps)


@pytest.mark.parametrize(
    ("columns", "up"),
    [
        ({"state": "new"}, 1),
        ({"state": "ok"}, 1),
        ({"state": "failing"}, 0),
        ({"state": "stopped"}, 0),
        ({"state": "ok", "enabled": False}, 0),
    ],
)
def test_what_fails_or_is_off_is_not_up(valkey: redis.Redis, columns: dict[str, Any], up: int) -> None:
    account, link = app(columns=columns), gateway(**columns)
    figures = scrape()
    assert figures[f'bridge_account_up{{account="{account.pk}",kind="wecom_app",name="{account.name}"}}'] == up
    assert figures[f'bridge_gateway_up{{gateway="{link.pk}",name="{link.name}"}}'] == up


def test_tokens_are_told_by_their_account(valkey: redis.Redis) -> None:
    spare = app(agent_id=6)
    factories.access_token(spare).delete()
    good, refused = app(), app(agent_id=7)
    factories.access_token(refused, generation=3, failure_code="40001")
    later = timezone.now() + timedelta(minutes=1)
    factories.access_token(good, generation=9, failure_code="45009", wait_until=later)
    figures = scrape()
    assert figures[f'bridge_token_refreshes_total{{account="{good.pk}"}}'] == 9
    assert figures[f'bridge_token_refreshes_total{{account="{refused.pk}"}}'] == 3
    assert [figures[f'bridge_token_refused{{account="{row.pk}"}}'] for row in (good, refused)] == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_who_asks_within_a_second_gets_the_same_answer(valkey: redis.Redis) -> None:
    """Each look opens a connection of its own to the database."""
    processes_work(valkey)

    async def ask(probes: health.Probes) -> int:
        scope: Any = {"method": "GET", "path": "/readyz", "headers": []}
        return (await probes.answer(health.Request(scope, None))).status  # type: ignore[arg-type]  # nothing is received

    async def asked() -> list[int]:
        probes = health.Probes(threads)
        first = await ask(probes)
        probes.last_result = (probes.last_result[0] + PATIENCE, probes.last_result[1])
        valkey.delete("swept")
        second = await ask(probes)
        probes.last_result = (probes.last_result[0] - 2 * PATIENCE, probes.last_result[1])
        return [first, second, await ask(probes)]

    with ThreadPoolExecutor(1) as threads:
        assert asyncio.run(asked()) == [200, 200, 503]


def test_what_turns_and_tokens_took_is_counted(valkey: redis.Redis) -> None:
    counters.flush()
    valkey.delete(counters.KEY)
    counters.add("agent_tokens", 600, kind="input", model="a/b")
    counters.add("agent_tokens", 5, kind="output", model="a/b")
    counters.add("agent_cost_microdollars", 12300, model="a/b")
    counters.add("token_failures", account="5")
    figures = scrape()
    assert figures['bridge_agent_tokens_total{kind="input",model="a/b"}'] == 600
    assert figures['bridge_agent_tokens_total{kind="output",model="a/b"}'] == 5
    assert figures['bridge_agent_cost_microdollars_total{model="a/b"}'] == 12300
    assert figures['bridge_token_failures_total{account="5"}'] == 1
