"""Staff are told also where no worker is left, and where one of their channels does not work."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry

from bridge.models import AlertDelivery, AlertMessage, Incident
from bridge.operations import alerts, incidents
from bridge.operations.alerts import sending
from bridge.operations.watch import watch_sweep
from bridge.runtime.db.threads import in_db_thread
from tests.channels.harness import Reply, recorder
from tests.support import factories
from tests.support.factories import CANARIES, alert_channel

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


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("silent")
def test_the_watch_tells_once_and_the_worker_that_is_back_tells_the_end(server: Recorder) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")

    async def watch() -> None:
        task = asyncio.create_task(watch_sweep(first=0, every=0.05))
        async with asyncio.timeout(60):
            while not await in_db_thread(AlertMessage.objects.filter(state="accepted").exists):
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(watch())
    incidents.tell_of_silent_sweep()
    assert titles(server) == ["Worker or beat does not work"]
    incidents.record_sweep()
    incidents.update_incidents()
    assert titles(server)[1:] == ["Resolved: Worker or beat does not work"]


@pytest.mark.django_db
def test_the_watch_does_nothing_while_a_worker_sweeps(server: Recorder, valkey: redis.Redis) -> None:
    alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}")
    factories.incident("x")
    incidents.record_sweep()
    incidents.tell_of_silent_sweep()
    assert (titles(server), AlertDelivery.objects.count(), Incident.objects.count()) == ([], 0, 1)
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
