"""Uploads over an AI bot's long connection (page 101463): a beginning, the file in chunks, and an end that gives its id."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.filetypes import with_suffix
from channels_wechat.contract.text import sendable_name
from channels_wechat.wecom.aibot import protocol
from channels_wechat.wecom.files import media_type

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Upload
    from channels_wechat.wire.request_socket import RequestSocket

# Before base64. The backend answers "system error" to many chunks at once, so that few are under way and each is tried again.
CHUNK_BYTES = 512 * 1024
CHUNKS_AT_ONCE = 2
CHUNK_PAUSES = (0.5, 1.0)
SECONDS = 20.0


async def upload(socket: RequestSocket, file: Upload) -> str:
    """Return the id of the uploaded file, which is good for three days. Raises ChannelError."""
    content = file.content
    chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    # The protocol prescribes MD5.
    begun = await _ask(
        socket,
        protocol.UPLOAD_BEGIN,
        type=media_type(file.kind, file.name, file.mime, len(content)),
        filename=sendable_name(with_suffix(file.name, file.mime)),
        total_size=len(content),
        total_chunks=len(chunks),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )
    upload_id, room = begun.get("upload_id"), asyncio.Semaphore(CHUNKS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_add(socket, room, upload_id, index, chunk)) for index, chunk in enumerate(chunks)]
    for error in (task.result() for task in tasks):
        if error:
            raise error
    ended = await _ask(socket, protocol.UPLOAD_END, upload_id=upload_id)
    return str(ended.get("media_id", ""))


async def _add(
    socket: RequestSocket, room: asyncio.Semaphore, upload_id: Any, index: int, chunk: bytes
) -> ChannelError | None:
    """Send one chunk; sent twice it is the same chunk. Return why it could not be sent."""
    data = base64.b64encode(chunk).decode()
    error: ChannelError | None = None
    async with room:
        for pause in (0.0, *CHUNK_PAUSES):
            await asyncio.sleep(pause)
            try:
                await _ask(socket, protocol.UPLOAD_CHUNK, upload_id=upload_id, chunk_index=index, base64_data=data)
            except ChannelError as failure:
                error = failure
                if failure.action not in (Action.RETRY, Action.UNKNOWN):
                    break
            else:
                return None
    return error


async def _ask(socket: RequestSocket, cmd: str, **body: Any) -> dict[str, Any]:
    req_id = protocol.new_id(cmd)
    return protocol.check(await socket.request(req_id, protocol.frame(cmd, req_id, body), SECONDS), harmless=True)
