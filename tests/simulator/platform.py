"""A client of the platform's API as plain as can be: JSON in raw UTF-8, the token of the one app."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.simulator.receiver import CORP

JSON = dict[str, Any]
PNG = b"\x89PNG\r\n\x1a\n" + b"A" * 20
AMR = b"#!AMR\n" + (b"\x3c" + b"\x00" * 31) * 10


class Platform:
    def __init__(self, url: str) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        self.url = f"{url}/cgi-bin/"

    def fetch_token(self, secret: str = "app-secret", corpid: str = CORP) -> JSON:
        return self.http.get(f"{self.url}gettoken", params={"corpid": corpid, "corpsecret": secret}, timeout=10).json()

    def token(self) -> str:
        return self.fetch_token()["access_token"]

    def raw(self, path: str, data: bytes, **params: Any) -> JSON:
        params = params or {"access_token": self.token()}
        return self.http.post(f"{self.url}{path}", params=params, data=data, timeout=10).json()

    def call(self, path: str, body: JSON, **params: Any) -> JSON:
        return self.raw(path, json.dumps(body, ensure_ascii=False).encode(), **params)

    def look(self, path: str, **params: Any) -> requests.Response:
        return self.http.get(f"{self.url}{path}", params={"access_token": self.token()} | params, timeout=10)

    def send(self, msgtype: str = "text", content: JSON | None = None, touser: str = "zhangsan", **more: Any) -> JSON:
        body = {"touser": touser, "msgtype": msgtype, "agentid": 1, msgtype: content or {"content": "你好"}}
        return self.call("message/send", body | more)

    def upload(self, kind: str, name: str, data: bytes, path: str = "media/upload", **params: Any) -> JSON:
        params = params or {"access_token": self.token()}
        answer = self.http.post(
            f"{self.url}{path}", params=params | {"type": kind}, files={"media": (name, data)}, timeout=10
        )
        return answer.json()
