"""What goes out over an AI bot's long connection (page 101463): answers in a stream or after it, and messages of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels_wechat.contract.messages import HANDLE, Receipt
from channels_wechat.wecom.aibot import protocol, rendering
from channels_wechat.wecom.aibot.card_updates import SentCards
from channels_wechat.wecom.aibot.connection_rendering import PUSH, REPLY, STREAM
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.aibot.streams import ACK_SECONDS, Streams
from channels_wechat.wecom.aibot.uploads import upload

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Outgoing, Peer, Upload
    from channels_wechat.contract.sentences import Sentences
    from channels_wechat.wecom.aibot.protocol import Question
    from channels_wechat.wire.request_socket import Frame, RequestSocket


class BotLink:
    """Implements `channels_wechat.contract.connection.Link`."""

    def __init__(self, socket: RequestSocket, sentences: Sentences) -> None:
        self.socket = socket
        self.streams, self.cards = Streams(socket, sentences), SentCards()

    async def send(self, outgoing: Outgoing) -> Receipt:
        body, note = rendering.reply(outgoing.payload)
        body, via = _with_handle(body, outgoing.handle), outgoing.payload.body.get("via", "")
        question = read_question(outgoing)
        if question and via != PUSH and not self.socket.is_ambiguous(question.req_id):
            ack = await self._answer(question, body, outgoing, in_stream=via == STREAM)
        elif via == REPLY or protocol.PUSHES in outgoing.refused:
            raise WECOM_AIBOT.error("push_refused")
        else:
            ack = await self._push(outgoing.peer, body)
        if body["msgtype"] == "template_card":
            self.cards.add(body["template_card"])
        return Receipt(note=note, response=_without_id(ack))

    async def _answer(self, question: Question, body: dict[str, Any], outgoing: Outgoing, *, in_stream: bool) -> Frame:
        """Answer by the question's id: as the end of its stream while that is open, else as a message."""
        if in_stream and protocol.STREAMS not in outgoing.refused:
            text = body["markdown"]["content"]
            if ack := await self.streams.finish(question, text):
                return ack
        await self.streams.close_open(question)
        return await self._ask(protocol.RESPOND, body, req_id=question.req_id)

    async def _push(self, peer: Peer, body: dict[str, Any]) -> Frame:
        where = {"chatid": peer.id, "chat_type": protocol.CHAT_TYPES[peer.kind]}
        return await self._ask(protocol.SEND, {**where, **body}, way=protocol.PUSHES, peer=peer)

    async def _ask(
        self, cmd: str, body: Any, *, req_id: str = "", way: Any = "reply", peer: Peer | None = None
    ) -> Frame:
        req_id = req_id or protocol.new_id(cmd)
        ack = await self.socket.request(req_id, protocol.frame(cmd, req_id, body), ACK_SECONDS)
        protocol.check(ack, way=way, peer=peer)
        return ack

    async def upload(self, file: Upload) -> str:
        return await upload(self.socket, file)

    async def show_partial(self, reply: str, text: str) -> bool:
        question = protocol.read_handle(reply)
        return question is not None and await self.streams.show(question, text)

    async def end_partial(self, reply: str, text: str) -> None:
        if question := protocol.read_handle(reply):
            await self.streams.finish(question, text)

    async def welcome(self, req_id: str, text: str) -> None:
        """Answer somebody who opened the chat; within five seconds. Raises ChannelError."""
        await self._ask(protocol.WELCOME, {"msgtype": "text", "text": {"content": text}}, req_id=req_id)

    async def update_card(self, req_id: str, card: dict[str, Any]) -> None:
        """Show this in the place of the card that was answered; within five seconds. Raises ChannelError."""
        body = {"response_type": "update_template_card", "template_card": card}
        await self._ask(protocol.UPDATE, body, req_id=req_id)


def read_question(outgoing: Outgoing) -> Question | None:
    return protocol.read_handle(outgoing.peer.reply)


def _with_handle(body: dict[str, Any], handle: str) -> dict[str, Any]:
    """The body with the handle of its uploaded file in its place."""
    kind = body["msgtype"]
    content = dict(body[kind])
    if content.get("media_id") == HANDLE:
        content["media_id"] = handle
    return {"msgtype": kind, kind: content}


def _without_id(ack: Frame) -> dict[str, Any]:
    """What an attempt keeps of an acknowledgement: without the id, by which anybody with the secret could answer."""
    return {name: ack[name] for name in ("errcode", "errmsg") if name in ack}
