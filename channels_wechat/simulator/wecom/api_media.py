"""Uploads and downloads (facts: wecom.md 7), a user's media for an AI bot (6.1) and the pages' pictures."""

import re

from aiohttp import web

from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.core.uploads import (
    AMR_MAGIC,
    IMAGE_MAGIC,
    MB,
    Upload,
    amr_seconds,
    disposition,
    guess,
    read_upload,
)
from channels_wechat.simulator.wecom.calls import Call, Endpoint

MOST = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB, "file": 20 * MB}
PIECE = 20 * MB
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def check_upload(kind: str, upload: Upload, allowed: tuple[str, ...]) -> None:
    if kind not in allowed:
        raise PlatformError(40004, "invalid media type")
    if not upload.name:
        raise PlatformError(44001, "empty media data: no filename")
    if len(upload.data) < 5:
        raise PlatformError(40006 if upload.data else 44001, "media is smaller than 5 bytes")
    if len(upload.data) > MOST[kind]:
        raise PlatformError(45001, f"{kind} exceeds {MOST[kind]} bytes")
    good = {
        "image": upload.data.startswith(IMAGE_MAGIC),
        "voice": upload.data.startswith(AMR_MAGIC),
        "video": upload.data[4:8] == b"ftyp",
    }
    if not good.get(kind, True):
        raise PlatformError(40005, f"invalid file type for {kind}")
    if kind == "voice" and amr_seconds(upload.data) > 60:
        raise PlatformError(45007, "voice is longer than 60 seconds")


async def store(call: Call, allowed: tuple[str, ...], owner: str = "") -> Answer:
    kind = call.query("type")
    upload = await read_upload(call.request)
    check_upload(kind, upload, allowed)
    media = call.world.keep_media(kind, upload.name, upload.data, guess(upload.name), owner=owner)
    return {"errmsg": "ok", "type": kind, "media_id": media.id, "created_at": str(int(media.created))}


async def upload(call: Call) -> Answer:
    return await store(call, ("image", "voice", "video", "file"))


async def uploadimg(call: Call) -> Answer:
    upload = await read_upload(call.request)
    check_upload("image", upload, ("image",))
    if len(upload.data) > 2 * MB:
        raise PlatformError(45001, "image exceeds 2 MB")
    media = call.world.keep_media("image", upload.name, upload.data, guess(upload.name), owner="uploadimg")
    return {"url": f"{call.world.base_url}/media/pic/{media.id}"}


def span(header: str, size: int) -> slice | None:
    """The wanted bytes, None for all of them."""
    found = RANGE.fullmatch(header)
    if found is None:
        return None
    last = int(found.group(2)) if found.group(2) else size - 1
    return slice(int(found.group(1)), min(last, size - 1) + 1)


async def get(call: Call) -> Answer:
    """Above 20 MB only in pieces of at most 20 MB, else 830002."""
    media = call.world.find_media(call.query("media_id"))
    if media is None:
        raise PlatformError(40007, "invalid media_id")
    wanted = span(call.request.headers.get("Range", ""), len(media.data))
    if len(media.data) > PIECE and (wanted is None or wanted.stop - wanted.start > PIECE):
        raise PlatformError(830002, "file is larger than 20 MB: use Range")
    headers = {"Content-Disposition": disposition(media.name), "Content-Type": media.mime}
    if wanted is None:
        return web.Response(body=media.data, headers=headers)
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(media.data)}"
    return web.Response(body=media.data[wanted], headers=headers, status=206)


def bot_media(world: World, media_id: str) -> web.Response:
    """A user's file as an AI bot fetches it: encrypted, the address dies after five minutes."""
    media = world.media.get(media_id)
    if media is None or not media.aes_key:
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml")
    if world.now() - media.created > world.settings.media_url_seconds:
        return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml")
    headers = {"Content-Disposition": disposition(media.name), "Content-Type": "application/octet-stream"}
    return web.Response(body=crypto.encrypt_media(media.aes_key, media.data), headers=headers)


def picture(world: World, media_id: str) -> web.Response:
    """Plain bytes: PicUrl of an app's image message, uploadimg, and what the chat page shows."""
    media = world.media.get(media_id)
    if media is None:
        return web.Response(status=404, text="not found")
    inline = media.mime.startswith(("image/", "video/")) and "svg" not in media.mime
    headers = {"X-Content-Type-Options": "nosniff", "Content-Type": media.mime}
    if not inline:
        headers["Content-Disposition"] = disposition(media.name)
    return web.Response(body=media.data, headers=headers)


def endpoints() -> dict[str, Endpoint]:
    return {
        "media/upload": Endpoint("POST", upload, json_body=False),
        "media/uploadimg": Endpoint("POST", uploadimg, json_body=False),
        "media/get": Endpoint("GET", get),
    }
