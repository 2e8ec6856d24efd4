"""Processes are killed or stopped by their ids, and staff get the alert, once by each channel, from whatever still runs; and its end."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook

from bridge.models import AlertDelivery, RuleKind
from openclaw.models import Gateway
from tests.channels.harness import recorder
from tests.production.processes import running, signed
from tests.support import factories
from tests.support.factories import GROUP, alert_channel, alert_rule, eventually
from tests.support.mail_server import mail_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub
    from tests.production.processes import Process

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
# A look each 10 seconds after the first minute, half a minute of silence, and the time to start a process on a busy machine.
PATIENCE = 180
ROBOT_KEY = "alerts-of-staff"
SILENT, NO_CONNECTOR = "Worker or beat does not work", "No connector works"


class Desk:
    """Three channels of staff, with what has arrived at each."""

    def __init__(self, company: SimulatorClient, stack: ExitStack) -> None:
        self.company, self.mails = company, stack.enter_context(mail_server())
        self.server = stack.enter_context(recorder())
        company.robot(GROUP, key=ROBOT_KEY, name="Alerts")
        self.hook = alert_channel("webhook", url=f"{self.server.url}/alerts")
        robot = alert_channel("robot", url=f"{company.url}/cgi-bin/webhook/send?key={ROBOT_KEY}")
        for channel in (self.hook, robot, alert_channel(emails=["desk@example.com"])):
            channel.rules.add(alert_rule(RuleKind.WORKER_SILENT))

    def texts(self) -> dict[str, list[str]]:
        """Channel → the texts that arrived there, in their order."""
        signature = Webhook(self.hook.secret)
        return {
            "webhook": [signature.verify(one.body, one.headers)["data"]["text"] for one in self.server.requests],
            "mail": [mail.get_payload(decode=True).decode() for _to, mail in self.mails.mails],  # type: ignore[union-attr]
            "robot": [entry["text"] for entry in self.company.transcript(GROUP)],
        }

    def wait_for(self, count: int, *titles: str) -> None:
        """Until each channel got so many messages, the last of which says this of all these titles."""

        def came() -> bool:
            found = self.texts().values()
            return all(len(texts) >= count and all(title in texts[-1] for title in titles) for texts in found)

        eventually(came, PATIENCE, pause=0.5)
        assert {len(texts) for texts in self.texts().values()} == {count}, self.texts()


@pytest.fixture
def desk(company: SimulatorClient) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(company, stack)


class Site:
    """The processes of the bridge, by name."""

    def __init__(self, folder: Path, desk: Desk, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.settings = {"EMAIL_URL": f"smtp://127.0.0.1:{desk.mails.port}"}
        self.processes: dict[str, Process] = {}

    def start(self, *names: str) -> None:
        for name in names:
            (self.folder / f"{name}.alive").unlink(missing_ok=True)
            self.processes[name] = self.stack.enter_context(running(name, self.folder, **self.settings))
        for name in names:
            signed(self.processes[name], self.folder)

    def kill(self, name: str) -> None:
        self.processes[name].popen.send_signal(signal.SIGKILL)
        self.processes[name].popen.wait()


@pytest.fixture
def site(tmp_path: Path, desk: Desk) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, desk, stack)


@contextmanager
def swept(valkey: redis.Redis) -> Iterator[None]:
    """Worker and beat work together. Afterwards the age of the last sweep is no problem to later tests."""
    eventually(lambda: valkey.get("swept"), 60)
    try:
        yield
    finally:
        valkey.delete("swept")


def test_a_worker_is_killed_and_the_connector_tells_it(site: Site, desk: Desk, valkey: redis.Redis) -> None:
    site.start("beat", "worker", "connector")
    with swept(valkey):
        site.kill("worker")
        desk.wait_for(1, SILENT)
        site.start("worker")
        desk.wait_for(2, "Resolved", SILENT)


def test_worker_and_connector_are_killed_and_the_web_servers_tell_it_once(
    site: Site, desk: Desk, valkey: redis.Redis, stub: RunningStub
) -> None:
    """Two processes of each web server look at the same time; nobody has sent them a request."""
    gateway = factories.gateway(stub.base_url)
    site.start("beat", "worker", "connector", "web", "callbacks")
    with swept(valkey):
        eventually(lambda: Gateway.objects.get(pk=gateway.pk).state == "ok", 60)
        site.kill("worker")
        site.kill("connector")
        eventually(lambda: AlertDelivery.objects.filter(state="sent").count() == 6, PATIENCE, pause=0.5)
        told = {name: "\n".join(texts) for name, texts in desk.texts().items()}
        assert all(text.count(title) == 1 for text in told.values() for title in (SILENT, NO_CONNECTOR)), told
        site.start("worker", "connector")
        eventually(lambda: AlertDelivery.objects.filter(occasion="resolved", state="sent").count() == 6, PATIENCE)


def test_a_connector_is_stopped_and_the_worker_tells_it(
    site: Site, desk: Desk, valkey: redis.Redis, stub: RunningStub
) -> None:
    gateway = factories.gateway(stub.base_url)
    site.start("beat", "worker", "connector")
    with swept(valkey):
        eventually(lambda: Gateway.objects.get(pk=gateway.pk).state == "ok", 60)
        site.processes["connector"].terminate()
        assert site.processes["connector"].stopped(30) == 0
        desk.wait_for(1, NO_CONNECTOR)
        site.start("connector")
        desk.wait_for(2, "Resolved", NO_CONNECTOR)
