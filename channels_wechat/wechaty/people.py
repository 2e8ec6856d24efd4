"""Names of people and titles of groups, asked of the puppet and kept for some minutes; an event that says they changed drops them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from channels_wechat.contract.errors import ChannelError
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.protocol import CONTACT, MEMBER, MEMBERS, ROOM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from channels_wechat.wechaty.puppet import Puppet

V = TypeVar("V")
KEEP_SECONDS, KEEP_FAILURE_SECONDS = 600.0, 60.0
MOST = 5000
# A message waits for the name of its sender no longer than this.
NAME_SECONDS = 5.0
# An answer waits for the names of a group's members no longer than this.
MEMBERS_SECONDS = 10.0
AT_A_TIME = 16


class Member(NamedTuple):
    """What a member of a group is called there (alias), and anywhere (name). Either may be empty."""

    alias: str = ""
    name: str = ""


class _Kept(Generic[V]):
    """Values by their key, the oldest dropped; each is asked for once at a time."""

    def __init__(self, empty: V) -> None:
        self._empty = empty
        self._values: OrderedDict[str, tuple[float, asyncio.Future[V]]] = OrderedDict()

    async def get(self, key: str, fetch: Callable[[], Awaitable[V]]) -> V:
        now = asyncio.get_running_loop().time()
        until, value = self._values.get(key, (0.0, None))
        if value is None or now > until:
            value = asyncio.ensure_future(self._fetch(key, fetch))
            self._values[key] = (now + KEEP_SECONDS, value)
            if len(self._values) > MOST:
                self._values.popitem(last=False)
        return await asyncio.shield(value)

    async def _fetch(self, key: str, fetch: Callable[[], Awaitable[V]]) -> V:
        """A puppet that does not know somebody is not asked again with each message."""
        try:
            return await fetch()
        except ChannelError:
            if key in self._values:
                until = asyncio.get_running_loop().time() + KEEP_FAILURE_SECONDS
                self._values[key] = (until, self._values[key][1])
            return self._empty

    def drop(self, begin: str) -> None:
        """Forget all whose key is this or begins with it and a slash."""
        for key in [each for each in self._values if each == begin or each.startswith(f"{begin}/")]:
            del self._values[key]


class People:
    """What one puppet tells. Nothing here raises: who cannot be named has an empty name."""

    def __init__(self, puppet: Puppet) -> None:
        self._puppet = puppet
        self._titles, self._contacts, self._members = _Kept(""), _Kept(""), _Kept(Member())

    async def find_title(self, room: str) -> str:
        return await self._titles.get(room, lambda: self._ask_title(room))

    async def find_contact(self, contact: str) -> str:
        """Return the name of a person; empty where the puppet does not tell."""
        return await self._contacts.get(contact, lambda: self._ask_contact(contact))

    async def find_member(self, room: str, member: str) -> Member:
        """Return what somebody is called in a group; by their own name where the group's list has none."""
        found = await self._members.get(f"{room}/{member}", lambda: self._ask_member(room, member))
        return found if found.name else Member(found.alias, await self.find_contact(member))

    async def list_members(self, room: str) -> dict[str, Member]:
        """Return id → names of those members whom the puppet names in time. Raises ChannelError."""
        answer = await self._puppet.ask(MEMBERS, pb.Id(id=room), seconds=NAME_SECONDS)
        turns, found = asyncio.Semaphore(AT_A_TIME), dict[str, Member]()

        async def note(member: str) -> None:
            async with turns:
                found[member] = await self.find_member(room, member)

        with suppress(TimeoutError):
            async with asyncio.timeout(MEMBERS_SECONDS), asyncio.TaskGroup() as group:
                for each in answer.member_ids:
                    group.create_task(note(each))
        return found

    def drop_room(self, room: str) -> None:
        self._titles.drop(room)
        self._members.drop(room)

    def drop_contact(self, contact: str) -> None:
        self._contacts.drop(contact)

    async def _ask_title(self, room: str) -> str:
        return (await self._puppet.ask(ROOM, pb.Id(id=room), seconds=NAME_SECONDS)).topic.strip()

    async def _ask_contact(self, contact: str) -> str:
        answer = await self._puppet.ask(CONTACT, pb.Id(id=contact), seconds=NAME_SECONDS)
        return answer.name.strip() or answer.alias.strip()

    async def _ask_member(self, room: str, member: str) -> Member:
        request = pb.MemberRequest(id=room, member_id=member)
        answer = await self._puppet.ask(MEMBER, request, seconds=NAME_SECONDS)
        return Member(answer.room_alias.strip(), answer.name.strip())
