"""message/send, recall and update_template_card (facts: wecom.md 3)."""

import hashlib
import json
import secrets
from collections.abc import Iterable

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.content import show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.record import KEEP
from channels_wechat.simulator.core.state import JSON, Entry, World
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.cards import INTERACTIONS, check_card
from channels_wechat.simulator.wecom.checks import APP, Context, check_message
from channels_wechat.simulator.wecom.company import App, Company, Member, Once, single_chat


class Recipients:
    """touser, toparty and totag resolved against the app's visible scope; what does not resolve is kept."""

    def __init__(self, company: Company, app: App, body: JSON) -> None:
        users, parties, tags = (split(body.get(name)) for name in ("touser", "toparty", "totag"))
        if not users + parties + tags:
            raise PlatformError(82001, "touser, toparty and totag are all empty")
        if len(users) > 1000 or len(parties) > 100 or len(tags) > 100:
            raise PlatformError(81017, "too many recipients")
        visible = {member.userid.lower(): member for member in company.visible(app)}
        everyone = users == ["@all"]
        known_parties = {str(number) for member in company.members.values() for number in member.department}
        self.invalid_users = [] if everyone else [u.lower() for u in users if u.lower() not in visible]
        self.invalid_parties = [] if everyone else [p for p in parties if p not in known_parties]
        self.invalid_tags = [] if everyone else tags  # the simulated company has no tags
        self.members: list[Member] = [
            m for u, m in visible.items() if everyone or u in lowered(users) or in_party(m, parties)
        ]
        if not self.members:
            raise PlatformError(81013, "user & party & tag all invalid")

    def answer(self) -> JSON:
        return {
            "invaliduser": "|".join(self.invalid_users),
            "invalidparty": "|".join(self.invalid_parties),
            "invalidtag": "|".join(self.invalid_tags),
        }


def split(value: object) -> list[str]:
    return [part for part in str(value or "").split("|") if part]


def lowered(users: Iterable[str]) -> set[str]:
    return {user.lower() for user in users}


def in_party(member: Member, parties: list[str]) -> bool:
    return any(str(number) in parties for number in member.department)


def check_agent(call: Call) -> None:
    agentid = call.body.get("agentid")
    if agentid in (None, ""):
        raise PlatformError(40063, "some parameters are empty: agentid")
    if agentid != call.account.agentid:
        known = agentid in call.platform.company.apps
        raise PlatformError(301002 if known else 40056, "agentid does not fit the access_token")


