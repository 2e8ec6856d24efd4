"""What a wake-up or the clock makes the worker do."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from bridge.models import Attachment, Contact, Delivery, HourFigures, Incident
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker import tasks
from bridge.runtime.worker.threads import WorkerThreads
from tests.support import factories
from tests.support.away import database_away
from tests.support.factories import AGENT, app, hear, picture, to_send

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from pytest_django.fixtures import SettingsWrapper

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_wake_sends_everything_each_lane_in_order(company: SimulatorClient, valkey: redis.Redis) -> None:
    account = app(company.url)
    for number in range(4):
        for person in ("zhangsan", "lisi", "wangwu"):
            to_send(account, str(number), person)
    WorkerThreads().pools[Topic.SEND].run()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    for person in ("zhangsan", "lisi", "wangwu"):
        assert [entry["text"] for entry in company.transcript(f"app:{AGENT}:{person}")] == ["0", "1", "2", "3"]
    assert len(company.calls("gettoken")) == 1


def test_one_wake_fetches_all_files(company: SimulatorClient) -> None:
    account = app(company.url)
    for _message in range(3):
        hear(account, media=(picture("nonsense"), picture("nonsense")))
    WorkerThreads().pools[Topic.FETCH].run()
    assert list(Attachment.objects.values_list("tries", flat=True)) == [1] * 6
    assert not Attachment.objects.filter(code_params={}).exists()


def test_the_clock_looks_up_names_and_checks_health(company: SimulatorClient) -> None:
    account = app(company.url)
    factories.contact(account, "zhangsan")
    tasks.look_up_names()
    assert Contact.objects.get().name == "张三"
    account.set_state("stopped", "", {"text": "wrong secret"})  # type: ignore[arg-type]
    tasks.check_health()
    assert Incident.objects.exclude(code="alerts_off").get().cause == f"account:{account.pk}"


def test_the_clock_counts_figures_and_deletes_old_ones() -> None:
    hear(app())
    tasks.count_figures()
    assert [row.messages_in for row in HourFigures.objects.all()] == [1]
    HourFigures.objects.update(hour=timezone.now() - timedelta(days=500))
    tasks.tidy()
    assert not HourFigures.objects.exists()


def test_each_step_of_the_night_runs_and_a_failed_one_is_an_incident_until_it_works(
    settings: SettingsWrapper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MEDIA_ROOT.write_text("a file where a folder should be")
    long_ago = timezone.now() - timedelta(days=91)
    factories.incident("old", opened_at=long_ago, closed_at=long_ago)
    tasks.tidy()
    incident = Incident.objects.get(closed_at=None)
    assert (incident.title, incident.cause) == (
        "A regular task failed: delete files that no message names",
        "task:orphan_files",
    )
    assert "NotADirectoryError" in incident.detail
    assert str(tmp_path) not in incident.detail
    assert not Incident.objects.filter(cause="old").exists(), "the next step ran"
    assert "the step orphan_files of a regular task failed" in caplog.text
    tasks.check_health()
    tasks.tidy()
    assert Incident.objects.filter(code="task_failed", closed_at=None).count() == 1
    settings.MEDIA_ROOT.unlink()
    tasks.tidy()
    assert not Incident.objects.filter(code="task_failed", closed_at=None).exists(), (
        "no folder: no file was ever stored"
    )


def test_while_the_database_is_away_the_clock_writes_few_lines_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with database_away(), caplog.at_level(logging.INFO):
        for _second in range(8):
            tasks.sweep()
    lines = [record for record in caplog.records if record.name == "bridge.runtime.worker.tasks"]
    assert [record.exc_info for record in lines] == [None] * 4
    assert "the database is away" in lines[0].getMessage()
    tasks.sweep()


def test_a_worker_knows_every_task_of_the_clock() -> None:
    """In a process of its own: here, other tests have imported the tasks already."""
    code = "from bridge.celery import app; app.loader.import_default_modules(); print(*app.tasks)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=django_settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    due = {entry["task"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert due - set(run.stdout.split()) == set()
