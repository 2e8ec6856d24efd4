"""Customers open the chat, write and take back; servicers answer: each becomes a message to fetch, and a notice to the app's address."""

import secrets
from typing import Any

from channels_wechat.simulator.core.callbacks import Callbacks, Item
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.markup import to_xml
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON, Media, plain
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.wecom.company import Company
from channels_wechat.simulator.wecom.kf.accounts import (
    ENDED,
    KNOCK_SECONDS,
    NEW,
    SERVICER,
    WELCOME_SECONDS,
    WINDOW_COUNT,
    WINDOW_SECONDS,
    KfAccount,
    KfWorld,
)

CUSTOMER, SYSTEM, HUMAN = 3, 4, 5
FILES = {"image": "image.png", "voice": "voice.amr", "video": "video.mp4", "file": "file.bin"}


def chat_of(account: KfAccount, customer: str) -> str:
    return f"{account.id}:{customer}"


class KfCustomers:
    def __init__(self, kf: KfWorld, company: Company, callbacks: Callbacks) -> None:
        self.kf, self.company, self._callbacks = kf, company, callbacks
        self.world = kf.world

    def listed(self) -> list[JSON]:
        """Every customer, with how they stand with each account they have met."""
        sessions: dict[str, JSON] = {}
        for (account, customer), session in self.kf.sessions.items():
            sessions.setdefault(customer, {})[account] = plain(session)
        return [plain(one) | {"sessions": sessions.get(one.external_userid, {})} for one in self.kf.customers.values()]

    def say(self, spec: JSON) -> JSON:
        """A customer writes. Kinds: text (menu_id), those with data (base64), any other with an object of its name."""
        account, customer = self.kf.account(spec.get("kf")), self.kf.customer(spec.get("from"))
        session, now = self.kf.session(account.open_kfid, customer.external_userid), self.world.now()
        if session.state == ENDED:
            session.state, session.servicer = NEW, ""
        session.wrote, session.left = now, WINDOW_COUNT
        kind, content, media = self._content(spec)
        return self._enter(account, customer.external_userid, kind, content, media, CUSTOMER, spec)

    def answer_as_servicer(self, spec: JSON) -> JSON:
        """The servicer who has the conversation writes in their own client."""
        account, customer = self.kf.account(spec.get("kf")), self.kf.customer(spec.get("to"))
        session = self.kf.session(account.open_kfid, customer.external_userid)
        if session.state != SERVICER:
            raise ControlError("no servicer has this conversation")
        kind, content, media = self._content(spec)
        return self._enter(account, customer.external_userid, kind, content, media, HUMAN, spec)

    def _content(self, spec: JSON) -> tuple[str, JSON, Media | None]:
        kind = str(spec.get("kind", "text"))
        if kind in FILES:
            name = str(spec.get("name") or FILES[kind])
            media = self.world.keep_media(kind, name, read_bytes(spec), str(spec.get("mime") or guess(name)))
            return kind, {"media_id": media.id}, media
        if kind == "text":
            menu = {"menu_id": str(spec["menu_id"])} if spec.get("menu_id") else {}
            return kind, {"content": str(spec.get("text", ""))} | menu, None
        if not isinstance(spec.get(kind), dict):
            raise ControlError(f"a message of kind {kind} needs an object of that name")
        return kind, spec[kind], None

    def _enter(
        self, account: KfAccount, customer: str, kind: str, content: JSON, media: Media | None, origin: int, spec: JSON
    ) -> JSON:
        msgid, session = secrets.token_urlsafe(16), self.kf.session(account.open_kfid, customer)
        who = customer if origin == CUSTOMER else f"servicer:{session.servicer}"
        data: JSON = {"media": [media_facts(media)]} if media else {kind: content} if kind != "text" else {}
        text, chat = str(spec.get("text", "")), chat_of(account, customer)
        entry = self.world.add(chat, who, kind, text=text, data=data, msgid=msgid, via="member")
        message: JSON = {"msgid": msgid, "open_kfid": account.open_kfid, "external_userid": customer}
        message |= {"send_time": int(self.world.now()), "origin": origin, "msgtype": kind, kind: content}
        message |= {"servicer_userid": session.servicer} if origin == HUMAN else {}
        self._keep(account, message)
        return {"id": msgid, "chat": chat, "entry": entry.seq}

    # -- events -------------------------------------------------------------------------------------------------------

    def event(self, spec: JSON) -> JSON:
        """Any event: "kf", "from", "event", "fields"; enter_session gets a welcome_code where the platform would give one."""
        account, name = self.kf.account(spec.get("kf")), str(spec.get("event"))
        customer = str(spec.get("from") or "")
        fields = dict(spec.get("fields") or {})
        if customer:
            self.kf.customer(customer)
            fields = {"external_userid": customer} | fields
        if name == "enter_session":
            fields = {"scene": "web1", "scene_param": ""} | self._welcome(account, customer) | fields
        return {"id": self._happen(account, name, fields), "chat": chat_of(account, customer)}

    def _welcome(self, account: KfAccount, customer: str) -> JSON:
        """A code only for whom the account has not welcomed within 48 hours, and who has not written within them."""
        session, now = self.kf.session(account.open_kfid, customer), self.world.now()
        if now - max(session.greeted, session.wrote) < WINDOW_SECONDS:
            return {}
        return {"welcome_code": self.kf.new_code(account.open_kfid, customer, WELCOME_SECONDS)}

    def take(self, spec: JSON) -> JSON:
        """A servicer takes the conversation, hands it to another or ends it, in their own client: `change_type` 1, 2, 3."""
        account, customer = self.kf.account(spec.get("kf")), self.kf.customer(spec.get("from"))
        session, kind = self.kf.session(account.open_kfid, customer.external_userid), int(spec.get("change_type", 1))
        old, new = session.servicer, "" if kind == 3 else str(spec.get("servicer") or "")
        if kind != 3 and new not in account.servicers:
            raise ControlError("`servicer` must be a servicer of the account")
        session.state, session.servicer = (ENDED if kind == 3 else SERVICER), new
        fields = {"external_userid": customer.external_userid, "change_type": kind}
        fields |= {"old_servicer_userid": old} if old else {}
        fields |= {"new_servicer_userid": new} if new else {}
        return {"id": self._happen(account, "session_status_change", fields)}

    def fail(self, account: KfAccount, customer: str, msgid: str, fail_type: int) -> str:
        """What was taken is not delivered after all."""
        fields = {"external_userid": customer, "fail_msgid": msgid, "fail_type": fail_type}
        return self._happen(account, "msg_send_fail", fields)

    def _happen(self, account: KfAccount, name: str, fields: JSON) -> str:
        """An event has neither account nor customer beside it: both stand in it."""
        msgid = secrets.token_urlsafe(16)
        event = {"event_type": name, "open_kfid": account.open_kfid} | fields
        head: JSON = {"msgid": msgid, "send_time": int(self.world.now()), "origin": SYSTEM, "msgtype": "event"}
        self._keep(account, head | {"event": event})
        return msgid

    def raw(self, spec: JSON) -> JSON:
        """A message in any form."""
        self._keep(self.kf.account(spec.get("kf")), dict(spec.get("raw") or {}))
        return {}

    # -- notices ------------------------------------------------------------------------------------------------------

    def _keep(self, account: KfAccount, message: JSON) -> None:
        self.kf.log(account.open_kfid).add(self.world.now(), message)
        if account.knocks:
            self.knock(account)

    def knock(self, account: KfAccount, **fields: Any) -> JSON:
        """The notice that there is something to fetch, with a token for ten minutes."""
        app, token = self.company.apps.get(account.agentid), "ENC" + secrets.token_urlsafe(24)
        if app is None:
            raise ControlError("the account's agentid is no app")
        self.kf.log(account.open_kfid).tokens[token] = self.world.now() + KNOCK_SECONDS
        body = {"ToUserName": app.corpid, "CreateTime": int(self.world.now()), "MsgType": "event"}
        body |= {"Event": "kf_msg_or_event", "Token": token, "OpenKfId": account.open_kfid, **fields}
        number, settings = self.world.next_msgid(), self.world.settings
        self._callbacks.enqueue(
            Item(
                Delivery(number, app.id, account.id, "kf_msg_or_event"),
                app,
                to_xml(body).encode(),
                copies=settings.copies,
                persistent=settings.persistent,
                tries=settings.callback_tries,
            )
        )
        return {"id": number}
