"""Verify, decrypt and parse one callback, in CPU time, beside wechatpy doing the same with the same bodies."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, cast

from wechatpy.work import parse_message
from wechatpy.work.crypto import WeChatCrypto

from accounts.channels import build_channel
from tests.bench import sealed, world
from tests.bench.table import Figure, interleaved, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.capabilities import Callbacks
    from tests.bench.ground import Ground

    Sealed = tuple[dict[str, str], bytes]

BODIES = 3000


def parsing(_ground: Ground, rounds: int) -> list[Figure]:
    channel = cast("Callbacks", build_channel(world.account()))
    crypto = WeChatCrypto(sealed.TOKEN, sealed.KEY, sealed.CORP)
    bodies = [sealed.callback(sealed.message(number)) for number in range(BODIES)]

    def ours(query: dict[str, str], body: bytes) -> None:
        assert channel.parse(query, body).inbound[0].text == sealed.TEXT

    def theirs(query: dict[str, str], body: bytes) -> None:
        plain = crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        assert parse_message(plain).content == sealed.TEXT

    found = interleaved({"ours": lambda: _each(ours, bodies), "wechatpy": lambda: _each(theirs, bodies)}, rounds)
    mine, other = found["ours"], found["wechatpy"]
    figures = (f"{statistics.median(side):.0f} µs" for side in (mine, other))
    return [Figure("verify, decrypt, parse : wechatpy, CPU", *figures, ratio(mine, other), 0.75, most=True)]


def _each(read: Callable[[dict[str, str], bytes], None], bodies: list[Sealed]) -> float:
    """Microseconds of CPU for each."""
    began = time.process_time()
    for query, body in bodies:
        read(query, body)
    return (time.process_time() - began) / len(bodies) * 1e6
