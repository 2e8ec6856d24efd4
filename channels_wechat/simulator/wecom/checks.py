"""Limits of outgoing content by msgtype (facts: wecom.md 3.1, 4, 5), in bytes of UTF-8 unless said otherwise."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON, Media, World
from channels_wechat.simulator.wecom.cards import NOTICES, TYPES, check_card

IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
COMMON = frozenset({"text", "image", "voice", "file", "news", "markdown", "template_card"})


@dataclass(frozen=True)
class Surface:
    """Where a message is going; what differs there."""

    types: frozenset[str]
    markdown_bytes: int = 2048
    cards: frozenset[str] = frozenset()


APP = Surface(COMMON | {"video", "textcard", "mpnews", "miniprogram_notice"}, cards=TYPES)
APPCHAT = Surface((COMMON | {"video", "textcard", "mpnews"}) - {"template_card"})
WEBHOOK = Surface(COMMON | {"markdown_v2"}, markdown_bytes=4096, cards=NOTICES)


def length(value: Any) -> int:
    return len(str(value or "").encode())


def limit(content: JSON, name: str, most: int, errcode: int) -> None:
    if length(content.get(name)) > most:
        raise PlatformError(errcode, f"{name} exceeds {most} bytes")


def require(content: JSON, *names: str) -> None:
    for name in names:
        if not content.get(name):
            raise PlatformError(40063, f"some parameters are empty: {name}")


def check_url(content: JSON, *names: str) -> None:
    for name in names:
        if content.get(name) and "://" not in str(content[name]):
            raise PlatformError(45034, f"{name} lacks a scheme")


@dataclass
class Context:
    """What a check may look at: the uploads, and whose they must be."""

    world: World
    surface: Surface
    owner: str = ""

    def media(self, content: JSON, kind: str, name: str = "media_id") -> Media:
        if not content.get(name):
            raise PlatformError(41006, "missing media_id")
        media = self.world.find_media(str(content[name]), self.owner)
        if media is None or media.kind != kind:
            raise PlatformError(40007, "invalid media_id")
        return media


def check_text(content: JSON, context: Context) -> None:
    if not content.get("content"):
        raise PlatformError(44004, "empty content")
    limit(content, "content", 2048, 45002)


def check_markdown(content: JSON, context: Context) -> None:
    if not content.get("content"):
        raise PlatformError(44004, "empty content")
    limit(content, "content", context.surface.markdown_bytes, 45002)


def check_image(content: JSON, context: Context) -> None:
    """A group robot sends the bytes themselves, everyone else a media id."""
    if context.surface is not WEBHOOK:
        context.media(content, "image")
        return
    check_inline_image(content, 2 * 2**20)


def check_inline_image(content: JSON, most: int) -> bytes:
    """{"base64", "md5" of the raw bytes}; returns the bytes. Shared with the stream replies of AI bots."""
    require(content, "base64", "md5")
    try:
        data = base64.b64decode(str(content["base64"]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PlatformError(40035, "base64 is not valid") from error
    if len(data) > most:
        raise PlatformError(45001, f"image exceeds {most} bytes")
    if hashlib.md5(data).hexdigest() != str(content["md5"]).lower():  # the platform's own choice of checksum
        raise PlatformError(40035, "md5 does not match")
    if not data.startswith(IMAGE_MAGIC):
        raise PlatformError(40005, "image must be JPG or PNG")
    return data


def check_voice(content: JSON, context: Context) -> None:
    context.media(content, "voice")


def check_file(content: JSON, context: Context) -> None:
    context.media(content, "file")


def check_video(content: JSON, context: Context) -> None:
    context.media(content, "video")
    limit(content, "title", 128, 45003)
    limit(content, "description", 512, 45004)


def check_textcard(content: JSON, context: Context) -> None:
    require(content, "title", "description", "url")
    limit(content, "title", 128, 45003)
    limit(content, "description", 512, 45004)
    check_url(content, "url")
    if len(str(content.get("btntxt") or "")) > 4:
        raise PlatformError(40058, "btntxt exceeds 4 characters")


def articles(content: JSON) -> list[JSON]:
    found: list[JSON] = content.get("articles") or []
    if not isinstance(found, list) or not found:
        raise PlatformError(40063, "articles are empty")
    if len(found) > 8:
        raise PlatformError(45008, "more than 8 articles")
    return found


def check_news(content: JSON, context: Context) -> None:
    for article in articles(content):
        require(article, "title")
        if not article.get("appid"):
            require(article, "url")
        limit(article, "title", 128, 45003)
        limit(article, "description", 512, 45004)
        check_url(article, "url", "picurl")


def check_mpnews(content: JSON, context: Context) -> None:
    for article in articles(content):
        require(article, "title", "content")
        context.media(article, "image", "thumb_media_id")
        limit(article, "title", 128, 45003)
        limit(article, "author", 64, 40058)
        limit(article, "content", 666 * 1024, 45002)
        limit(article, "digest", 512, 45004)


def characters(content: JSON, name: str, least: int, most: int) -> None:
    if not least <= len(str(content.get(name) or "")) <= most:
        raise PlatformError(40058, f"{name} must have {least} to {most} characters")


def check_miniprogram(content: JSON, context: Context) -> None:
    require(content, "appid")
    characters(content, "title", 4, 12)
    if content.get("description"):
        characters(content, "description", 4, 12)
    items = content.get("content_item") or []
    if len(items) > 10:
        raise PlatformError(40058, "more than 10 content items")
    for item in items:
        characters(item, "key", 1, 10)
        characters(item, "value", 1, 30)


def check_template_card(content: JSON, context: Context) -> None:
    check_card(content, context.surface.cards)


CHECKS: dict[str, Callable[[JSON, Context], None]] = {
    "text": check_text,
    "markdown": check_markdown,
    "markdown_v2": check_markdown,
    "image": check_image,
    "voice": check_voice,
    "file": check_file,
    "video": check_video,
    "textcard": check_textcard,
    "news": check_news,
    "mpnews": check_mpnews,
    "miniprogram_notice": check_miniprogram,
    "template_card": check_template_card,
}


def check_message(body: JSON, context: Context) -> tuple[str, JSON]:
    """The msgtype and its content object, or the PlatformError the platform answers with."""
    msgtype = str(body.get("msgtype") or "")
    if msgtype not in context.surface.types:
        raise PlatformError(40008, "invalid message type")
    content = body.get(msgtype)
    if not isinstance(content, dict):
        raise PlatformError(40063, f"some parameters are empty: {msgtype}")
    CHECKS[msgtype](content, context)
    return msgtype, content


def show(world: World, msgtype: str, content: JSON) -> tuple[str, JSON]:
    """Text and data of the transcript entry: what the member sees, media without their bytes."""
    text = str(content.get("content") or content.get("title") or "")
    if msgtype == "mpnews" or msgtype == "news":
        text = str(content["articles"][0]["title"])
    if msgtype == "template_card":
        text = str((content.get("main_title") or {}).get("title") or content.get("sub_title_text") or "")
    data = {name: value for name, value in content.items() if name not in ("content", "base64")}
    media = world.media.get(str(content.get("media_id")))
    if media is None and content.get("base64"):
        raw = base64.b64decode(str(content["base64"]))
        media = world.keep_media("image", "image.png", raw, "image/png", owner="shown")
    return text, data | (media_facts(media) if media else {})


def media_facts(media: Media) -> JSON:
    """`url` is where the chat page and tests read the bytes."""
    url = f"/media/pic/{media.id}"
    return {"name": media.name, "size": len(media.data), "mime": media.mime, "url": url}
