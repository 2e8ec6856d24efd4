"""A platform that takes every message at once, and remembers when each came: `python -m tests.bench.platform PORT`.

GET /record gives [[moment (CLOCK_MONOTONIC), text] …], and begins anew.
"""

from __future__ import annotations

import sys
import time

from aiohttp import web

heard: list[tuple[float, str]] = []


async def token(_request: web.Request) -> web.Response:
    return web.json_response({"errcode": 0, "errmsg": "ok", "access_token": "token", "expires_in": 7200})


async def send(request: web.Request) -> web.Response:
    now = time.monotonic()
    heard.append((now, (await request.json())["text"]["content"]))
    return web.json_response({"errcode": 0, "errmsg": "ok", "msgid": f"m{len(heard)}"})


async def record(_request: web.Request) -> web.Response:
    taken = list(heard)
    heard.clear()
    return web.json_response(taken)


async def count(_request: web.Request) -> web.Response:
    return web.json_response(len(heard))


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/cgi-bin/gettoken", token)
    app.router.add_post("/cgi-bin/message/send", send)
    app.router.add_get("/record", record)
    app.router.add_get("/count", count)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
