"""The simulated company: apps, AI bots, group robots, members, groups, and the codes that work once."""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, World

if TYPE_CHECKING:
    from channels_wechat.simulator.wecom.customers import Customer, CustomerGroup, WelcomeCode

KEEP_CODES = 50_000


@dataclass
class App:
    """A self-built app. `members` None = the whole company is its visible scope; `refused`: path → errcode of what it may not call."""

    agentid: int
    corpid: str = "wwsimulator"
    secret: str = field(default="", repr=False)
    name: str = "App"
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    callback_url: str = ""
    members: list[str] | None = None
    trusted_ip: bool = True  # False: every call but gettoken is refused with 60020
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def receiveid(self) -> str:
        return self.corpid

    @property
    def id(self) -> str:
        return f"app:{self.agentid}"


CALLBACK, LONG_CONNECTION = "callback", "connection"


@dataclass
class Bot:
    """An AI bot, either with a callback URL or with a long connection. With `encrypt_userids` it sees members as wo… ids.

    `secret`: what it subscribes with; only the long connection has one.
    """

    aibotid: str
    name: str = "Bot"
    mode: str = CALLBACK
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    callback_url: str = ""
    encrypt_userids: bool = False

    receiveid = ""  # the platform's rule for a company's own bot

    def __post_init__(self) -> None:
        if self.mode not in (CALLBACK, LONG_CONNECTION):
            raise ControlError(f"mode must be {CALLBACK} or {LONG_CONNECTION}")

    @property
    def id(self) -> str:
        return f"bot:{self.aibotid}"


Account = App | Bot


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
class Once:
    """A code that works once until `expires`: a card's response_code, a bot's response_url."""

    owner: str
    msgid: str
    expires: float
    chat: str = ""
    spent: bool = False


@dataclass
class Refusal:
    """What the platform refuses to a bot in one chat: streams (600039), proactive messages (`push_errcode`)."""

    stream: bool = False
    push: bool = False
    push_errcode: int = 600039


class Company:
    def __init__(self, world: World) -> None:
        self.world = world
        self.apps: dict[int, App] = {}
        self.bots: dict[str, Bot] = {}
        self.robots: dict[str, Robot] = {}
        self.members: dict[str, Member] = {}
        self.groups: dict[str, Group] = {}
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self.spoken: set[tuple[str, str]] = set()  # (bot, chat) where a member has written to the bot
        self.card_codes: Recent[str, Once] = Recent(KEEP_CODES)
        self.response_codes: Recent[str, Once] = Recent(KEEP_CODES)
        self.customers: dict[str, Customer] = {}
        self.customer_groups: dict[str, CustomerGroup] = {}
        self.welcome_codes: Recent[str, WelcomeCode] = Recent(KEEP_CODES)

    def account(self, ref: JSON) -> Account:
        """The account a control request names by `app` or `bot`."""
        try:
            return self.apps[int(ref["app"])] if "app" in ref else self.bots[str(ref["bot"])]
        except (KeyError, ValueError, TypeError) as error:
            raise ControlError("no such app or bot") from error

    def member(self, userid: str) -> Member | None:
        return self.members.get(userid.lower())

    def member_of_id(self, userid: str, bot: Bot) -> Member | None:
        """Find a member by the id under which this bot sees them."""
        if bot.encrypt_userids:
            return next((member for member in self.members.values() if member.open_userid == userid), None)
        return self.member(userid)

    def refusal(self, bot: Bot, chat: str) -> Refusal:
        return self.refusals.get((bot.id, chat), Refusal())

    def visible(self, app: App) -> list[Member]:
        if app.members is None:
            return list(self.members.values())
        return [m for u in app.members if (m := self.member(u))]


def single_chat(account: Account, userid: str) -> str:
    """A userid's case says nothing."""
    return f"{account.id}:{userid.lower()}"
