"""A synchronous client of the control API, for the demo, the tests and the chaos run."""

import base64
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import quote

import requests

JSON = dict[str, Any]
T = TypeVar("T")
CALL_SECONDS = 30.0
WAIT_SECONDS = 120.0  # generous: a machine that does much else at once is slow, and nothing waits longer than it must


class SimulatorError(Exception):
    """The control API refused: its own sentence."""


class SimulatorClient:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy variable must not send loopback traffic away

    @property
    def websocket_url(self) -> str:
        """Where AI bots connect: what wss://openws.work.weixin.qq.com is on the platform."""
        return f"{self.url.replace('http', 'ws', 1)}/openws"

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, path: str, body: JSON | None = None, params: JSON | None = None) -> Any:
        response = self._session.request(
            method, f"{self.url}/sim/{path}", json=body, params=params, timeout=CALL_SECONDS
        )
        if response.status_code != 200:
            raise SimulatorError(f"{path}: {response.text[:500]}")
        return response.json()

    def post(self, path: str, /, **body: Any) -> JSON:
        return cast("JSON", self.call("POST", path, body))

    # -- setting up: fields as in the dataclasses of state.py ------------------------------------------------------------

    def app(self, agentid: int, **fields: Any) -> JSON:
        return self.post("apps", agentid=agentid, **fields)

    def bot(self, aibotid: str, **fields: Any) -> JSON:
        """With token, aes_key and callback_url; or with mode="connection" and a secret. A change of the mode cuts the connection."""
        return self.post("bots", aibotid=aibotid, **fields)

    def robot(self, chat: str, **fields: Any) -> JSON:
        """The answer holds the key, also where it was made up."""
        return self.post("robots", chat=chat, **fields)

    def member(self, userid: str, name: str, **fields: Any) -> JSON:
        return self.post("members", userid=userid, name=name, **fields)

    def group(self, chatid: str, name: str, **fields: Any) -> JSON:
        return self.post("groups", chatid=chatid, name=name, **fields)

    def customer(self, external_userid: str, name: str, **fields: Any) -> JSON:
        """`followers`: member → how they call the customer; without any, nobody in the company knows the customer."""
        return self.post("customers", external_userid=external_userid, name=name, **fields)

    def customer_group(self, chat_id: str, name: str, **fields: Any) -> JSON:
        return self.post("customer_groups", chat_id=chat_id, name=name, **fields)

    def add_customer(self, app: int, customer: str, member: str) -> JSON:
        """The customer adds the member: an event with a code for one welcome."""
        return self.post("customer_added", app=app, customer=customer, member=member)

    def official(self, appid: str, **fields: Any) -> JSON:
        """An Official Account: secret, token, aes_key, callback_url, kind, verified, mode, format, … (weixin.py)."""
        return self.post("officials", appid=appid, **fields)

    def mini(self, appid: str, **fields: Any) -> JSON:
        """A Mini Program: as official(), with words, media_verdict, templates, pages."""
        return self.post("minis", appid=appid, **fields)

    def person(self, account: str, name: str, openid: str = "", **fields: Any) -> JSON:
        """A follower or user of the account with this appid. The answer holds the openid, also where it was made up."""
        return self.post("persons", account=account, name=name, **({"openid": openid} if openid else {}), **fields)

    def settings(self, **changes: Any) -> JSON:
        return self.post("settings", **changes)

    def advance(self, seconds: float) -> None:
        """Move the company's clock: tokens, codes, media and streams age."""
        self.post("clock", advance=seconds)

    def invalidate_token(self, app: int | None = None, **account: Any) -> None:
        """`app`, or `official=` or `mini=` with an appid."""
        self.post("tokens", how="invalidate", **(account if app is None else {"app": app}))

    def expire_token(self, app: int | None = None, **account: Any) -> None:
        self.post("tokens", how="expire", **(account if app is None else {"app": app}))

    def fault(self, path: str, kind: str, **details: Any) -> JSON:
        """Details: times, rate, errcode, errmsg, seconds, status (see faults.py)."""
        return self.post("faults", path=path, kind=kind, **details)

    def clear_faults(self) -> None:
        self.call("DELETE", "faults")

    def reset_record(self) -> None:
        self.post("reset")

    # -- speaking --------------------------------------------------------------------------------------------------------

    def say(self, text: str = "", *, data: bytes | None = None, **spec: Any) -> JSON:
        """`app=`, `bot=`, `official=` or `mini=`, `from_=`, `chat=`, `kind=`, …; returns {"id", "chat", "entry"}."""
        return self.post("say", text=text, **prepared(spec, data))

    def say_many(self, messages: list[JSON]) -> list[JSON]:
        """Each as in the control API (so "from", not "from_"); queued at once, in this order."""
        return cast("list[JSON]", self.post("say", messages=messages)["said"])

    def event(self, event: str = "", **spec: Any) -> JSON:
        return self.post("event", event=event, **prepared(spec, None))

    def click(self, entry: int, from_: str, key: str = "", selected: JSON | None = None) -> JSON:
        return self.post("click", **{"entry": entry, "from": from_, "key": key, "selected": selected or {}})

    def follow(self, official: str, from_: str, scene: str = "") -> JSON:
        """`scene`: of the QR code by which the person came."""
        fields = {"EventKey": f"qrscene_{scene}", "Ticket": "TICKET"} if scene else {}
        return self.event("subscribe", official=official, from_=from_, fields=fields)

    def unfollow(self, official: str, from_: str) -> JSON:
        return self.event("unsubscribe", official=official, from_=from_)

    def scan(self, official: str, from_: str, scene: str) -> JSON:
        return self.event("SCAN", official=official, from_=from_, fields={"EventKey": scene})

    def click_menu(self, official: str, from_: str, key: str) -> JSON:
        return self.event("CLICK", official=official, from_=from_, fields={"EventKey": key})

    def tap(self, entry: int, from_: str, choice: str) -> JSON:
        """`choice`: the id of one of a msgmenu's items."""
        return self.click(entry, from_, choice)

    def enter_session(self, mini: str, from_: str, session_from: str = "") -> JSON:
        return self.event("user_enter_tempsession", mini=mini, from_=from_, fields={"SessionFrom": session_from})

    def accept(self, mini: str, from_: str, template: str) -> JSON:
        """The person agrees to one message of a subscribe template."""
        return self.post("accept", mini=mini, template=template, **{"from": from_})

    def verify(self, **account: Any) -> JSON:
        return self.post("verify", **account)

    # -- customer service ------------------------------------------------------------------------------------------------

    def kf_account(self, open_kfid: str, agentid: int, **fields: Any) -> JSON:
        """Fields of `KfAccount`: name, servicers, page_size, empty_pages, knocks."""
        return self.post("kf/accounts", open_kfid=open_kfid, agentid=agentid, **fields)

    def kf_customer(self, external_userid: str, name: str, **fields: Any) -> JSON:
        return self.post("kf/customers", external_userid=external_userid, name=name, **fields)

    def open_chat(self, kf: str, from_: str, **fields: Any) -> JSON:
        """The customer opens the chat (enter_session), with a welcome_code where the platform gives one."""
        return self.event("enter_session", kf=kf, from_=from_, fields=fields)

    def take_conversation(self, kf: str, from_: str, servicer: str = "", change_type: int = 1) -> JSON:
        """In a servicer's own client: 1 taken from the pool, 2 handed to another, 3 ended."""
        return self.post("kf/take", **{"kf": kf, "from": from_, "servicer": servicer, "change_type": change_type})

    def answer_as_servicer(self, kf: str, to: str, text: str) -> JSON:
        return self.post("kf/servicer", kf=kf, to=to, text=text)

    def fail_message(self, kf: str, to: str, msgid: str, fail_type: int) -> JSON:
        return self.post("kf/fail", kf=kf, to=to, msgid=msgid, fail_type=fail_type)

    def kf_session(self, kf: str, customer: str) -> JSON:
        """state, servicer, wrote, left, greeted."""
        return cast("JSON", self.call("GET", f"kf/session/{kf}/{customer}"))

    # -- personal accounts -----------------------------------------------------------------------------------------------

    def own_gateway(self, name: str, **fields: Any) -> JSON:
        """Fields of `Gateway`. The answer holds the `address` where it takes deliveries."""
        return self.post("own/gateways", name=name, **fields)

    def own_say(self, own: str, from_: str, text: str = "", *, data: bytes | None = None, **spec: Any) -> JSON:
        """`chat=` and `title=` in a group, `name=`, `kind=` with data, `mentions=`, `addressed=`; returns {"id", "chat", "entry"}."""
        return self.post("own/say", **prepared({"own": own, "from": from_, "text": text, **spec}, data))

    def own_event(self, own: str, event: str = "", **spec: Any) -> JSON:
        return self.post("own/event", **prepared({"own": own, "event": event, **spec}, None))

    def wechaty(self, account_id: str, token: str, **fields: Any) -> JSON:
        """An account with a puppet service of its own, logged in unless logged_in=False. The answer holds the service's `endpoint`."""
        return self.post("wechaty/accounts", id=account_id, token=token, **fields)

    def wechaty_contact(self, contact_id: str, name: str, **fields: Any) -> JSON:
        """`alias`: how the account calls them; `friend`: False for a stranger."""
        return self.post("wechaty/contacts", id=contact_id, name=name, **fields)

    def wechaty_room(self, room_id: str, topic: str, members: list[str], **fields: Any) -> JSON:
        """`members`: people and accounts; `aliases`: what they are called there."""
        return self.post("wechaty/rooms", id=room_id, topic=topic, members=members, **fields)

    def use_phone(self, wechaty: str, how: str) -> JSON:
        """`how`: show (a new code), scan, confirm (logs in), cancel, expire, logout. The answer: logged_in, code, code_status."""
        return self.post("wechaty/phone", wechaty=wechaty, how=how)

    def recall(self, wechaty: str, from_: str, message: str) -> JSON:
        return self.post("wechaty/recall", **{"wechaty": wechaty, "from": from_, "message": message})

    def change_members(self, room: str, how: str, *ids: str, by: str = "") -> JSON:
        """`how`: join or leave."""
        return self.post("wechaty/members", room=room, how=how, ids=list(ids), by=by)

    def rename_room(self, room: str, topic: str, by: str) -> JSON:
        return self.post("wechaty/topic", room=room, topic=topic, by=by)

    def invite(self, wechaty: str, from_: str, topic: str, members: list[str] | None = None) -> JSON:
        """Somebody invites the account into a room; the answer holds the `id` of the invitation and the `room`."""
        body = {"wechaty": wechaty, "from": from_, "topic": topic, "members": members or []}
        return self.post("wechaty/invite", **body)

    def ask_friendship(self, wechaty: str, from_: str, hello: str = "") -> JSON:
        return self.post("wechaty/friend", **{"wechaty": wechaty, "from": from_, "hello": hello})

    def disturb_service(self, wechaty: str, how: str) -> JSON:
        """`how`: silence, resume, end (the stream), cut (every connection), away, back, heartbeat, error."""
        return self.post("wechaty/service", wechaty=wechaty, how=how)

    def emit(self, wechaty: str, event: int, payload: JSON) -> None:
        """Any event, also of a number that nobody knows."""
        self.post("wechaty/raw", wechaty=wechaty, type=event, payload=payload)

    def puppet(self, wechaty: str) -> JSON:
        """The account as it stands: endpoint, logged_in, listening, running, code, code_status."""
        accounts = self.call("GET", "directory")["wechaty_accounts"]
        return cast("JSON", next(one for one in accounts if one["id"] == wechaty))

    def puppet_streams(self, wechaty: str) -> list[JSON]:
        """Every stream of events so far: number, opened, events, closed, ended."""
        return cast("list[JSON]", self.call("GET", "wechaty/streams", params={"wechaty": wechaty}))

    def puppet_sent(self, wechaty: str) -> list[JSON]:
        """What a client had the account do: kind (text, file, topic, recall, accept), conversation, id, at, and what belongs to it."""
        return cast("list[JSON]", self.call("GET", "wechaty/sent", params={"wechaty": wechaty}))

    def contact_requests(self) -> JSON:
        """Lists `invitations` and `friendships`, each with `accepted`."""
        return cast("JSON", self.call("GET", "wechaty/requests"))

    def wait_listening(self, wechaty: str, timeout: float = WAIT_SECONDS) -> JSON:
        """The account when a client listens to its events."""
        return self.wait_for(lambda: one if (one := self.puppet(wechaty))["listening"] else None, timeout) or {}

    # -- an AI bot's long connection -------------------------------------------------------------------------------------

    def end_connection(self, bot: str, how: str = "close") -> int | None:
        """`how`: close, abort, kick, unsubscribe, stall, resume. The answer is the connection's number, None without one."""
        return cast("int | None", self.post("connection", bot=bot, how=how)["connection"])

    def refuse(self, bot: str, chat: str, **what: Any) -> JSON:
        """stream=True: 600039 for streams in this chat; push=True with push_errcode: no proactive messages."""
        return self.post("refusals", bot=bot, chat=chat, **what)

    def connections(self, bot: str = "") -> list[JSON]:
        """Every connection so far: number, bot, device_id, opened, subscribed, pings, handed, closed, ended."""
        return cast("list[JSON]", self.call("GET", "connections", params={"bot": bot} if bot else {}))

    def wait_connected(self, bot: str, timeout: float = WAIT_SECONDS) -> JSON:
        """The bot's subscribed connection."""
        return self.wait_for(lambda: [one for one in self.connections(bot) if one["subscribed"]], timeout)[0]

    def scans(self) -> list[JSON]:
        """Every code of "scan to create": scode, source, status (wait, scanned, success, expired), bot."""
        return cast("list[JSON]", self.call("GET", "scans"))

    def scan_code(self, scode: str, how: str = "confirm", **bot: Any) -> JSON:
        """`how`: scan, confirm (which makes the bot, with `name` and `aibotid` if given), expire."""
        return self.post("scans", scode=scode, how=how, **bot)

    # -- iLink -----------------------------------------------------------------------------------------------------------

    def ilink_person(self, person: str, name: str) -> JSON:
        """Somebody in WeChat, who may scan a code. `person` ends in @im.wechat."""
        return self.post("ilink/people", id=person, name=name)

    def ilink_scans(self) -> list[JSON]:
        """Every code: qrcode, status (wait, scaned, need_verifycode, confirmed, …), from, number, bot."""
        return cast("list[JSON]", self.call("GET", "ilink/scans"))

    def scan_ilink(self, qrcode: str, how: str = "confirm", from_: str = "", **more: Any) -> JSON:
        """`how`: scan, ask (a number that must be typed), redirect (to `host`), confirm (which logs in), expire."""
        return self.post("ilink/scans", qrcode=qrcode, how=how, **({"from": from_} if from_ else {}), **more)

    def log_in_ilink(self, person: str) -> JSON:
        """A login without a scan: bot_token, ilink_bot_id, ilink_user_id. The login before is lost."""
        return self.post("ilink/login", **{"from": person})

    def log_out_ilink(self, person: str) -> JSON:
        """Each call is answered with -14 from now on."""
        return self.post("ilink/logout", **{"from": person})

    def ilink_raw(self, ilink: str, **message: Any) -> JSON:
        """A message with any fields over the usual ones."""
        return self.post("ilink/raw", ilink=ilink, message=message)

    def ilink_standing(self, person: str) -> JSON:
        """name, bot, logged_in; with a login left (messages that may be sent) until, typing, polls."""
        people = self.call("GET", "directory")["ilink_people"]
        return cast("JSON", next(one for one in people if one["id"] == person))

    # -- looking ---------------------------------------------------------------------------------------------------------

    def record(self) -> JSON:
        return cast("JSON", self.call("GET", "record"))

    def calls(self, path: str = "") -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "calls", params={"path": path} if path else {}))

    def deliveries(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "deliveries"))

    def delivery(self, message_id: str) -> JSON:
        return cast("JSON", self.call("GET", "deliveries", params={"id": message_id})[0])

    def streams(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "streams"))

    def chats(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "chats"))

    def transcript(self, chat: str) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", f"chat/{quote(chat, safe='')}")["entries"])

    def answers(self, said: JSON) -> list[JSON]:
        """What the bot answered to a message of say(), finished or not."""
        return [entry for entry in self.transcript(said["chat"]) if entry["answers"] == said["id"]]

    def standing(self, openid: str) -> JSON:
        """Whether the person follows, and what may be said to them: `left` messages until `ends`; `typing`, `chat`."""
        return cast("JSON", self.call("GET", f"person/{quote(openid, safe='')}"))

    def sent_to(self, openid: str) -> list[JSON]:
        """All that was shown to the person, in order: kind, text, at, via; in data `ai` (the label), `delivery` (of a passive reply)."""
        return [entry for entry in self.transcript(self.standing(openid)["chat"]) if entry["who"] != openid]

    # -- waiting ---------------------------------------------------------------------------------------------------------

    def wait_for(self, predicate: Callable[[], T], timeout: float = WAIT_SECONDS, interval: float = 0.05) -> T:
        """The first truthy value of `predicate`; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s: {predicate}")
            time.sleep(interval)
        return value

    def wait_answer(self, said: JSON, timeout: float = WAIT_SECONDS) -> JSON:
        """The first finished answer to a message of say()."""
        return self.wait_for(lambda: [e for e in self.answers(said) if not e["streaming"]], timeout)[0]

    def wait_taken(self, said: JSON, timeout: float = WAIT_SECONDS) -> JSON:
        """The delivery record once the callback was delivered or given up."""
        done = ("delivered", "lost", "not_heard", "no_callback_url")
        return self.wait_for(lambda: d if (d := self.delivery(said["id"]))["outcome"] in done else None, timeout) or {}


def prepared(spec: JSON, data: bytes | None) -> JSON:
    """`from_` is Python's way to write the field "from"; bytes travel as base64."""
    body = {name.rstrip("_"): value for name, value in spec.items()}
    if data is not None:
        body["data"] = base64.b64encode(data).decode()
    return body
