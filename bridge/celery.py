"""The Celery application: what the clock starts, and the worker's process. Its settings are the CELERY_* names in `bridge.settings`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.signals import after_task_publish, worker_shutting_down
from django.conf import settings
from kombu.transport.virtual import Channel

from accounts import counters, work
from bridge.runtime.launcher import liveness

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge.settings")

# Nor is a task given back that was not begun when the broker went: kombu would do it over the connection that has gone, and end the worker.
Channel.do_restore = False

app = Celery("bridge")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["bridge.runtime.worker"])


class SignsOfLife(StartStopStep):
    """From the timer of the worker's event loop, which stands still where the loop does, or where it waits for its broker."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        work.begin("worker")
        # Runs when the loop does, so when every other step has started.
        parent.timer.call_after(0, liveness.touch_sign, ("worker",))
        parent.timer.call_repeatedly(liveness.TOUCH_SECONDS, liveness.touch_sign, ("worker",))


class Answering(StartStopStep):
    """Runs the threads of the topics. They claim nothing more after the signal to end, and the worker ends when their work is done."""

    requires = ("celery.worker.components:Pool",)

    def create(self, parent: Any) -> Any:
        from bridge.runtime.worker.threads import WorkerThreads  # not before Django has its models

        threads = WorkerThreads()
        worker_shutting_down.connect(lambda **_kwargs: threads.leave(), weak=False)
        return threads

    def start(self, parent: Any) -> None:
        from bridge.models import Carrier
        from bridge.runtime.worker.warm_up import warm_up

        warm_up(Carrier.WORKER, most=settings.SEND_THREADS)
        super().start(parent)


app.steps["worker"].update({SignsOfLife, Answering})


@after_task_publish.connect(sender="bridge.runtime.worker.tasks.sweep")
def _ticked(**_kwargs: Any) -> None:
    """Only the clock publishes this task, each second."""
    work.begin("beat")
    counters.add("ticks")
    liveness.touch_sign("beat")
