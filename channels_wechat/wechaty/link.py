"""What goes out over an open connection to a puppet service: texts whose mentions name members, and files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.filetypes import with_suffix
from channels_wechat.contract.messages import Receipt
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.echoes import trace_of
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wechaty.files import INLINE_BYTES, inline_box, uuid_box
from channels_wechat.wechaty.mentions import Addressed, address, has_unknown_name
from channels_wechat.wechaty.protocol import SEND_FILE, SEND_TEXT, sent_id
from channels_wechat.wechaty.rendering import MENTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from channels_wechat.contract.messages import Outgoing, Peer, Upload
    from channels_wechat.wechaty.echoes import Echoes, Trace
    from channels_wechat.wechaty.people import Member, People
    from channels_wechat.wechaty.protocol import Rpc
    from channels_wechat.wechaty.puppet import Puppet

Q = TypeVar("Q", bound="Message")
SEND_SECONDS, SEND_FILE_SECONDS = 30.0, 120.0


class PuppetLink:
    """Implements `channels_wechat.contract.connection.Link`. is_lost: nobody reads the events any more, so nothing is sent."""

    def __init__(self, puppet: Puppet, people: People, echoes: Echoes) -> None:
        self.puppet, self.people, self.echoes = puppet, people, echoes
        self.is_lost = False
        # Group → what its members may be called → id, as far as known from what they said and from its list.
        self._names: dict[str, dict[str, str]] = {}

    async def send(self, outgoing: Outgoing) -> Receipt:
        if self.is_lost:
            raise WECHATY.error("connection_lost", Action.WAIT, retry_after=1.0)
        body = outgoing.payload.body
        if body["kind"] == "file":
            return await self._send_file(outgoing.peer, _named(outgoing.images[0], str(body["name"])))
        text, mentions = await self._address(outgoing.peer, str(body["text"]), body.get(MENTIONS) or [])
        request = pb.SendText(conversation_id=outgoing.peer.id, text=text, mentional_ids=mentions)
        return await self._call(SEND_TEXT, request, trace_of(outgoing.peer.id, text), SEND_SECONDS)

    async def _send_file(self, peer: Peer, file: Upload) -> Receipt:
        """A failed upload has shown nothing to anybody, so it is tried again."""
        small = len(file.content) <= INLINE_BYTES
        box = inline_box(file) if small else uuid_box(file, await self.puppet.upload(file.content))
        request = pb.SendFile(conversation_id=peer.id, file_box=box)
        return await self._call(SEND_FILE, request, trace_of(peer.id, file.name), SEND_FILE_SECONDS)

    async def _call(self, rpc: Rpc[Q, pb.Sent], request: Q, trace: Trace, seconds: float) -> Receipt:
        with self.echoes.sending(trace) as sending:
            try:
                sent = await self.puppet.send(rpc, request, seconds)
            except ChannelError as error:
                sending.has_left = error.action is Action.UNKNOWN
                raise
            sending.id = sent_id(sent)
        return Receipt(remote_id=sending.id)

    # --- mentions

    def note_member(self, room: str, person: str, member: Member) -> None:
        """Remember what somebody who wrote in a group may be called there."""
        _add_names(self._names.setdefault(room, {}), person, member)

    def forget_members(self, room: str) -> None:
        self._names.pop(room, None)

    async def _address(self, peer: Peer, text: str, wanted: Sequence[str]) -> Addressed:
        """The text with the mentions that a client shows. The list of members is asked for only where somebody is not known yet."""
        if peer.kind != "group":
            return Addressed(text, ())
        names = self._names.setdefault(peer.id, {})
        if has_unknown_name(text, names) or not set(wanted) <= set(names.values()):
            with suppress(ChannelError):  # then a mention is only its words
                for person, member in (await self.people.list_members(peer.id)).items():
                    _add_names(names, person, member)
        return address(text, wanted, {name: person for name, person in names.items() if person})

    # --- what this kind does not have

    async def upload(self, file: Upload) -> str:
        raise WECHATY.error("puppet_cannot")

    async def show_partial(self, reply: str, text: str) -> bool:
        return False

    async def end_partial(self, reply: str, text: str) -> None:
        return None


def _add_names(names: dict[str, str], person: str, member: Member) -> None:
    """A name that two members have names nobody: its id becomes empty. The alias in the group comes before the person's name."""
    for name in filter(None, (member.alias, member.name)):
        names[name] = person if names.get(name, person) == person else ""


def _named(file: Upload, name: str) -> Upload:
    """Receivers go by the suffix."""
    return replace(file, name=with_suffix(name or file.name or file.kind, file.mime))
