"""What a bot may say over its connection, by msgtype, and where: shared by replies and proactive messages (facts: wecom.md 6.2)."""

from channels_wechat.simulator.core.content import Uploads, length, require, show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.wecom.api_aibot import MOST_BYTES
from channels_wechat.simulator.wecom.cards import check_card
from channels_wechat.simulator.wecom.checks import limit
from channels_wechat.simulator.wecom.company import Bot

MEDIA = ("image", "voice", "file", "video")
SENT = ("markdown", "template_card", *MEDIA)
FREQUENCY = 846607


def check_text(content: JSON) -> None:
    if not content.get("content"):
        raise PlatformError(44004, "empty content")
    if length(content["content"]) > MOST_BYTES:
        raise PlatformError(45002, f"content exceeds {MOST_BYTES} bytes")


def check_content(world: World, bot: Bot, body: JSON, allowed: tuple[str, ...]) -> tuple[str, JSON]:
    """Return msgtype and content, or raise the refusal. A file must be one that this bot uploaded."""
    msgtype = str(body.get("msgtype") or "")
    if msgtype not in allowed:
        raise PlatformError(40008, "invalid message type")
    content = body.get(msgtype)
    if not isinstance(content, dict):
        raise PlatformError(40063, f"some parameters are empty: {msgtype}")
    if msgtype == "template_card":
        check_card(content)
    elif msgtype in MEDIA:
        Uploads(world, bot.id).media(content, msgtype)
        limit(content, "title", 128, 45003)
        limit(content, "description", 512, 45004)
    else:
        check_text(content)
    return msgtype, content


def check_stream(body: JSON) -> JSON:
    stream = body.get("stream")
    if not isinstance(stream, dict):
        raise PlatformError(40063, "some parameters are empty: stream")
    require(stream, "id")
    if stream.get("msg_item"):
        raise PlatformError(40058, "msg_item is not supported over a long connection")
    if length(stream.get("content")) > MOST_BYTES:
        raise PlatformError(45002, f"content exceeds {MOST_BYTES} bytes")
    return stream


def take_quota(windows: Windows, world: World, bot: Bot, chat: str) -> None:
    """Replies, frames of streams and proactive messages count together: 30 a minute and 1000 an hour for each chat."""
    settings = world.settings
    limits = (settings.bot_chat_per_minute, 60.0), (settings.bot_chat_per_hour, 3600.0)
    if not windows.take(f"aibot {bot.id} {chat}", *limits):
        raise PlatformError(FREQUENCY, "aibot send msg frequency limit exceeded")


def read_content(world: World, msgtype: str, content: JSON) -> tuple[str, JSON]:
    """Return text and data of the transcript's entry, with the id by which members judge the answer."""
    text, data = show(world, msgtype, content)
    feedback = (content.get("feedback") or {}).get("id")
    return text, data | ({"feedback_id": feedback} if feedback else {})
