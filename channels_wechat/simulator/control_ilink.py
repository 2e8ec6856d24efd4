"""The control API of iLink, under /sim/ilink/ (described in the package's docstring)."""

from aiohttp import web

from channels_wechat.simulator.control import Control, make
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.ilink.people import IlinkPeople
from channels_wechat.simulator.ilink.scans import IlinkScans
from channels_wechat.simulator.ilink.world import Person


class IlinkControl:
    def __init__(self, control: Control, people: IlinkPeople, scans: IlinkScans) -> None:
        self.control, self.people, self.scans = control, people, scans
        self.ilink = people.ilink

    def routes(self) -> list[web.RouteDef]:
        posts = {
            "people": self.put_person,
            "scans": self.scan,
            "login": self.log_in,
            "logout": self.log_out,
            "raw": self.raw,
        }
        return [
            *(web.post(f"/sim/ilink/{name}", self.control.served(handle)) for name, handle in posts.items()),
            web.get("/sim/ilink/scans", self.control.served(self.list_scans)),
        ]

    async def put_person(self, request: web.Request, spec: JSON) -> JSON:
        person = make(Person, spec, self.ilink.people.get(str(spec.get("id"))))
        self.ilink.people[person.id] = person
        return self.ilink.describe(person)

    async def scan(self, request: web.Request, spec: JSON) -> JSON:
        return self.scans.act(spec)

    async def list_scans(self, request: web.Request, spec: JSON) -> list[JSON]:
        return self.scans.listed()

    async def log_in(self, request: web.Request, spec: JSON) -> JSON:
        """A login without a scan, for the demo and tests: what `confirmed` would tell. The login before is lost."""
        bot = self.ilink.log_in(self.ilink.person(spec.get("from")))
        return {"bot_token": bot.token, "ilink_bot_id": bot.id, "ilink_user_id": bot.owner}

    async def log_out(self, request: web.Request, spec: JSON) -> JSON:
        """The person ends the login on the phone, or another program takes it."""
        person = self.ilink.person(spec.get("from"))
        self.ilink.log_out(person)
        return self.ilink.describe(person)

    async def raw(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.raw(spec)
