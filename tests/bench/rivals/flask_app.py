"""The callback as it is often written: Flask and wechatpy, decrypt, parse, answer. It stores nothing, so it can lose everything."""

from __future__ import annotations

from flask import Flask, request
from wechatpy.work import parse_message
from wechatpy.work.crypto import WeChatCrypto

from tests.bench.sealed import CORP, KEY, TOKEN

app = Flask(__name__)
crypto = WeChatCrypto(TOKEN, KEY, CORP)


@app.post("/callback")
def callback() -> str:
    args = request.args
    plain = crypto.decrypt_message(request.data, args["msg_signature"], args["timestamp"], args["nonce"])
    message = parse_message(plain)
    assert message.content
    return "success"
