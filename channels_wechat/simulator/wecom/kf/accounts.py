"""What customer service keeps: accounts, customers, how each conversation stands, and the messages that wait to be fetched."""

import base64
import secrets
from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import ControlError, PlatformError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, World

HOUR = 3600.0
WINDOW_SECONDS, WINDOW_COUNT = 48 * HOUR, 5
KEEP_SECONDS = 72 * HOUR  # the messages of an account
KNOCK_SECONDS, WELCOME_SECONDS, END_SECONDS = 600.0, 20.0, 48 * HOUR
KEEP = 50_000
NEW, ASSISTANT, POOL, SERVICER, ENDED = range(5)


@dataclass
class KfAccount:
    """An account of the app `agentid`, whose callback address gets its notices. `servicers`: userids of those on duty.

    `page_size`: at most so many messages for one call; `empty_pages`: so many answers are empty although more follow; `knocks` False:
    no notice is sent.
    """

    open_kfid: str
    agentid: int
    name: str = "Customer service"
    servicers: list[str] = field(default_factory=list)
    page_size: int = 1000
    empty_pages: int = 0
    knocks: bool = True

    @property
    def id(self) -> str:
        return f"kf:{self.open_kfid}"


@dataclass
class Customer:
    """A person in ordinary WeChat. `refuses`: they take no messages (fail_type 10)."""

    external_userid: str
    name: str
    refuses: bool = False

    @property
    def openid(self) -> str:
        return self.external_userid


@dataclass
class Session:
    """How one customer stands with one account; times are the simulator's clock."""

    state: int = ENDED
    servicer: str = ""
    wrote: float = 0.0
    left: int = 0
    greeted: float = 0.0


@dataclass
class Code:
    """A code of an event: good for one message until `expires`."""

    open_kfid: str
    external_userid: str
    expires: float
    spent: bool = False


@dataclass
class Log:
    """The messages of one account, each with its place and its time, and the tokens of its notices."""

    messages: Recent[int, tuple[float, JSON]] = field(default_factory=lambda: Recent(KEEP))
    tokens: Recent[str, float] = field(default_factory=lambda: Recent(KEEP))
    end: int = 0

    def add(self, at: float, message: JSON) -> None:
        self.messages[self.end] = at, message
        self.end += 1


class KfWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.start = secrets.token_hex(4)
        self.accounts: dict[str, KfAccount] = {}
        self.customers: dict[str, Customer] = {}
        self.sessions: dict[tuple[str, str], Session] = {}
        self.logs: dict[str, Log] = {}
        self.codes: Recent[str, Code] = Recent(KEEP)
        self.sent: Recent[tuple[str, str], JSON] = Recent(KEEP)

    def account(self, open_kfid: object) -> KfAccount:
        try:
            return self.accounts[str(open_kfid)]
        except KeyError as error:
            raise ControlError("`kf` must be an open_kfid") from error

    def customer(self, external_userid: object) -> Customer:
        try:
            return self.customers[str(external_userid)]
        except KeyError as error:
            raise ControlError("`from` must be the external_userid of a customer") from error

    def session(self, open_kfid: str, external_userid: str) -> Session:
        return self.sessions.setdefault((open_kfid, external_userid), Session())

    def log(self, open_kfid: str) -> Log:
        return self.logs.setdefault(open_kfid, Log())

    def new_code(self, open_kfid: str, external_userid: str, seconds: float) -> str:
        code = secrets.token_urlsafe(24)
        self.codes[code] = Code(open_kfid, external_userid, self.world.now() + seconds)
        return code

    def page(self, account: KfAccount, cursor: str, token: str, limit: int) -> JSON:
        """The answer of sync_msg. Without a cursor: from the oldest message that is still kept."""
        log, now = self.log(account.open_kfid), self.world.now()
        if token and now > log.tokens.get(token, 0.0):
            raise PlatformError(95007, "invalid msg token")
        first = self.read_cursor(cursor)
        kept = [number for number, (at, _) in log.messages.items() if number >= first and now - at < KEEP_SECONDS]
        if account.empty_pages > 0 and kept:
            account.empty_pages -= 1
            return {"next_cursor": self.write_cursor(first, now), "has_more": 1, "msg_list": []}
        taken = kept[: max(1, min(limit, account.page_size))]
        after = taken[-1] + 1 if taken else max(first, log.end)
        more = int(len(kept) > len(taken))
        return {
            "next_cursor": self.write_cursor(after, now),
            "has_more": more,
            "msg_list": [log.messages[number][1] for number in taken],
        }

    def write_cursor(self, place: int, now: float) -> str:
        """Another text each time, as the platform's are: nothing can be read from it. One of another start is not valid."""
        return "4gw7" + base64.urlsafe_b64encode(f"{place}:{self.start}:{now:.6f}".encode()).decode().rstrip("=")

    def read_cursor(self, cursor: str) -> int:
        if not cursor:
            return 0
        inner = cursor.removeprefix("4gw7")
        try:
            place, start, _at = base64.urlsafe_b64decode(inner + "=" * (-len(inner) % 4)).decode().split(":")
        except ValueError as error:
            raise PlatformError(40058, "invalid cursor") from error
        if start != self.start:
            raise PlatformError(40058, "invalid cursor")
        return int(place)
