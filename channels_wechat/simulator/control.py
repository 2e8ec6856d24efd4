"""The control API under /sim/: set up, speak, break, look (described in the package's docstring)."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any, TypeVar

from aiohttp import web

from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.faults import Fault
from channels_wechat.simulator.core.record import Record
from channels_wechat.simulator.core.state import JSON, Settings, plain
from channels_wechat.simulator.ilink.people import IlinkPeople
from channels_wechat.simulator.wechaty.services import Services
from channels_wechat.simulator.wecom import calls as wecom
from channels_wechat.simulator.wecom.company import LONG_CONNECTION, App, Bot, Group, Member, Refusal, Robot
from channels_wechat.simulator.wecom.connection.connections import Connections
from channels_wechat.simulator.wecom.customer_events import CustomerEvents
from channels_wechat.simulator.wecom.customers import Customer, CustomerGroup
from channels_wechat.simulator.wecom.kf.customers import KfCustomers
from channels_wechat.simulator.wecom.members import Members
from channels_wechat.simulator.wecom.scans import Scans
from channels_wechat.simulator.weixin import calls as weixin
from channels_wechat.simulator.weixin.accounts import MiniProgram, OfficialAccount, Person, WeixinAccount
from channels_wechat.simulator.weixin.followers import Followers
from channels_wechat.simulator.weixin.world import single_chat

T = TypeVar("T")
MOST_WAIT = 25.0  # seconds a transcript request may wait for news


def make(kind: type[T], spec: JSON, old: T | None = None) -> T:
    """A dataclass from a control request; `old` is changed in place, so that tokens and queues follow."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(spec) - known:
        raise ControlError(f"unknown fields: {', '.join(sorted(unknown))}")
    try:
        made = kind(**(spec if old is None else vars(old) | spec))
    except TypeError as error:
        raise ControlError(str(error)) from error
    if old is None:
        return made
    vars(old).update(vars(made))
    return old


