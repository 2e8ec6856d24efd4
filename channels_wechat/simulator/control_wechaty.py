"""The control API of personal accounts, under /sim/wechaty/ (described in the package's docstring)."""

from typing import Any

from aiohttp import web

from channels_wechat.simulator.control import Control, make
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON, plain
from channels_wechat.simulator.wechaty.services import Services
from channels_wechat.simulator.wechaty.world import Account, Contact, Room


class WechatyControl:
    def __init__(self, control: Control, services: Services) -> None:
        self.control, self.services = control, services
        self.wechaty, self.people = services.wechaty, services.people

    def routes(self) -> list[web.RouteDef]:
        posts = {
            "accounts": self.put_account,
            "contacts": self.put_contact,
            "rooms": self.put_room,
            "phone": self.phone,
            "recall": self.recall,
            "members": self.members,
            "topic": self.topic,
            "invite": self.invite,
            "friend": self.friend,
            "service": self.service,
            "raw": self.raw,
        }
        looks = {"streams": self.streams, "sent": self.sent, "requests": self.requests}
        return [
            *(web.post(f"/sim/wechaty/{name}", self.control.served(handle)) for name, handle in posts.items()),
            *(web.get(f"/sim/wechaty/{name}", self.control.served(handle)) for name, handle in looks.items()),
        ]

    async def put_account(self, request: web.Request, spec: JSON) -> JSON:
        """A new account is logged in unless it is told otherwise, and its service starts."""
        logged_in = bool(spec.pop("logged_in", True))
        account = make(Account, spec, self.wechaty.accounts.get(str(spec.get("id"))))
        await self.services.open(account, logged_in=logged_in)
        return self.services.describe(account)

    async def put_contact(self, request: web.Request, spec: JSON) -> JSON:
        contact = make(Contact, spec, self.wechaty.contacts.get(str(spec.get("id"))))
        if contact.id in self.wechaty.accounts:
            raise ControlError("this id is an account's")
        self.wechaty.contacts[contact.id] = contact
        return plain(contact)

    async def put_room(self, request: web.Request, spec: JSON) -> JSON:
        room = make(Room, spec, self.wechaty.rooms.get(str(spec.get("id"))))
        self.wechaty.rooms[room.id] = room
        return plain(room)

    async def phone(self, request: web.Request, spec: JSON) -> JSON:
        return self.services.puppet(self.wechaty.account(spec)).act(spec.get("how"))

    async def recall(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.recall(spec)

    async def members(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.change_members(spec)

    async def topic(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.rename(spec)

    async def invite(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.invite(spec)

    async def friend(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.ask_friendship(spec)

    async def service(self, request: web.Request, spec: JSON) -> JSON:
        return await self.services.disturb(self.wechaty.account(spec), spec.get("how"))

    async def raw(self, request: web.Request, spec: JSON) -> JSON:
        """Any event."""
        puppet = self.services.puppet(self.wechaty.account(spec))
        puppet.emit(int(spec.get("type", 0)), dict(spec.get("payload") or {}))
        return {}

    async def streams(self, request: web.Request, spec: JSON) -> list[JSON]:
        return self.services.streams(request.query.get("wechaty", ""))

    async def sent(self, request: web.Request, spec: JSON) -> list[JSON]:
        return list(self.services.puppet(self.wechaty.account(dict(request.query))).sent)

    async def requests(self, request: web.Request, spec: JSON) -> Any:
        listed = {"invitations": self.wechaty.invitations, "friendships": self.wechaty.friendships}
        return {name: [plain(one) for one in found.values()] for name, found in listed.items()}  # type: ignore[attr-defined]
