"""Followers and Mini Program users write, follow, scan and tap: each becomes a transcript entry, a window and a callback."""

import json

from channels_wechat.simulator.core.callbacks import Callbacks, Item
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.markup import to_xml
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON, Entry
from channels_wechat.simulator.weixin import actions
from channels_wechat.simulator.weixin.accounts import OfficialAccount, Person, WeixinAccount
from channels_wechat.simulator.weixin.passive import EVENTS, Asked, PassiveReplies
from channels_wechat.simulator.weixin.reply_windows import CLICK, MESSAGE, opened_by
from channels_wechat.simulator.weixin.world import WeixinWorld, single_chat


class Followers:
    def __init__(self, weixin: WeixinWorld, callbacks: Callbacks) -> None:
        self.weixin = weixin
        self.world = weixin.world
        self._callbacks = callbacks
        self._passive = PassiveReplies(self.world)

    def speaker(self, account: WeixinAccount, spec: JSON) -> Person:
        person = self.weixin.person(account, spec.get("from", ""))
        if person is None:
            raise ControlError("`from` must be the openid of a person of this account")
        return person

    def say(self, account: WeixinAccount, person: Person, spec: JSON) -> JSON:
        """Opens the window of a message. Returns {"id", "chat", "entry"}."""
        if isinstance(account, OfficialAccount) and not person.subscribed:
            raise ControlError("who does not follow an account cannot write to it")
        fields, media = actions.message(self.world, account, spec)
        kind = fields["MsgType"]
        data: JSON = {"media": [media_facts(media)]} if media else {}
        data |= {kind: spec[kind]} if isinstance(spec.get(kind), dict) else {}
        return self._message(account, person, fields, data, str(spec.get("text", "")), MESSAGE, spec)

    def tap(self, entry: Entry, spec: JSON) -> JSON:
        """A choice of a msgmenu arrives as a text, and counts as a click. `key`: its id."""
        account = self.weixin.accounts[entry.who.split(":", 1)[1]]
        item = next((i for i in entry.data.get("list", []) if str(i["id"]) == str(spec.get("key"))), None)
        if item is None:
            raise ControlError("no such choice")
        number = str(item["id"]) if isinstance(account, OfficialAccount) and account.menu_ids else "0"
        fields = {"MsgType": "text", "Content": str(item["content"]), "bizmsgmenuid": number}
        return self._message(account, self.speaker(account, spec), fields, {}, fields["Content"], CLICK, spec)

    def _message(
        self,
        account: WeixinAccount,
        person: Person,
        fields: JSON,
        data: JSON,
        text: str,
        window: tuple[int, float],
        spec: JSON,
    ) -> JSON:
        msgid, chat = self.world.next_msgid(), single_chat(account, person.openid)
        self._deed(person, window)
        kind = fields["MsgType"]
        entry = self.world.add(chat, person.openid, kind, text=text, data=data, msgid=msgid, via="member")
        body = self._head(account, person) | fields | {"MsgId": int(msgid)}
        self._enqueue(account, person, msgid, kind, written(account, body), spec, awaits=True)
        return {"id": msgid, "chat": chat, "entry": entry.seq}

    def event(self, account: WeixinAccount, person: Person, name: str, fields: JSON, spec: JSON | None = None) -> JSON:
        """Any event; following, leaving, windows and visits follow from its name."""
        low, msgid = name.lower(), self.world.next_msgid()
        if low in ("subscribe", "unsubscribe"):
            person.subscribed = low == "subscribe"
        if window := opened_by(account, name):
            self._deed(person, window)
        body = self._head(account, person) | {"MsgType": "event", "Event": name}
        body |= actions.EVENTS.get(name, {}) | fields
        self._enqueue(account, person, msgid, name, written(account, body), spec or {}, awaits=low in EVENTS)
        return {"id": msgid, "chat": single_chat(account, person.openid)}

    def raw(self, account: WeixinAccount, spec: JSON) -> JSON:
        """`raw` is the plaintext: a text, or an object that is written in the account's format."""
        person = self.speaker(account, spec)
        plain = written(account, spec["raw"]) if isinstance(spec["raw"], dict) else str(spec["raw"]).encode()
        msgid = self.world.next_msgid()
        self._enqueue(account, person, msgid, "raw", plain, spec, awaits=False)
        return {"id": msgid, "chat": single_chat(account, person.openid)}

    def accept(self, account: WeixinAccount, person: Person, template: str) -> JSON:
        """The person agrees to one notice of this template."""
        accepted = self.weixin.standing(person).accepted
        accepted[template] = accepted.get(template, 0) + 1
        popup = {"TemplateId": template, "SubscribeStatusString": "accept", "PopupScene": "0"}
        fields = {"SubscribeMsgPopupEvent": {"List": popup}}
        return self.event(account, person, "subscribe_msg_popup_event", fields)

    def _deed(self, person: Person, window: tuple[int, float]) -> None:
        standing = self.weixin.standing(person)
        standing.open(window, self.world.now())
        standing.seen = self.world.now()

    def _head(self, account: WeixinAccount, person: Person) -> JSON:
        return {
            "ToUserName": account.original_id,
            "FromUserName": person.openid,
            "CreateTime": int(self.world.now()),
        }

    def _enqueue(
        self, account: WeixinAccount, person: Person, msgid: str, kind: str, plain: bytes, spec: JSON, *, awaits: bool
    ) -> None:
        settings = self.world.settings
        persistent = bool(spec.get("persistent", settings.persistent))
        tries = int(spec.get("tries", settings.callback_tries))
        asked = Asked(account, person, msgid, awaits, tries=0 if persistent else tries)
        item = Item(
            Delivery(msgid, account.id, asked.chat, kind),
            account,
            plain,
            copies=int(spec.get("copies", settings.copies)),
            persistent=persistent,
            tries=tries,
            on_try=lambda reply, number: self._passive.heard(asked, reply, number),
            openid=person.openid,
            in_step=True,
        )
        self._callbacks.enqueue(item)


def written(account: WeixinAccount, body: JSON) -> bytes:
    if account.format == "xml":
        return to_xml(body).encode(errors="replace")
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")
