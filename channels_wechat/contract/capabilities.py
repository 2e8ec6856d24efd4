"""What a kind can do beside sending: base classes that it adds to `Channel`. The pipeline checks for these, never for a kind's name."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from channels_wechat.contract.channel import Channel
from channels_wechat.contract.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import (
        Group,
        Inbound,
        Limit,
        MediaItem,
        MediaKind,
        Pace,
        Payload,
        Peer,
        Person,
        Pulled,
        Quota,
        Reception,
        Scan,
        ScanCode,
        Servicer,
        ServiceState,
        Template,
        Token,
        Upload,
        Verdict,
    )


class Callbacks(Channel):
    """The platform calls us. All methods are pure and raise CallbackRefused.

    header_names: headers of a request, in small letters, that the methods find in `query` beside the parameters of the address.
    """

    header_names: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def challenge(self, query: Mapping[str, str]) -> Answer:
        """Answer the GET that verifies the address."""

    @abstractmethod
    def parse(self, query: Mapping[str, str], body: bytes) -> Reception: ...

    def acknowledge(self, query: Mapping[str, str], reception: Reception) -> Answer:
        """Return the answer to a stored message; empty unless the platform expects a text at once."""
        return Answer()

    def passive_text(self, inbound: Inbound) -> str:
        """Return the text that `acknowledge` answers this message with (a welcome), for the transcript; empty where there is none."""
        return ""


class Pull(Channel):
    """The platform keeps the messages and gives those behind a cursor; a callback only says that there are some (`Reception.knocks`)."""

    # For how long the token of a knock is good.
    knock_seconds: ClassVar[int] = 600

    @abstractmethod
    def pull(self, cursor: str, token: str = "") -> Pulled:
        """Return the next messages behind the cursor, by one call that changes nothing at the platform. Raises ChannelError.

        cursor: of the last call; empty: from the first that the platform still has. token: of a knock, where one came lately.
        """


class Streaming(Callbacks):
    """The answer is fetched by polls that name the inbound message; `Callbacks.acknowledge` opens the stream.

    stream_seconds: how long after the message the stream can be finished; after that `Peer.reply` carries one more message.
    """

    stream_seconds: ClassVar[int]
    reply_seconds: ClassVar[int]

    @abstractmethod
    def frame(
        self,
        query: Mapping[str, str],
        stream: str,
        payload: Payload | None,
        *,
        text: str = "",
        images: tuple[Upload, ...] = (),
        finish: bool = False,
    ) -> Answer:
        """Return the answer to a poll: the payload with `finish`, or the partial text."""

    def opens_stream(self, inbound_kind: str) -> bool:
        """Whether `acknowledge` opened a stream for a message of this kind."""
        return inbound_kind not in ("event", "action")

    def closing_text(self, reason: str) -> str:
        """Return the last text of an unanswered stream. reason: "skipped", "failed", "later" (the answer follows), "silent", "stopped"."""
        return ""


class Passive(Callbacks):
    """An answer can be given in the HTTP answer to the callback itself, which the platform repeats until it has one.

    passive_bytes: of an answer's text; a longer one is shown as nothing. hangs_up_seconds: after which the platform drops the request
    and sends it again, `deliveries` times altogether. last_seconds: within which the last one must be answered, or the reader is
    told that the account is out of order.
    """

    passive_bytes: ClassVar[int] = 2048
    hangs_up_seconds: ClassVar[float] = 5.0
    deliveries: ClassVar[int] = 3
    last_seconds: ClassVar[float] = 4.5

    @property
    @abstractmethod
    def answers(self) -> Literal["messages", "passive", "automatic"]:
        """How the account answers, as staff chose. automatic: by messages, and passively while the platform does not grant those."""

    @abstractmethod
    def passive(
        self, query: Mapping[str, str], raw: Mapping[str, Any], text: str | Payload, *, handle: str = ""
    ) -> Answer:
        """Return the answer to the callback with this query that brought `Inbound.raw`, encrypted where the callback was.

        text: plain, at most `passive_bytes`; or a payload of `render` and the handle of its file. Where it is blank, or of a type
        that has no passive form, or the message takes none (`takes_passive`): the word that ends the repetitions.
        """

    @abstractmethod
    def spoken(self, payload: Payload) -> str:
        """Return the text of a payload of `render`, at most `passive_bytes`; empty where it is no text. Pure."""

    @abstractmethod
    def takes_passive(self, raw: Mapping[str, Any]) -> bool:
        """Whether the message can be answered so: not where the platform pushes JSON, whose answers are not specified."""


class ScanToCreate(Channel):
    """Accounts of this kind can be made by a code that somebody scans: the platform then tells their credentials.

    asked: fields of `Credentials` that it does not tell. scan_seconds: how long a code is good; scan_pause_seconds: between two looks.
    renews: whether somebody whose account is here already renews its credentials by another scan.
    scan_text: what staff read beside the code. asks_address: whether staff may name an API address for the scan and the account.
    """

    asked: ClassVar[tuple[str, ...]] = ()
    renews: ClassVar[bool] = False
    asks_address: ClassVar[bool] = False
    scan_text: ClassVar[_StrOrPromise] = ""
    scan_seconds: ClassVar[float] = 300.0
    scan_pause_seconds: ClassVar[float] = 3.0

    @classmethod
    @abstractmethod
    def fetch_scan_code(cls, http: HttpClient, base_url: str = "") -> ScanCode:
        """Raises ChannelError. base_url: the API address of the account, as staff entered it; empty: the platform's own."""

    @classmethod
    @abstractmethod
    def find_scanned(cls, http: HttpClient, code: str, typed: str = "", base_url: str = "") -> Scan:
        """Return what became of the code, by one call of a few seconds. Raises ChannelError: RETRY and WAIT where a later look may do.

        typed: what staff typed where the last `Scan` asked for it. base_url: as for `fetch_scan_code`.
        """


