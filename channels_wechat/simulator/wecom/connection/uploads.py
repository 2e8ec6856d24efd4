"""Uploads in chunks (facts: wecom.md 6.2): begun, filled in any order and more than once, finished; also over another connection."""

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field

from channels_wechat.simulator.core.content import require
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.core.uploads import Upload, guess
from channels_wechat.simulator.wecom.api_media import MOST, check_upload
from channels_wechat.simulator.wecom.company import Bot
from channels_wechat.simulator.wecom.connection.frames import Frame

KEEP = 1000
CHUNK_BYTES = 512 * 1024
MOST_CHUNKS = 100
KINDS = ("image", "voice", "video", "file")


@dataclass
class Session:
    bot: str
    kind: str
    name: str
    size: int
    count: int
    md5: str
    began: float
    chunks: dict[int, bytes] = field(default_factory=dict)
    answer: JSON | None = None  # of the first finish: a repeated one gets it again


class ChunkedUploads:
    def __init__(self, world: World, windows: Windows) -> None:
        self.world, self._windows = world, windows
        self._sessions: Recent[str, Session] = Recent(KEEP)

    def begin(self, bot: Bot, frame: Frame) -> JSON:
        body = frame.body
        require(body, "type", "filename", "total_size", "total_chunks")
        if body["type"] not in KINDS:
            raise PlatformError(40004, "invalid media type")
        size, count = self._sizes(body)
        limits = (self.world.settings.bot_uploads_per_minute, 60.0), (self.world.settings.bot_uploads_per_hour, 3600.0)
        if not self._windows.take(f"upload {bot.id}", *limits):
            raise PlatformError(45009, "api freq out of limit")
        upload_id, md5 = secrets.token_urlsafe(24), str(body.get("md5") or "").lower()
        self._sessions[upload_id] = Session(
            bot.id, str(body["type"]), str(body["filename"]), size, count, md5, self.world.now()
        )
        return {"upload_id": upload_id}

    def _sizes(self, body: JSON) -> tuple[int, int]:
        size, count = body["total_size"], body["total_chunks"]
        if not (isinstance(size, int) and isinstance(count, int)):
            raise PlatformError(40035, "data format error")
        if size > MOST[body["type"]]:
            raise PlatformError(45001, f"{body['type']} exceeds {MOST[body['type']]} bytes")
        if size < 5:
            raise PlatformError(40006, "media is smaller than 5 bytes")
        if not 1 <= count <= MOST_CHUNKS or size > count * CHUNK_BYTES:
            raise PlatformError(40058, f"total_chunks must be 1 to {MOST_CHUNKS}, each of at most {CHUNK_BYTES} bytes")
        return size, count

    def _session(self, bot: Bot, body: JSON) -> Session:
        session = self._sessions.get(str(body.get("upload_id")))
        expired = session and self.world.now() - session.began > self.world.settings.upload_seconds
        if session is None or session.bot != bot.id or expired:
            raise PlatformError(40058, "invalid upload_id")
        return session

    def add(self, bot: Bot, frame: Frame) -> None:
        session, index = self._session(bot, frame.body), frame.body.get("chunk_index")
        if not isinstance(index, int) or not 0 <= index < session.count:
            raise PlatformError(40058, f"chunk_index must be 0 to {session.count - 1}")
        data = decoded(str(frame.body.get("base64_data") or ""))
        if len(data) > CHUNK_BYTES:
            raise PlatformError(45001, f"chunk exceeds {CHUNK_BYTES} bytes")
        if session.chunks.get(index, data) != data:
            self.world.record.violation("chunk_changed", str(frame.body.get("upload_id")), str(index))
        session.chunks[index] = data

    def finish(self, bot: Bot, frame: Frame) -> JSON:
        session = self._session(bot, frame.body)
        if session.answer is None:
            session.answer = self._store(bot, session)
            session.chunks.clear()
        return session.answer

    def _store(self, bot: Bot, session: Session) -> JSON:
        if missing := sorted(set(range(session.count)) - set(session.chunks)):
            raise PlatformError(40058, f"chunks are missing: {missing}")
        data = b"".join(session.chunks[index] for index in range(session.count))
        if len(data) != session.size:
            raise PlatformError(40006, f"size is {len(data)}, total_size said {session.size}")
        if session.md5 and hashlib.md5(data).hexdigest() != session.md5:  # the platform's own choice of checksum
            raise PlatformError(40058, "md5 does not match")
        check_upload(session.kind, Upload(session.name, data), KINDS)
        media = self.world.keep_media(session.kind, session.name, data, guess(session.name), owner=bot.id)
        return {"type": session.kind, "media_id": media.id, "created_at": str(int(media.created))}


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PlatformError(40035, "base64_data is not valid") from error
