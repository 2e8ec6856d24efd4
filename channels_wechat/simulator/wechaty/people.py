"""What people do in WeChat: write, take back, come and go, invite, ask for friendship. Each is an event for the accounts it reaches."""

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON, Entry, Media
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.wechaty import wire
from channels_wechat.simulator.wechaty.world import (
    BOXES,
    CONFIRMED,
    Account,
    Contact,
    Friendship,
    Invitation,
    Message,
    Room,
    WechatyWorld,
)

if TYPE_CHECKING:
    from channels_wechat.simulator.wechaty.puppets import Puppet

FILES = {
    "image": "image.png",
    "voice": "voice.mp3",
    "video": "video.mp4",
    "file": "file.bin",
    "emoticon": "emoticon.gif",
}
QUOTE = "「{name}：{text}」\n- - - - - - - - - - - - - - -\n"
AFTER_NAME = "\u2005"  # what WeChat writes behind the name of somebody who is mentioned


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


class People:
    """puppets: by the id of their account."""

    def __init__(self, wechaty: WechatyWorld) -> None:
        self.wechaty, self.world = wechaty, wechaty.world
        self.puppets: dict[str, Puppet] = {}

    # -- messages --------------------------------------------------------------------------------------------------------

    def say(self, spec: JSON) -> JSON:
        """A person's message to an account, or with `chat` in a room. Returns {"id", "chat", "entry"}."""
        account, talker = self.wechaty.account(spec), self.wechaty.contact(spec.get("from"))
        room = self.wechaty.room(spec["chat"]) if spec.get("chat") else None
        if room and talker.id not in room.members:
            raise ControlError("`from` is no member of the room")
        message = self._message(spec, talker)
        if room is None:
            message.listener = account.id
        else:
            message.room = room.id
            self._mention(message, room, account, spec)
        media = self._attach(message, spec)
        quoted = spec.get("quote")
        if quoted:
            message.text = QUOTE.format(name=quoted.get("name", ""), text=quoted.get("text", "")) + message.text
        entry = self.publish(account, message, media, who=talker.id, via="member")
        return {"id": message.id, "chat": entry.chat, "entry": entry.seq}

    def _message(self, spec: JSON, talker: Contact) -> Message:
        kind = str(spec.get("kind", "text"))
        number = spec.get("type", wire.MESSAGE_TYPES.get(kind))
        if not isinstance(number, int):
            raise ControlError(f"kind must be one of {', '.join(wire.MESSAGE_TYPES)}, or `type` a number")
        text, at = str(spec.get("text", "")), float(spec.get("at") or self.world.now())
        return Message(str(spec.get("id") or new_id("msg-")), kind, number, talker.id, at, text)

    def _mention(self, message: Message, room: Room, account: Account, spec: JSON) -> None:
        """`mention`: the account, by its name in front of the text; `mentions`: these ids, the text as it is."""
        message.mentions = [str(one) for one in spec.get("mentions") or ()]
        if spec.get("mention"):
            name = self.wechaty.name_in(room, Contact(account.id, account.name))
            message.text = f"@{name}{AFTER_NAME}{message.text}"
            message.mentions.append(account.id)

    def _attach(self, message: Message, spec: JSON) -> Media | None:
        if message.kind not in FILES and not spec.get("data"):
            return None
        if (box := str(spec.get("box", ""))) not in BOXES:
            raise ControlError(f"box must be one of {', '.join(filter(None, BOXES))}")
        name = str(spec.get("name") or FILES.get(message.kind, "file.bin"))
        media = self.world.keep_media(message.kind, name, read_bytes(spec), str(spec.get("mime") or guess(name)))
        message.filename, message.media, message.box = name, media.id, box
        return media

    def publish(self, account: Account, message: Message, media: Media | None, *, who: str, via: str) -> Entry:
        """Show a message to people, and tell the accounts that are there."""
        self.wechaty.messages[message.id] = message
        data: JSON = {"mentions": message.mentions} if message.mentions else {}
        data |= {"media": [media_facts(media)]} if media else {}
        chat = self.wechaty.chat(account, message)
        entry = self.world.add(chat, who, message.kind, text=message.text, data=data, msgid=message.id, via=via)
        for one in self.wechaty.audience(message):
            if one.echo or one.id != message.talker:
                self.puppets[one.id].announce(message, self.wechaty.chat(one, message))
        return entry

    def recall(self, spec: JSON) -> JSON:
        """Who wrote a message takes it back: a message of its own type, whose text is the id of the one that is gone."""
        account, old = self.wechaty.account(spec), self.wechaty.messages.get(str(spec.get("message")))
        if old is None or old.talker != spec.get("from"):
            raise ControlError("`message` must be the id of a message that `from` wrote")
        self.mark_recalled(old)
        number = wire.MESSAGE_TYPES["recalled"]
        gone = Message(new_id("msg-"), "recalled", number, old.talker, self.world.now(), old.id, old.room, old.listener)
        self.wechaty.messages[gone.id] = gone
        for one in self.wechaty.audience(gone):
            self.puppets[one.id].announce(gone, self.wechaty.chat(account, gone))
        return {"id": gone.id}

    def mark_recalled(self, message: Message) -> None:
        for entry in self.world.entries(message.id):
            entry.recalled = True
            self.world.touch(entry)

    # -- rooms -----------------------------------------------------------------------------------------------------------

    def change_members(self, spec: JSON) -> JSON:
        """`how`: join or leave; `ids`: who comes or goes, `by`: who let them in or put them out."""
        room, ids, by = self.wechaty.room(spec.get("room")), [str(one) for one in spec.get("ids") or ()], self._by(spec)
        if spec.get("how") not in ("join", "leave"):
            raise ControlError("`how` must be join or leave")
        if unknown := [one for one in ids if self.wechaty.find_contact(one) is None]:
            raise ControlError(f"no such contacts: {', '.join(unknown)}")
        if spec["how"] == "join":
            room.members += [one for one in ids if one not in room.members]
            self.tell_room(room, wire.ROOM_JOIN, {"inviteeIdList": ids, "inviterId": by}, room.members)
        else:
            before = list(room.members)
            room.members[:] = [one for one in before if one not in ids]
            self.tell_room(room, wire.ROOM_LEAVE, {"removeeIdList": ids, "removerId": by}, before)
        self._note(room, by, f"{spec['how']}: {', '.join(ids)}")
        return {"members": room.members}

    def change_topic(self, room: Room, topic: str, by: str) -> None:
        old, room.topic = room.topic, topic
        self.tell_room(room, wire.ROOM_TOPIC, {"changerId": by, "newTopic": topic, "oldTopic": old}, room.members)
        self._note(room, by, f"renamed: {topic}")

    def rename(self, spec: JSON) -> JSON:
        room = self.wechaty.room(spec.get("room"))
        self.change_topic(room, str(spec.get("topic", "")), self._by(spec))
        return {"topic": room.topic}

    def _by(self, spec: JSON) -> str:
        by = str(spec.get("by") or spec.get("from") or "")
        if by and self.wechaty.find_contact(by) is None:
            raise ControlError("`by` must be the id of a contact")
        return by

    def _note(self, room: Room, by: str, text: str) -> None:
        self.world.add(room.id, by or room.owner, "notice", text=text, via="member")

    def tell_room(self, room: Room, event: int, payload: JSON, members: Iterable[str]) -> None:
        """Tell each account among these members."""
        for account in self.wechaty.accounts.values():
            if account.id in members and self.puppets[account.id].logged_in:
                stamp = stamp_of(account, self.world.now())
                self.puppets[account.id].emit(event, payload | {"roomId": room.id, "timestamp": stamp})

    # -- requests --------------------------------------------------------------------------------------------------------

    def invite(self, spec: JSON) -> JSON:
        """Somebody invites the account into a room: `from`, `topic`, `members`."""
        account, inviter = self.wechaty.account(spec), self.wechaty.contact(spec.get("from"))
        members = [inviter.id, *(str(one) for one in spec.get("members") or () if one != inviter.id)]
        room = Room(f"{secrets.randbelow(10**11)}@chatroom", str(spec.get("topic", "")), inviter.id, members)
        invitation = Invitation(new_id("inv-"), account.id, inviter.id, room, self.world.now())
        self.wechaty.invitations[invitation.id] = invitation
        self.puppets[account.id].emit(wire.ROOM_INVITE, {"roomInvitationId": invitation.id})
        return {"id": invitation.id, "room": room.id}

    def join_invited(self, invitation: Invitation) -> None:
        room = invitation.room
        invitation.accepted = True
        self.wechaty.rooms.setdefault(room.id, room)
        if invitation.account not in room.members:
            room.members.append(invitation.account)
        payload: JSON = {"inviteeIdList": [invitation.account], "inviterId": invitation.inviter}
        self.tell_room(room, wire.ROOM_JOIN, payload, room.members)

    def ask_friendship(self, spec: JSON) -> JSON:
        account, contact = self.wechaty.account(spec), self.wechaty.contact(spec.get("from"))
        request = Friendship(new_id("fri-"), account.id, contact.id, str(spec.get("hello", "")))
        self.wechaty.friendships[request.id] = request
        self.puppets[account.id].emit(wire.FRIENDSHIP, {"friendshipId": request.id})
        return {"id": request.id}

    def become_friends(self, request: Friendship) -> None:
        """The puppet tells that they are friends by an event of the same name and another type."""
        request.accepted = True
        if contact := self.wechaty.contacts.get(request.contact):
            contact.friend = True
        confirmed = Friendship(new_id("fri-"), request.account, request.contact, type=CONFIRMED)
        self.wechaty.friendships[confirmed.id] = confirmed
        self.puppets[request.account].emit(wire.FRIENDSHIP, {"friendshipId": confirmed.id})


def stamp_of(account: Account, at: float) -> int:
    """A time as this account's puppet writes it."""
    return int(at * 1000) if account.stamps == "milliseconds" else int(at)
