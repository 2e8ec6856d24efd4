"""The data that the pipeline and the channel kinds exchange."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from channels_wechat.contract.explanations import NO_CAUSE, Cause
from channels_wechat.contract.sentences import Sentences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

PeerKind = Literal["direct", "group"]
MediaKind = Literal["image", "voice", "video", "file"]
# A line of a template: its label, and the name of its value.
_LINE = re.compile(r"^(.*?)\{\{\s*(\w+)\.DATA\s*\}\}", re.MULTILINE)
# The placeholder in a payload that is replaced by the handle of the uploaded file.
HANDLE = "{handle}"


@dataclass(frozen=True, slots=True)
class Identity:
    """The account that a channel works for. key: the account's uuid as text; credentials: the cleaned data of the kind's form."""

    key: str
    external_id: str
    credentials: Mapping[str, Any] = field(repr=False)
    api_base_url: str = ""
    sentences: Sentences = field(default_factory=Sentences)


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer that a message goes to. reply: the one-use address a message came with (a secret), where the platform gives one."""

    kind: PeerKind
    id: str
    reply: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class MediaItem:
    """A file that a message names.

    handle: a media id or an address, good for a short time; fallback: another one of the same file. key: what this file alone is
    encrypted with, where each has one of its own; a secret.
    """

    kind: MediaKind
    handle: str
    name: str = ""
    mime: str = ""
    fallback: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Window:
    """A reply window: after an action of a person, `count` messages may be sent within `seconds`. A later one replaces it."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the platform's content check. trace_id: of the check; label: the platform's number of the reason; 100 means none."""

    trace_id: str
    suggest: Literal["pass", "review", "risky"]
    label: int = 0


class FailedMessage(NamedTuple):
    """What the platform tells later of a message that it had accepted: it was not delivered. remote_id: its message id."""

    remote_id: str
    cause: Cause


class ContactRequest(NamedTuple):
    """Somebody asks for something that only staff may grant. id: names it to `ContactRequests.accept_request`.

    kind: "group": an invitation to a group called `title`; "friend": a friend request. sender: the id of whoever asks; text: their words.
    """

    kind: Literal["group", "friend"]
    id: str
    sender: str
    text: str = ""
    title: str = ""


