"""Temporary media of WeChat accounts (facts: official_account.md 8): good for three days, a video only by its address."""

from aiohttp import web

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.core.uploads import (
    AMR_MAGIC,
    IMAGE_MAGIC,
    MB,
    amr_seconds,
    disposition,
    guess,
    read_upload,
)
from channels_wechat.simulator.weixin.accounts import MiniProgram
from channels_wechat.simulator.weixin.calls import Call, Endpoint

MOST = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB, "thumb": 64 * 1024}
JPEG_MAGIC = b"\xff\xd8\xff"
MP3_MAGIC = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")


def check(kind: str, data: bytes) -> None:
    if len(data) < 5:
        raise PlatformError(40006, "invalid media size")
    if len(data) > MOST[kind]:
        raise PlatformError(45001, "media size out of limit")
    good = {
        "image": data.startswith((*IMAGE_MAGIC, b"GIF8")),
        "voice": data.startswith((AMR_MAGIC, *MP3_MAGIC)),
        "video": data[4:8] == b"ftyp",
        "thumb": data.startswith(JPEG_MAGIC),
    }
    if not good[kind]:
        raise PlatformError(40005, "invalid file type")
    if data.startswith(AMR_MAGIC) and amr_seconds(data) > 60:
        raise PlatformError(45007, "playtime out of limit")


async def upload(call: Call) -> Answer:
    """A Mini Program may upload pictures only."""
    kind = call.query("type")
    if kind not in (("image",) if isinstance(call.account, MiniProgram) else MOST):
        raise PlatformError(40004, "invalid media type")
    given = await read_upload(call.request)
    if not given.name:
        raise PlatformError(41005, "media data missing")
    check(kind, given.data)
    media = call.world.keep_media(kind, given.name, given.data, guess(given.name), owner=call.account.appid)
    name = "thumb_media_id" if kind == "thumb" else "media_id"
    return {"type": kind, name: media.id, "created_at": int(media.created)}


async def get(call: Call) -> Answer:
    media = call.world.find_media(call.query("media_id"), call.account.appid)
    if media is None:
        raise PlatformError(40007, "invalid media_id")
    if media.kind == "video":
        return {"video_url": f"{call.world.base_url}/media/video/{media.id}"}
    headers = {"Content-Disposition": disposition(media.name), "Content-Type": media.mime}
    return web.Response(body=media.data, headers=headers)


def video(world: World, media_id: str) -> web.Response:
    """The address that media/get names; it dies with the media."""
    media = world.media.get(media_id)
    if media is None or world.now() - media.created > world.settings.media_seconds:
        return web.Response(status=404, text="not found")
    return web.Response(body=media.data, headers={"Content-Type": media.mime})


def endpoints() -> dict[str, Endpoint]:
    return {
        "media/upload": Endpoint("POST", upload, json_body=False, bare=True),
        "media/get": Endpoint("GET", get, bare=True),
    }
