"""Staff are told also where no worker is left, and where one of their channels does not work."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from accounts import valkey as guarded
from accounts.models import Connection
from bridge.models import AlertDelivery, AlertMessage, Incident
from bridge.operations import alerts, incidents
from bridge.operations.alerts import sending
from bridge.operations.problems import processes
from bridge.operations.watch import Watch
from tests.channels.harness import Reply, recorder
from tests.support import factories
from tests.support.factories import CANARIES, alert_channel, alert_rule, eventually, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.channels.harness import Recorder

KEY = "key=robot-secret"


@pytest.fixture
def server(settings: Any) -> Iterator[Recorder]:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    with recorder() as found:
        yield found


def titles(server: Recorder) -> list[str]:
    return [request.json["text"]["content"].splitlines()[0] for request in server.requests]


@pytest.fixture
def silent(valkey: redis.Redis) -> Iterator[None]:
    """The last sweep was ten minutes ago."""
    valkey.set("swept", time.time() - 600)
    yield
    valkey.delete("swept")  # its age would be a problem to later tests


@contextmanager
def watches(count: int) -> Iterator[None]:
    """As in so many processes at once, with the rule that an earlier test may have deleted with all its rows."""
    alert_rule("worker_silent")
    running = [Watch(first=0, every=0.05) for _number in range(count)]
    for watch in running:
        watch.start()
    try:
        yield
    finally:
        for watch in running:
            watch.stop()
            watch.thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("silent")
def test_all_watches_together_tell_once_and_the_worker_that_is_back_tells_the_end(server: Recorder) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")

    with watches(3):
        eventually(lambda: AlertMessage.objects.filter(state="accepted").exists(), 60)
    incidents.tell_of_silent_processes(processes.read_last_sweep())
    assert titles(server) == ["Worker or beat does not work"]
    incidents.record_sweep()
    incidents.update_incidents()
    assert titles(server)[1:] == ["Resolved: Worker or beat does not work"]


@pytest.mark.django_db
def test_the_watch_does_nothing_while_a_worker_sweeps(server: Recorder, valkey: redis.Redis) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")
    factories.incident("x")
    incidents.record_sweep()
    incidents.tell_of_silent_processes(processes.read_last_sweep())
    assert (titles(server), AlertDelivery.objects.count(), Incident.objects.count()) == ([], 0, 1)
    valkey.delete("swept")


@pytest.mark.django_db
@pytest.mark.usefixtures("silent")
def test_without_a_worker_the_watch_tells_of_the_connector_too(server: Recorder) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")
    over = timezone.now() - processes.MAX_UNHELD - timedelta(seconds=1)
    Connection.objects.create(gateway=gateway(), owner_until=over)
    incidents.tell_of_silent_processes(processes.read_last_sweep())
    (text,) = [request.json["text"]["content"] for request in server.requests]
    assert "Worker or beat does not work" in text
    assert "No connector works" in text


@pytest.mark.django_db(transaction=True)
def test_the_watch_tells_of_a_valkey_that_is_away_and_the_clock_tells_the_end(
    server: Recorder, settings: Any, valkey: redis.Redis
) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")
    here = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    guarded.client.cache_clear()
    with watches(1):
        eventually(lambda: AlertMessage.objects.filter(state="accepted").exists(), 60)
    assert titles(server) == ["Valkey does not answer"]
    settings.REDIS_URL = here
    guarded.client.cache_clear()
    guarded.circuit_breaker.until = 0.0
    incidents.record_sweep()
    incidents.update_incidents()
    assert titles(server)[1:] == ["Resolved: Valkey does not answer"]
    valkey.delete("swept")


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_a_channel_that_fails_is_told_by_the_others(server: Recorder) -> None:
    works = alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")
    fails = alert_channel("webhook", url=f"{server.url}/hook", name="Ops hook", failures=2)
    AlertMessage.objects.create(
        channel=fails, target="x", title="t", text="t", state="refused", code="http_4xx", finished_at=fails.created_at
    )
    incidents.update_incidents()
    incident = Incident.objects.get(code="alert_channel_fails")
    rows = {row.channel_id: (row.state, row.code) for row in incident.alerts.all()}
    assert rows == {works.pk: ("sent", ""), fails.pk: ("skipped", "own_failure")}
    assert titles(server) == ["Alerts by Ops hook are not accepted"]
    assert "refuses" in incident.detail
    type(fails).objects.filter(pk=fails.pk).update(failures=0)
    incidents.update_incidents()
    assert titles(server)[1:] == ["Resolved: Alerts by Ops hook are not accepted"]


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_no_secret_of_a_channel_is_written_anywhere(server: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """Its address is in the answer of the receiver too."""
    path = f"/{CANARIES['alert address']}"
    server.will(*[Reply(f"no such hook: {server.url}{path}".encode(), status=400)] * 2)
    channel = alert_channel("webhook", url=f"{server.url}{path}", secret=CANARIES["alert secret"])
    factories.incident("x")
    alerts.send_alerts()
    assert sending.send_test(channel).state == "refused"
    channel.rotate()
    secrets = (CANARIES["alert address"], CANARIES["alert secret"], channel.secret)
    written = [caplog.text, *map(str, LogEntry.objects.values()), *map(str, AlertMessage.objects.values())]
    written += [str(incident.alert_errors) for incident in Incident.objects.all()]
    assert "an alert could not be sent" in caplog.text
    assert LogEntry.objects.exists()
    assert [text for text in written for secret in secrets if secret in text] == []
