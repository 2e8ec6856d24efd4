"""Files both ways: encrypted with a key of their own (AES-128-ECB with PKCS7), at the platform's file storage (facts 8).

Whoever writes to the bot, and whoever stands between, can name any address there: each is called by the guard for messages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from Crypto.Cipher import AES
from Crypto.Util.Padding import pad, unpad

from channels_wechat.contract.filetypes import recognise, with_suffix
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Upload
from channels_wechat.contract.text import clean
from channels_wechat.ilink.addresses import CDN
from channels_wechat.ilink.errors import ILINK
from channels_wechat.wire.http import file_name
from channels_wechat.wire.platform_api import FILE_TIMEOUT, MAX_DOWNLOAD

if TYPE_CHECKING:
    from channels_wechat.contract.http_client import HttpClient, Response
    from channels_wechat.contract.messages import MediaItem, MediaKind
    from channels_wechat.ilink.api import IlinkApi

KEY_BYTES = 16
HEX_KEY = re.compile(r"[0-9a-fA-F]{32}")
MEDIA_TYPES = {"image": 1, "video": 2, "file": 3}
SHOWN = {"image": ("image/jpeg", "image/png", "image/gif"), "video": ("video/mp4",)}


def media_type(kind: MediaKind, mime: str) -> MediaKind:
    """As what a file is sent: `render` and `upload` agree by it. A voice message would have to be SILK, so sound is a file."""
    return kind if mime in SHOWN.get(kind, ()) else "file"


# --- keys


def key_text(plain: str, encoded: str) -> str:
    """Return a file's key as 32 hex characters; empty where there is none that can be read.

    plain: in hex, as images may bear it. encoded: in base64, of 16 raw bytes or of 32 hex characters.
    """
    if HEX_KEY.fullmatch(plain):
        return plain.lower()
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    if len(raw) == KEY_BYTES:
        return raw.hex()
    inner = raw.decode("ascii", errors="ignore")
    return inner.lower() if HEX_KEY.fullmatch(inner) else ""


def encrypt(key: bytes, content: bytes) -> bytes:
    return AES.new(key, AES.MODE_ECB).encrypt(pad(content, KEY_BYTES))


def decrypt(key: bytes, content: bytes) -> bytes:
    """Raises ValueError."""
    return unpad(AES.new(key, AES.MODE_ECB).decrypt(content), KEY_BYTES)


# --- what people send


def download_address(param: str) -> str:
    """Return the usual address of a file; empty without a parameter that names it."""
    return f"{CDN}/download?{urlencode({'encrypted_query_param': param})}" if param else ""


def download(http: HttpClient, item: MediaItem) -> Upload:
    """Fetch a file and decrypt it; one without a key is not encrypted. Raises ChannelError."""
    response = http.request(
        "GET", item.handle, follow=3, max_bytes=MAX_DOWNLOAD + KEY_BYTES, timeout=FILE_TIMEOUT, from_message=True
    )
    _check_storage(response)
    content = response.body
    if item.key:
        try:
            content = decrypt(bytes.fromhex(item.key), content)
        except ValueError as error:
            raise ILINK.error("decrypt") from error
    name = clean(item.name).replace("\\", "/").rpartition("/")[2] or file_name(
        response.headers.get("Content-Disposition", "")
    )
    mime = recognise(content, name, item.mime).mime
    return Upload(item.kind, with_suffix(name or item.kind, mime), mime, content)


def _check_storage(response: Response) -> None:
    if response.status != 200:
        code = "file_storage" if response.status >= 500 or response.status == 429 else "file_gone"
        raise ILINK.error(code, detail=f"HTTP {response.status}", params={"status": response.status})


# --- what is sent


def upload(http: HttpClient, api: IlinkApi, user_id: str, file: Upload) -> str:
    """Upload a file for this person. Return its handle: what `media_of` needs. Raises ChannelError."""
    key, name = secrets.token_bytes(KEY_BYTES), secrets.token_hex(16)
    encrypted = encrypt(key, file.content)
    answer = api.call(
        "getuploadurl",
        {
            "filekey": name,
            "media_type": MEDIA_TYPES[media_type(file.kind, file.mime)],
            "to_user_id": user_id,
            "rawsize": len(file.content),
            # The protocol prescribes MD5.
            "rawfilemd5": hashlib.md5(file.content, usedforsecurity=False).hexdigest(),
            "filesize": len(encrypted),
            "no_need_thumb": True,
            "aeskey": key.hex(),
        },
    )
    param = _store(http, _upload_address(answer, name), encrypted)
    return json.dumps({"param": param, "key": key.hex(), "size": len(encrypted), "length": len(file.content)})


def _upload_address(answer: dict[str, Any], name: str) -> str:
    """Raises ChannelError."""
    param = word(answer, "upload_param")
    query = urlencode({"encrypted_query_param": param, "filekey": name})
    address = word(answer, "upload_full_url") or (f"{CDN}/upload?{query}" if param else "")
    if not address:
        raise ILINK.error("no_upload_address")
    return address


def _store(http: HttpClient, address: str, encrypted: bytes) -> str:
    """Return the name that the storage gives the file. Raises ChannelError."""
    response = http.request(
        "POST",
        address,
        content=encrypted,
        headers={"Content-Type": "application/octet-stream"},
        timeout=FILE_TIMEOUT,
        harmless=True,
        from_message=True,
    )
    if response.status != 200:
        raise ILINK.error("file_storage", detail=f"HTTP {response.status}", params={"status": response.status})
    if not (param := response.headers.get("x-encrypted-param", "")):
        raise ILINK.error("not_uploaded")
    return param


def media_of(handle: str) -> tuple[dict[str, Any], int, int]:
    """Return what a message names an uploaded file by, its encrypted size, and its own; both in bytes."""
    known = json.loads(handle)
    key = base64.b64encode(known["key"].encode()).decode()
    media = {"encrypt_query_param": known["param"], "aes_key": key, "encrypt_type": 1}
    return media, known["size"], known["length"]
