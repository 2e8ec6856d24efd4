"""What a bot sends over its connection: replies, welcomes, updates of cards, and proactive messages (facts: wecom.md 6.2, 6.3)."""

import asyncio

from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.content import require
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.record import StreamState
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.cards import check_card
from channels_wechat.simulator.wecom.company import Bot, Company, single_chat
from channels_wechat.simulator.wecom.connection.contents import (
    SENT,
    check_content,
    check_stream,
    read_content,
    take_quota,
)
from channels_wechat.simulator.wecom.connection.frames import Frame
from channels_wechat.simulator.wecom.connection.requests import STREAM_EXPIRED, Request, Requests, Stream

SINGLE, GROUP = 1, 2
INVALID_CHAT = 93006
DEVICE_TYPE = 600039


class Answers:
    def __init__(self, company: Company, windows: Windows, callbacks: Callbacks, requests: Requests) -> None:
        self.company, self.world = company, company.world
        self._windows, self._callbacks, self._requests = windows, callbacks, requests

    # -- replies ---------------------------------------------------------------------------------------------------------

    def respond(self, bot: Bot, frame: Frame) -> None:
        request = self._requests.message(bot, frame.req_id)
        if frame.body.get("msgtype") == "stream":
            self._stream(bot, request, check_stream(frame.body))
            return
        msgtype, content = check_content(self.world, bot, frame.body, SENT)
        take_quota(self._windows, self.world, bot, request.chat)
        self._add(bot, request, msgtype, content, "reply")

    def _add(self, bot: Bot, request: Request, msgtype: str, content: JSON, via: str) -> None:
        text, data = read_content(self.world, msgtype, content)
        self.world.add(request.chat, bot.id, msgtype, text=text, data=data, answers=request.msgid, via=via)

    def _stream(self, bot: Bot, request: Request, content: JSON) -> None:
        if self.company.refusal(bot, request.chat).stream:
            raise PlatformError(DEVICE_TYPE, "device type not support")
        stream = request.streams.get(str(content["id"]))
        if stream is not None:
            self._check_open(request, stream)
        take_quota(self._windows, self.world, bot, request.chat)
        if stream is None:
            stream = self._begin(bot, request, content)
        elif content.get("feedback"):
            self.world.record.violation("feedback_late", request.msgid)
        self._show(stream, content)

    def _check_open(self, request: Request, stream: Stream) -> None:
        self._expire(stream)
        if stream.state.state == "expired":
            raise PlatformError(STREAM_EXPIRED, "stream message update expired")
        if stream.state.state == "finished":
            self.world.record.violation("stream_after_finish", request.msgid, stream.state.id)
            raise PlatformError(STREAM_EXPIRED, "stream message is finished")

    def _begin(self, bot: Bot, request: Request, content: JSON) -> Stream:
        state = StreamState(request.msgid, str(content["id"]))
        self.world.record.streams[f"{request.msgid} {state.id}"] = state
        data = {"updates": 0, "feedback_id": (content.get("feedback") or {}).get("id", "")}
        entry = self.world.add(
            request.chat, bot.id, "stream", data=data, answers=request.msgid, via="stream", streaming=True
        )
        stream = request.streams[state.id] = Stream(entry, state, self.world.now())
        self._callbacks.spawn(self._watch(stream))
        return stream

    def _show(self, stream: Stream, content: JSON) -> None:
        entry = stream.entry
        stream.state.frames += 1
        if entry.text != str(content.get("content") or ""):
            entry.text = str(content.get("content") or "")
            entry.data["updates"] += 1
        if content.get("finish"):
            entry.streaming, stream.state.state = False, "finished"
        self.world.touch(entry)

    async def _watch(self, stream: Stream) -> None:
        """The member's client shows that nothing more comes, also where no further frame is sent."""
        while stream.state.state == "streaming":
            await asyncio.sleep(self.world.settings.poll_interval)
            self._expire(stream)

    def _expire(self, stream: Stream) -> None:
        late = self.world.now() - stream.began > self.world.settings.stream_seconds
        if late and stream.state.state == "streaming":
            stream.state.state, stream.entry.streaming = "expired", False
            stream.entry.data["expired"] = True
            self.world.touch(stream.entry)

    def welcome(self, bot: Bot, frame: Frame) -> None:
        request = self._requests.event(bot, frame.req_id, "enter_chat")
        msgtype, content = check_content(self.world, bot, frame.body, ("text", "template_card"))
        take_quota(self._windows, self.world, bot, request.chat)
        request.spent = True
        self._add(bot, request, msgtype, content, "welcome")

    def update_card(self, bot: Bot, frame: Frame) -> None:
        request = self._requests.event(bot, frame.req_id, "template_card_event")
        card = frame.body.get("template_card")
        if frame.body.get("response_type") != "update_template_card" or not isinstance(card, dict):
            raise PlatformError(40063, "some parameters are empty: response_type, template_card")
        if not card.get("card_action"):
            raise PlatformError(42045, "invalid template card: card_action is required")
        check_card(card)
        if request.card is None or request.card.data.get("task_id") != card.get("task_id"):
            raise PlatformError(42014, "invalid task_id")
        request.spent = True
        request.card.text, request.card.data = read_content(self.world, "template_card", card)
        self.world.touch(request.card)

    # -- speaking first --------------------------------------------------------------------------------------------------

    def send(self, bot: Bot, frame: Frame) -> None:
        require(frame.body, "chatid")
        chat = self._chat(bot, str(frame.body["chatid"]), frame.body.get("chat_type") or 0)
        refusal = self.company.refusal(bot, chat)
        if refusal.push:
            raise PlatformError(refusal.push_errcode, "not allow to send msg to this chat")
        msgtype, content = check_content(self.world, bot, frame.body, SENT)
        take_quota(self._windows, self.world, bot, chat)
        text, data = read_content(self.world, msgtype, content)
        self.world.add(chat, bot.id, msgtype, text=text, data=data, via=frame.cmd)

    def _chat(self, bot: Bot, chatid: str, chat_type: object) -> str:
        """Return the chat, a group before a member where the type is 0; somebody there must have written to the bot before."""
        if chat_type not in (0, SINGLE, GROUP):
            raise PlatformError(40058, "invalid chat_type")
        member = None if chat_type == GROUP else self.company.member_of_id(chatid, bot)
        single = single_chat(bot, member.userid) if member else ""
        chat = chatid if chat_type != SINGLE and chatid in self.company.groups else single
        if (bot.id, chat) not in self.company.spoken:
            raise PlatformError(INVALID_CHAT, "invalid chatid")
        return chat
