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
from channels_wechat.simulator.core import faults
from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.calls import Endpoint, FrontDoor, Platform
from channels_wechat.simulator.core.faults import Faults
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.wecom import api_aibot, api_appchat, api_contacts, api_media, api_messages, api_robot
from channels_wechat.simulator.wecom.members import People
from channels_wechat.simulator.wecom.streams import Streams
from channels_wechat.simulator.wecom.tokens import Tokens, gettoken
from channels_wechat.simulator.weixin import api_media as api_weixin_media
from channels_wechat.simulator.weixin import api_messages as api_official
from channels_wechat.simulator.weixin import api_mini_program
from channels_wechat.simulator.weixin.followers import Followers
from channels_wechat.simulator.weixin.front_door import Doors, WeixinDoor
from channels_wechat.simulator.weixin.quotas import Quotas
from channels_wechat.simulator.weixin.tokens import WeixinTokens

STATIC = Path(__file__).parent / "static"
MOST_BODY = 150 * 2**20  # a user's file of 100 MB in base64
PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self'"


def wecom_endpoints() -> dict[str, Endpoint]:
    found = {"gettoken": Endpoint("GET", gettoken, needs_token=False)}
    for module in (api_messages, api_appchat, api_contacts, api_media, api_robot, api_aibot):
        found |= module.endpoints()
    return found


def weixin_endpoints(followers: Followers, callbacks: Callbacks) -> dict[str, Endpoint]:
    found = api_official.endpoints() | api_weixin_media.endpoints()
    return found | api_mini_program.endpoints(followers, callbacks.spawn)


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
        self._callbacks = Callbacks(self.world, self._session)
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.world.base_url = self.url

    async def stop(self) -> None:
        await self._callbacks.stop()
        await self._session.close()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        world = self.world
        followers = Followers(world, self._callbacks)
        weixin = weixin_endpoints(followers, self._callbacks)
        platform = Platform(
            world, Tokens(world), Windows(world), Faults(), WeixinTokens(world), Quotas(world), frozenset(weixin)
        )
        people = People(world, self._callbacks, Streams(world, self._callbacks), followers)
        doors = Doors(FrontDoor(platform, wecom_endpoints()), WeixinDoor(platform, weixin))
        application = web.Application(client_max_size=MOST_BODY)
        application.add_routes(Control(platform, people, self._callbacks).routes())
        application.router.add_route("*", "/cgi-bin/{path:.+}", doors.cgi)
        application.router.add_route("*", "/{family:wxa|wxaapi}/{path:.+}", doors.wxa)
        application.router.add_get("/media/{where:bot|pic|video}/{id}", media_handler(platform))
        application.router.add_get("/", page)
        application.router.add_static("/static/", STATIC)
        return application


def media_handler(platform: Platform) -> "faults.Handler":
    """Media addresses by kind; a fault on "media/bot" or "media/video" breaks the download of a user's file."""
    finders = {"bot": api_media.bot_media, "pic": api_media.picture, "video": api_weixin_media.video}

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
