"""Kinds of account that hold one long connection: what the kind does, and what the process that holds it does for the kind.

The kind opens the connection, speaks its protocol, and returns when the connection ends. Everything else is written once, in the
connector: who holds the connection, when it is opened again, storing what comes, claiming what is to be sent, taking over after a kill.
"""

from __future__ import annotations

import asyncio
import enum
from abc import abstractmethod
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Effect, Explanation

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.messages import Inbound, Outgoing, Receipt, Upload

T = TypeVar("T")

# The codes that every kind with a connection has in its table.
CONNECTION_CODES = Explanations(
    {
        "not_connected": Explanation(
            Action.WAIT,
            _("There is no connection to the platform now."),
            _("The message is sent when the connection is back; the account's page says what it waits for."),
        ),
        "connection_lost": Explanation(
            Action.RETRY,
            _("The connection broke before the platform confirmed the message."),
            effect=Effect.POSSIBLE,
        ),
        "needs_login": Explanation(
            Action.WAIT,
            _("Nobody is logged in: somebody has to scan the QR code on the account's page."),
            _("Open the account's page, and scan the code there with WeChat."),
        ),
        "not_stored": Explanation(
            Action.RETRY,
            _("What came could not be stored: the database is away, and there is no more room on disk."),
            _("See the dashboard. Where the platform repeats nothing it is kept in memory until there is room."),
        ),
    }
)
# The code with which `Session.receive` says that there is no room now.
NOT_STORED = "not_stored"
# The code of an account at whose platform nobody is logged in any more.
NEEDS_LOGIN = "needs_login"
NOT_CONNECTED_SECONDS = 5.0


class ConnectionState(enum.StrEnum):
    """How a connection stands. Only staff end `kicked`, `bad_credentials` and `stopped`."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    NEEDS_LOGIN = "needs_login"
    SCANNED = "scanned"
    KICKED = "kicked"
    BAD_CREDENTIALS = "bad_credentials"
    STOPPED = "stopped"


# Somebody has to log in before anything can be sent.
LOGIN_STATES = (ConnectionState.NEEDS_LOGIN, ConnectionState.SCANNED)


class ConnectionRefused(Exception):
    """The connection must not be opened again before staff have done something. state: what the account's page shows; error: why."""

    def __init__(self, state: ConnectionState, error: ChannelError) -> None:
        super().__init__(state, error)
        self.state, self.error = state, error


class Link(Protocol):
    """An open connection, as the connector uses it. The methods run in the event loop of the connection."""

    async def send(self, outgoing: Outgoing) -> Receipt:
        """Send a message and wait until the platform confirms it. Raises ChannelError."""

    async def upload(self, file: Upload) -> str:
        """Upload a file. Return its handle. Raises ChannelError."""

    async def show_partial(self, reply: str, text: str) -> bool:
        """Show the text of an answer so far, in place of what was shown before. Return whether more can be shown. Raises ChannelError.

        reply: `Peer.reply` of the question.
        """

    async def end_partial(self, reply: str, text: str) -> None:
        """End the stream of an answer with this text: nothing will follow it. Raises ChannelError."""


class Session(Protocol):
    """What the connector does for a connection while it is open.

    device_id: names this account's connection to the platform, the same for ever. cursor: as it was last stored. own_id: as whom the
    account was logged in last.
    """

    device_id: str
    cursor: str
    own_id: str

    def note_frame(self) -> None:
        """Note that something came just now, be it a heartbeat. Takes microseconds."""

    async def open(self, link: Link | None = None) -> None:
        """The platform took our credentials: send by this link from now on. Back-off starts anew.

        link: None where the kind's own `send` and `upload` need none, because each message is a request of its own.
        """

    async def receive(self, *messages: Inbound) -> None:
        """Store messages. When this returns they are committed, or in the spool; a repetition is recognised by its key.

        Raises ChannelError `NOT_STORED` where there is no room: whoever is told nothing twice tries again.
        """

    async def keep_answer(self, message: Inbound, text: str) -> None:
        """Store the text that the kind itself answered this message with (a welcome), for the transcript."""

    async def may_send(self) -> bool:
        """Whether people may be sent anything now. A kind asks before it answers by itself; deliveries and partial text are held back."""

    async def store_cursor(self, cursor: str) -> None:
        """Store up to where everything was received; after `receive`, so that a restart neither skips nor repeats.

        While the database is away it is kept in memory, and stored when that is back.
        """

    async def show_login(self, code: str, *, scanned: bool = False) -> None:
        """Show staff that nobody is logged in, and the code to scan: nothing can be sent until `open` is called again.

        code: the text of the QR code; empty: there is none now. scanned: a phone has scanned it, and has to confirm.
        """

    async def show_identity(self, own_id: str, own_name: str) -> None:
        """Show staff as whom the account is logged in."""


