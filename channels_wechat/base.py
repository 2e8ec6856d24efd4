"""What a channel kind is: one class that says what the platform can do and does it. No ORM, no settings, no Celery here.

A kind subclasses `Channel` and adds the small bases below for what it can do more: `Callbacks`, `Streaming`, `Tokens`, `Media`,
`Names`, `Groups`, `Recall`. Rendering is pure; `send` makes one call and raises `ChannelError` with what is to be done about it.
"""

from __future__ import annotations

import enum
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from django import forms

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from channels_wechat.http import Http

PeerKind = Literal["direct", "group"]
MediaKind = Literal["image", "voice", "video", "file"]
# The placeholder in a payload that the handle of the uploaded file takes the place of.
HANDLE = "{handle}"


class Action(enum.StrEnum):
    """What is to be done about an error; the pipeline looks at nothing else."""

    RETRY = "retry"  # definitely not done; try again with backoff
    WAIT = "wait"  # the platform asks us to wait `retry_after` seconds; burns no try
    CONFIG = "configuration"  # nothing will work until staff change something; the account stops
    PERMANENT = "permanent"  # this message will never go through
    UNKNOWN = "unknown"  # the request had left and no answer came


class ChannelError(Exception):
    """The one error of this layer.

    code: the platform's number or a word of ours ("connect", "timeout", "html"); text: a sentence for staff (cause and cure);
    detail: what the platform said, without secrets; response: its decoded answer, if there was one.
    """

    def __init__(
        self,
        code: str | int,
        action: Action,
        text: _StrOrPromise,
        *,
        detail: str = "",
        retry_after: float | None = None,
        response: Any = None,
    ) -> None:
        super().__init__(code, action, detail)
        self.code, self.action, self.text = str(code), action, text
        self.detail, self.retry_after, self.response = detail, retry_after, response

    def __str__(self) -> str:
        return f"{self.text} ({self.code}{': ' + self.detail if self.detail else ''})"


class CallbackRefused(Exception):
    """A callback that is not taken. status: 400 malformed, 403 not authentic, 413 too large; code: the counter's name."""

    def __init__(self, status: int, code: str, text: _StrOrPromise) -> None:
        super().__init__(code)
        self.status, self.code, self.text = status, code, text

    def __str__(self) -> str:
        return str(self.text)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a channel speaks as. key: the account's uuid as text; credentials: the cleaned data of the kind's form."""

    key: str
    external_id: str
    credentials: Mapping[str, Any] = field(repr=False)
    api_base_url: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a message goes to. reply: the one-use address a message came with (a secret), where the platform gives one."""

    kind: PeerKind
    id: str
    reply: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class MediaItem:
    """A file that a message names: handle is a media id or an address, good for a short time."""

    kind: MediaKind
    handle: str
    name: str = ""
    mime: str = ""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message or event from the platform.

    key: its idempotency key (the platform's message id, or the SHA-256 of an event's decrypted body).
    kind: text mixed image voice video file location link: a turn for the agent; action: a click or a card's answer, a turn too;
    event: something happened, never a turn; unsupported: stored and acknowledged.
    raw: the decrypted body as JSON, without secrets. occurred_at: Unix seconds, 0 when the platform does not say.
    refers_to: the hex uuid of the inbound message whose answer this event judges (feedback). contacts: user id → name the event tells.
    """

    key: str
    kind: str
    peer: Peer
    sender: str
    text: str = ""
    addressed: bool = True
    media: tuple[MediaItem, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    reply_seconds: int = 0
    occurred_at: int = 0
    refers_to: str = ""
    contacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reception:
    """What one callback brought: messages to store, or a poll for the stream with this id (hex uuid of the inbound message)."""

    inbound: tuple[Inbound, ...] = ()
    poll: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP answer to a callback."""

    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class File:
    """A file to send. ref: how the pipeline finds the bytes again; opaque here. size: bytes."""

    kind: MediaKind
    name: str
    mime: str
    size: int
    ref: str


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be said: Markdown text and files, or a platform message of its own type (`kind` ≠ "text") with its `data`."""

    text: str = ""
    files: tuple[File, ...] = ()
    kind: str = "text"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Payload:
    """One wire message without recipient and token, as stored in `Delivery.payload` and sent byte for byte.

    file: ref of the file to upload first; its handle replaces `HANDLE` in the body. images: refs of pictures inlined by a stream.
    """

    body: Mapping[str, Any]
    file: str = ""
    images: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"body": dict(self.body), "file": self.file, "images": list(self.images)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Payload:
        return cls(value["body"], value.get("file", ""), tuple(value.get("images", ())))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform took it. remote_id: its message id; note: what it did not do (a recipient left out), in a sentence for staff."""

    remote_id: str = ""
    note: _StrOrPromise = ""
    response: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes on their way in or out."""

    kind: MediaKind
    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """value: at most 512 bytes; expires_in: seconds."""

    value: str = field(repr=False)
    expires_in: int = 7200


class TokenSource(Protocol):
    """Where a channel gets its access token: `accounts.tokens` in the product."""

    def current(self) -> str: ...

    def renew(self, refused: str) -> str:
        """Called once when the platform refused `refused`; returns another one or raises ChannelError."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` calls in any `per` seconds for each `scope`. name: stable, part of the counter's key."""

    name: str
    count: int
    per: int
    scope: Literal["account", "peer"]
    label: _StrOrPromise


