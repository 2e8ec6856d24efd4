"""What is kept of personal accounts: the accounts, people, rooms, messages, and requests that wait for somebody's consent."""

from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, World

KEEP = 20_000
STAMPS = ("milliseconds", "seconds")
BOXES = ("", "base64", "uuid", "url", "buffer")
CONFIRMED, RECEIVED = 1, 2  # types of a friendship


@dataclass
class Account:
    """A personal account whose service asks for `token`. `port`: of the service, 0 takes a free one.

    What puppets do in different ways: `echo`: what it sends comes back as an event; `answer_ids`: the answer of a send carries the
    message's id; `mention_ids`: messages say who is mentioned; `stamps`: the unit of their time; `greets`: the stream begins with a
    heartbeat; `heartbeat_seconds`: between two of them, 0 for none.
    """

    id: str
    token: str = field(default="", repr=False)
    name: str = "Personal account"
    port: int = 0
    echo: bool = True
    answer_ids: bool = True
    mention_ids: bool = True
    stamps: str = "milliseconds"
    greets: bool = True
    heartbeat_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not self.token:
            raise ControlError("an account needs a `token`")
        if self.stamps not in STAMPS:
            raise ControlError(f"stamps must be one of {', '.join(STAMPS)}")

    @property
    def key(self) -> str:
        """As whom the account appears in transcripts and in the record."""
        return f"wechaty:{self.id}"


@dataclass
class Contact:
    id: str
    name: str
    alias: str = ""
    friend: bool = True


@dataclass
class Room:
    """`members`: ids of people and accounts; `aliases`: what a member is called in this room."""

    id: str
    topic: str
    owner: str = ""
    members: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass
class Message:
    """`media`: the id of its file; `box`: how the puppet hands the file over, "" as its size suggests; `at`: in seconds."""

    id: str
    kind: str
    type: int
    talker: str
    at: float
    text: str = ""
    room: str = ""
    listener: str = ""
    mentions: list[str] = field(default_factory=list)
    filename: str = ""
    media: str = ""
    box: str = ""


@dataclass
class Invitation:
    """Into `room`, which the account does not see before it accepts."""

    id: str
    account: str
    inviter: str
    room: Room
    at: float
    accepted: bool = False


@dataclass
class Friendship:
    id: str
    account: str
    contact: str
    hello: str = ""
    type: int = RECEIVED
    accepted: bool = False


class WechatyWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.accounts: dict[str, Account] = {}
        self.contacts: dict[str, Contact] = {}
        self.rooms: dict[str, Room] = {}
        self.messages: Recent[str, Message] = Recent(KEEP)
        self.invitations: Recent[str, Invitation] = Recent(KEEP)
        self.friendships: Recent[str, Friendship] = Recent(KEEP)

    def account(self, spec: JSON) -> Account:
        try:
            return self.accounts[str(spec.get("wechaty"))]
        except KeyError as error:
            raise ControlError("`wechaty` must be the id of an account") from error

    def room(self, room_id: object) -> Room:
        try:
            return self.rooms[str(room_id)]
        except KeyError as error:
            raise ControlError("no such room") from error

    def contact(self, contact_id: object) -> Contact:
        """A person, as the control API names them."""
        found = self.find_contact(str(contact_id))
        if found is None:
            raise ControlError("`from` must be the id of a contact")
        return found

    def find_contact(self, contact_id: str) -> Contact | None:
        """Also an account is a contact of the others."""
        account = self.accounts.get(contact_id)
        return Contact(account.id, account.name) if account else self.contacts.get(contact_id)

    def name_in(self, room: Room | None, contact: Contact) -> str:
        return (room.aliases.get(contact.id) if room else "") or contact.name

    def chat(self, account: Account, message: Message) -> str:
        """The transcript in which a message stands: of its room, or of the account with the other person."""
        if message.room:
            return message.room
        other = message.listener if message.talker == account.id else message.talker
        return f"{account.key}:{other}"

    def audience(self, message: Message) -> list[Account]:
        """The accounts that get a message, its own writer among them."""
        there = self.rooms[message.room].members if message.room else [message.talker, message.listener]
        return [account for account in self.accounts.values() if account.id in there]