class EntryChange(NamedTuple):
    """An entry of a `Directory` that an event says has changed. gone: it is no more, so that it need not be read."""

    part: str
    id: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message or event from the platform.

    key: its idempotency key (the platform's message id, or the SHA-256 of the decrypted body where there is none).
    kind: text mixed image voice video file location link: a turn for the agent; action: a click or a card's answer, a turn too;
    event: something happened, never a turn; unsupported: what cannot be read, a turn where `text` tells the agent of it.
    raw: the decrypted body as JSON, without secrets. occurred_at: Unix seconds, 0 when the platform does not say.
    refers_to: the hex uuid of the inbound message whose answer this event judges (feedback). contacts: user id → name the event tells.
    window: the right to speak that it opens, where the platform counts (`Windows`). follows: the sender began (True) or ceased to.
    erase: the platform requires that this sender's data be deleted. verdict: the result of a `Moderated.check_media`.
    title: what the group is called, where the platform tells. own: the account's own words, said elsewhere: stored, and never a turn.
    greets: the person came in, so the account's welcome is said to them. is_unread: the agent reads a mark in the place of something.
    past: said before the account was here: stored, and never a turn. failed: a message of ours that was not delivered after all.
    servicer: who answers this conversation in the platform's own client from now on; empty: nobody any more; None: it says nothing of that.
    recalls: the key of the message that was taken back. changes: entries of the directory that the event names.
    request: what only staff may grant. quotes: the id of the quoted message, where the platform tells nothing else of it.
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
    window: Window | None = None
    follows: bool | None = None
    erase: bool = False
    verdict: Verdict | None = None
    greets: bool = False
    is_unread: bool = False
    title: str = ""
    own: bool = False
    past: bool = False
    failed: FailedMessage | None = None
    servicer: str | None = None
    recalls: str = ""
    changes: tuple[EntryChange, ...] = ()
    request: ContactRequest | None = None
    quotes: str = ""


@dataclass(frozen=True, slots=True)
class Knock:
    """A callback that only says that messages wait to be pulled, for the account of this kind and external id, perhaps another one.

    token: what the platform wants back with the pull, for some minutes; a secret.
    """

    kind: str
    external_id: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reception:
    """The content of one callback: messages to store, or a poll for the stream with this id (hex uuid of the inbound message).

    knocks: accounts whose messages wait to be pulled.
    """

    inbound: tuple[Inbound, ...] = ()
    poll: str = ""
    knocks: tuple[Knock, ...] = ()


@dataclass(frozen=True, slots=True)
class Pulled:
    """Messages that the platform had kept. cursor: behind the last of them; more: whether further ones wait."""

    inbound: tuple[Inbound, ...]
    cursor: str
    more: bool = False


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
    """The content of an outbound message: Markdown text and files, or a platform message of its own type (`kind` ≠ "text") with its `data`.

    ai: an AI wrote it, which the platform shows to the reader where it can.
    """

    text: str = ""
    files: tuple[File, ...] = ()
    kind: str = "text"
    data: Mapping[str, Any] = field(default_factory=dict)
    ai: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """One wire message without recipient and token, as stored in `Delivery.payload` and sent byte for byte.

    file: ref of the file to upload first; its handle replaces `HANDLE` in the body. images: refs of pictures whose bytes go with it.
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
class Outgoing:
    """One wire message on its way. handle: of the uploaded file, where the payload names one.

    images: those that the payload names, with their bytes, for kinds that `inlines_images`.
    key: names this message to a platform that takes an idempotency key: the same at each try, another after a person's replay.
    refused: capabilities that the platform refused to this account or peer before, by the names of `ChannelError.capability`.
    check_repeats: have the platform swallow a repetition, for `Channel.repeat_window` seconds.
    """

    peer: Peer
    payload: Payload
    handle: str = ""
    key: str = ""
    check_repeats: bool = False
    images: tuple[Upload, ...] = ()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform accepted it. remote_id: its message id; note: what it did not do (a recipient left out); a code of the kind's table."""

    remote_id: str = ""
    note: Cause = NO_CAUSE
    response: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is downloaded or uploaded, with its bytes."""

    kind: MediaKind
    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. value: at most 512 bytes; expires_in: seconds."""

    value: str = field(repr=False)
    expires_in: int = 7200


@dataclass(frozen=True, slots=True)
class ScanCode:
    """A code by which an account is made. code: names it to the platform; address: what the picture says. Both are good for minutes."""

    code: str = field(repr=False)
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scan:
    """What became of a code. scanned: a phone has scanned it, and has to confirm; asks: a number that the phone shows must be typed here.

    credentials: of the account, once it is made. code: names the code to the platform from now on; empty: as before.
    """

    state: Literal["waiting", "scanned", "asks", "done"]
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Pace:
    """Between two messages so many seconds pass, each time another number between these."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` calls in any `per` seconds for each `scope`. name: stable, part of the counter's key."""

    name: str
    count: int
    per: int
    scope: Literal["account", "direct", "group"]  # all calls, or those to one person, or to one group
    label: _StrOrPromise


@dataclass(frozen=True, slots=True)
class Ability:
    """One line of the table that says what an account can and cannot do."""

    label: _StrOrPromise
    able: bool
    note: _StrOrPromise = ""


@dataclass(frozen=True, slots=True)
class Group:
    id: str
    name: str
    owner: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """What the platform tells of a person. name: empty where it gives none; follows: None where it does not say."""

    name: str = ""
    follows: bool | None = None
    union_id: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """Calls of one interface today. rate: calls in `rate_seconds`, 0 where the platform does not say."""

    path: str
    limit: int
    used: int
    left: int
    rate: int = 0
    rate_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Servicer:
    """A person of the company who can answer in the platform's own client."""

    id: str
    is_on_duty: bool = True


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Who has a conversation at the platform. pool: it waits for any servicer; ended: until the person writes again."""

    state: Literal["new", "assistant", "pool", "servicer", "ended"]
    servicer: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A subscribe message that the account may send. content: its lines with `{{name.DATA}}`; example: the same filled in."""

    id: str
    title: str
    content: str
    example: str = ""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Return the values to fill in, in order: the label of each line, and the value's name."""
        return tuple((label.strip(" :："), name) for label, name in _LINE.findall(self.content))


def message_uuid(account_key: str, idempotency_key: str) -> uuid.UUID:
    """Return the uuid of an inbound message: the same for every repetition of its callback, so that it can name the stream."""
    return uuid.uuid5(uuid.UUID(account_key), idempotency_key)
