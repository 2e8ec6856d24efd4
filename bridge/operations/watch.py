"""Watches the sweep from processes that are no workers: where every worker is away, they are left to alert staff of it."""

from __future__ import annotations

import logging
import threading

from django.db import connection

from bridge.operations import incidents
from bridge.operations.problems.processes import read_last_sweep
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs

log = logging.getLogger(__name__)
# After a start of everything, workers have so long to sweep for the first time.
FIRST_LOOK_SECONDS = 60.0
LOOK_SECONDS = 10.0
# Valkey is away when so many looks in a row have no answer: a restart of it takes seconds.
LOOKS_WITHOUT_VALKEY = 4


class Watch:
    """A thread of the connector and of each web process. While a worker sweeps, a look costs one read from Valkey."""

    def __init__(self, first: float = FIRST_LOOK_SECONDS, every: float = LOOK_SECONDS) -> None:
        """first, every: seconds before the first look, and between two."""
        self.first, self.every = first, every
        self.failures = logs.Rarely()
        self.looks_without_valkey = 0
        self.leaving = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End after the look under way. It is not waited for, because it may be waiting for a mail server."""
        self.leaving.set()

    def _run(self) -> None:
        pause = self.first
        while not self.leaving.wait(pause):
            self._look()
            pause = self.every

    def _look(self) -> None:
        try:
            self._tell(read_last_sweep())
            self.failures.forget()
        except DB_UNAVAILABLE as error:
            self.failures.note_outage(log, "the watch of the sweep", error)
        except Exception as error:  # a defect must not end the thread
            if self.failures.is_due(type(error).__name__):
                log.exception("the sweep could not be watched")
        finally:
            connection.close()

    def _tell(self, swept: float | None) -> None:
        self.looks_without_valkey = self.looks_without_valkey + 1 if swept is None else 0
        if swept is not None or self.looks_without_valkey >= LOOKS_WITHOUT_VALKEY:
            incidents.tell_of_silent_processes(swept)
