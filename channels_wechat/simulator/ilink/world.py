"""What iLink keeps: people, the one bot that each of them has, what they wrote to it, and what it may still say."""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, World

KEEP = 50_000
TYPING_SECONDS = 15.0


@dataclass
class Person:
    """Somebody in WeChat. `id` ends in @im.wechat."""

    id: str
    name: str


@dataclass
class Window:
    """What a bot may say to one person, and the tokens by which it answers, newest last."""

    left: int = 0
    until: float = 0.0
    typing_until: float = 0.0
    contexts: list[str] = field(default_factory=list)


@dataclass
class Bot:
    """A login. `is_lost`: another one took its place, or the person ended it, so that each call is answered with -14."""

    id: str
    owner: str
    token: str = field(repr=False)
    is_lost: bool = False
    polls: int = 0
    polled_at: float = 0.0
    messages: list[JSON] = field(default_factory=list, repr=False)
    windows: dict[str, Window] = field(default_factory=dict, repr=False)
    news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def window(self, person: str) -> Window:
        return self.windows.setdefault(person, Window())

    def add(self, message: JSON) -> None:
        self.messages.append(message)
        self.news.set()


@dataclass
class Upload:
    """A file that was described, and then stored encrypted. `param`: names it in messages."""

    owner: str
    facts: Mapping[str, object]
    data: bytes = field(default=b"", repr=False)


class IlinkWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.start = secrets.token_hex(4)
        self.people: dict[str, Person] = {}
        self.bots: dict[str, Bot] = {}
        self.current: dict[str, Bot] = {}  # person → their login
        self.uploads: Recent[str, Upload] = Recent(KEEP)  # described, by the parameter of their address
        self.files: Recent[str, bytes] = Recent(KEEP)  # encrypted, by the parameter that names them
        self.tickets: Recent[str, tuple[str, str]] = Recent(KEEP)
        self.seen_numbers: Recent[str, bool] = Recent(KEEP)

    def person(self, person: object) -> Person:
        try:
            return self.people[str(person)]
        except KeyError as error:
            raise ControlError("no such person: POST ilink/people") from error

    def bot(self, owner: object) -> Bot:
        """The login of a person, also one that was lost."""
        bot = self.current.get(self.person(owner).id)
        if bot is None:
            raise ControlError("this person has not scanned a code")
        return bot

    def find_bot(self, token: str) -> Bot | None:
        return next((bot for bot in self.bots.values() if bot.token == token), None)

    def log_in(self, person: Person) -> Bot:
        """A new login ends the one before."""
        self.log_out(person)
        bot = Bot(f"{secrets.token_hex(6)}@im.bot", person.id, secrets.token_urlsafe(32))
        self.bots[bot.id] = self.current[person.id] = bot
        return bot

    def log_out(self, person: Person) -> None:
        if old := self.current.get(person.id):
            old.is_lost = True
            old.news.set()

    def chat(self, bot: Bot, person: str) -> str:
        """The same for each login of a person, as in the person's own list of chats."""
        return f"ilink:{bot.owner}:{person}"

    def write_cursor(self, bot: Bot, place: int) -> str:
        return base64.b64encode(f"{bot.id} {self.start} {place}".encode()).decode()

    def read_cursor(self, bot: Bot, cursor: str) -> int:
        """The place behind the last message that was given; the first one for a cursor of another login or start."""
        try:
            bot_id, start, place = base64.b64decode(cursor).decode().split(" ")
        except ValueError:
            return 0
        return int(place) if (bot_id, start) == (bot.id, self.start) else 0

    def describe(self, person: Person) -> JSON:
        """A person as the chat page shows them."""
        bot, now = self.current.get(person.id), self.world.now()
        facts: JSON = {"id": person.id, "name": person.name, "bot": bot.id if bot else "", "logged_in": False}
        if bot is None:
            return facts
        window = bot.window(person.id)
        left = window.left if now < window.until else 0
        facts |= {"logged_in": not bot.is_lost, "left": left, "until": window.until, "polls": bot.polls}
        return facts | {"typing": now < window.typing_until}
