"""The connection of an account: it stores what comes, and gives the threads that send a link to the platform."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from accounts.channels import build_channel
from accounts.health import Health
from bridge.connector import states
from bridge.connector.held import HeldConnection
from bridge.connector.partials import OpenQuestions
from bridge.pipeline.inbound import intake
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import in_db_thread
from bridge.runtime.spool import journal
from channels_wechat.contract.connection import (
    CONNECTION_CODES,
    NEEDS_LOGIN,
    ConnectionRefused,
    ConnectionState,
    ThreadLink,
    set_link,
)
from channels_wechat.contract.connection import (
    Connection as ConnectedChannel,
)
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action, Cause

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import ChannelAccount, Connection
    from bridge.connector.held import Ending
    from channels_wechat.contract.connection import Link
    from channels_wechat.contract.messages import Inbound

log = logging.getLogger(__name__)


class AccountConnection(HeldConnection):
    """Implements `channels_wechat.contract.connection.Session`.

    wake_senders: called when messages can be sent that could not be before.
    """

    def __init__(self, row: Connection, wake_senders: Callable[[], None]) -> None:
        channel = build_channel(_account_of(row))
        if not isinstance(channel, ConnectedChannel):
            raise TypeError(f"account {row.account_id} has no connection")
        self.channel, self.wake_senders = channel, wake_senders
        self.device_id, self.cursor, self.own_id = row.device_id.hex, row.cursor, row.own_id
        self.last_frame_at = 0.0
        self._is_open_stored = True
        self._storing_open = asyncio.Lock()
        self._is_first = True
        # What could not be stored yet, because the database is away: a name, and what stores it in a row.
        self._unstored: dict[str, Callable[[Connection], object]] = {}
        self.questions = OpenQuestions(_account_of(row), channel)
        super().__init__(row)

    @property
    def account(self) -> ChannelAccount:
        return _account_of(self.row)

    async def _serve(self) -> None:
        if self._is_first:
            with contextlib.suppress(*DB_UNAVAILABLE):
                await in_db_thread(states.forget_left_state, self.row)
            self._is_first = False
        try:
            await self.channel.run(self)
        finally:
            set_link(self.channel.identity.key, None)
            self.questions.close()

    # --- what the kind calls

    def note_frame(self) -> None:
        self.last_frame_at = time.time()

    async def open(self, link: Link | None = None) -> None:
        self.note_frame()
        self._note_open()
        if link:
            loop = asyncio.get_running_loop()
            set_link(self.channel.identity.key, ThreadLink(self.questions.watch(link), loop))
        self._is_open_stored = False
        await self._store_open()
        log.info("account %s: connected", self.account.pk)

    async def receive(self, *messages: Inbound) -> None:
        self.note_frame()
        try:
            await in_db_thread(intake.store_or_spool, self.account, messages)
        except journal.SpoolFull as error:
            raise CONNECTION_CODES.error("not_stored") from error
        self.questions.add(messages)

    async def keep_answer(self, message: Inbound, text: str) -> None:
        await in_db_thread(intake.store_own_reply, self.account, message, text)

    async def may_send(self) -> bool:
        """While the database is away, as it was last known."""
        with contextlib.suppress(*DB_UNAVAILABLE):
            return await in_db_thread(states.may_send, self.account.pk)
        return self.account.may_send

    async def store_cursor(self, cursor: str) -> None:
        """While the database is away what was received is in the spool, and it is not asked for again."""
        self.cursor = cursor
        await self._store("cursor", lambda row: states.store_cursor(row, cursor))

    async def _store(self, name: str, write: Callable[[Connection], object]) -> None:
        """Store something about the connection; while the database is away later, because the connection serves on."""
        self._unstored[name] = write
        await self._store_waiting()

    async def _store_waiting(self) -> None:
        with contextlib.suppress(*DB_UNAVAILABLE):
            for name, write in list(self._unstored.items()):
                await in_db_thread(write, self.row)
                if self._unstored.get(name) is write:
                    del self._unstored[name]

    async def show_login(self, code: str, *, scanned: bool = False) -> None:
        self.note_frame()
        self.opened_at = None
        set_link(self.channel.identity.key, None)
        self.questions.close()
        await in_db_thread(states.store_login, self.row, code, scanned=scanned)

    async def show_identity(self, own_id: str, own_name: str) -> None:
        self.own_id = own_id
        await self._store("identity", lambda row: states.store_identity(row, own_id, own_name))

    # --- what is written about it

    async def refresh(self, row: Connection) -> None:
        await super().refresh(row)
        await self._store_open()
        await self._store_waiting()
        if self.opened_at is not None:
            await in_db_thread(states.store_frame_time, row, self.last_frame_at)
            if self.account.state == Health.FAILING:  # a message failed, and the connection works
                await in_db_thread(states.store_account_state, row, Health.OK)

    async def _store_open(self) -> None:
        """Store that the platform accepted us. While the database is away the connection serves on, and this is tried again."""
        # A renewal of the lease may come while it is stored: it would find it not stored yet, and store a second gap.
        async with self._storing_open:
            if self._is_open_stored:
                return
            with contextlib.suppress(*DB_UNAVAILABLE):
                await in_db_thread(states.store_opened, self.row, keeps_history=self.channel.keeps_history)
                self._is_open_stored = True
                self.wake_senders()

    async def _record_end(self, error: Ending | None) -> bool:
        self._is_open_stored = True
        if isinstance(error, ConnectionRefused):
            await self._store_end(error.state, error.error, Health.STOPPED)
            return False
        if not isinstance(error, ChannelError):
            await in_db_thread(states.store_state, self.row, ConnectionState.CONNECTING)
            return True
        stops = error.action == Action.CONFIG
        needs_login = error.code in self.channel.login_codes
        waiting = ConnectionState.NEEDS_LOGIN if needs_login else ConnectionState.CONNECTING
        state = ConnectionState.BAD_CREDENTIALS if stops else waiting
        await self._store_end(state, error, Health.STOPPED if stops else Health.FAILING)
        return not stops

    async def _store_end(self, state: ConnectionState, error: ChannelError, health: Health) -> None:
        """The code of a lost login is the same for all kinds, so that alerts lead to the page where somebody logs in."""
        await in_db_thread(states.store_state, self.row, state, error.code, error.params)
        cause = Cause(NEEDS_LOGIN) if state == ConnectionState.NEEDS_LOGIN else error.cause
        await in_db_thread(states.store_account_state, self.row, health, cause.code, cause.params)
        self._log_end(f"account {self.account.pk}", error.code)

    async def _clean_up(self) -> None:
        """Nothing is left open: the link went with the connection."""


def _account_of(row: Connection) -> ChannelAccount:
    if row.account is None:
        raise ValueError("this is the connection of a gateway")
    return row.account
