"""Files as the puppet service hands them over and takes them: "file boxes", which are JSON (file-box 1.5)."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.filetypes import recognise, with_suffix
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Upload
from channels_wechat.contract.text import clean, clean_json
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wechaty.protocol import DOWNLOAD, MESSAGE_FILE, MESSAGE_FILE_STREAM
from channels_wechat.wechaty.puppet import FILE_SECONDS
from channels_wechat.wire.http import error_for_status
from channels_wechat.wire.platform_api import FILE_TIMEOUT, MAX_DOWNLOAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import MediaItem
    from channels_wechat.wechaty.puppet import PuppetCalls

BASE64, URL, UUID = 1, 2, 7
# A larger file is uploaded first: the service takes messages up to 4 MiB, and upstream's client draws the line here.
INLINE_BYTES = 20 * 1024
# Headers that a box may ask for, as some puppets need a cookie; those that say where the request goes are ours.
NEVER_SENT = ("host", "connection", "content-length", "transfer-encoding", "upgrade", "proxy-authorization")
LONGEST_HEADER = 8 * 1024


def fetch(calls: PuppetCalls, http: HttpClient, item: MediaItem) -> Upload:
    """Return the file of a message. item.handle: the id of the message. Raises ChannelError."""
    name, content = _fetch_content(calls, http, item.handle)
    name = file_name_of(name) or item.name
    mime = recognise(content, name, item.mime).mime
    return Upload(item.kind, with_suffix(name or item.kind, mime), mime, content)


def _fetch_content(calls: PuppetCalls, http: HttpClient, message: str) -> tuple[str, bytes]:
    try:
        box = _read_box(calls.ask(MESSAGE_FILE, pb.Id(id=message), seconds=FILE_SECONDS).value)
    except ChannelError as error:
        if error.code != "puppet_failed":
            raise
        # Upstream's service cannot put a small file that its puppet has in memory into a box; as a stream it can.
        return _stream_content(calls, message, error)
    return word(box, "name"), _open_box(calls, http, box)


def _stream_content(calls: PuppetCalls, message: str, before: ChannelError) -> tuple[str, bytes]:
    """Raises the error that came before, where the stream gives nothing either."""
    names: list[str] = []
    try:
        parts = calls.stream(MESSAGE_FILE_STREAM, pb.Id(id=message), seconds=FILE_SECONDS)
        content = _join(_note_name(part.file_box_chunk, names) for part in parts)
    except ChannelError as error:
        raise error if error.code == "file_too_large" else before from error
    if not content and not names:
        raise before
    return "".join(names[:1]), content


def _note_name(chunk: pb.FileBoxChunk, names: list[str]) -> bytes:
    if chunk.HasField("name"):
        names.append(clean(chunk.name))
    return chunk.data


def _read_box(text: str) -> dict[str, Any]:
    try:
        box = clean_json(json.loads(text))
    except (ValueError, RecursionError):
        raise WECHATY.error("file_gone") from None
    return box if isinstance(box, dict) else {}


def _open_box(calls: PuppetCalls, http: HttpClient, box: Mapping[str, Any]) -> bytes:
    kind = box.get("type") or box.get("boxType")
    if kind == BASE64:
        return _decode(word(box, "base64"))
    if kind == UUID and (uuid := word(box, "uuid")):
        # Upstream's service ends, with everybody's connections, when it is asked for a uuid that it does not know. So only one that it
        # has just given over this connection is asked for, and none is ever stored.
        return _join(part.chunk for part in calls.stream(DOWNLOAD, pb.Id(id=uuid), seconds=FILE_SECONDS))
    if kind == URL and (url := word(box, "url") or word(box, "remoteUrl")):
        return _fetch_address(http, url, _headers(box.get("headers")))
    raise WECHATY.error("file_gone", detail=f"box {str(kind)[:20]}")


def _decode(text: str) -> bytes:
    if len(text) > MAX_DOWNLOAD * 4 // 3 + 4:
        raise WECHATY.error("file_too_large")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        raise WECHATY.error("file_gone", detail="base64") from None


def _join(parts: Iterable[bytes]) -> bytes:
    """Raises ChannelError where they are too many, or come too slowly."""
    content, until = bytearray(), time.monotonic() + FILE_SECONDS
    for part in parts:
        content += part
        if len(content) > MAX_DOWNLOAD:
            raise WECHATY.error("file_too_large")
        if time.monotonic() > until:
            raise WECHATY.error("timeout")
    return bytes(content)


def _fetch_address(http: HttpClient, url: str, headers: dict[str, str]) -> bytes:
    """Where a box has headers they may be secrets, so no redirect is followed with them."""
    answer = http.request(
        "GET",
        url,
        headers=headers,
        follow=0 if headers else 3,
        max_bytes=MAX_DOWNLOAD,
        timeout=FILE_TIMEOUT,
        from_message=True,
    )
    if answer.status != 200:
        error = error_for_status(answer, harmless=True)
        raise WECHATY.error("file_gone" if answer.status < 500 else error.code, detail=f"HTTP {answer.status}")
    return answer.body


def _headers(told: Any) -> dict[str, str]:
    pairs = told.items() if isinstance(told, dict) else ()
    return {
        name: value
        for name, value in pairs
        if isinstance(value, str) and len(value) <= LONGEST_HEADER and _is_sendable(name, value)
    }


def _is_sendable(name: str, value: str) -> bool:
    return name.lower() not in NEVER_SENT and name.isascii() and value.isascii() and (name + value).isprintable()


def file_name_of(name: str) -> str:
    """Return a name without a path, at most 255 characters."""
    return name.replace("\\", "/").rpartition("/")[2][-255:]


def inline_box(file: Upload) -> str:
    return json.dumps({"type": BASE64, "name": file.name, "base64": base64.b64encode(file.content).decode()})


def uuid_box(file: Upload, uuid: str) -> str:
    return json.dumps({"type": UUID, "name": file.name, "size": len(file.content), "uuid": uuid})
