"""WeChat's platform from outside: a client as plain as can be, and wechatpy's crypto to open what it pushes."""

from __future__ import annotations

import json
import time
from typing import Any

import requests
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import check_signature

from tests.simulator.receiver import KEY, TOKEN

JSON = dict[str, Any]
OFFICIAL, MINI = "wxofficial0000001", "wxminiprogram0001"
FAN, USER = "oFollower-of-the-official-A1", "oUser-of-the-miniprogram-A1"
JPEG = b"\xff\xd8\xff\xe0" + b"J" * 40
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"v" * 20


class Api:
    def __init__(self, url: str) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        self.url = url

    def stable(self, appid: str = OFFICIAL, secret: str = "weixin-secret", **more: Any) -> JSON:
        body = {"grant_type": "client_credential", "appid": appid, "secret": secret} | more
        return self.http.post(f"{self.url}/cgi-bin/stable_token", data=json.dumps(body), timeout=10).json()

    def ordinary(self, appid: str = OFFICIAL, **more: str) -> JSON:
        query = {"grant_type": "client_credential", "appid": appid, "secret": "weixin-secret"} | more
        return self.http.get(f"{self.url}/cgi-bin/token", params=query, timeout=10).json()

    def raw(self, path: str, data: bytes, token: str = "", appid: str = OFFICIAL) -> JSON:
        token = token or self.stable(appid)["access_token"]
        params = {"access_token": token}
        return self.http.post(f"{self.url}/{path}", params=params, data=data, timeout=10).json()

    def call(self, path: str, body: JSON, token: str = "", appid: str = OFFICIAL) -> JSON:
        return self.raw(path, json.dumps(body, ensure_ascii=False).encode(), token, appid)

    def look(self, path: str, appid: str = OFFICIAL, **params: Any) -> requests.Response:
        params |= {"access_token": self.stable(appid)["access_token"]}
        return self.http.get(f"{self.url}/{path}", params=params, timeout=10)

    def send(
        self, msgtype: str = "text", content: JSON | None = None, touser: str = FAN, appid: str = OFFICIAL, **more: Any
    ) -> JSON:
        body = {"touser": touser, "msgtype": msgtype, msgtype: content or {"content": "你好"}}
        return self.call("cgi-bin/message/custom/send", body | more, appid=appid)

    def type(self, command: str = "Typing", touser: str = FAN, appid: str = OFFICIAL) -> int:
        body = {"touser": touser, "command": command}
        return self.call("cgi-bin/message/custom/typing", body, appid=appid)["errcode"]

    def upload(self, kind: str, data: bytes, name: str = "a.bin", appid: str = OFFICIAL) -> JSON:
        params = {"access_token": self.stable(appid)["access_token"], "type": kind}
        url = f"{self.url}/cgi-bin/media/upload"
        return self.http.post(url, params=params, files={"media": (name, data)}, timeout=10).json()


def opened(body: str, query: dict[str, str]) -> str:
    """The plaintext as wechatpy reads it. The three-part signature is there in every mode."""
    check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
    if query.get("encrypt_type") != "aes":
        return body
    signed = query["msg_signature"], query["timestamp"], query["nonce"]
    given = {"Encrypt": json.loads(body)["Encrypt"]} if body.startswith("{") else body
    appid = MINI if query["openid"] == USER else OFFICIAL
    return WeChatCrypto(TOKEN, KEY, appid).decrypt_message(given, *signed)


def reply(text: str, msgtype: str = "text", content: str | None = None, **changes: Any) -> str:
    """A passive reply in XML, to the follower from the Official Account."""
    head = {"ToUserName": FAN, "FromUserName": "gh_official", "CreateTime": int(time.time())} | changes
    inner = f"<Content><![CDATA[{text}]]></Content>" if content is None else content
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in head.items())
    return f"<xml>{fields}<MsgType>{msgtype}</MsgType>{inner}</xml>"


def sealed(text: str, query: dict[str, str], appid: str = OFFICIAL) -> bytes:
    """The answer as wechatpy encrypts it."""
    return WeChatCrypto(TOKEN, KEY, appid).encrypt_message(text, query["nonce"], str(int(time.time()))).encode()
