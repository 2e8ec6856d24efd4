"""What kf/send_msg takes, by msgtype, in bytes of UTF-8."""

import re
from collections.abc import Callable

from channels_wechat.simulator.core.content import Uploads, length, require
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON, World

MSGID = re.compile(r"[0-9a-zA-Z_-]{1,32}")
ENTRIES = {"click": 128, "view": 1024, "miniprogram": 1024, "text": 256}


def check_msgid(body: JSON) -> str:
    msgid = body.get("msgid") or ""
    if msgid and not MSGID.fullmatch(str(msgid)):
        raise PlatformError(40058, "invalid msgid")
    return str(msgid)


def limit(content: JSON, name: str, most: int) -> None:
    if length(content.get(name)) > most:
        raise PlatformError(45002, f"{name} exceeds {most} bytes")


def check_text(content: JSON, uploads: Uploads) -> None:
    if not content.get("content"):
        raise PlatformError(44004, "empty content")
    limit(content, "content", 2048)


def check_link(content: JSON, uploads: Uploads) -> None:
    require(content, "title", "url", "thumb_media_id")
    limit(content, "title", 128)
    limit(content, "desc", 512)
    uploads.media(content, "image", "thumb_media_id")


def check_mini_program(content: JSON, uploads: Uploads) -> None:
    require(content, "appid", "pagepath", "thumb_media_id")
    limit(content, "title", 64)
    uploads.media(content, "image", "thumb_media_id")


def check_menu(content: JSON, uploads: Uploads) -> None:
    entries = content.get("list")
    if not isinstance(entries, list) or not entries or len(entries) > 10:
        raise PlatformError(40058, "a menu has 1 to 10 entries")
    limit(content, "head_content", 1024)
    for entry in entries:
        kind = entry.get("type")
        if kind not in ENTRIES or not isinstance(entry.get(kind), dict):
            raise PlatformError(40058, "invalid type of a menu entry")
        require(entry[kind], "content")
        limit(entry[kind], "content", ENTRIES[kind])


def check_location(content: JSON, uploads: Uploads) -> None:
    for name in ("latitude", "longitude"):
        if not isinstance(content.get(name), int | float):
            raise PlatformError(40063, f"some parameters are empty: {name}")


def check_media(kind: str) -> Callable[[JSON, Uploads], None]:
    return lambda content, uploads: (uploads.media(content, kind), None)[1]


CHECKS: dict[str, Callable[[JSON, Uploads], None]] = {
    "text": check_text,
    "image": check_media("image"),
    "voice": check_media("voice"),
    "video": check_media("video"),
    "file": check_media("file"),
    "link": check_link,
    "miniprogram": check_mini_program,
    "msgmenu": check_menu,
    "location": check_location,
}
TYPES, ON_EVENT = frozenset(CHECKS), frozenset({"text", "msgmenu"})


def check_content(world: World, body: JSON, allowed: frozenset[str]) -> tuple[str, JSON]:
    kind = str(body.get("msgtype") or "")
    content = body.get(kind)
    if kind not in allowed:
        raise PlatformError(40008, "invalid message type")
    if not isinstance(content, dict):
        raise PlatformError(40063, f"some parameters are empty: {kind}")
    CHECKS[kind](content, Uploads(world))
    return kind, content
