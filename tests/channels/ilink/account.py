"""An iLink account to test with."""

from __future__ import annotations

from channels_wechat.contract.messages import Identity
from channels_wechat.contract.sentences import ENGLISH, Sentences
from channels_wechat.ilink.channel import Ilink
from channels_wechat.wire.http import Http
from tests.support.fake_ilink import ANN, BOT, TOKEN

CREDENTIALS = {"user_id": ANN, "bot_id": BOT, "bot_token": TOKEN, "base_url": "", "allowed_people": ""}


def http() -> Http:
    return Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 1))


def channel(url: str = "", key: str = "key", **credentials: str) -> Ilink:
    identity = Identity(key, ANN, {**CREDENTIALS, **credentials}, url, Sentences(ENGLISH))
    return Ilink(identity, http())
