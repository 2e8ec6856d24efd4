"""The server: Simulator for asyncio code, RunningSimulator in a thread of its own for synchronous tests."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from channels_wechat.simulator.client import SimulatorClient
from channels_wechat.simulator.control import Control
from channels_wechat.simulator.control_ilink import IlinkControl
from channels_wechat.simulator.control_kf import KfControl
from channels_wechat.simulator.control_webhook_account import WebhookAccountControl
from channels_wechat.simulator.control_wechaty import WechatyControl
from channels_wechat.simulator.core import calls, faults
from channels_wechat.simulator.core.callbacks import Account, Callbacks
from channels_wechat.simulator.core.faults import Faults
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.sealed import Envelope
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.ilink.api import IlinkApi
from channels_wechat.simulator.ilink.door import Door
from channels_wechat.simulator.ilink.people import IlinkPeople
from channels_wechat.simulator.ilink.scans import IlinkScans
from channels_wechat.simulator.ilink.world import IlinkWorld
from channels_wechat.simulator.webhook_account.gateways import Gateway, GatewayEnvelope, GatewayWorld
from channels_wechat.simulator.webhook_account.people import GatewayPeople
from channels_wechat.simulator.webhook_account.receiver import Receiver
from channels_wechat.simulator.wechaty.services import Services
from channels_wechat.simulator.wecom import (
    api_aibot,
    api_appchat,
    api_contacts,
    api_customers,
    api_media,
    api_messages,
    api_robot,
    api_tokens,
)
from channels_wechat.simulator.wecom import calls as wecom
from channels_wechat.simulator.wecom.company import App, Bot, Company
from channels_wechat.simulator.wecom.connection.connections import Connections
from channels_wechat.simulator.wecom.envelopes import WeComEnvelope
from channels_wechat.simulator.wecom.front_door import WeComDoor
from channels_wechat.simulator.wecom.kf.accounts import KfWorld
from channels_wechat.simulator.wecom.kf.api import KfApi
from channels_wechat.simulator.wecom.kf.customers import KfCustomers
from channels_wechat.simulator.wecom.members import Members
from channels_wechat.simulator.wecom.scans import Scans
from channels_wechat.simulator.wecom.streams import Streams
from channels_wechat.simulator.wecom.tokens import Tokens
from channels_wechat.simulator.weixin import api_media as weixin_media
from channels_wechat.simulator.weixin import api_messages as weixin_messages
from channels_wechat.simulator.weixin import api_mini_program
from channels_wechat.simulator.weixin import api_tokens as weixin_tokens
from channels_wechat.simulator.weixin import calls as weixin
from channels_wechat.simulator.weixin.accounts import WeixinAccount
from channels_wechat.simulator.weixin.envelopes import WeixinEnvelope
from channels_wechat.simulator.weixin.followers import Followers
from channels_wechat.simulator.weixin.front_door import WeixinDoor
from channels_wechat.simulator.weixin.quotas import Quotas
from channels_wechat.simulator.weixin.tokens import Tokens as WeixinTokens
from channels_wechat.simulator.weixin.world import WeixinWorld

STATIC = Path(__file__).parent / "static"
MOST_BODY = 150 * 2**20  # a user's file of 100 MB in base64
PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self'"


def wecom_endpoints() -> dict[str, wecom.Endpoint]:
    found: dict[str, wecom.Endpoint] = {}
    for module in (api_tokens, api_messages, api_appchat, api_contacts, api_customers, api_media, api_robot, api_aibot):
        found |= module.endpoints()
    return found


def weixin_endpoints(followers: Followers, callbacks: Callbacks) -> dict[str, weixin.Endpoint]:
    found = weixin_tokens.endpoints() | weixin_messages.endpoints() | weixin_media.endpoints()
    return found | api_mini_program.endpoints(followers, callbacks.spawn)


def envelope_of(account: Account) -> Envelope:
    if isinstance(account, WeixinAccount):
        return WeixinEnvelope(account)
    if isinstance(account, App | Bot):
        return WeComEnvelope(account)
    if isinstance(account, Gateway):
        return GatewayEnvelope(account)
    raise TypeError(type(account))


class Doors:
    """One address for both platforms. A path that both have belongs to the platform whose token the call carries."""

    def __init__(self, wecom: WeComDoor, weixin: WeixinDoor) -> None:
        self._wecom, self._weixin = wecom, weixin

    async def cgi(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        return await self._door(path, request).serve(path, request)

    async def wxa(self, request: web.Request) -> web.StreamResponse:
        """/wxa/… and /wxaapi/…: only WeChat has them."""
        return await self._weixin.serve(request.path.removeprefix("/"), request)

    def _door(self, path: str, request: web.Request) -> WeComDoor | WeixinDoor:
        if path not in self._weixin.endpoints:
            return self._wecom
        if path not in self._wecom.endpoints:
            return self._weixin
        owner = self._weixin.platform.tokens.owner(request.query.get("access_token", ""))
        return self._weixin if owner else self._wecom


async def page(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})


class Simulator:
    """`await start()`, use `url`, `await stop()`. Port 0 takes a free one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port
        self.world = World()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200))
        self._callbacks = Callbacks(self.world, self._session, envelope_of)
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.world.base_url = self.url

    async def stop(self) -> None:
        await self._services.stop()
        await self._connections.stop()
        await self._callbacks.stop()
        await self._session.close()
        await self._runner.cleanup()

    def _platforms(self) -> tuple[wecom.Platform, weixin.Platform]:
        """Both, with one clock, one record, one list of faults."""
        shared = self.world, Windows(self.world), Faults()
        return (
            wecom.Platform(*shared, Company(self.world), Tokens(self.world)),
            weixin.Platform(*shared, WeixinWorld(self.world), WeixinTokens(self.world), Quotas(self.world)),
        )

    def _application(self) -> web.Application:
        wecom_platform, weixin_platform = self._platforms()
        followers = Followers(weixin_platform.weixin, self._callbacks)
        company = wecom_platform.company
        self._connections = Connections(company, wecom_platform.windows, wecom_platform.faults, self._callbacks)
        members = Members(company, self._callbacks, Streams(self.world, self._callbacks), self._connections)
        endpoints = weixin_endpoints(followers, self._callbacks)
        weixin_platform.paths = frozenset(endpoints)
        customers = KfCustomers(KfWorld(self.world), company, self._callbacks)
        wecom_paths = wecom_endpoints() | KfApi(customers.kf, customers).endpoints()
        doors = Doors(WeComDoor(wecom_platform, wecom_paths), WeixinDoor(weixin_platform, endpoints))
        application = web.Application(client_max_size=MOST_BODY)
        scans = Scans(company, wecom_platform.faults)
        services = self._services = Services(self.world, wecom_platform.faults, self.host, self._callbacks.spawn)
        door = Door(IlinkWorld(self.world), wecom_platform.faults)
        ilink, logins = IlinkPeople(door.ilink), IlinkScans(door)
        reached = self._callbacks, self._connections, scans, customers, services, ilink
        control = Control(wecom_platform, weixin_platform, members, followers, *reached)
        own = GatewayWorld(self.world)
        owners = WebhookAccountControl(control, GatewayPeople(own, self._callbacks))
        more = (
            KfControl(control, customers),
            WechatyControl(control, services),
            owners,
            IlinkControl(control, ilink, logins),
        )
        application.add_routes(Receiver(own, wecom_platform.faults).routes())
        application.add_routes([*control.routes(), *scans.routes(), *services.routes()])
        application.add_routes([*IlinkApi(door).routes(), *logins.routes()])
        application.add_routes([route for one in more for route in one.routes()])
        application.router.add_get("/openws", self._connections.serve)
        application.router.add_route("*", "/cgi-bin/{path:.+}", doors.cgi)
        application.router.add_route("*", "/{family:wxa|wxaapi}/{path:.+}", doors.wxa)
        application.router.add_get("/media/{where:bot|pic|video}/{id}", media_handler(wecom_platform))
        application.router.add_get("/", page)
        application.router.add_static("/static/", STATIC)
        return application


def media_handler(platform: calls.Platform) -> "faults.Handler":
    """Media addresses by kind; a fault on "media/bot" or "media/video" breaks the download of a user's file."""
    finders = {"bot": api_media.bot_media, "pic": api_media.picture, "video": weixin_media.video}

    async def serve(request: web.Request) -> web.StreamResponse:
        where, media_id = request.match_info["where"], request.match_info["id"]
        noted = platform.world.record.call(f"media/{where}", {})
        fault = platform.faults.take(noted.path)

        async def process() -> web.StreamResponse:
            return finders[where](platform.world, media_id)

        if fault is None:
            return await process()
        platform.world.record.broken(noted, fault.kind)
        return await faults.apply(fault, request, process, platform.world.settings.hang_seconds)

    return serve


class RunningSimulator:
    """`with RunningSimulator() as simulator:` runs one in a thread; `simulator.client` controls it."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._simulator = Simulator(host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)

    @property
    def url(self) -> str:
        return self._simulator.url

    @property
    def client(self) -> SimulatorClient:
        return self._client

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._simulator.start(), self._loop).result(10)
        self._client = SimulatorClient(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _finish(self) -> None:
        """Stop, and leave no request behind that still waits for news or hangs on purpose."""
        await self._simulator.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
