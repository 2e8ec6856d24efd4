"""What only Mini Programs have: content checks and subscribe messages (facts: official_account.md 13.3, 13.5)."""

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import cast

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.weixin.accounts import MiniProgram, Person
from channels_wechat.simulator.weixin.api_messages import recipient
from channels_wechat.simulator.weixin.calls import Call, Endpoint
from channels_wechat.simulator.weixin.followers import Followers
from channels_wechat.simulator.weixin.front_door import new_rid
from channels_wechat.simulator.weixin.world import single_chat

MOST_CHARACTERS = 2500
SCENES = (1, 2, 3, 4)
LABELS = {"pass": 100, "review": 21000, "risky": 20006}
WORST = ("risky", "review", "pass")
KEY = re.compile(r"\{\{\s*(\w+)\.DATA\s*\}\}")
ONCE = 2  # a template's type: one message for one consent; 3 is for ever

# Most characters of a value by the letters its key begins with.
VALUES = {
    "thing": 20,
    "number": 32,
    "letter": 32,
    "symbol": 5,
    "character_string": 32,
    "phone_number": 17,
    "car_number": 8,
    "name": 10,
    "phrase": 5,
}


def program(call: Call) -> MiniProgram:
    return cast("MiniProgram", call.account)


def visitor(call: Call) -> Person:
    """61010 for who was not in the Mini Program within the last two hours."""
    person = recipient(call, "openid")
    if call.world.now() - call.platform.weixin.standing(person).seen > call.world.settings.visit_seconds:
        raise PlatformError(61010, "code is expired")
    return person


def check_terms(call: Call) -> None:
    if call.body.get("version") != 2 or call.body.get("scene") not in SCENES:
        raise PlatformError(40035, "invalid parameter: version or scene")


async def msg_sec_check(call: Call) -> Answer:
    """errcode 0 whatever it finds: `result.suggest` decides."""
    check_terms(call)
    visitor(call)
    content = str(call.body.get("content") or "")
    if not content:
        raise PlatformError(44004, "empty content")
    if len(content) > MOST_CHARACTERS:
        raise PlatformError(45002, "content size out of limit")
    found = {word: suggest for word, suggest in program(call).words.items() if word in content}
    verdict = next((one for one in WORST if one in found.values()), "pass")
    detail = [
        {"strategy": "keyword", "errcode": 0, "suggest": suggest, "label": LABELS[suggest], "level": 90, "keyword": w}
        for w, suggest in found.items()
    ]
    return {"result": rated(verdict), "detail": [model(verdict), *detail], "trace_id": new_rid()}


def rated(suggest: str) -> JSON:
    return {"suggest": suggest, "label": LABELS[suggest]}


def model(suggest: str) -> JSON:
    return {"strategy": "content_model", "errcode": 0, "prob": 90} | rated(suggest)


class MediaChecks:
    def __init__(self, followers: Followers, spawn: Callable[..., object]) -> None:
        self._followers = followers
        self._spawn = spawn

    async def begin(self, call: Call) -> Answer:
        check_terms(call)
        person = visitor(call)
        if call.body.get("media_type") not in (1, 2):
            raise PlatformError(40004, "invalid media type")
        if not str(call.body.get("media_url") or "").startswith(("http://", "https://")):
            raise PlatformError(40048, "invalid url")
        trace_id = new_rid()
        self._spawn(self._tell(program(call), person, trace_id, call.world.settings.media_check_seconds))
        return {"trace_id": trace_id}

    async def _tell(self, account: MiniProgram, person: Person, trace_id: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        verdict = account.media_verdict
        fields = {"appid": account.appid, "trace_id": trace_id, "version": 2}
        fields |= {"detail": [model(verdict)], "result": rated(verdict)}
        self._followers.event(account, person, "wxa_media_check", fields)


async def subscribe_send(call: Call) -> Answer:
    """One message for each consent to a one-time template."""
    account, world, person = program(call), call.world, recipient(call)
    template = next((t for t in account.templates if t["priTmplId"] == call.body.get("template_id")), None)
    if template is None:
        raise PlatformError(40037, "invalid template_id")
    page = str(call.body.get("page") or "")
    if page and account.pages is not None and page.partition("?")[0] not in account.pages:
        raise PlatformError(41030, "invalid page")
    values = checked_values(template, call.body.get("data"))
    accepted = call.platform.weixin.standing(person).accepted
    if not accepted.get(template["priTmplId"]):
        raise PlatformError(43101, "user refuse to accept the msg")
    accepted[template["priTmplId"]] -= 1 if template.get("type", ONCE) == ONCE else 0
    text = KEY.sub(lambda found: values[found[1]], str(template.get("content", "")))
    chat, data = single_chat(account, person.openid), {"title": template.get("title", ""), "page": page}
    world.add(chat, account.id, "subscribe_message", text=text, data=data, via="message/subscribe/send")
    return {"msgid": secrets.randbelow(2**53)}


def checked_values(template: JSON, data: object) -> dict[str, str]:
    """By key; 47003 names the one that does not fit."""
    given = data if isinstance(data, dict) else {}
    wanted = KEY.findall(str(template.get("content", "")))
    if unknown := [key for key in given if key not in wanted]:
        raise PlatformError(47003, f"argument invalid! data.{unknown[0]} is not in the template")
    values = {}
    for key in wanted:
        value = given[key].get("value") if isinstance(given.get(key), dict) else None
        most = VALUES.get(key.rstrip("0123456789"), 32)
        if not value or len(str(value)) > most:
            raise PlatformError(47003, f"argument invalid! data.{key}.value invalid")
        values[key] = str(value)
    return values


async def gettemplate(call: Call) -> Answer:
    return {"data": program(call).templates}


def endpoints(followers: Followers, spawn: Callable[..., object]) -> dict[str, Endpoint]:
    return {
        "wxa/msg_sec_check": Endpoint("POST", msg_sec_check),
        "wxa/media_check_async": Endpoint("POST", MediaChecks(followers, spawn).begin),
        "message/subscribe/send": Endpoint("POST", subscribe_send),
        "wxaapi/newtmpl/gettemplate": Endpoint("GET", gettemplate),
    }
