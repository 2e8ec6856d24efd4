"""What a puppet service answers: who and what there is, and what the account sends (facts: wechaty.md 4)."""

import hashlib
from collections.abc import Callable
from typing import Any

from channels_wechat.simulator.core.state import JSON, Media
from channels_wechat.simulator.core.uploads import guess
from channels_wechat.simulator.wechaty import wire
from channels_wechat.simulator.wechaty.errors import PuppetError
from channels_wechat.simulator.wechaty.files import Files, Received
from channels_wechat.simulator.wechaty.people import People, new_id, stamp_of
from channels_wechat.simulator.wechaty.puppets import Puppet
from channels_wechat.simulator.wechaty.wire import M
from channels_wechat.simulator.wechaty.world import Contact, Friendship, Invitation, Message, Room

VERSION = "0.0.0<simulated>"
INDIVIDUAL = 1


class Calls:
    def __init__(self, puppet: Puppet, people: People) -> None:
        self.puppet, self.people = puppet, people
        self.wechaty, self.world, self.account = people.wechaty, people.world, puppet.account
        self.files = Files(self.world)

    def unary(self) -> dict[str, Callable[[Any], Any]]:
        """Name of the call → question to answer. PuppetError for whatever the puppet throws."""
        return {
            "Start": lambda question: self._do(self.puppet.start),
            "Stop": lambda question: self._do(self.puppet.stop),
            "Logout": lambda question: self._do(self.puppet.log_out),
            "Ding": lambda question: self._do(lambda: self.puppet.emit(wire.DONG, {"data": question.value})),
            "Version": lambda question: M["Value"](value=VERSION),
            "DirtyPayload": lambda question: M["Empty"](),
            "ContactList": lambda question: M["Ids"](ids=[*self.wechaty.contacts, self.account.id]),
            "ContactPayload": self.contact_payload,
            "FriendshipPayload": self.friendship_payload,
            "FriendshipAccept": self.accept_friendship,
            "MessagePayload": self.message_payload,
            "MessageFile": self.message_file,
            "MessageImage": self.message_file,
            "MessageRecall": self.recall,
            "MessageSendText": self.send_text,
            "MessageSendFile": self.send_file,
            "RoomList": lambda question: M["Ids"](ids=[room.id for room in self._own_rooms()]),
            "RoomPayload": self.room_payload,
            "RoomTopic": self.room_topic,
            "RoomMemberList": lambda question: M["Ids"](ids=self._room(question.id).members),
            "RoomMemberPayload": self.member_payload,
            "RoomInvitationPayload": self.invitation_payload,
            "RoomInvitationAccept": self.accept_invitation,
        }

    def _do(self, act: Callable[[], None]) -> Any:
        act()
        return M["Empty"]()

    # -- who and what there is ---------------------------------------------------------------------------------------------

    def _own_rooms(self) -> list[Room]:
        return [room for room in self.wechaty.rooms.values() if self.account.id in room.members]

    def _room(self, room_id: str) -> Room:
        room = self.wechaty.rooms.get(room_id)
        if room is None:
            raise PuppetError(f"no payload found for id {room_id}")
        return room

    def _contact(self, contact_id: str) -> Contact:
        contact = self.wechaty.find_contact(contact_id)
        if contact is None:
            raise PuppetError(f"no payload found for id {contact_id}")
        return contact

    def contact_payload(self, question: Any) -> Any:
        one = self._contact(question.id)
        return M["Contact"](id=one.id, type=INDIVIDUAL, name=one.name, alias=one.alias, friend=one.friend)

    def room_payload(self, question: Any) -> Any:
        room = self._room(question.id)
        return M["Room"](id=room.id, topic=room.topic, owner_id=room.owner, member_ids=room.members)

    def member_payload(self, question: Any) -> Any:
        room, one = self._room(question.room_id), self._contact(question.member_id)
        return M["Member"](id=one.id, name=one.name, room_alias=room.aliases.get(one.id, ""))

    def room_topic(self, question: Any) -> Any:
        room = self._room(question.id)
        if not question.HasField("topic"):
            return M["Topic"](topic=room.topic)
        self._note({"kind": "topic", "conversation": room.id, "text": question.topic})
        self.people.change_topic(room, question.topic, self.account.id)
        return M["Topic"]()

    # -- messages ----------------------------------------------------------------------------------------------------------

    def _message(self, message_id: str) -> Message:
        message = self.wechaty.messages.get(message_id)
        if message is None:
            raise PuppetError(f"no payload found for id {message_id}")
        return message

    def message_payload(self, question: Any) -> Any:
        one = self._message(question.id)
        return M["Message"](
            id=one.id,
            filename=one.filename,
            text=one.text,
            type=one.type,
            talker_id=one.talker,
            room_id=one.room,
            listener_id=one.listener,
            mention_ids=one.mentions if self.account.mention_ids else (),
            **self._times(one.at),
        )

    def _times(self, at: float) -> JSON:
        """In both forms. As in the service, the newer one takes the puppet's stamp for milliseconds even where it is in seconds."""
        stamp = stamp_of(self.account, at)
        seconds, milliseconds = divmod(stamp, 1000)
        time = M["Timestamp"](seconds=seconds, nanos=milliseconds * 1_000_000)
        return {"timestamp": stamp, "receive_time": time}

    def message_file(self, question: Any) -> Any:
        return M["Value"](value=self.files.box_of(self._message(question.id)))

    def stream_file(self, message_id: str) -> Media:
        """The file for the stream of chunks, which takes every kind of box."""
        return self.files.media_of(self._message(message_id))

    def recall(self, question: Any) -> Any:
        self._check_able()
        message = self.wechaty.messages.get(question.id)
        is_own = message is not None and message.talker == self.account.id
        if message is not None and is_own:
            self.people.mark_recalled(message)
        self._note({"kind": "recall", "id": question.id})
        return M["Success"](success=is_own)

    # -- sending -----------------------------------------------------------------------------------------------------------

    def _check_able(self) -> None:
        if not self.puppet.logged_in:
            raise PuppetError("not logged in")
        if not self.puppet.running:
            raise PuppetError("the puppet is not started")

    def send_text(self, question: Any) -> Any:
        message = self._own_message("text", question.conversation_id, question.text)
        message.mentions = list(question.mention_ids)
        self.people.publish(self.account, message, None, who=self.account.key, via="MessageSendText")
        self._note({"kind": "text", "text": message.text, "mentions": message.mentions}, message)
        return self._sent(message)

    def send_file(self, question: Any) -> Any:
        return self.send_received(question.conversation_id, self.files.read_box(question.file_box), "MessageSendFile")

    def send_received(self, conversation: str, received: Received, via: str) -> Any:
        mime = guess(received.name)
        kind = mime.partition("/")[0]
        message = self._own_message({"image": "image", "video": "video"}.get(kind, "file"), conversation, received.url)
        media = None if received.url else self.world.keep_media(message.kind, received.name, received.data, mime)
        message.filename, message.media = received.name, media.id if media else ""
        self.people.publish(self.account, message, media, who=self.account.key, via=via)
        facts = {"name": received.name, "size": len(received.data), "sha256": hashlib.sha256(received.data).hexdigest()}
        self._note({"kind": "file", "box": received.box, "url": received.url, **facts}, message)
        return self._sent(message)

    def _own_message(self, kind: str, conversation: str, text: str) -> Message:
        self._check_able()
        room, listener = self._find_receiver(conversation)
        number = wire.MESSAGE_TYPES[kind]
        return Message(new_id("own-"), kind, number, self.account.id, self.world.now(), text, room, listener)

    def _find_receiver(self, conversation: str) -> tuple[str, str]:
        """Return the room, or else the person. Raises PuppetError."""
        room = self.wechaty.rooms.get(conversation)
        if room is not None and self.account.id in room.members:
            return room.id, ""
        if room is not None or conversation not in self.wechaty.contacts:
            raise PuppetError(f"{conversation} not exist.")
        return "", conversation

    def _note(self, facts: JSON, message: Message | None = None) -> None:
        where = {"id": message.id, "conversation": message.room or message.listener} if message else {}
        self.puppet.sent.append(facts | where | {"at": self.world.now()})

    def _sent(self, message: Message) -> Any:
        if not self.account.answer_ids:
            return M["Sent"]()
        return M["Sent"](id=message.id, old_id=M["Value"](value=message.id))

    # -- requests ----------------------------------------------------------------------------------------------------------

    def _invitation(self, invitation_id: str) -> Invitation:
        found = self.wechaty.invitations.get(invitation_id)
        if found is None or found.account != self.account.id:
            raise PuppetError("Cannot read properties of undefined (reading 'avatar')", "TypeError")
        return found

    def invitation_payload(self, question: Any) -> Any:
        one = self._invitation(question.id)
        return M["Invitation"](
            id=one.id,
            inviter_id=one.inviter,
            topic=one.room.topic,
            member_count=len(one.room.members),
            member_ids=one.room.members,
            receiver_id=self.account.id,
            **self._times(one.at),
        )

    def accept_invitation(self, question: Any) -> Any:
        invitation = self._invitation(question.id)
        self._check_able()
        self._note({"kind": "accept", "id": invitation.id})
        self.people.join_invited(invitation)
        return M["Empty"]()

    def _friendship(self, friendship_id: str) -> Friendship:
        found = self.wechaty.friendships.get(friendship_id)
        if found is None or found.account != self.account.id:
            raise PuppetError("Cannot read properties of undefined (reading 'contactId')", "TypeError")
        return found

    def friendship_payload(self, question: Any) -> Any:
        one = self._friendship(question.id)
        return M["Friendship"](id=one.id, contact_id=one.contact, hello=one.hello, type=one.type, ticket="ticket")

    def accept_friendship(self, question: Any) -> Any:
        request = self._friendship(question.id)
        self._check_able()
        self._note({"kind": "accept", "id": request.id})
        self.people.become_friends(request)
        return M["Empty"]()
