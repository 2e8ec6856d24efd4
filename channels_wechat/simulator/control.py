"""The control API under /sim/: set up, speak, break, look (described in the package's docstring)."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any, TypeVar

from aiohttp import web

from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.calls import Platform
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.faults import Fault
from channels_wechat.simulator.core.record import Record
from channels_wechat.simulator.core.state import JSON, App, Bot, Group, Member, Robot, Settings, plain, single_chat
from channels_wechat.simulator.wecom.members import People
from channels_wechat.simulator.weixin.accounts import MiniProgram, OfficialAccount, Person, WeixinAccount

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
    def __init__(self, platform: Platform, people: People, callbacks: Callbacks) -> None:
        self.platform = platform
        self.world = platform.world
        self.people = people
        self.callbacks = callbacks

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/sim/apps", self.served(self.put_app)),
            web.post("/sim/bots", self.served(self.put_bot)),
            web.post("/sim/robots", self.served(self.put_robot)),
            web.post("/sim/members", self.served(self.put_member)),
            web.post("/sim/groups", self.served(self.put_group)),
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
            web.post("/sim/faults", self.served(self.put_fault)),
            web.delete("/sim/faults", self.served(self.clear_faults)),
            web.post("/sim/reset", self.served(self.reset_record)),
            web.get("/sim/directory", self.served(self.directory)),
            web.get("/sim/person/{openid}", self.served(self.person)),
            web.get("/sim/record", self.served(self.record)),
            web.get("/sim/calls", self.served(self.calls)),
            web.get("/sim/deliveries", self.served(self.deliveries)),
            web.get("/sim/streams", self.served(self.streams)),
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
        app = make(App, spec, self.world.apps.get(spec.get("agentid", 0)))
        self.world.apps[app.agentid] = app
        return plain(app)

    async def put_bot(self, request: web.Request, spec: JSON) -> JSON:
        bot = make(Bot, spec, self.world.bots.get(spec.get("aibotid", "")))
        self.world.bots[bot.aibotid] = bot
        return plain(bot)

    async def put_robot(self, request: web.Request, spec: JSON) -> JSON:
        robot = make(Robot, {"key": secrets.token_hex(16)} | spec)
        self.world.robots[robot.key] = robot
        return plain(robot) | {"key": robot.key}

    async def put_member(self, request: web.Request, spec: JSON) -> JSON:
        member = make(Member, spec, self.world.member(str(spec.get("userid"))))
        self.world.members[member.userid.lower()] = member
        return plain(member) | {"open_userid": member.open_userid}

    async def put_group(self, request: web.Request, spec: JSON) -> JSON:
        group = make(Group, spec, self.world.groups.get(str(spec.get("chatid"))))
        self.world.groups[group.chatid] = group
        return plain(group)

    async def put_official(self, request: web.Request, spec: JSON) -> JSON:
        return self._put_weixin(OfficialAccount, spec)

    async def put_mini(self, request: web.Request, spec: JSON) -> JSON:
        return self._put_weixin(MiniProgram, spec)

    def _put_weixin(self, kind: type[OfficialAccount] | type[MiniProgram], spec: JSON) -> JSON:
        old = self.world.weixin.get(str(spec.get("appid")))
        if old is not None and not isinstance(old, kind):
            raise ControlError("this appid is an account of the other kind")
        account = make(kind, spec, old)
        self.world.weixin[account.appid] = account
        return plain(account)

    async def put_person(self, request: web.Request, spec: JSON) -> JSON:
        """Someone new follows already, without an event; an openid is made up where it is not given."""
        person = make(Person, spec, self.world.persons.get(str(spec.get("openid"))))
        if person.account not in self.world.weixin:
            raise ControlError("`account` must be the appid of an Official Account or a Mini Program")
        self.world.persons[person.openid] = person
        return self._standing(person)

    def _standing(self, person: Person) -> JSON:
        """With the chat, and what the account may still say: `left` messages until `ends`."""
        world, standing = self.world, self.world.standing(person)
        facts = asdict(standing) | {"left": standing.left_at(world.now())}
        facts["typing"] = world.now() < facts.pop("typing_until")
        return plain(person) | facts | {"chat": single_chat(world.weixin[person.account], person.openid)}

    async def change_settings(self, request: web.Request, spec: JSON) -> JSON:
        return asdict(make(Settings, spec, self.world.settings))

    async def advance_clock(self, request: web.Request, spec: JSON) -> JSON:
        self.world.clock_offset += float(spec.get("advance", 0))
        return {"now": self.world.now()}

    async def spoil_token(self, request: web.Request, spec: JSON) -> JSON:
        account = self.world.account(spec)
        if isinstance(account, Bot):
            raise ControlError("only an app and a WeChat account have tokens")
        if spec.get("how") not in ("invalidate", "expire"):
            raise ControlError("`how` must be invalidate or expire")
        tokens = self.platform.tokens if isinstance(account, App) else self.platform.weixin_tokens
        getattr(tokens, spec["how"])(account)
        return {}

    # -- speaking -----------------------------------------------------------------------------------------------------

    async def say(self, request: web.Request, spec: JSON) -> JSON:
        if "messages" in spec:
            return {"said": [self.people.say(one) for one in spec["messages"]]}
        return self.people.say(spec)

    async def event(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.event(spec)

    async def click(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.click(spec)

    async def accept(self, request: web.Request, spec: JSON) -> JSON:
        followers, account = self.people.followers, self.world.account(spec)
        if not isinstance(account, WeixinAccount):
            raise ControlError("only WeChat accounts have templates")
        return followers.accept(account, followers.speaker(account, spec), str(spec.get("template")))

    async def verify(self, request: web.Request, spec: JSON) -> JSON:
        return await self.callbacks.verify(self.world.account(spec))

    # -- breaking -----------------------------------------------------------------------------------------------------

    async def put_fault(self, request: web.Request, spec: JSON) -> JSON:
        fault = make(Fault, spec)
        self.platform.faults.active.append(fault)
        return asdict(fault)

    async def clear_faults(self, request: web.Request, spec: JSON) -> JSON:
        self.platform.faults.active.clear()
        return {}

    async def reset_record(self, request: web.Request, spec: JSON) -> JSON:
        """Forget counters, calls and deliveries; accounts, chats and tokens stay."""
        self.world.record = Record()
        return {}

    # -- looking ------------------------------------------------------------------------------------------------------

    async def directory(self, request: web.Request, spec: JSON) -> JSON:
        world = self.world
        named = {"apps": world.apps, "bots": world.bots, "members": world.members, "groups": world.groups}
        listed = {name: [plain(item) for item in table.values()] for name, table in named.items()}  # type: ignore[attr-defined]
        listed["officials"] = [plain(one) for one in world.weixin.values() if isinstance(one, OfficialAccount)]
        listed["minis"] = [plain(one) for one in world.weixin.values() if isinstance(one, MiniProgram)]
        listed["persons"] = [self._standing(person) for person in world.persons.values()]
        return listed | {"robots": [plain(robot) for robot in world.robots.values()]}

    async def person(self, request: web.Request, spec: JSON) -> JSON:
        person = self.world.persons.get(request.match_info["openid"])
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
