"""Failures on demand, by API path or "media/bot" for a user's media (the control API's POST /sim/faults).

errcode          the platform's refusal `errcode` with `errmsg`, nothing processed
errcode_after    processed, then the same answer
timeout_before   never processed, the connection hangs for `seconds`
timeout_after    processed, then hangs
slow             processed after `seconds`
slow_after       processed at once, answered after `seconds`
html             an HTML page instead of JSON with HTTP `status` (200, 502 …), nothing processed
html_after       processed, then the same page
reset            connection reset, nothing processed
reset_after      processed, then reset
"""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from channels_wechat.simulator.core.errors import ControlError

KINDS = frozenset({"timeout_before", "timeout_after", "slow", "slow_after", "reset", "reset_after"})
KINDS |= {"errcode", "errcode_after", "html", "html_after"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Process = Callable[[], Awaitable[web.StreamResponse]]
HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@dataclass
class Fault:
    """`path` may be "*" for every API path. `times` 0 = until cleared. `rate`: the share of the calls that meet it."""

    path: str
    kind: str
    times: int = 1
    errcode: int = -1
    errmsg: str = "simulated failure"
    seconds: float = 0
    status: int = 200
    rate: float = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ControlError(f"kind must be one of {', '.join(sorted(KINDS))}")
        if not 0 < self.rate <= 1:
            raise ControlError("rate must be above 0 and at most 1")


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []

    def take(self, path: str) -> Fault | None:
        """The first fault for this path that its rate lets happen, one of its times used up."""
        for fault in self.active:
            if fault.path in ("*", path) and random.random() < fault.rate:  # noqa: S311
                if fault.times == 1:
                    self.active.remove(fault)
                fault.times -= 1 if fault.times else 0
                return fault
        return None


def reset(request: web.Request) -> web.Response:
    """Close with RST instead of FIN; the response is never written."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def apply(fault: Fault, request: web.Request, process: Process, hang_seconds: float) -> web.StreamResponse:
    if fault.kind in ("errcode_after", "html_after"):
        await process()
    match fault.kind:
        case "errcode" | "errcode_after":
            return web.json_response({"errcode": fault.errcode, "errmsg": fault.errmsg})
        case "html" | "html_after":
            page = HTML.format(f"{fault.status} from the simulator")
            return web.Response(text=page, content_type="text/html", status=fault.status)
        case "slow":
            await asyncio.sleep(fault.seconds)
            return await process()
        case "slow_after":
            answer = await process()
            await asyncio.sleep(fault.seconds)
            return answer
    if fault.kind.endswith("_after"):
        await process()
    if fault.kind.startswith("timeout"):
        await asyncio.sleep(fault.seconds or hang_seconds)
    return reset(request)
