"""Callbacks as WeCom sends them, made beforehand: signed, encrypted, each with an id of its own, as the bytes of an HTTP request."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from channels_wechat.simulator.core import crypto

if TYPE_CHECKING:
    from collections.abc import Iterator

CORP, AGENT, TOKEN, KEY = "wwbench000000001", 1000002, "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
TEXT = "请帮我看一下今天下午的发布计划,有没有需要我确认的地方?谢谢!"
_start = itertools.count(time.time_ns())


def numbers() -> Iterator[int]:
    """Ids that no other run and no other process of this run uses."""
    return itertools.count(next(_start) * 1000)


def message(number: int, sender: str = "zhangsan", text: str = TEXT) -> bytes:
    """The plaintext: a member's message to the app of `ground`."""
    return (
        f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[{sender}]]></FromUserName>"
        f"<CreateTime>{int(time.time())}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content><![CDATA[{text}]]></Content><MsgId>{number}</MsgId><AgentID>{AGENT}</AgentID></xml>"
    ).encode()


def callback(plain: bytes) -> tuple[dict[str, str], bytes]:
    """Query and body."""
    encrypted = crypto.encrypt(KEY, plain, CORP)
    timestamp, nonce = str(int(time.time())), "1597212914"
    query = {
        "msg_signature": crypto.signature(TOKEN, timestamp, nonce, encrypted),
        "timestamp": timestamp,
        "nonce": nonce,
    }
    body = (
        f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt>"
        f"<AgentID><![CDATA[{AGENT}]]></AgentID></xml>"
    )
    return query, body.encode()


def request(path: str, plain: bytes) -> bytes:
    query, body = callback(plain)
    head = (
        f"POST {path}?{urlencode(query)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/4.0\r\nAccept: */*\r\n"
        f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
