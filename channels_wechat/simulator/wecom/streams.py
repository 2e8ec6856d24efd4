"""What an AI bot answers (facts: wecom.md 6.1): passive replies shown, streams polled until they finish."""

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.content import media_facts, show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.record import StreamState
from channels_wechat.simulator.core.state import JSON, Entry, World
from channels_wechat.simulator.wecom.api_aibot import MOST_BYTES
from channels_wechat.simulator.wecom.cards import check_card
from channels_wechat.simulator.wecom.checks import check_inline_image
from channels_wechat.simulator.wecom.company import CALLBACK, Bot
from channels_wechat.simulator.wecom.new_ids import new_msgid

IMAGE_MOST = 10 * 2**20
ALLOWED = {
    "message": {"stream", "template_card", "stream_with_template_card"},
    "enter_chat": {"text", "template_card"},
    "template_card_event": {"update_template_card"},
}


class Refused(Exception):
    """The platform would ignore this reply: (short name, detail) for the record of violations."""


@dataclass
class Exchange:
    """One callback of a user and everything the bot answers to it by stream. `base` is the callback's JSON."""

    bot: Bot
    chat: str
    userid: str
    base: JSON
    kind: str
    started: float
    card: Entry | None = None  # what a template_card_event was about
    answered: bool = False
    state: StreamState | None = None
    entry: Entry | None = None

    @property
    def msgid(self) -> str:
        return str(self.base["msgid"])


