"""What a wake-up or the clock makes the worker do."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.utils import timezone

from bridge.models import Attachment, Contact, Delivery, HourFigures, Incident
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker import tasks
from bridge.runtime.worker.threads import WorkerThreads
from tests.support import factories
from tests.support.away import database_away
from tests.support.factories import AGENT, app, hear, picture, to_send

if TYPE_CHECKING:
    import redis

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
    Path(settings.MEDIA_ROOT).mkdir(exist_ok=True)
    tasks.tidy()
    assert not HourFigures.objects.exists()


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
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    due = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert due - set(run.stdout.split()) == set()
