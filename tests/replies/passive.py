"""What the tests of passive replies share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wechatpy import parse_message
from wechatpy.crypto import WeChatCrypto

from accounts import channels
from tests.support.callbacks import Reply, signed
from tests.support.factories import FAN, KEY, OFFICIAL, TOKEN

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

LONG = "甲" * 600 + "\n\n" + "乙" * 600 + "\n\n" + "丙" * 600


HINT, LATER = "（回复 1 继续阅读）", "回答还在生成中，请稍后回复 1 查看。"


def answers_by(account: ChannelAccount, way: str) -> None:
    """Staff change it, and two seconds pass."""
    account.credentials |= {"answers": way}
    account.save()
    channels._recent.clear()


def pushed(text: str, msgid: int) -> tuple[bytes, dict[str, str]]:
    """Body and query of a text's callback."""
    return sealed(f"<MsgType>text</MsgType><Content>{text}</Content><MsgId>{msgid}</MsgId>")


def sealed(what: str) -> tuple[bytes, dict[str, str]]:
    """By wechatpy."""
    now = int(time.time())
    people = f"<ToUserName>gh_1</ToUserName><FromUserName>{FAN}</FromUserName>"
    plain = f"<xml>{people}<CreateTime>{now}</CreateTime>{what}</xml>"
    whole = WeChatCrypto(TOKEN, KEY, OFFICIAL).encrypt_message(plain, "nonce", str(now))
    ciphertext = whole.partition("<Encrypt><![CDATA[")[2].partition("]]>")[0]
    body = f"<xml><ToUserName>gh_1</ToUserName><Encrypt>{ciphertext}</Encrypt></xml>"
    return body.encode(), {**signed(ciphertext), "encrypt_type": "aes", "openid": FAN}


def words(reply: Reply) -> str:
    """What the person reads; empty where the platform shows nothing."""
    assert reply.status == 200
    if reply.body == b"success":
        return ""
    query = {
        name: reply.body.decode().partition(f"<{name}>")[2].partition("</")[0]
        for name in ("TimeStamp", "Nonce", "MsgSignature")
    }
    nonce, signature = (query[name].removeprefix("<![CDATA[").removesuffix("]]>") for name in ("Nonce", "MsgSignature"))
    opened = WeChatCrypto(TOKEN, KEY, OFFICIAL).decrypt_message(reply.body, signature, query["TimeStamp"], nonce)
    message = parse_message(opened)
    assert (message.source, message.target) == ("gh_1", FAN)
    return str(message.content)
