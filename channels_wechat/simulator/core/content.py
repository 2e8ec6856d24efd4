"""What the checks of both platforms look at, and what a reader sees of a message."""

import base64
from dataclasses import dataclass
from typing import Any

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON, Media, World


def length(value: Any) -> int:
    return len(str(value or "").encode())


def require(content: JSON, *names: str) -> None:
    for name in names:
        if not content.get(name):
            raise PlatformError(40063, f"some parameters are empty: {name}")


@dataclass
class Uploads:
    """What a check may look at: the uploads, and whose they must be."""

    world: World
    owner: str = ""

    def media(self, content: JSON, kind: str, name: str = "media_id") -> Media:
        if not content.get(name):
            raise PlatformError(41006, "missing media_id")
        media = self.world.find_media(str(content[name]), self.owner)
        if media is None or media.kind != kind:
            raise PlatformError(40007, "invalid media_id")
        return media


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
