"""What strangers do in `make siege`, each a process of its own: python -m tests.acceptance.attacks NAME PORT SECONDS [PATH]

Bounded: so many connections, so many seconds, and only to this machine. PATH: where the strangers of an account write to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import sys
import time
from typing import TYPE_CHECKING

from tests.bench import sealed
from tests.support.proxy import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATHS = (
    "/",
    "/nowhere",
    "/admin/login/",
    "/admin/nowhere/",
    "/api/v1/messages/",
    "/callbacks/00000000-0000-4000-8000-000000000000",
)
PATIENCE = 30


class Target:
    """A port, and until when it is attacked."""

    def __init__(self, port: int, seconds: float, path: str) -> None:
        self.port, self.until, self.path = port, time.monotonic() + seconds, path

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    async def exchange(self, request: bytes, more: Awaitable[None] | None = None) -> bytes:
        """What is answered until the server closes; b"" where it breaks off."""
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(min(PATIENCE, max(0.1, self.until - time.monotonic()))):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(request)
                    return await reader.read()
                finally:
                    writer.close()
        return b""


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode()


async def login(target: Target) -> None:
    """Ever new names and passwords. X-Forwarded-For makes new addresses of them where nobody replaces it."""
    page = await target.exchange(head("GET", "/admin/login/", "Connection: close"))
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
    cookie = re.search(rb"csrftoken=(\w+)", page)
    if not (token and cookie):
        await asyncio.sleep(0.2)
        return
    for _ in range(5):
        body = f"csrfmiddlewaretoken={token[1].decode()}&username=u{random.getrandbits(40)}&password=wrong-password"
        lines = (
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
            f"Cookie: csrftoken={cookie[1].decode()}",
            f"X-Forwarded-For: 198.51.{random.randrange(256)}.{random.randrange(256)}",
            "Connection: close",
        )
        await target.exchange(head("POST", "/admin/login/", *lines) + body.encode())


async def slow(target: Target) -> None:
    await target.exchange(head("POST", random.choice(PATHS), "Content-Length: 1000"))


async def idle(target: Target) -> None:
    await target.exchange(b"")


async def upload(target: Target) -> None:
    kind = "Content-Type: multipart/form-data; boundary=x"
    start = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    size = 30 * 1024 * 1024
    request = head("POST", random.choice(PATHS), f"Content-Length: {size}", kind) + start
    await target.exchange(request + bytes(size - len(start)))
    await asyncio.sleep(0.05)


async def paths(target: Target) -> None:
    """Long ones that are refused, and short ones that nobody knows."""
    for _ in range(20):
        length = random.choice((5, 50, 3000, 60_000))
        start = random.choice(("/", "/admin/", "/api/v1/", "/callbacks/"))
        await target.exchange(head("GET", start + "a" * length, "Connection: close"))


_numbers = itertools.count(time.time_ns())


async def strangers(target: Target) -> None:
    """Five hundred people whose agent takes five seconds."""
    number = next(_numbers)
    plain = sealed.message(number, f"stranger{number % 500}", f"!slow=5 !say={number}")
    request = sealed.request(target.path, plain).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    await target.exchange(request.replace(b"Host: 127.0.0.1", f"Host: {HOST}".encode(), 1))
    await asyncio.sleep(0.5)


# How many do it at the same time.
ATTACKS: dict[str, tuple[Callable[[Target], Awaitable[None]], int]] = {
    "login": (login, 100),
    "slow": (slow, 300),
    "idle": (idle, 1200),
    "upload": (upload, 8),
    "paths": (paths, 20),
    "strangers": (strangers, 20),
}


async def attack(name: str, target: Target) -> None:
    act, count = ATTACKS[name]

    async def go_on() -> None:
        await asyncio.sleep(random.random())
        while not target.over:
            await act(target)
            await asyncio.sleep(0)

    await asyncio.gather(*(go_on() for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], Target(int(sys.argv[2]), float(sys.argv[3]), "".join(sys.argv[4:5]))))