class Control:
    def __init__(
        self,
        wecom_platform: wecom.Platform,
        weixin_platform: weixin.Platform,
        members: Members,
        followers: Followers,
        callbacks: Callbacks,
        connections: Connections,
        scans: Scans,
        kf_customers: KfCustomers,
        services: Services,
        ilink: IlinkPeople,
    ) -> None:
        self.wecom, self.weixin = wecom_platform, weixin_platform
        self.world, self.faults = wecom_platform.world, wecom_platform.faults
        self.company, self.people = wecom_platform.company, weixin_platform.weixin
        self.members = members
        self.followers = followers
        self.callbacks = callbacks
        self.connections, self.scans = connections, scans
        self.customer_events = CustomerEvents(self.company, members)
        self.kf_customers, self.services, self.ilink = kf_customers, services, ilink

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/sim/apps", self.served(self.put_app)),
            web.post("/sim/bots", self.served(self.put_bot)),
            web.post("/sim/robots", self.served(self.put_robot)),
            web.post("/sim/members", self.served(self.put_member)),
            web.post("/sim/groups", self.served(self.put_group)),
            web.post("/sim/customers", self.served(self.put_customer)),
            web.post("/sim/customer_groups", self.served(self.put_customer_group)),
            web.post("/sim/customer_added", self.served(self.add_customer)),
            web.post("/sim/officials", self.served(self.put_official)),
            web.post("/sim/minis", self.served(self.put_mini)),
            web.post("/sim/persons", self.served(self.put_person)),
            web.post("/sim/settings", self.served(self.change_settings)),
            web.post("/sim/clock", self.served(self.advance_clock)),
            web.post("/sim/tokens", self.served(self.spoil_token)),
            web.post("/sim/say", self.served(self.say)),
            web.post("/sim/event", self.served(self.event)),
            web.post("/sim/click", self.served(self.click)),
            web.post("/sim/accept", self.served(self.accept)),
            web.post("/sim/verify", self.served(self.verify)),
            web.post("/sim/connection", self.served(self.end_connection)),
            web.post("/sim/refusals", self.served(self.put_refusal)),
            web.post("/sim/scans", self.served(self.scan)),
            web.post("/sim/faults", self.served(self.put_fault)),
            web.delete("/sim/faults", self.served(self.clear_faults)),
            web.post("/sim/reset", self.served(self.reset_record)),
            web.get("/sim/directory", self.served(self.directory)),
            web.get("/sim/person/{openid}", self.served(self.person)),
            web.get("/sim/record", self.served(self.record)),
            web.get("/sim/calls", self.served(self.calls)),
            web.get("/sim/deliveries", self.served(self.deliveries)),
            web.get("/sim/streams", self.served(self.streams)),
            web.get("/sim/connections", self.served(self.list_connections)),
            web.get("/sim/scans", self.served(self.list_scans)),
            web.get("/sim/chats", self.served(self.chats)),
            web.get("/sim/chat/{chat}", self.served(self.chat)),
        ]

    def served(
        self, handle: Callable[[web.Request, JSON], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """JSON in, JSON out; ControlError becomes a 400 with its sentence."""

        async def respond(request: web.Request) -> web.Response:
            try:
                spec = await read_spec(request)
                return web.json_response(await handle(request, spec))
            except ControlError as error:
                return web.json_response({"error": str(error)}, status=400)

        return respond

    # -- setting up ---------------------------------------------------------------------------------------------------

    async def put_app(self, request: web.Request, spec: JSON) -> JSON:
        app = make(App, spec, self.company.apps.get(spec.get("agentid", 0)))
        self.company.apps[app.agentid] = app
        return plain(app)

    async def put_bot(self, request: web.Request, spec: JSON) -> JSON:
        """A bot that leaves the long connection is cut off; one that comes to it gets no callbacks any more."""
        old = self.company.bots.get(spec.get("aibotid", ""))
        was = old and old.mode
        bot = make(Bot, spec, old)
        self.company.bots[bot.aibotid] = bot
        if was == LONG_CONNECTION and bot.mode != LONG_CONNECTION:
            self.connections.end(bot, "close")
        return self._bot(bot)

    def _bot(self, bot: Bot) -> JSON:
        return plain(bot) | {"connected": self.connections.is_connected(bot)}

    async def put_robot(self, request: web.Request, spec: JSON) -> JSON:
        robot = make(Robot, {"key": secrets.token_hex(16)} | spec)
        self.company.robots[robot.key] = robot
        return plain(robot) | {"key": robot.key}

    async def put_member(self, request: web.Request, spec: JSON) -> JSON:
        member = make(Member, spec, self.company.member(str(spec.get("userid"))))
        self.company.members[member.userid.lower()] = member
        return plain(member) | {"open_userid": member.open_userid}

    async def put_group(self, request: web.Request, spec: JSON) -> JSON:
        group = make(Group, spec, self.company.groups.get(str(spec.get("chatid"))))
        self.company.groups[group.chatid] = group
        return plain(group)

    async def put_customer(self, request: web.Request, spec: JSON) -> JSON:
        customer = make(Customer, spec, self.company.customers.get(str(spec.get("external_userid"))))
        self.company.customers[customer.external_userid] = customer
        return plain(customer)

    async def put_customer_group(self, request: web.Request, spec: JSON) -> JSON:
        group = make(CustomerGroup, spec, self.company.customer_groups.get(str(spec.get("chat_id"))))
        self.company.customer_groups[group.chat_id] = group
        return plain(group)

    async def add_customer(self, request: web.Request, spec: JSON) -> JSON:
        app = self.company.account(spec)
        if not isinstance(app, App):
            raise ControlError("`app` must be an agentid")
        return self.customer_events.add(app, spec)

    async def put_official(self, request: web.Request, spec: JSON) -> JSON:
        return self._put_weixin(OfficialAccount, spec)

    async def put_mini(self, request: web.Request, spec: JSON) -> JSON:
        return self._put_weixin(MiniProgram, spec)

    def _put_weixin(self, kind: type[OfficialAccount] | type[MiniProgram], spec: JSON) -> JSON:
        old = self.people.accounts.get(str(spec.get("appid")))
        if old is not None and not isinstance(old, kind):
            raise ControlError("this appid is an account of the other kind")
        account = make(kind, spec, old)
        self.people.accounts[account.appid] = account
        return plain(account)

    async def put_person(self, request: web.Request, spec: JSON) -> JSON:
        """Someone new follows already, without an event; an openid is made up where it is not given."""
        person = make(Person, spec, self.people.persons.get(str(spec.get("openid"))))
        if person.account not in self.people.accounts:
            raise ControlError("`account` must be the appid of an Official Account or a Mini Program")
        self.people.persons[person.openid] = person
        return self._standing(person)

    def _standing(self, person: Person) -> JSON:
        """With the chat, and what the account may still say: `left` messages until `ends`."""
        now, standing = self.world.now(), self.people.standing(person)
        facts = asdict(standing) | {"left": standing.left_at(now)}
        facts["typing"] = now < facts.pop("typing_until")
        return plain(person) | facts | {"chat": single_chat(self.people.accounts[person.account], person.openid)}

    async def change_settings(self, request: web.Request, spec: JSON) -> JSON:
        return asdict(make(Settings, spec, self.world.settings))

    async def advance_clock(self, request: web.Request, spec: JSON) -> JSON:
        self.world.clock_offset += float(spec.get("advance", 0))
        return {"now": self.world.now()}

    async def spoil_token(self, request: web.Request, spec: JSON) -> JSON:
        account, how = self._account(spec), spec.get("how")
        if isinstance(account, Bot):
            raise ControlError("only an app and a WeChat account have tokens")
        if how not in ("invalidate", "expire"):
            raise ControlError("`how` must be invalidate or expire")
        tokens = self.wecom.tokens if isinstance(account, App) else self.weixin.tokens
        getattr(tokens, how)(account)
        return {}

    def _account(self, spec: JSON) -> App | Bot | WeixinAccount:
        """The account a request names by `app`, `bot`, `official` or `mini`."""
        return self.people.account(spec) if "official" in spec or "mini" in spec else self.company.account(spec)

    # -- speaking -----------------------------------------------------------------------------------------------------

    async def say(self, request: web.Request, spec: JSON) -> JSON:
        if "messages" in spec:
            return {"said": [self._say(one) for one in spec["messages"]]}
        return self._say(spec)

    def _say(self, spec: JSON) -> JSON:
        if "kf" in spec:
            return self.kf_customers.say(spec)
        if "wechaty" in spec:
            return self.services.people.say(spec)
        if "ilink" in spec:
            return self.ilink.say(spec)
        account = self._account(spec)
        if isinstance(account, WeixinAccount):
            return self.followers.say(account, self.followers.speaker(account, spec), spec)
        return self.members.say(account, spec)

    async def event(self, request: web.Request, spec: JSON) -> JSON:
        if "kf" in spec:
            return self.kf_customers.raw(spec) if "raw" in spec else self.kf_customers.event(spec)
        account = self._account(spec)
        if not isinstance(account, WeixinAccount):
            return self.members.event(account, spec)
        if "raw" in spec:
            return self.followers.raw(account, spec)
        person = self.followers.speaker(account, spec)
        return self.followers.event(account, person, str(spec.get("event")), spec.get("fields") or {}, spec)

    async def click(self, request: web.Request, spec: JSON) -> JSON:
        entry = self.world.entry(spec.get("entry"))
        if entry is None or not entry.who.startswith(("app:", "bot:", "official:")):
            raise ControlError("no such card")
        clicked = self.followers.tap if entry.kind == "msgmenu" else self.members.click
        return clicked(entry, spec)

    async def accept(self, request: web.Request, spec: JSON) -> JSON:
        account = self._account(spec)
        if not isinstance(account, WeixinAccount):
            raise ControlError("only WeChat accounts have templates")
        return self.followers.accept(account, self.followers.speaker(account, spec), str(spec.get("template")))

    async def verify(self, request: web.Request, spec: JSON) -> JSON:
        account = self._account(spec)
        if not account.callback_url:
            raise ControlError("this account has no callback_url")
        return await self.callbacks.verify(account)

    def _bot_of(self, spec: JSON) -> Bot:
        account = self.company.account({"bot": spec.get("bot")})
        if not isinstance(account, Bot):
            raise ControlError("`bot` must be an aibotid")
        return account

    # -- breaking -----------------------------------------------------------------------------------------------------

    async def end_connection(self, request: web.Request, spec: JSON) -> JSON:
        return {"connection": self.connections.end(self._bot_of(spec), str(spec.get("how", "close")))}

    async def put_refusal(self, request: web.Request, spec: JSON) -> JSON:
        """What the platform refuses to a bot in one chat from now on."""
        key = self._bot_of(spec).id, str(spec.get("chat"))
        given = {name: value for name, value in spec.items() if name not in ("bot", "chat")}
        self.company.refusals[key] = make(Refusal, given, self.company.refusals.get(key))
        return plain(self.company.refusals[key])

    async def put_fault(self, request: web.Request, spec: JSON) -> JSON:
        fault = make(Fault, spec)
        self.faults.active.append(fault)
        return asdict(fault)

    async def clear_faults(self, request: web.Request, spec: JSON) -> JSON:
        self.faults.active.clear()
        return {}

    async def reset_record(self, request: web.Request, spec: JSON) -> JSON:
        """Forget counters, calls and deliveries; accounts, chats and tokens stay."""
        self.world.record = Record()
        return {}

    # -- looking ------------------------------------------------------------------------------------------------------

    async def directory(self, request: web.Request, spec: JSON) -> JSON:
        company, accounts = self.company, self.people.accounts.values()
        named = {"apps": company.apps, "members": company.members, "groups": company.groups}
        listed = {name: [plain(item) for item in table.values()] for name, table in named.items()}  # type: ignore[attr-defined]
        listed["officials"] = [plain(one) for one in accounts if isinstance(one, OfficialAccount)]
        listed["minis"] = [plain(one) for one in accounts if isinstance(one, MiniProgram)]
        listed["persons"] = [self._standing(person) for person in self.people.persons.values()]
        listed["bots"] = [self._bot(bot) for bot in company.bots.values()]
        listed["kfs"] = [plain(account) for account in self.kf_customers.kf.accounts.values()]
        listed["kf_customers"] = self.kf_customers.listed()
        wechaty = self.services.wechaty
        listed["wechaty_accounts"] = [self.services.describe(account) for account in wechaty.accounts.values()]
        listed["wechaty_rooms"] = [plain(room) for room in wechaty.rooms.values()]
        listed["wechaty_contacts"] = [plain(contact) for contact in wechaty.contacts.values()]
        listed["ilink_people"] = [self.ilink.ilink.describe(person) for person in self.ilink.ilink.people.values()]
        return listed | {"robots": [plain(robot) for robot in company.robots.values()]}

    async def person(self, request: web.Request, spec: JSON) -> JSON:
        person = self.people.persons.get(request.match_info["openid"])
        if person is None:
            raise ControlError("no such person")
        return self._standing(person)

    async def record(self, request: web.Request, spec: JSON) -> JSON:
        return self.world.record.summary()

    async def calls(self, request: web.Request, spec: JSON) -> list[JSON]:
        path = request.query.get("path")
        return [asdict(call) for call in self.world.record.calls if path in (None, call.path)]

    async def deliveries(self, request: web.Request, spec: JSON) -> list[JSON]:
        wanted = request.query.get("id")
        return [asdict(d) for d in self.world.record.deliveries.values() if wanted in (None, d.id)]

    async def streams(self, request: web.Request, spec: JSON) -> list[JSON]:
        return [asdict(state) for state in self.world.record.streams.values()]

    async def list_connections(self, request: web.Request, spec: JSON) -> list[JSON]:
        return [asdict(facts) for facts in self.connections.listed(request.query.get("bot", ""))]

    async def scan(self, request: web.Request, spec: JSON) -> JSON:
        return self.scans.act(spec)

    async def list_scans(self, request: web.Request, spec: JSON) -> list[JSON]:
        return self.scans.listed()

    async def chats(self, request: web.Request, spec: JSON) -> list[JSON]:
        return [{"chat": chat, "entries": len(entries)} for chat, entries in self.world.chats.items()]

    async def chat(self, request: web.Request, spec: JSON) -> JSON:
        """Entries changed after revision `since`; waits up to `wait` seconds for one."""
        chat, since = request.match_info["chat"], number(request, "since")
        deadline = asyncio.get_running_loop().time() + min(number(request, "wait"), MOST_WAIT)
        while True:
            found = [entry for entry in self.world.chats.get(chat, []) if entry.rev > since]
            if found or asyncio.get_running_loop().time() >= deadline:
                rev = max((entry.rev for entry in found), default=since)
                return {"chat": chat, "rev": rev, "entries": [asdict(entry) for entry in found]}
            await asyncio.sleep(0.05)


def number(request: web.Request, name: str) -> float:
    try:
        return float(request.query.get(name, 0))
    except ValueError as error:
        raise ControlError(f"{name} must be a number") from error


async def read_spec(request: web.Request) -> JSON:
    if not request.can_read_body:
        return {}
    try:
        spec = await request.json()
    except json.JSONDecodeError as error:
        raise ControlError("the body must be JSON") from error
    if not isinstance(spec, dict):
        raise ControlError("the body must be a JSON object")
    return spec
