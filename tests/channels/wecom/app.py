"""A self-built app on a recorder."""

from __future__ import annotations

from channels_wechat.contract.messages import Identity, Peer
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wire.http import Http
from tests.channels.harness import FixedTokens, Recorder

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CREDENTIALS = {"corp_id": "ww1", "agent_id": 1000002, "secret": "geheim", "token": "QDG6eK", "encoding_aes_key": KEY}
ZHANG = Peer("direct", "zhangsan")
GROUP = Peer("group", "CHATID")


def connected(platform: Recorder, **credentials: object) -> WeComApp:
    identity = Identity("key", "ww1/1000002", {**CREDENTIALS, **credentials}, platform.url + "/")
    return WeComApp(
        identity, Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 0.5)), FixedTokens()
    )
