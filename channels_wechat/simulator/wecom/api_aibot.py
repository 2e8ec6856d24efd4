"""aibot/response: the response_url of an AI bot's callback (facts: wecom.md 6.1): one hour, once."""

import secrets

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.content import show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.cards import check_card
from channels_wechat.simulator.wecom.company import Bot, Company, Once

MOST_BYTES = 20_480


def new_url(company: Company, bot: Bot, chat: str, msgid: str) -> str:
    code = secrets.token_urlsafe(32)
    world = company.world
    expires = world.now() + world.settings.response_url_seconds
    company.response_codes[code] = Once(bot.id, msgid, expires, chat=chat)
    return f"{world.base_url}/cgi-bin/aibot/response?response_code={code}"


def check_content(body: JSON) -> tuple[str, JSON]:
    msgtype = str(body.get("msgtype"))
    content = body.get(msgtype)
    if msgtype not in ("markdown", "template_card") or not isinstance(content, dict):
        raise PlatformError(40008, "invalid message type")
    if msgtype == "template_card":
        check_card(content)
    elif not content.get("content"):
        raise PlatformError(44004, "empty content")
    elif len(str(content["content"]).encode()) > MOST_BYTES:
        raise PlatformError(45002, f"content exceeds {MOST_BYTES} bytes")
    return msgtype, content


async def response(call: Call) -> Answer:
    code = call.platform.company.response_codes.get(call.query("response_code"))
    if code is None or code.spent or code.expires < call.world.now():
        raise PlatformError(60140, "invalid response_code")
    msgtype, content = check_content(call.body)
    code.spent = True
    text, data = show(call.world, msgtype, content)
    call.world.add(code.chat, code.owner, msgtype, text=text, data=data, answers=code.msgid, via="response_url")
    return {}


def endpoints() -> dict[str, Endpoint]:
    return {"aibot/response": Endpoint("POST", response, needs_token=False)}
