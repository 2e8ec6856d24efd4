"""Watches the sweep from a process that is no worker: where every worker is away, nobody else is left that tells staff of it."""

from __future__ import annotations

import asyncio
import logging

from bridge.operations import incidents
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import in_io_thread
from bridge.security import logs

log = logging.getLogger(__name__)
# After a start of everything, workers have so long to sweep for the first time.
FIRST_LOOK_SECONDS = 60.0
LOOK_SECONDS = 10.0


async def watch_sweep(first: float = FIRST_LOOK_SECONDS, every: float = LOOK_SECONDS) -> None:
    """Look until cancelled. first, every: seconds before the first look, and between two."""
    failures = logs.Rarely()
    await asyncio.sleep(first)
    while True:
        try:
            await in_io_thread(incidents.tell_of_silent_sweep)
            failures.forget()
        except DB_UNAVAILABLE as error:
            failures.note_outage(log, "the watch of the sweep", error)
        except Exception as error:
            if failures.is_due(type(error).__name__):
                log.exception("the sweep could not be watched")
        await asyncio.sleep(every)
