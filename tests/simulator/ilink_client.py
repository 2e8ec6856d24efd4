"""A client of iLink, written after the facts for the tests of the simulator; it shares no code with the channel."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

import requests
from Crypto.Cipher import AES

JSON = dict[str, Any]


class IlinkClient:
    """token: empty before the login."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.token, self.cursor = url, token, ""

    def post(self, path: str, body: JSON, **headers: str) -> JSON:
        number = base64.b64encode(str(secrets.randbits(32)).encode()).decode()
        usual = {
            "Content-Type": "application/json", "AuthorizationType": "ilink_bot_token", "X-WECHAT-UIN": number,
            "Authorization": f"Bearer {self.token}", "iLink-App-Id": "bot", "iLink-App-ClientVersion": "132105",
        }  # fmt: skip
        body = {**body, "base_info": {"channel_version": "2.4.9", "bot_agent": "Test/1.0"}}
        answer = requests.post(f"{self.url}/ilink/bot/{path}", json=body, headers={**usual, **headers}, timeout=10)
        return dict(answer.json())

    def make_code(self, *own_tokens: str) -> JSON:
        return self.post("get_bot_qrcode?bot_type=3", {"local_token_list": list(own_tokens)})

    def status(self, qrcode: str, **query: str) -> JSON:
        address = f"{self.url}/ilink/bot/get_qrcode_status"
        return dict(requests.get(address, params={"qrcode": qrcode, **query}, timeout=10).json())

    def poll(self) -> list[JSON]:
        answer = self.post("getupdates", {"get_updates_buf": self.cursor})
        assert answer["ret"] == 0, answer
        self.cursor = answer["get_updates_buf"]
        return list(answer["msgs"])

    def send(self, to: str, context: str, item: JSON | str, **fields: Any) -> JSON:
        if isinstance(item, str):
            item = {"type": 1, "text_item": {"text": item}}
        message = {
            "from_user_id": "", "to_user_id": to, "client_id": secrets.token_hex(8), "message_type": 2, "message_state": 2,
            "item_list": [item], "context_token": context,
        }  # fmt: skip
        return self.post("sendmessage", {"msg": {**message, **fields}})

    def describe(self, content: bytes, key: bytes, to: str, **fields: Any) -> JSON:
        """What getuploadurl answers for this file."""
        body = {
            "filekey": secrets.token_hex(16), "media_type": 3, "to_user_id": to, "rawsize": len(content),
            "rawfilemd5": hashlib.md5(content).hexdigest(), "filesize": len(encrypt(key, content)), "no_need_thumb": True,
            "aeskey": key.hex(),
        }  # fmt: skip
        return self.post("getuploadurl", {**body, **fields})

    def upload(self, content: bytes, to: str) -> JSON:
        """Return the `media` that names the file."""
        key = secrets.token_bytes(16)
        answer = self.describe(content, key, to)
        stored = requests.post(answer["upload_full_url"], data=encrypt(key, content), timeout=10)
        stored.raise_for_status()
        param = stored.headers["x-encrypted-param"]
        return {
            "encrypt_query_param": param,
            "aes_key": base64.b64encode(key.hex().encode()).decode(),
            "encrypt_type": 1,
        }

    def fetch(self, media: JSON) -> bytes:
        """Read a file that somebody sent."""
        found = requests.get(media["full_url"], timeout=10)
        found.raise_for_status()
        raw = base64.b64decode(media["aes_key"])
        return decrypt(raw if len(raw) == 16 else bytes.fromhex(raw.decode()), found.content)


def encrypt(key: bytes, content: bytes) -> bytes:
    count = 16 - len(content) % 16
    return bytes(AES.new(key, AES.MODE_ECB).encrypt(content + bytes([count]) * count))


def decrypt(key: bytes, content: bytes) -> bytes:
    padded = bytes(AES.new(key, AES.MODE_ECB).decrypt(content))
    return padded[: -padded[-1]]
