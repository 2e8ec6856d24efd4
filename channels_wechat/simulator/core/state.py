"""What both platforms keep in memory: the clock, chats, media, settings and the record."""

import itertools
import secrets
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.record import Record

JSON = dict[str, Any]
# What is kept of what people see and of what was uploaded; the oldest goes first.
KEEP_CHATS = 10_000
KEEP_ENTRIES = 2000  # of one chat
KEEP_MEDIA_BYTES = 512 * 1024 * 1024


@dataclass
class Settings:
    """Times in seconds. Every value can be changed while running: POST /sim/settings."""

    token_ttl: float = 7200
    callback_timeout: float = 5.0
    callback_tries: int = 3
    retry_pause: float = 0.5  # between two tries of one message
    copies: int = 1  # POST every message so often, even after a 200
    clients: int = 0  # 0: copies one after the other; else all at once, by so many clients over all chats
    persistent: bool = False  # try until a 200, for tests that kill the receiver
    poll_interval: float = 1.0  # of an AI bot's stream
    stream_seconds: float = 360
    response_url_seconds: float = 3600
    media_url_seconds: float = 300
    media_seconds: float = 3 * 86400
    card_seconds: float = 72 * 3600
    recall_seconds: float = 24 * 3600
    max_exchanges: int = 3  # answers in progress per user and bot; 0 = no limit
    member_per_minute: int = 30
    member_per_hour: int = 1000
    appchat_member_per_minute: int = 200
    robot_per_minute: int = 20
    directory_page: int = 0  # at most so many customers or groups in one answer; 0: as the call asks
    # of an AI bot's long connection
    ack_seconds: float = 0.0  # between a frame and its acknowledgement
    req_id_seconds: float = 24 * 3600  # a message is answered so long
    event_reply_seconds: float = 5.0  # an event is answered so long
    upload_seconds: float = 1800
    subscribes_per_minute: int = 20  # the platform's own number is not known
    bot_chat_per_minute: int = 30
    bot_chat_per_hour: int = 1000
    bot_uploads_per_minute: int = 30
    bot_uploads_per_hour: int = 1000
    frames_at_once: int = 8  # more unacknowledged requests, and a chunk is answered with "system error"
    scan_seconds: float = 300
    # of iLink
    ilink_hold_seconds: float = 35  # a question for messages, or for the state of a code, waits so long
    ilink_messages: int = 10
    ilink_window_seconds: float = 86400
    ilink_page: int = 100  # at most so many messages in one answer
    hang_seconds: float = 60  # how long a time-out fault keeps the connection
    # of the WeChat platform
    token_overlap: float = 300  # both tokens are good so long, old and new
    delivery_interval: float = 5.0  # from the start of one delivery to the start of the next
    overtake_seconds: float = 1.0  # a message held so long does not keep its writer's next one back
    custom_text_bytes: int = 2048
    passive_text_bytes: int = 2048
    typing_seconds: float = 15
    interaction_seconds: float = 30  # typing is shown only so long after the person did something
    visit_seconds: float = 2 * 3600  # content is checked only for who visited the Mini Program so recently
    media_check_seconds: float = 0.5


@dataclass
class Media:
    """`owner` separates a group robot's uploads from the apps'."""

    id: str
    kind: str
    name: str
    data: bytes = field(repr=False)
    mime: str
    created: float
    owner: str = ""
    aes_key: str = field(default="", repr=False)


@dataclass
class Entry:
    """One line of a chat as a member sees it."""

    seq: int
    chat: str
    at: float
    who: str
    kind: str
    text: str = ""
    data: JSON = field(default_factory=dict)
    msgid: str = ""
    answers: str = ""  # the id of the user's message this is the answer to
    via: str = ""
    streaming: bool = False
    recalled: bool = False
    rev: int = 0


class World:
    def __init__(self) -> None:
        self.settings = Settings()
        self.record = Record()
        self.base_url = ""
        self.clock_offset = 0.0
        self.media: dict[str, Media] = {}
        self.chats: Recent[str, deque[Entry]] = Recent(KEEP_CHATS)
        self._media_bytes = 0
        self.rev = 0
        self._seq = itertools.count(1)
        # Above 2^53, as the platform's are, and never one of an earlier start: ids are unique for ever.
        self._msgid = itertools.count(4_000_000_000_000_000_001 + time.time_ns() // 1000)

    def now(self) -> float:
        """The simulated clock: what expires, expires by it. Callbacks are signed with the real time."""
        return time.time() + self.clock_offset

    def next_msgid(self) -> str:
        return str(next(self._msgid))

    def add(self, chat: str, who: str, kind: str, **rest: Any) -> Entry:
        entry = Entry(next(self._seq), chat, self.now(), who, kind, **rest)
        if chat not in self.chats:
            self.chats[chat] = deque(maxlen=KEEP_ENTRIES)
        self.chats[chat].append(entry)
        self.touch(entry)
        return entry

    def touch(self, entry: Entry) -> None:
        """Every visible change goes through here, so that a page can ask for what is new."""
        self.rev += 1
        entry.rev = self.rev

    def entries(self, msgid: str) -> list[Entry]:
        return [entry for chat in self.chats.values() for entry in chat if entry.msgid == msgid]

    def entry(self, seq: object) -> Entry | None:
        return next((entry for chat in self.chats.values() for entry in chat if entry.seq == seq), None)

    def keep_media(self, kind: str, name: str, data: bytes, mime: str, **rest: Any) -> Media:
        media = Media(secrets.token_urlsafe(48), kind, name, data, mime, self.now(), **rest)
        self.media[media.id] = media
        self._media_bytes += len(data)
        while self._media_bytes > KEEP_MEDIA_BYTES and len(self.media) > 1:
            self._media_bytes -= len(self.media.pop(next(iter(self.media))).data)
        return media

    def find_media(self, media_id: str, owner: str = "") -> Media | None:
        media = self.media.get(media_id)
        if media is None or media.owner != owner or self.now() - media.created > self.settings.media_seconds:
            return None
        return media


def plain(item: Any) -> JSON:
    """A dataclass as JSON without its secrets: exactly the fields that its repr shows."""
    hidden = {name for name, spec in item.__dataclass_fields__.items() if not spec.repr}
    return {name: value for name, value in asdict(item).items() if name not in hidden}