@dataclass(frozen=True, slots=True)
class Ability:
    """One line of the table "what this surface can and cannot do"."""

    label: _StrOrPromise
    able: bool
    note: _StrOrPromise = ""


class CredentialsForm(forms.Form):
    """Base of every kind's credentials. `secrets` names the write-only fields: never shown, a blank keeps the stored value."""

    secrets: ClassVar[frozenset[str]] = frozenset()


class ContentRefused(ValueError):
    """Content that can never be sent by this kind. field: which part; text: why, in words a person can act on."""

    def __init__(self, field_name: str, text: _StrOrPromise) -> None:
        super().__init__(field_name, text)
        self.field, self.text = field_name, text

    def __str__(self) -> str:
        return str(self.text)


class Channel:
    """A channel kind bound to one account."""

    kind: ClassVar[str]
    label: ClassVar[_StrOrPromise]
    Credentials: ClassVar[type[CredentialsForm]]
    default_api_base_url: ClassVar[str] = ""
    abilities: ClassVar[tuple[Ability, ...]] = ()
    # Peer kinds whose messages this kind can hear: a mapping form offers no others.
    hears: ClassVar[frozenset[str]] = frozenset()
    # Outbound kinds beside "text" that `render` takes.
    content_kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, identity: Identity, http: Http, tokens: TokenSource | None = None) -> None:
        self.identity, self.http, self.tokens = identity, http, tokens

    @classmethod
    @abstractmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        """The account's public name on the platform, unique within the kind; never a secret."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        return ()

    @property
    def base_url(self) -> str:
        return (self.identity.api_base_url or self.default_api_base_url).rstrip("/")

    @abstractmethod
    def render(self, content: Content) -> list[Payload]:
        """Pure: the wire messages in order. Raises ContentRefused."""

    @abstractmethod
    def send(self, peer: Peer, payload: Payload, *, handle: str = "", check_repeats: bool = False) -> Receipt:
        """One call. handle: of the uploaded file. check_repeats: have the platform swallow a repetition. Raises ChannelError."""

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        """Why nothing can be said to this peer unasked; empty where it can."""
        return ""

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        """Seconds for which the platform swallows a repetition of this request; 0: it has no such check."""
        return 0

    def surface(self, peer: Peer) -> str:
        """For the agent, in English: where it speaks and what can be shown there."""
        return ""

    def test(self) -> list[str]:
        """Call the platform once; sentences about what works. Raises ChannelError."""
        return []


class Callbacks(Channel):
    """The platform calls us. All methods are pure and raise CallbackRefused."""

    @abstractmethod
    def challenge(self, query: Mapping[str, str]) -> Answer:
        """The GET that verifies the address."""

    @abstractmethod
    def parse(self, query: Mapping[str, str], body: bytes) -> Reception: ...

    def acknowledge(self, query: Mapping[str, str], reception: Reception) -> Answer:
        """The answer to a stored message; empty unless the platform wants words at once."""
        return Answer()

    def passive_text(self, inbound: Inbound) -> str:
        """What `acknowledge` says to this message at once (a welcome), for the transcript; empty where nothing."""
        return ""


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
        """The answer to a poll: the payload with `finish`, or the text so far."""

    def opens_stream(self, inbound_kind: str) -> bool:
        """Whether `acknowledge` opened a stream for a message of this kind."""
        return inbound_kind not in ("event", "action", "unsupported")

    def closing_text(self, reason: str) -> str:
        """How a stream ends without an answer. reason: "skipped", "failed", "later" (the answer follows), "silent"."""
        return ""


class Tokens(Channel):
    @abstractmethod
    def fetch_token(self) -> Token:
        """Raises ChannelError."""


class Media(Channel):
    @abstractmethod
    def upload(self, file: Upload) -> str:
        """A handle good for `handle_seconds`. Raises ChannelError."""

    @abstractmethod
    def download(self, item: MediaItem) -> Upload:
        """Fetch and decrypt. Raises ChannelError."""

    handle_seconds: ClassVar[int] = 3 * 24 * 3600 - 3600


class Downloads(Channel):
    """A kind that can fetch but not upload."""

    @abstractmethod
    def download(self, item: MediaItem) -> Upload: ...


class Names(Channel):
    @abstractmethod
    def name_of(self, user_id: str) -> str:
        """The person's name; empty where the platform does not tell. Raises ChannelError."""


@dataclass(frozen=True, slots=True)
class Group:
    id: str
    name: str
    owner: str
    members: tuple[str, ...]


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


def message_uuid(account_key: str, idempotency_key: str) -> uuid.UUID:
    """The uuid of an inbound message: the same for every repetition of its callback, so it can name the stream."""
    return uuid.uuid5(uuid.UUID(account_key), idempotency_key)
