"""Files as the platforms take them and hand them out: multipart bodies, names, and the first bytes of a kind."""

import base64
import binascii
import mimetypes
import re
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from channels_wechat.simulator.core.errors import ControlError, PlatformError
from channels_wechat.simulator.core.state import JSON

MB = 2**20
IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
AMR_MAGIC = b"#!AMR\n"
AMR_FRAME = (13, 14, 16, 18, 20, 21, 27, 32, 6)  # bytes of a 20 ms frame by mode, its header byte included


@dataclass(frozen=True)
class Upload:
    name: str
    data: bytes


async def read_upload(request: web.Request) -> Upload:
    if not request.content_type.startswith("multipart/"):
        raise PlatformError(40035, "multipart/form-data is required")
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.name == "media":
            return Upload(plain_name(part), bytes(await part.read()))
    raise PlatformError(44001, "empty media data")


def plain_name(part: BodyPartReader) -> str:
    """Only a plain filename="…" is read, not RFC 2231: the platform is reported not to know that (7)."""
    found = re.search(r'filename="([^"]*)"', part.headers.get("Content-Disposition", ""))
    return found.group(1) if found else ""


def amr_seconds(data: bytes) -> float:
    position, frames = len(AMR_MAGIC), 0
    while position < len(data):
        mode = data[position] >> 3 & 0x0F
        position += AMR_FRAME[mode] if mode < len(AMR_FRAME) else 1
        frames += 1
    return frames * 0.02


def guess(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def disposition(name: str) -> str:
    if name.isascii():
        return f'attachment; filename="{name}"'
    return f"attachment; filename*=UTF-8''{quote(name)}"


def read_bytes(spec: JSON) -> bytes:
    try:
        return base64.b64decode(str(spec.get("data") or ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ControlError("data must be base64") from error
