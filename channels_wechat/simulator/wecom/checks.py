"""Limits of outgoing content by msgtype (facts: wecom.md 3.1, 4, 5), in bytes of UTF-8 unless said otherwise."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from channels_wechat.simulator.core.content import Uploads, length, require
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.core.uploads import IMAGE_MAGIC
from channels_wechat.simulator.wecom.cards import NOTICES, TYPES, check_card

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


def limit(content: JSON, name: str, most: int, errcode: int) -> None:
    if length(content.get(name)) > most:
        raise PlatformError(errcode, f"{name} exceeds {most} bytes")


def check_url(content: JSON, *names: str) -> None:
    for name in names:
        if content.get(name) and "://" not in str(content[name]):
            raise PlatformError(45034, f"{name} lacks a scheme")


@dataclass
class Context(Uploads):
    """What a check may look at: the uploads, whose they must be, and where the message is going."""

    surface: Surface = APP


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
