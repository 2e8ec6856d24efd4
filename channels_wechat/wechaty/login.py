"""Who is logged in, as the events of the puppet service tell, and what staff see of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from channels_wechat.contract.connection import ConnectionRefused, ConnectionState
from channels_wechat.contract.inbound_fields import word
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wechaty.protocol import Event, ScanStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from channels_wechat.contract.connection import Session
    from channels_wechat.wechaty.link import PuppetLink
    from channels_wechat.wechaty.people import People

log = logging.getLogger(__name__)
# A service with a session tells of it at once. Where none does within this time after the start, staff are shown that nobody is logged in.
QUIET_SECONDS = 10.0
# The database may be away, and is tried again after this.
AGAIN_SECONDS = 1.0
LONGEST_CODE = 2000


class Standing(NamedTuple):
    """me: the own id; empty: nobody is logged in, and `code` is to be scanned, if there is one; scanned: to be confirmed on the phone."""

    me: str = ""
    code: str = ""
    scanned: bool = False


class Login:
    """The newest standing is shown by a task of its own, because that waits for the database, and events must not."""

    def __init__(self, session: Session, link: PuppetLink, people: People) -> None:
        self._session, self._link, self._people = session, link, people
        self._standing: Standing | None = None
        self._changed = asyncio.Event()
        # Done when a login is known: what comes before waits for it, because without it own messages cannot be told from others'.
        self._known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def me(self) -> str:
        return self._standing.me if self._standing else ""

    def wait_known(self) -> Awaitable[str]:
        """Return as whom the account is logged in now, or will be; empty where the connection ends before."""
        return asyncio.shield(self._known)

    def note_started(self) -> None:
        """The puppet runs: it has told of its session, or will tell of a code."""
        self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._note_quiet)

    def _note_quiet(self) -> None:
        if self._standing is None:
            self._set(Standing())

    def take(self, kind: int, payload: Mapping[str, Any]) -> None:
        if kind == Event.LOGIN:
            self._set(Standing(me=word(payload, "contactId")))
        elif kind == Event.LOGOUT:
            self._set(Standing())
        else:
            self._take_scan(word(payload, "qrcode")[:LONGEST_CODE], payload.get("status"))

    def _take_scan(self, code: str, status: Any) -> None:
        """Some puppets tell the last steps of a scan after the login."""
        scanned = status in (ScanStatus.SCANNED, ScanStatus.CONFIRMED)
        ended = status in (ScanStatus.CANCEL, ScanStatus.TIMEOUT)
        if self.me and (scanned or ended or not code):
            return
        before = self._standing.code if self._standing else ""
        self._set(Standing(code="" if ended else code or before, scanned=scanned))

    def _set(self, standing: Standing) -> None:
        if standing == self._standing:
            return
        self._standing = standing
        if self._known.done():
            self._known = asyncio.get_running_loop().create_future()
        if standing.me:
            self._known.set_result(standing.me)
        self._changed.set()

    async def show_all(self) -> None:
        """Show each change, the newest where several came, until this is cancelled."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._show_safely()
        finally:
            if not self._known.done():
                self._known.set_result("")
            if self._timer:
                self._timer.cancel()

    async def _show_safely(self) -> None:
        try:
            await self._show(self._standing or Standing())
        except ConnectionRefused:
            raise
        except Exception as error:
            log.warning("the state of a login could not be stored yet (%s)", type(error).__name__)
            self._changed.set()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _show(self, standing: Standing) -> None:
        """What is not newest any more when its name is known is not shown: the next turn shows what is."""
        if not standing.me:
            await self._session.show_login(standing.code, scanned=standing.scanned)
            return
        name = await self._people.find_contact(standing.me)
        before = self._session.own_id
        await self._session.show_identity(standing.me, name)
        if before not in ("", standing.me):
            error = WECHATY.error("another_person", params={"name": name or standing.me})
            raise ConnectionRefused(ConnectionState.STOPPED, error)
        if standing == self._standing:
            await self._session.open(self._link)
