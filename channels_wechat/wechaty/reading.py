"""Asks the puppet service for what an event names, and makes a message of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Inbound, Peer
from channels_wechat.contract.unreadable import SYSTEM
from channels_wechat.wechaty import happenings, parsing
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.echoes import trace_of
from channels_wechat.wechaty.protocol import (
    FRIENDSHIP,
    INVITATION,
    MESSAGE,
    MESSAGE_CONTACT,
    MESSAGE_LOCATION,
    MESSAGE_MINI_PROGRAM,
    MESSAGE_URL,
    Dirty,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from google.protobuf.message import Message

    from channels_wechat.wechaty.echoes import Echoes
    from channels_wechat.wechaty.link import PuppetLink
    from channels_wechat.wechaty.people import People
    from channels_wechat.wechaty.protocol import Rpc
    from channels_wechat.wechaty.puppet import Puppet

A = TypeVar("A", bound="Message")
log = logging.getLogger(__name__)
# So many events are asked about at a time: services keep little, and puppets are slow.
AT_A_TIME = 16
PAYLOAD_SECONDS = 10.0
# Pauses before what could not be asked is asked again. The service keeps a message for a short time only.
AGAIN_SECONDS = (0.5, 2.0)


class Reader:
    """What it returns is stored in the order of the events. Nothing here raises a ChannelError: what cannot be read is kept as such."""

    def __init__(self, puppet: Puppet, people: People, echoes: Echoes, link: PuppetLink) -> None:
        self._puppet, self._people, self._echoes, self._link = puppet, people, echoes, link
        self._turns = asyncio.Semaphore(AT_A_TIME)

    # --- messages

    async def read_message(self, message_id: str, known: Awaitable[str]) -> Inbound | None:
        """known: gives our own id. None for the echo of what we sent."""
        return await self._read_safely(message_id, lambda: self._read_message(message_id, known))

    async def _read_message(self, message_id: str, known: Awaitable[str]) -> Inbound | None:
        message = await self._ask(MESSAGE, message_id)
        message.id = message.id or message_id
        if not (me := await known):  # an own message cannot be told from another's, which might be answered
            raise LookupError("nobody logged in")
        if message.talker_id == me and await self._is_echo(message, me):
            return None
        return parsing.read(message, await self._find_facts(message, me))

    async def _is_echo(self, message: pb.MessageData, me: str) -> bool:
        words = message.filename if message.type in parsing.FILES else message.text
        return await self._echoes.is_echo(message.id, trace_of(parsing.peer_of(message, me).id, words))

    async def _find_facts(self, message: pb.MessageData, me: str) -> parsing.Facts:
        room, talker = message.room_id, message.talker_id
        detail = await self._find_detail(message)
        card = word(detail, "id")
        names = {card: await self._people.find_contact(card)} if card else {}
        if not room:
            peer = parsing.peer_of(message, me).id
            return parsing.Facts(me, names={**names, peer: await self._people.find_contact(peer)}, detail=detail)
        title, member, own = await asyncio.gather(
            self._people.find_title(room), self._people.find_member(room, talker), self._people.find_member(room, me)
        )
        self._link.note_member(room, talker, member)
        names[talker] = member.name or member.alias
        return parsing.Facts(me, tuple(filter(None, own)), names, title, detail)

    async def _find_detail(self, message: pb.MessageData) -> Mapping[str, Any]:
        """Return what the service tells of a place, a card or a link; nothing where the puppet cannot say."""
        try:
            return await self._ask_detail(message)
        except ChannelError:
            return {}

    async def _ask_detail(self, message: pb.MessageData) -> Mapping[str, Any]:
        request = pb.Id(id=message.id)
        if message.type == Type.CONTACT:
            card: pb.Id = await self._puppet.ask(MESSAGE_CONTACT, request)
            return parsing.as_json(card)
        if message.type == Type.LOCATION:
            return parsing.as_json((await self._puppet.ask(MESSAGE_LOCATION, request)).location)
        if message.type == Type.MINI_PROGRAM:
            program = await self._puppet.ask(MESSAGE_MINI_PROGRAM, request)
            return parsing.as_json(program.mini_program) or parsing.read_link_json(program.json)
        if message.type in parsing.LINKS:
            link = await self._puppet.ask(MESSAGE_URL, request)
            return parsing.as_json(link.link) or parsing.read_link_json(link.json)
        return {}

    # --- what happened

    async def read_change(self, kind: int, payload: dict[str, Any]) -> Inbound | None:
        async def read() -> Inbound:
            room = word(payload, "roomId")
            people = happenings.people_of(kind, payload)
            members = await asyncio.gather(*(self._people.find_member(room, each) for each in people))
            names = {each: member.name or member.alias for each, member in zip(people, members, strict=True)}
            return happenings.read_change(kind, payload, await self._people.find_title(room), names)

        return await self._read_safely("", read)

    async def read_invitation(self, invitation_id: str) -> Inbound | None:
        async def read() -> Inbound:
            invitation = await self._ask(INVITATION, invitation_id)
            invitation.id = invitation.id or invitation_id
            return happenings.read_invitation(invitation, await self._people.find_contact(invitation.inviter_id))

        return await self._read_safely(f"invitation:{invitation_id}", read)

    async def read_friendship(self, friendship_id: str) -> Inbound | None:
        async def read() -> Inbound:
            friendship = await self._ask(FRIENDSHIP, friendship_id)
            friendship.id = friendship.id or friendship_id
            return happenings.read_friendship(friendship, await self._people.find_contact(friendship.contact_id))

        return await self._read_safely(f"friendship:{friendship_id}", read)

    # --- what has changed

    def drop(self, payload: Mapping[str, Any]) -> None:
        """Forget what the service says is not true any more. The id of a member may name its group first: room, bar, person."""
        kind, changed = payload.get("payloadType"), word(payload, "payloadId")
        if kind == Dirty.CONTACT:
            self._people.drop_contact(changed)
        elif kind in (Dirty.ROOM, Dirty.ROOM_MEMBER):
            self.drop_room(changed.partition("|")[0])

    def drop_room(self, room: str) -> None:
        self._people.drop_room(room)
        self._link.forget_members(room)

    # --- asking

    async def _read_safely(self, name: str, read: Callable[[], Awaitable[Inbound | None]]) -> Inbound | None:
        """name: of what is read, for what is kept of it where it cannot be read; empty: nothing is."""
        async with self._turns:
            try:
                return await read()
            except Exception as error:  # its words may hold a message, so they are not logged
                code = error.code if isinstance(error, ChannelError) else type(error).__name__
                log.warning("what an event names could not be read (%s)", code)
                return _keep_unread(name, code) if name else None

    async def _ask(self, rpc: Rpc[pb.Id, A], name: str) -> A:
        """Ask for what an event names, again where the puppet fails. Raises ChannelError."""
        for pause in AGAIN_SECONDS:
            try:
                return await self._puppet.ask(rpc, pb.Id(id=name), seconds=PAYLOAD_SECONDS)
            except ChannelError as error:
                if error.action not in (Action.RETRY, Action.WAIT):
                    raise
            await asyncio.sleep(pause)
        return await self._puppet.ask(rpc, pb.Id(id=name), seconds=PAYLOAD_SECONDS)


def _keep_unread(name: str, code: str) -> Inbound:
    """A message for what cannot be read: staff see that there was something. Under a key of its own, as it may come again and be read."""
    raw = {"unread": name, "code": code}
    return Inbound(f"unread:{name}", "unsupported", Peer("direct", SYSTEM), "", raw=raw)
