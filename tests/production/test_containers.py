"""The production set as containers would run it: read-only, without rights, and a message goes through."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.models import Attachment, Delivery, State
from bridge.runtime.launcher.commands import PROCESSES
from openclaw.stub.answers import make_picture
from tests.production.containers import SERVICES, Image
from tests.support import factories
from tests.support.factories import AGENT, BOT, GROUP, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub
    from tests.production.processes import Process

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces and other users need root"),
    pytest.mark.skipif(
        "TEST_DATABASE_URL" in os.environ, reason="the sockets of the test run's own servers are needed"
    ),
]
PROBE = """
for place in /srv/bridge /srv/bridge/bridge /srv/static /srv/venv / /var/tmp /etc /tmp /srv/media /srv/spool; do
    if touch "$place/probe" 2>/dev/null; then echo "$place"; fi
done
id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t'
command -v gcc cc >/dev/null && echo compiler
"""
# A text of three rooms; that of the second is what the platforms' own consoles call it.
CHINESE = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "bridge.settings"
django.setup()
from django.utils.translation import gettext, override
with override("zh-hans"):
    print(gettext("Dead letters"), gettext("Access token"), gettext("gateway"))
"""


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    """Built; and the test run's servers can be reached by another user."""
    sockets = Path(parse_qs(urlsplit(os.environ["DATABASE_URL"]).query)["host"][0])
    paths = [sockets, *(path for path in sockets.iterdir() if path.is_socket())]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o777)
    yield Image(tmp_path)
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.fixture
def containers(image: Image, company: SimulatorClient) -> Iterator[dict[str, Process]]:
    """Prepared, started and healthy."""
    started: dict[str, Process] = {}
    try:
        prepare = image.start("prepare")
        assert prepare.stopped(120) == 0, prepare.said()
        started |= {name: image.start(name) for name in PROCESSES}
        for name, process in started.items():
            eventually(lambda n=name, p=process: _healthy(image, n, p), 90)
        yield started
    finally:
        for process in started.values():
            process.end()


def _healthy(image: Image, name: str, process: Process) -> bool:
    assert process.running, process.said()
    return image.check(name, process).returncode == 0


def test_only_tmp_and_the_volumes_can_be_written_and_nobody_has_rights(image: Image) -> None:
    probe = image.start("web", ["/bin/sh", "-c", PROBE])
    probe.stopped(60)
    lines = probe.said().split()
    assert [line for line in lines if line.startswith("/")] == ["/tmp", "/srv/media", "/srv/spool"]  # noqa: S108 - in the container
    assert "10001" in lines
    assert "NoNewPrivs:1" in lines
    assert [line for line in lines if line.startswith("Cap")] == [f"{cap}:{'0' * 16}" for cap in ("CapEff", "CapBnd")]


def test_chinese_is_there_although_nothing_can_be_written(image: Image) -> None:
    shown = image.start("web", ["python", "-c", CHINESE])
    assert shown.stopped(60) == 0, shown.said()
    assert shown.said().split() == ["死信", "access_token", "网关"]


def test_a_message_goes_through_and_a_stop_is_clean(
    image: Image, containers: dict[str, Process], company: SimulatorClient, stub: RunningStub
) -> None:
    accounts = factories.app(company.url), factories.bot(company.url, corp_id="")
    home = factories.gateway(stub.base_url)
    web = f"http://127.0.0.1:{containers['callbacks'].port}"
    for account, kind, which in zip(accounts, ("apps", "bots"), ({"agentid": AGENT}, {"aibotid": BOT}), strict=True):
        factories.route(account, home)
        company.post(kind, callback_url=f"{web}/callbacks/{account.key}", **which)
    _talk(company)
    _no_complaints(containers)
    figures = {name: _memory(process) for name, process in containers.items()}
    print("MiB resident:", figures)
    for process in containers.values():
        process.terminate()
    for name, process in containers.items():
        assert process.stopped(float(SERVICES[name]["stop_grace_period"].removesuffix("s"))) == 0, process.said()
    assert not Delivery.objects.filter(state=State.SENDING).exists()


def _talk(company: SimulatorClient) -> None:
    """A streamed answer in a group, and a picture that is fetched by one container, read by another, and kept in the volume."""
    asked = company.say("帮我看看", bot=BOT, from_="zhangsan", chat=GROUP)
    assert company.wait_answer(asked, 60)["text"]
    company.say(app=AGENT, from_="lisi", kind="image", data=make_picture(7))
    chat = f"app:{AGENT}:lisi"
    eventually(lambda: [entry for entry in company.transcript(chat) if entry["via"] != "member"], 60)
    eventually(lambda: not Delivery.objects.filter(state__in=(State.PENDING, State.SENDING)).exists(), 30)
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.DELIVERED}
    assert Attachment.objects.exclude(file="").count() == 1


def _no_complaints(containers: dict[str, Process]) -> None:
    for process in containers.values():
        assert not re.search(r"Read-only|Permission denied|Traceback|ERROR", process.said()), process.said()


def test_a_stuck_process_is_found_unhealthy(image: Image, containers: dict[str, Process]) -> None:
    """Paused, each of them; the health check of the web server has only its own time-out to wait for."""
    for process in containers.values():
        process.popen.send_signal(signal.SIGSTOP)
    for name in ("worker", "beat", "connector"):
        eventually(lambda n=name: image.check(n, containers[n]).returncode == 1, 60)


def _memory(process: Process) -> int:
    """Resident MiB of the process and its children."""
    pids = {process.popen.pid}
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = path.read_text().rpartition(")")[2].split()
        if int(fields[1]) in pids:
            pids.add(int(path.parent.name))
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