class SentMessages:
    """What enable_duplicate_check compares with: first msgid by (agent, recipients, content)."""

    def __init__(self) -> None:
        self._first: Recent[str, tuple[float, JSON]] = Recent(KEEP)

    def key(self, call: Call, members: list[Member], msgtype: str, content: JSON) -> str:
        users = sorted(member.userid.lower() for member in members)
        whole = json.dumps([call.account.agentid, users, msgtype, content], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def earlier(self, key: str, now: float, interval: float) -> JSON | None:
        at, answer = self._first.get(key, (0.0, {}))
        return answer if answer and now - at < interval else None

    def remember(self, key: str, now: float, answer: JSON) -> None:
        self._first[key] = (now, answer)


def duplicate_interval(body: JSON) -> int:
    """Seconds; 0 where the check is off."""
    interval = body.get("duplicate_check_interval", 1800)
    if not isinstance(interval, int) or not 0 < interval <= 14400:
        raise PlatformError(40058, "duplicate_check_interval must be 1 to 14400")
    return interval if body.get("enable_duplicate_check") == 1 else 0


class Messages:
    def __init__(self) -> None:
        self._sent = SentMessages()

    async def send(self, call: Call) -> Answer:
        if call.body.get("msgtype") != "miniprogram_notice":
            check_agent(call)
        recipients = Recipients(call.platform.company, call.account, call.body)
        msgtype, content = check_message(call.body, Context(call.world, surface=APP))
        interval = duplicate_interval(call.body)
        key, now = self._sent.key(call, recipients.members, msgtype, content), call.world.now()
        if interval and (first := self._sent.earlier(key, now, interval)):
            call.world.record.counters["duplicates"] += 1
            return first
        answer = {"msgid": secrets.token_urlsafe(48)} | recipients.answer()
        if msgtype == "template_card" and content["card_type"] in INTERACTIONS:
            answer["response_code"] = new_card_code(call.platform.company, call.account.id, answer["msgid"])
        self._sent.remember(key, now, answer)
        for member in recipients.members:
            deliver(call, member, msgtype, content, answer["msgid"])
        return answer


def new_card_code(company: Company, owner: str, msgid: str) -> str:
    code = secrets.token_urlsafe(32)
    world = company.world
    company.card_codes[code] = Once(owner, msgid, world.now() + world.settings.card_seconds)
    return code


def deliver(call: Call, member: Member, msgtype: str, content: JSON, msgid: str) -> None:
    """Into one member's chat; what is above the member's limits vanishes without an error."""
    limits, world = call.world.settings, call.world
    windows = ((limits.member_per_minute, 60.0), (limits.member_per_hour, 3600.0))
    if not call.platform.windows.take(f"{call.account.id} {member.userid.lower()}", *windows):
        world.record.counters["dropped"] += 1
        return
    text, data = show(world, msgtype, content)
    safe = {"safe": call.body["safe"]} if call.body.get("safe") else {}
    world.add(
        single_chat(call.account, member.userid),
        call.account.id,
        msgtype,
        text=text,
        data=data | safe,
        msgid=msgid,
        via="message/send",
    )


async def recall(call: Call) -> Answer:
    entries = call.world.entries(str(call.body.get("msgid") or ""))
    mine = [entry for entry in entries if entry.who == call.account.id and entry.via == "message/send"]
    if not mine:
        raise PlatformError(40058, "invalid msgid")
    if call.world.now() - mine[0].at > call.world.settings.recall_seconds:
        raise PlatformError(40058, "recall is allowed for 24 hours")
    for entry in mine:
        entry.recalled = True
        call.world.touch(entry)
    return {}


async def update_template_card(call: Call) -> Answer:
    check_agent(call)
    code = call.platform.company.card_codes.get(str(call.body.get("response_code") or ""))
    if code is None or code.spent or code.owner != call.account.id or code.expires < call.world.now():
        raise PlatformError(60140, "invalid response_code")
    change = card_change(call.body)
    entries = call.world.entries(code.msgid)
    if not call.body.get("atall"):
        wanted = lowered(call.body.get("userids") or [])
        entries = [entry for entry in entries if entry.chat.rsplit(":", 1)[1] in wanted]
    code.spent = True
    for entry in entries:
        change_card(call.world, entry, change)
    invalid = [u for u in call.body.get("userids") or [] if call.platform.company.member(u) is None]
    return {"invaliduser": invalid}


def card_change(body: JSON) -> JSON:
    """Either {"replaced": text of the pressed button} or {"card": the new card}."""
    if isinstance(body.get("template_card"), dict):
        check_card(body["template_card"])
        return {"card": body["template_card"]}
    name = (body.get("button") or {}).get("replace_name")
    if not name:
        raise PlatformError(40063, "some parameters are empty: button or template_card")
    return {"replaced": name}


def change_card(world: World, entry: Entry, change: JSON) -> None:
    if card := change.get("card"):
        entry.text, entry.data = show(world, "template_card", card)
        entry.data["replaced"] = card.get("replace_text", "")
    else:
        entry.data["replaced"] = change["replaced"]
    world.touch(entry)


def endpoints() -> dict[str, Endpoint]:
    messages = Messages()
    return {
        "message/send": Endpoint("POST", messages.send),
        "message/recall": Endpoint("POST", recall),
        "message/update_template_card": Endpoint("POST", update_template_card),
    }
