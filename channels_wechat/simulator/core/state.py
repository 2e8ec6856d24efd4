"""Everything the simulated company knows, in memory: accounts, members, chats, media, tokens."""

import hashlib
import itertools
import secrets
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.record import Record
from channels_wechat.simulator.weixin.accounts import MiniProgram, OfficialAccount, Person, WeixinAccount
from channels_wechat.simulator.weixin.reply_windows import Standing

JSON = dict[str, Any]
# What is kept of what people see and of what was uploaded; the oldest goes first.
KEEP_CHATS = 10_000
KEEP_ENTRIES = 2000  # of one chat
KEEP_CODES = 50_000
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
class App:
    """A self-built app. `members` None = the whole company is its visible scope."""

    agentid: int
    corpid: str = "wwsimulator"
    secret: str = field(default="", repr=False)
    name: str = "App"
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    callback_url: str = ""
    members: list[str] | None = None
    trusted_ip: bool = True  # False: every call but gettoken is refused with 60020

    @property
    def receiveid(self) -> str:
        return self.corpid

    @property
    def id(self) -> str:
        return f"app:{self.agentid}"


@dataclass
class Bot:
    """An AI bot in URL callback mode. With `encrypt_userids` it sees members as wo… ids."""

    aibotid: str
    name: str = "Bot"
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    callback_url: str = ""
    encrypt_userids: bool = False

    receiveid = ""  # the platform's rule for a company's own bot

    @property
    def id(self) -> str:
        return f"bot:{self.aibotid}"


Account = App | Bot | WeixinAccount


@dataclass
class Robot:
    """A group robot (webhook): the key is its whole address and secret."""

    key: str = field(repr=False)
    chat: str
    name: str = "Robot"


@dataclass
class Member:
    userid: str
    name: str
    department: list[int] = field(default_factory=lambda: [1])

    @property
    def open_userid(self) -> str:
        return "wo" + hashlib.sha256(self.userid.lower().encode()).hexdigest()[:30]


@dataclass
class Group:
    """An internal group; `creator` is the agentid of the app that made it, 0 for one made by people."""

    chatid: str
    name: str
    owner: str = ""
    members: list[str] = field(default_factory=list)
    creator: int = 0


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


@dataclass
class Once:
    """A code that works once until `expires`: a card's response_code, a bot's response_url."""

    owner: str
    msgid: str
    expires: float
    chat: str = ""
    spent: bool = False


class World:
    def __init__(self) -> None:
        self.settings = Settings()
        self.record = Record()
        self.base_url = ""
        self.clock_offset = 0.0
        self.apps: dict[int, App] = {}
        self.bots: dict[str, Bot] = {}
        self.robots: dict[str, Robot] = {}
        self.members: dict[str, Member] = {}
        self.weixin: dict[str, OfficialAccount | MiniProgram] = {}  # by appid
        self.persons: dict[str, Person] = {}  # by openid
        self.standings: dict[str, Standing] = {}
        self.groups: dict[str, Group] = {}
        self.media: dict[str, Media] = {}
        self.chats: Recent[str, deque[Entry]] = Recent(KEEP_CHATS)
        self.card_codes: Recent[str, Once] = Recent(KEEP_CODES)
        self.response_codes: Recent[str, Once] = Recent(KEEP_CODES)
        self._media_bytes = 0
        self.rev = 0
        self._seq = itertools.count(1)
        # Above 2^53, as the platform's are, and never one of an earlier start: ids are unique for ever.
        self._msgid = itertools.count(4_000_000_000_000_000_001 + time.time_ns() // 1000)

    def now(self) -> float:
        """The company's clock: what expires, expires by it. Callbacks are signed with the real time."""
        return time.time() + self.clock_offset

    def next_msgid(self) -> str:
        return str(next(self._msgid))

    def account(self, ref: JSON) -> Account:
        """The account a control request names by `app`, `bot`, `official` or `mini`."""
        if "official" in ref or "mini" in ref:
            return self._weixin_account(ref)
        try:
            return self.apps[int(ref["app"])] if "app" in ref else self.bots[str(ref["bot"])]
        except (KeyError, ValueError, TypeError) as error:
            raise ControlError("no such app or bot") from error

    def _weixin_account(self, ref: JSON) -> WeixinAccount:
        kind, name = (OfficialAccount, "official") if "official" in ref else (MiniProgram, "mini")
        account = self.weixin.get(str(ref[name]))
        if not isinstance(account, kind):
            raise ControlError("no such Official Account or Mini Program")
        return account

    def person(self, account: WeixinAccount, openid: object) -> Person | None:
        """None where the openid is another account's, too: the platform tells no difference."""
        person = self.persons.get(str(openid))
        return person if person and person.account == account.appid else None

    def standing(self, person: Person) -> Standing:
        return self.standings.setdefault(person.openid, Standing())

    def member(self, userid: str) -> Member | None:
        return self.members.get(userid.lower())

    def visible(self, app: App) -> list[Member]:
        if app.members is None:
            return list(self.members.values())
        return [m for u in app.members if (m := self.member(u))]

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


def single_chat(account: Account, userid: str) -> str:
    """An openid is case-sensitive, a company's userid is not."""
    return f"{account.id}:{userid if isinstance(account, WeixinAccount) else userid.lower()}"


def plain(item: Any) -> JSON:
    """A dataclass as JSON without its secrets: exactly the fields that its repr shows."""
    hidden = {name for name, spec in item.__dataclass_fields__.items() if not spec.repr}
    return {name: value for name, value in asdict(item).items() if name not in hidden}