class Tokens(Channel):
    @abstractmethod
    def fetch_token(self) -> Token:
        """Raises ChannelError."""


class Uploads(Channel):
    """A file is uploaded to the platform first, and sent by the handle that the platform gives it."""

    handle_seconds: ClassVar[int] = 3 * 24 * 3600 - 3600

    @property
    def upload_limits(self) -> tuple[Limit, ...]:
        """Of scope "account"."""
        return ()

    @abstractmethod
    def upload(self, file: Upload) -> str:
        """Upload a file. Return its handle, valid for `handle_seconds`. Raises ChannelError."""


class Downloads(Channel):
    """What people send can be fetched.

    names_files_by_id: the platform keeps a file for days under an id that only `download` understands; else by an address that is
    good for minutes.
    """

    names_files_by_id: ClassVar[bool] = True

    @abstractmethod
    def download(self, item: MediaItem) -> Upload:
        """Fetch a file and decrypt it. Raises ChannelError."""


class Names(Channel):
    @abstractmethod
    def name_of(self, user_id: str) -> str:
        """Return the person's name; empty where the platform does not give it. Raises ChannelError."""


class Forgets(Channel):
    """The platform requires that a person who leaves is erased (`Inbound.erase`); a person who comes back is new, also to the agent."""


class People(Names):
    @abstractmethod
    def person(self, user_id: str) -> Person:
        """Raises ChannelError."""


class Groups(Channel):
    """Group chats that the account makes itself."""

    @abstractmethod
    def create_group(self, name: str, members: tuple[str, ...], owner: str = "", group_id: str = "") -> str: ...

    @abstractmethod
    def update_group(
        self, group_id: str, *, name: str = "", owner: str = "", add: tuple[str, ...] = (), remove: tuple[str, ...] = ()
    ) -> None: ...

    @abstractmethod
    def get_group(self, group_id: str) -> Group: ...


class Recall(Channel):
    recall_seconds: ClassVar[int] = 24 * 3600

    @abstractmethod
    def recall(self, remote_id: str) -> None: ...


class ReplyWindows(Channel):
    """A person's last action decides how many messages they may be sent: `Inbound.window`. The pipeline counts them."""

    def uses_window(self, payload: Payload) -> bool:
        """Whether this message counts."""
        return True

    def merge(self, first: Payload, second: Payload, *, apart: bool) -> Payload | None:
        """Return both as one wire message, in this order; None where that is not possible. apart: they are not parts of one text. Pure."""
        return None


class EventReplies(Channel):
    """Some events bring a code by which one message can be sent in answer to them, outside of reply windows: `Peer.reply`."""


class Servicers(Channel):
    """People of the company can take conversations over in the platform's own client, where no message of ours is accepted meanwhile."""

    @abstractmethod
    def servicers(self) -> list[Servicer]:
        """Raises ChannelError."""

    @abstractmethod
    def service_state(self, user_id: str) -> ServiceState:
        """Raises ChannelError."""

    @abstractmethod
    def hand_over(self, user_id: str, servicer: str) -> None:
        """Hand the conversation to this servicer; empty: to the first who takes it from the pool. Raises ChannelError."""

    @abstractmethod
    def end_service(self, user_id: str) -> None:
        """End the conversation, whoever has it: what the person writes next is ours again. Raises ChannelError."""


class ContactRequests(Channel):
    """Invitations and friend requests come as `Inbound.request`; nothing is accepted before staff say so."""

    @abstractmethod
    def accept_request(self, kind: Literal["group", "friend"], request_id: str) -> None:
        """Accept it by one call from any process. Raises ChannelError."""


class Paced(Channel):
    """Messages are sent like a person's: with pauses, and not at night."""

    @property
    @abstractmethod
    def paces(self) -> tuple[Pace | None, Pace | None]:
        """Return the pause between two messages of the account, and between two to the same peer; None: there is none."""

    @abstractmethod
    def quiet_until(self, now: datetime) -> datetime | None:
        """Return until when nothing is sent; None where messages may be sent now. now: in the server's time zone."""

    @abstractmethod
    def last_quiet_end(self, now: datetime) -> datetime | None:
        """Return when the last quiet hours ended, so that what waited for them does not count as too old; None where there are none."""


class Typing(Channel):
    @abstractmethod
    def show_typing(self, peer: Peer) -> None:
        """Show the sign for about 15 seconds, by one call whose failure has no effect. Raises ChannelError."""


class Moderated(Channel):
    """The platform checks what people write and what is answered, on request."""

    @abstractmethod
    def check_text(self, openid: str, text: str) -> Verdict:
        """Check a text, a long one in parts of which the worst verdict counts. openid: who writes or reads it. Raises ChannelError."""

    @abstractmethod
    def check_media(self, openid: str, url: str, kind: MediaKind) -> str:
        """Start a check. Return its trace id; the result comes within half an hour as `Inbound.verdict`. Raises ChannelError."""

    def file_address(self, raw: Mapping[str, Any]) -> str:
        """Return the address under which the platform shows the file of the message `raw`; empty where it does not."""
        return ""


class Quotas(Channel):
    """The platform counts calls for each interface and tells how many are left."""

    # The interfaces whose quotas are shown, in this order.
    quota_paths: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def quota(self, path: str) -> Quota:
        """Raises ChannelError."""

    @abstractmethod
    def clear_quotas(self) -> None:
        """Reset all counters. That is allowed ten times a month, so only a person starts it. Raises ChannelError."""


class Templates(Channel):
    """Messages from a template that its reader agreed to; sent as content of kind "subscribe"."""

    @abstractmethod
    def templates(self) -> list[Template]:
        """Raises ChannelError."""
