"""A connection that this process holds: it is opened again after it ended, until staff have to do something first."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import abstractmethod
from typing import TYPE_CHECKING

from bridge.connector.leases import read_connection_settings
from bridge.explanations.own import INTERNAL, OWN
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs
from channels_wechat.contract.connection import ConnectionRefused
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from openclaw.errors import GatewayError

if TYPE_CHECKING:
    from accounts.models import Connection

log = logging.getLogger(__name__)
# After a connection of this length the back-off starts at its first value. One that was only opened proves nothing: the other side
# may take our credentials and close at once.
STABLE_SECONDS = 60
OUTAGE_SECONDS = 1.0
# The pause after a connection that was stable.
FIRST_PAUSE_SECONDS = 0.2
# The unit of the back-off: its first pause is about one, its longest thirty.
BACKOFF_SECONDS = 1.0
# Even if the other side asks for more: an attempt that comes too early is only refused once.
LONGEST_WAIT_SECONDS = 3600

Ending = GatewayError | ChannelError | ConnectionRefused


class HeldConnection:
    """The task of one connection.

    opened_at: the loop's time since which the other side accepts us; None while it does not. failures: how many attempts in a row have
    failed, or ended too soon.
    """

    def __init__(self, row: Connection) -> None:
        self.row = row
        self.opened_at: float | None = None
        self.failures = 0
        self.error_log, self.outage_log, self.defect_log = logs.Rarely(), logs.Rarely(), logs.Rarely()
        self.task = asyncio.create_task(self._run())

    @abstractmethod
    async def _serve(self) -> None:
        """Open the connection and serve it until it ends. Calls `_note_open` when the other side has accepted us."""

    @abstractmethod
    async def _record_end(self, error: Ending | None) -> bool:
        """Write to the rows why it ended; None: closed in order. Return whether to open it again."""

    @abstractmethod
    async def _clean_up(self) -> None:
        """Release what the connection needed; after the pause, so that what it leaves unfinished has that time to end."""

    async def refresh(self, row: Connection) -> None:
        """Take the row as it is now; at every renewal of the lease."""
        self.row = row

    def is_outdated(self, row: Connection | None) -> bool:
        """Whether it must be closed, because another connector has it, it is not wanted, its settings changed or its task has ended."""
        return row is None or read_connection_settings(row) != read_connection_settings(self.row) or self.task.done()

    async def _run(self) -> None:
        while True:
            self.opened_at = None
            try:
                error = await self._serve_until_end()
                self.failures = 0 if self._was_stable() else self.failures + 1
                if not await self._record_end_surely(error):
                    return
                await asyncio.sleep(_find_pause(error, self.failures))
            except DB_UNAVAILABLE as outage:
                self.outage_log.note_outage(log, f"connection {self.row.pk}", outage)
                await asyncio.sleep(OUTAGE_SECONDS)
            finally:
                await self._clean_up()

    async def _serve_until_end(self) -> Ending | None:
        try:
            await self._serve()
        except (GatewayError, ChannelError, ConnectionRefused) as error:
            return error
        except DB_UNAVAILABLE:
            raise
        except Exception as error:  # a defect of our own is met again only after a pause, and staff see it
            if self.defect_log.is_due(type(error).__name__):
                log.exception("connection %s: a defect ended it", self.row.pk)
            return OWN.error(INTERNAL, Action.RETRY, detail=type(error).__name__)
        return None

    async def _record_end_surely(self, error: Ending | None) -> bool:
        """Do `_record_end`, also while the database is away. What only staff may open again is not opened before that is written."""
        while True:
            try:
                return await self._record_end(error)
            except DB_UNAVAILABLE as outage:
                self.outage_log.note_outage(log, f"connection {self.row.pk}", outage)
                if not _stops(error):
                    return True
            await asyncio.sleep(OUTAGE_SECONDS)

    def _note_open(self) -> None:
        self.opened_at = asyncio.get_running_loop().time()
        self.error_log.forget()
        self.outage_log.forget()

    def _was_stable(self) -> bool:
        return self.opened_at is not None and asyncio.get_running_loop().time() - self.opened_at > STABLE_SECONDS

    def _log_end(self, name: str, code: str) -> None:
        if self.error_log.is_due(code):
            times = f" ({self.error_log.times} times in a row)" if self.error_log.times > 1 else ""
            log.warning("%s: %s%s", name, code, times)


def _stops(error: Ending | None) -> bool:
    """Whether the connection must not be opened again before staff have done something."""
    return isinstance(error, ConnectionRefused) or (error is not None and error.action == Action.CONFIG)


def compute_backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row (from 1): 1 to 30, with jitter, so that not all come back at once."""
    units = 0.25 + min(29.75, 2.0 ** min(failures - 1, 5)) * random.uniform(0.75, 1.0)  # noqa: S311 - not a secret
    return BACKOFF_SECONDS * units


def _find_pause(error: Ending | None, failures: int) -> float:
    asked = getattr(error, "retry_after", None) or 0.0
    return max(min(asked, LONGEST_WAIT_SECONDS), compute_backoff(failures) if failures else FIRST_PAUSE_SECONDS)