class Connection(Uploads):
    """One long connection for each account. A kind implements `run`; `send` and `upload` go by the link that it opens.

    keeps_history: whether the platform gives later what came while there was no connection. Where not, the transcript shows the gap.
    keeps_replies: whether every message to a peer needs the newest `Peer.reply` that came from it, also one that answers nothing.
    login_codes: codes of errors after which somebody has to log in: the account's page says so, and it is tried again after the pause.
    """

    keeps_history: ClassVar[bool] = False
    keeps_replies: ClassVar[bool] = False
    login_codes: ClassVar[frozenset[str]] = frozenset()
    # Whether what an agent has written so far can be shown while it goes on.
    shows_partials: ClassVar[bool] = False
    # For how many seconds after a question its `Peer.reply` can be used.
    reply_seconds: ClassVar[int] = 0

    @abstractmethod
    async def run(self, session: Session) -> None:
        """Open the connection and serve it until it ends. Return where the platform closed it in order: it is opened again.

        Raises ChannelError where it is to be opened again after a pause, ConnectionRefused where it is not.
        """

    def send(self, outgoing: Outgoing) -> Receipt:
        return self._link.send(outgoing)

    def upload(self, file: Upload) -> str:
        return self._link.upload(file)

    @property
    def _link(self) -> ThreadLink:
        link = _links.get(self.identity.key)
        if link is None:
            raise CONNECTION_CODES.error("not_connected", retry_after=NOT_CONNECTED_SECONDS)
        return link


class Login(Connection):
    """Somebody logs in by scanning a code that the account's page shows (`Session.show_login`)."""

    @abstractmethod
    def log_out(self) -> None:
        """Log the account out at the platform, by one call from any process: somebody has to scan a code again. Raises ChannelError."""


class ThreadLink:
    """A link as threads use it, which wait for the event loop."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self.link, self.loop = link, loop

    def send(self, outgoing: Outgoing) -> Receipt:
        return self._wait(self.link.send(outgoing))

    def upload(self, file: Upload) -> str:
        return self._wait(self.link.upload(file))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises ChannelError; where the connection ends meanwhile, the outcome is unknown."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        except (CancelledError, RuntimeError) as error:  # the loop has ended
            work.close()
            raise CONNECTION_CODES.error("connection_lost", Action.UNKNOWN) from error


# The open connections of this process: the account's key → its link.
_links: dict[str, ThreadLink] = {}


def set_link(account_key: str, link: ThreadLink | None) -> None:
    """Register the link by which this account's channels send in this process; None: the connection ended."""
    if link is None:
        _links.pop(account_key, None)
    else:
        _links[account_key] = link


def describe_state(state: str) -> _StrOrPromise:
    """Return the words for a state of a connection, for staff."""
    return _LABELS[ConnectionState(state)]


_LABELS = {
    ConnectionState.CONNECTING: _("connecting"),
    ConnectionState.CONNECTED: _("connected"),
    ConnectionState.NEEDS_LOGIN: _("needs a login"),
    ConnectionState.SCANNED: _("scanned: to be confirmed on the phone"),
    ConnectionState.KICKED: _("ended by another connection"),
    ConnectionState.BAD_CREDENTIALS: _("credentials refused"),
    ConnectionState.STOPPED: _("stopped"),
}
