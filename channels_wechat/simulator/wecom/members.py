"""Members speak, open chats, press buttons: each becomes a transcript entry and a callback."""

import json
from typing import Any

from channels_wechat.simulator.core.callbacks import Callbacks, Item
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.markup import from_xml, to_xml
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON, Entry, Media
from channels_wechat.simulator.wecom import payloads
from channels_wechat.simulator.wecom.api_aibot import new_url
from channels_wechat.simulator.wecom.api_messages import new_card_code
from channels_wechat.simulator.wecom.company import LONG_CONNECTION, Account, App, Bot, Company, single_chat
from channels_wechat.simulator.wecom.connection.connections import Connections
from channels_wechat.simulator.wecom.connection.requests import Request
from channels_wechat.simulator.wecom.new_ids import new_msgid
from channels_wechat.simulator.wecom.streams import Exchange, Streams


class Members:
    def __init__(self, company: Company, callbacks: Callbacks, streams: Streams, connections: Connections) -> None:
        self.company = company
        self._connections = connections
        self.world = company.world
        self._callbacks = callbacks
        self._streams = streams

    def say(self, account: Account, spec: JSON) -> JSON:
        """A member's message (the control API's POST /sim/say). Returns {"id", "chat", "entry"}."""
        userid = self._speaker(spec)
        if isinstance(account, App):
            return self._say_to_app(account, userid, spec)
        return self._say_to_bot(account, userid, spec)

    def _speaker(self, spec: JSON) -> str:
        member = self.company.member(str(spec.get("from", "")))
        if member is None:
            raise ControlError("`from` must be the userid of a member")
        return member.userid

    def _say_to_app(self, app: App, userid: str, spec: JSON) -> JSON:
        fields, media = payloads.app_message(self.world, app, spec)
        msgid, chat = self.world.next_msgid(), single_chat(app, userid)
        entry = self._entry(chat, userid, msgid, spec, [media] if media else [])
        plain = to_xml(self._xml_head(app, userid) | fields | {"MsgId": int(msgid), "AgentID": app.agentid})
        self._enqueue(app, chat, msgid, fields["MsgType"], to_bytes(plain), spec)
        return {"id": msgid, "chat": chat, "entry": entry.seq}

    def _xml_head(self, app: App, userid: str) -> JSON:
        return {"ToUserName": app.corpid, "FromUserName": userid, "CreateTime": int(self.world.now())}

    def _say_to_bot(self, bot: Bot, userid: str, spec: JSON) -> JSON:
        chat, media = self._chat(bot, userid, spec), list[Media]()
        grouped = bool(spec.get("chat"))
        content = payloads.bot_content(self.world, bot, spec, media)
        heard = not grouped or spec.get("mention", True)
        if grouped and heard and content["msgtype"] not in payloads.GROUP_KINDS:
            raise ControlError(f"in a group a bot hears only {', '.join(payloads.GROUP_KINDS)}")
        if grouped and heard:
            payloads.mention(bot, content)
        base = self._json_head(bot, userid, spec) | content
        entry = self._entry(chat, userid, base["msgid"], spec, media)
        entry.text = shown_text(content)
        if quote := spec.get("quote"):
            base["quote"] = payloads.bot_content(self.world, bot, quote, media)
            entry.data["quote"] = shown_text(base["quote"]) or base["quote"]["msgtype"]
        if heard:
            self.company.spoken.add((bot.id, chat))
            self._exchange(bot, chat, userid, base, "message", spec)
        else:
            self._not_heard(bot, chat, base)
        return {"id": base["msgid"], "chat": chat, "entry": entry.seq}

    def _not_heard(self, bot: Bot, chat: str, base: JSON) -> None:
        delivery = Delivery(base["msgid"], bot.id, chat, base["msgtype"], outcome="not_heard")
        self.world.record.deliveries[delivery.id] = delivery

    def _chat(self, bot: Bot, userid: str, spec: JSON) -> str:
        chatid = str(spec.get("chat") or "")
        if not chatid:
            return single_chat(bot, userid)
        if chatid not in self.company.groups:
            raise ControlError("no such group")
        return chatid

    def _json_head(self, bot: Bot, userid: str, spec: JSON) -> JSON:
        member = self.company.members[userid.lower()]
        head: JSON = {"msgid": new_msgid(), "aibotid": bot.aibotid}
        if spec.get("chat"):
            head["chatid"] = spec["chat"]
        sender = member.open_userid if bot.encrypt_userids else userid
        return head | {"chattype": "group" if spec.get("chat") else "single", "from": {"userid": sender}}

    def _entry(self, chat: str, userid: str, msgid: str, spec: JSON, media: list[Media]) -> Entry:
        kind = str(spec.get("kind", "text"))
        data: JSON = {"media": [media_facts(one) for one in media]} if media else {}
        data |= {kind: spec[kind]} if isinstance(spec.get(kind), dict) else {}
        text = str(spec.get("text", ""))
        return self.world.add(chat, userid, kind, text=text, data=data, msgid=msgid, via="member")

    def event(self, account: Account, spec: JSON) -> JSON:
        """Any event (POST /sim/event): "from", "chat", "event", "fields", or "raw" for a body of one's own."""
        if "raw" in spec:
            return self._raw(account, spec)
        if isinstance(account, App):
            return self._app_event(account, spec)
        return self._bot_event(account, self._speaker(spec), spec)

    def _raw(self, account: Account, spec: JSON) -> JSON:
        """`raw` is the plaintext: a text, or an object that becomes XML for an app and JSON for a bot."""
        raw, chat = spec["raw"], str(spec.get("chat") or f"{account.id}:raw")
        if isinstance(raw, dict):
            raw = to_xml(raw) if isinstance(account, App) else json.dumps(raw, ensure_ascii=False)
        msgid = self.world.next_msgid()
        if isinstance(account, Bot) and account.mode == LONG_CONNECTION:
            return self._raw_over_connection(account, chat, {"msgid": msgid} | read_raw(str(raw)), spec)
        self._enqueue(account, chat, msgid, "raw", to_bytes(str(raw)), spec)
        return {"id": msgid, "chat": chat}

    def _raw_over_connection(self, bot: Bot, chat: str, body: JSON, spec: JSON) -> JSON:
        kind = str((body.get("event") or {}).get("eventtype")) if body.get("msgtype") == "event" else "message"
        self._hand_over(bot, chat, body, kind, spec)
        return {"id": str(body["msgid"]), "chat": chat}

    def _app_event(self, app: App, spec: JSON) -> JSON:
        name, msgid = str(spec.get("event")), self.world.next_msgid()
        userid = "sys" if name in payloads.BY_SYSTEM else str(spec.get("from", ""))
        fields = self._xml_head(app, userid) | {"MsgType": "event", "Event": name}
        if name in payloads.NOBODY:
            del fields["FromUserName"]
        else:
            fields["AgentID"] = app.agentid
        fields |= payloads.APP_EVENTS.get(name, {}) | (spec.get("fields") or {})
        chat = single_chat(app, userid)
        self._enqueue(app, chat, msgid, name, to_bytes(to_xml(fields)), spec)
        return {"id": msgid, "chat": chat}

    def _bot_event(self, bot: Bot, userid: str, spec: JSON, card: Entry | None = None) -> JSON:
        name, chat = str(spec.get("event")), self._chat(bot, userid, spec)
        details = payloads.BOT_EVENTS.get(name, {}) | (spec.get("fields") or {})
        event: JSON = {"eventtype": name} | ({name: details} if details else {})
        base = self._json_head(bot, userid, spec)
        base |= {"create_time": int(self.world.now()), "msgtype": "event", "event": event}
        self._exchange(bot, chat, userid, base, name, spec, card)
        return {"id": base["msgid"], "chat": chat}

    def click(self, entry: Entry, spec: JSON) -> JSON:
        """A member presses a button or submits a card: {"from", "key", "selected": {question: [option]}}."""
        userid = self._speaker(spec)
        card, (kind, name) = entry.data.get("card") or entry.data, entry.who.split(":", 1)
        account = self.company.account({kind: name})
        if isinstance(account, App):
            return self._app_click(account, userid, entry, card, spec)
        selected = [
            {"question_key": question, "option_ids": {"option_id": options}}
            for question, options in (spec.get("selected") or {}).items()
        ]
        fields: JSON = {
            "card_type": card.get("card_type"),
            "event_key": spec.get("key", ""),
            "task_id": card.get("task_id", ""),
        }
        fields |= {"selected_items": {"selected_item": selected}} if selected else {}
        where = {} if entry.chat.startswith("bot:") else {"chat": entry.chat}
        return self._bot_event(account, userid, where | {"event": "template_card_event", "fields": fields}, entry)

    def _app_click(self, app: App, userid: str, entry: Entry, card: JSON, spec: JSON) -> JSON:
        selected = [
            {"QuestionKey": question, "OptionIds": {"OptionId": options}}
            for question, options in (spec.get("selected") or {}).items()
        ]
        fields: JSON = {
            "EventKey": str(spec.get("key", "")),
            "TaskId": str(card.get("task_id", "")),
            "CardType": str(card.get("card_type", "")),
            "ResponseCode": new_card_code(self.company, app.id, entry.msgid),
        }
        fields |= {"SelectedItems": {"SelectedItem": selected}} if selected else {}
        return self._app_event(app, {"from": userid, "event": "template_card_event", "fields": fields})

    def _exchange(
        self, bot: Bot, chat: str, userid: str, base: JSON, kind: str, spec: JSON, card: Entry | None = None
    ) -> None:
        if bot.mode == LONG_CONNECTION:
            self._hand_over(bot, chat, base, kind, spec, card)
            return
        if kind in ("message", "template_card_event"):
            base["response_url"] = new_url(self.company, bot, chat, base["msgid"])
        exchange = Exchange(bot, chat, userid, base, kind, self.world.now(), card)
        once = {"tries": 1} if kind == "template_card_event" else {}  # sent once, never again (6.1)
        self._enqueue(
            bot,
            chat,
            exchange.msgid,
            base["msgtype"] if kind == "message" else kind,
            json_bytes(base),
            spec | once,
            on_reply=lambda plain: self._streams.reply(exchange, plain),
            may_start=(lambda: self._streams.wait_for_room(exchange)) if kind == "message" else None,
        )

    def _hand_over(self, bot: Bot, chat: str, body: JSON, kind: str, spec: JSON, card: Entry | None = None) -> None:
        request = Request(bot, chat, str(body["msgid"]), kind, self.world.now(), card)
        delivery = Delivery(request.msgid, bot.id, chat, body.get("msgtype", kind) if kind == "message" else kind)
        self._connections.hand_over(delivery, request, body, int(spec.get("copies", self.world.settings.copies)))

    def _enqueue(
        self, account: Account, chat: str, msgid: str, kind: str, plain: bytes, spec: JSON, **hooks: Any
    ) -> None:
        settings = self.world.settings
        if isinstance(account, App):
            hooks["on_reply"] = lambda plain: self._app_reply(account, chat, msgid, plain)
        item = Item(
            Delivery(msgid, account.id, chat, kind),
            account,
            plain,
            copies=int(spec.get("copies", settings.copies)),
            persistent=bool(spec.get("persistent", settings.persistent)),
            tries=int(spec.get("tries", settings.callback_tries)),
            **hooks,
        )
        self._callbacks.enqueue(item)

    def _app_reply(self, app: App, chat: str, msgid: str, plain: bytes) -> None:
        """An app's passive reply is shown once; text in words, anything else by its kind."""
        if not plain or any(e.answers == msgid and e.via == "passive" for e in self.world.chats.get(chat, [])):
            return
        fields = from_xml(plain)
        text, kind = fields.get("Content", ""), fields.get("MsgType", "")
        self.world.add(chat, app.id, kind, text=text, answers=msgid, via="passive")


def read_raw(text: str) -> JSON:
    """A frame's body must be an object."""
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ControlError("raw must be JSON for a long connection") from error
    if not isinstance(body, dict):
        raise ControlError("raw must be a JSON object for a long connection")
    return body


def shown_text(content: JSON) -> str:
    kind = content["msgtype"]
    if kind == "mixed":
        return "\n".join(shown_text(item) for item in content["mixed"]["msg_item"] if item["msgtype"] == "text")
    return str(content[kind].get("content", ""))


def to_bytes(text: str) -> bytes:
    """XML cannot say a lone surrogate: it becomes a question mark."""
    return text.encode(errors="replace")


def json_bytes(body: JSON) -> bytes:
    """Raw UTF-8; a lone surrogate only survives as an escape."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()