class Streams:
    def __init__(self, world: World, callbacks: Callbacks) -> None:
        self.world = world
        self._callbacks = callbacks
        self._open: Counter[tuple[str, str]] = Counter()

    async def wait_for_room(self, exchange: Exchange) -> None:
        """A user has at most so many answers in progress with one bot; the next message waits."""
        while 0 < self.world.settings.max_exchanges <= self._open[exchange.bot.id, exchange.userid]:
            await asyncio.sleep(0.02)

    def reply(self, exchange: Exchange, plain: bytes) -> None:
        """The reply of the first 200 counts; a later one (copy, retry) must name the same stream."""
        try:
            body = read(plain)
            if exchange.answered:
                self._same_stream(exchange, body.get("stream"))
            else:
                exchange.answered = True
                self._first(exchange, body)
        except (Refused, PlatformError) as error:
            self._note(exchange, error)

    def _note(self, exchange: Exchange, error: Exception) -> None:
        what, detail = (*error.args, "")[:2] if isinstance(error, Refused) else ("reply_refused", str(error))
        self.world.record.violation(what, exchange.msgid, detail)

    def _same_stream(self, exchange: Exchange, stream: JSON | None) -> None:
        if stream and exchange.state and stream.get("id") != exchange.state.id:
            raise Refused("stream_id_changed", f"{exchange.state.id} → {stream.get('id')}")

    def _first(self, exchange: Exchange, body: JSON) -> None:
        if not body:
            return
        msgtype = str(body.get("msgtype") or body.get("response_type"))
        if msgtype not in ALLOWED.get(exchange.kind, ()):
            raise Refused("reply_not_allowed", f"{msgtype} to {exchange.kind}")
        if msgtype == "update_template_card":
            self._update_card(exchange, body)
        elif msgtype.startswith("stream"):
            card = body.get("template_card") if msgtype == "stream_with_template_card" else None
            self._start(exchange, part(body, "stream"), card)
        else:
            content = part(body, msgtype)
            if msgtype == "template_card":
                check_card(content)
            self._add(exchange, msgtype, content)

    def _add(self, exchange: Exchange, kind: str, content: JSON) -> Entry:
        text, data = show(self.world, kind, content)
        return self.world.add(
            exchange.chat, exchange.bot.id, kind, text=text, data=data, answers=exchange.msgid, via="passive"
        )

    def _update_card(self, exchange: Exchange, body: JSON) -> None:
        card = part(body, "template_card")
        check_card(card)
        if exchange.card is None or exchange.card.data.get("task_id") != card.get("task_id"):
            raise Refused("task_id_changed", str(card.get("task_id")))
        exchange.card.text, exchange.card.data = show(self.world, "template_card", card)
        self.world.touch(exchange.card)

    def _start(self, exchange: Exchange, stream: JSON, card: JSON | None) -> None:
        if not stream.get("id"):
            raise Refused("stream_id_missing")
        check_stream(stream)
        if card is not None:
            check_card(card)
        exchange.state = StreamState(exchange.msgid, str(stream["id"]))
        self.world.record.streams[exchange.msgid] = exchange.state
        exchange.entry = self.world.add(
            exchange.chat, exchange.bot.id, "stream", answers=exchange.msgid, via="stream", streaming=True
        )
        exchange.entry.data = {"updates": 0, "feedback_id": (stream.get("feedback") or {}).get("id", "")}
        if card is not None:
            exchange.entry.data["card"] = card
        self._open[exchange.bot.id, exchange.userid] += 1
        self._show(exchange, stream)
        self._callbacks.spawn(self._follow(exchange))

    def _show(self, exchange: Exchange, stream: JSON) -> None:
        entry, state = exchange.entry, exchange.state
        if entry is None or state is None:
            return
        if entry.text != str(stream.get("content") or ""):
            entry.text = str(stream.get("content") or "")
            entry.data["updates"] += 1
        if stream.get("finish"):
            entry.data["images"] = [self._image(item["image"]) for item in stream.get("msg_item") or []]
            entry.streaming, state.state = False, "finished"
        self.world.touch(entry)

    def _image(self, image: JSON) -> JSON:
        data = check_inline_image(image, IMAGE_MOST)
        mime = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        return media_facts(self.world.keep_media("image", "image", data, mime, owner="shown"))

    async def _follow(self, exchange: Exchange) -> None:
        state, entry = exchange.state, exchange.entry
        if state is None or entry is None:
            return
        try:
            while state.state == "streaming":
                await asyncio.sleep(self.world.settings.poll_interval)
                if self._is_over(exchange):
                    state.state, entry.streaming = "expired", False
                    entry.data["expired"] = True  # the client shows that nothing more comes
                    self.world.touch(entry)
                    return
                await self._poll(exchange, state)
        finally:
            self._open[exchange.bot.id, exchange.userid] -= 1

    def _is_over(self, exchange: Exchange) -> bool:
        """A bot that goes over to the long connection is not polled any more."""
        late = self.world.now() - exchange.started > self.world.settings.stream_seconds
        return late or exchange.bot.mode != CALLBACK

    async def _poll(self, exchange: Exchange, state: StreamState) -> None:
        """Asked again after any failure: a lost poll changes nothing."""
        keep = ("aibotid", "chatid", "chattype", "from")
        body = {name: exchange.base[name] for name in keep if name in exchange.base}
        body |= {"msgid": new_msgid(), "msgtype": "stream", "stream": {"id": state.id}}
        state.polls += 1
        reply = await self._callbacks.post(exchange.bot, json.dumps(body, ensure_ascii=False).encode())
        if reply.error or not reply.ok:
            state.failed_polls += 1
            if reply.ok:
                self.world.record.violation("bad_reply", exchange.msgid, reply.error)
            return
        try:
            self._refresh(exchange, read(reply.plain))
        except (Refused, PlatformError) as error:
            self._note(exchange, error)

    def _refresh(self, exchange: Exchange, body: JSON) -> None:
        if not body:
            return
        stream = part(body, "stream")
        self._same_stream(exchange, stream)
        check_stream(stream)
        if exchange.entry and isinstance(body.get("template_card"), dict):
            check_card(body["template_card"])
            exchange.entry.data["card"] = body["template_card"]
        if stream.get("feedback"):
            self.world.record.violation("feedback_late", exchange.msgid)
        self._show(exchange, stream)


def read(plain: bytes) -> JSON:
    """{} for the empty reply."""
    with contextlib.suppress(ValueError):
        body: Any = json.loads(plain) if plain else {}
        if isinstance(body, dict):
            return body
    raise Refused("bad_reply", "the reply is not a JSON object")


def part(body: JSON, name: str) -> JSON:
    found = body.get(name)
    if not isinstance(found, dict):
        raise Refused("bad_reply", f"{name} is missing")
    return found


def check_stream(stream: JSON) -> None:
    size = len(str(stream.get("content") or "").encode(errors="replace"))
    if size > MOST_BYTES:
        raise Refused("stream_too_long", f"{size} bytes")
    items = stream.get("msg_item") or []
    if items and not stream.get("finish"):
        raise Refused("images_before_finish")
    if len(items) > 10:
        raise Refused("too_many_images", str(len(items)))
    for item in items:
        check_inline_image(part(item, "image"), IMAGE_MOST)
