"""What a customer-service message may hold, by msgtype (facts: official_account.md 3.1, 13.2)."""

from collections.abc import Callable
from typing import Any

from channels_wechat.simulator.core.content import Uploads, length, require
from channels_wechat.simulator.core.content import show as show_common
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.weixin.accounts import OfficialAccount, WeixinAccount

OFFICIAL_TYPES = frozenset(
    {
        "text",
        "image",
        "voice",
        "video",
        "music",
        "news",
        "mpnewsarticle",
        "msgmenu",
        "wxcard",
        "miniprogrampage",
    }
)
MINI_TYPES = frozenset({"text", "image", "link", "miniprogrampage"})
Check = Callable[[JSON, Uploads], None]


def check_text(content: JSON, uploads: Uploads) -> None:
    if not str(content.get("content") or "").strip():
        raise PlatformError(44004, "empty content")
    if length(content["content"]) > uploads.world.settings.custom_text_bytes:
        raise PlatformError(45002, "content size out of limit")


def media(kind: str) -> Check:
    def check(content: JSON, uploads: Uploads) -> None:
        uploads.media(content, kind)

    return check


def check_thumb(content: JSON, uploads: Uploads) -> None:
    """A picture does, too: a Mini Program can upload nothing else."""
    given = uploads.world.find_media(str(content.get("thumb_media_id")), uploads.owner)
    if given is None or given.kind not in ("thumb", "image"):
        raise PlatformError(40007, "invalid thumb_media_id")


def fields(*names: str) -> Check:
    def check(content: JSON, uploads: Uploads) -> None:
        require(content, *names)

    return check


def check_news(content: JSON, uploads: Uploads) -> None:
    articles = content.get("articles")
    if not isinstance(articles, list) or len(articles) != 1:
        raise PlatformError(45008, "article size out of limit")
    require(articles[0], "title", "url")


def check_menu(content: JSON, uploads: Uploads) -> None:
    items = content.get("list")
    if not isinstance(items, list) or not items:
        raise PlatformError(40035, "invalid parameter: msgmenu.list")
    for item in items:
        require(item, "id", "content")


def both(*checks: Check) -> Check:
    def check(content: JSON, uploads: Uploads) -> None:
        for one in checks:
            one(content, uploads)

    return check


PAGE = both(fields("title", "pagepath"), check_thumb)
CHECKS: dict[str, Check] = {
    "text": check_text,
    "image": media("image"),
    "voice": media("voice"),
    "video": media("video"),
    "music": both(fields("musicurl", "hqmusicurl"), check_thumb),
    "news": check_news,
    "mpnewsarticle": fields("article_id"),
    "msgmenu": check_menu,
    "wxcard": fields("card_id"),
    "miniprogrampage": both(fields("appid"), PAGE),
    "link": fields("title", "description", "url", "thumb_url"),
}


def check_content(world: World, account: WeixinAccount, body: JSON) -> tuple[str, JSON]:
    """The msgtype and its content object, or the PlatformError the platform answers with."""
    official, msgtype = isinstance(account, OfficialAccount), str(body.get("msgtype") or "")
    if msgtype not in (OFFICIAL_TYPES if official else MINI_TYPES):
        raise PlatformError(40008, "invalid message type")
    content = body.get(msgtype)
    if not isinstance(content, dict):
        raise PlatformError(40035, f"invalid parameter: {msgtype}")
    check = PAGE if msgtype == "miniprogrampage" and not official else CHECKS[msgtype]
    check(content, Uploads(world, account.appid))
    return msgtype, content


def labelled(account: WeixinAccount, body: JSON) -> bool:
    """Whether the message bears the label of AI text. 47001 where the account refuses the object or it is not what it must be."""
    if "aimsgcontext" not in body:
        return False
    if not account.takes_ai_label or body["aimsgcontext"] != {"is_ai_msg": 1}:
        raise PlatformError(47001, "data format error: aimsgcontext")
    return True


def show(world: World, msgtype: str, content: JSON) -> tuple[str, JSON]:
    """Text and data of the transcript entry. A menu's choices stay in the data: the page makes buttons of them."""
    if msgtype == "msgmenu":
        return str(content.get("head_content") or ""), content
    text, data = show_common(world, msgtype, content)
    thumb: Any = world.media.get(str(content.get("thumb_media_id")))
    return text, data | ({"thumb": f"/media/pic/{thumb.id}"} if thumb else {})
