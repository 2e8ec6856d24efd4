"""The streams of answers over an AI bot's long connection: each shows the text so far, and ends with the whole answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.wecom.aibot import protocol, rendering

if TYPE_CHECKING:
    from channels_wechat.contract.sentences import Sentences
    from channels_wechat.wecom.aibot.protocol import Question
    from channels_wechat.wire.request_socket import Frame, RequestSocket

log = logging.getLogger(__name__)
# The platform ends a stream six minutes after its first frame.
STREAM_SECONDS = 340
ACK_SECONDS = 10.0
# Of so many questions it is remembered that their stream has ended.
KEEP = 5000


class Stream:
    """One stream. shown: its text so far; timer: ends it before the platform does."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.lock = asyncio.Lock()
        self.shown = ""
        self.is_open = self.is_ended = False
        self.timer: asyncio.TimerHandle | None = None

    def end(self) -> None:
        self.is_ended, self.is_open = True, False
        if self.timer:
            self.timer.cancel()


class Streams:
    """The streams of one connection."""

    def __init__(self, socket: RequestSocket, sentences: Sentences) -> None:
        self.socket, self.sentences = socket, sentences
        self._streams: dict[str, Stream] = {}
        self._received: dict[str, None] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def note_question(self, req_id: str) -> None:
        """Note that this connection received the question: then nobody else has sent a frame of its stream."""
        self._received[req_id] = None
        if len(self._received) > KEEP:
            self._received.pop(next(iter(self._received)))

    def of(self, question: Question) -> Stream:
        found = self._streams.get(question.req_id)
        if found is None:
            found = self._streams[question.req_id] = Stream(question)
            if len(self._streams) > KEEP:
                self._streams.pop(next(iter(self._streams))).end()
        return found

    async def show(self, question: Question, text: str) -> bool:
        """Show the text so far. Return whether the stream goes on. Raises ChannelError."""
        stream = self.of(question)
        async with stream.lock:
            if stream.is_ended:
                return False
            try:
                await self._send(stream, text, finish=False)
            except ChannelError as error:
                if error.action == Action.WAIT:  # a later frame shows the same and more
                    return True
                stream.end()
                raise
            if stream.timer is None:
                loop = asyncio.get_running_loop()
                stream.timer = loop.call_later(STREAM_SECONDS, self._close_late, stream)
        return True

    async def finish(self, question: Question, text: str) -> Frame | None:
        """End the stream with this text, also where no frame of it was sent yet. Return the acknowledgement; None where it has ended.

        Raises ChannelError; where the platform asks to wait, the stream stays open.
        """
        stream = self.of(question)
        async with stream.lock:
            if stream.is_ended:
                return None
            try:
                ack = await self._send(stream, text, finish=True)
            except ChannelError as error:
                if error.action != Action.WAIT:
                    stream.end()
                raise
            stream.end()
            return ack

    async def close_open(self, question: Question) -> None:
        """End a stream that something else than text follows, with the text that it shows. Raises ChannelError."""
        stream = self._streams.get(question.req_id)
        if stream and stream.is_open:
            await self.finish(question, stream.shown)

    def close(self) -> None:
        """The connection has ended."""
        for stream in self._streams.values():
            stream.end()
        for task in self._closing:
            task.cancel()

    async def _send(self, stream: Stream, text: str, *, finish: bool) -> Frame:
        """feedback: its id comes back with the person's verdict. The platform takes it in the first frame only.

        For a question of an earlier connection nobody can say whether that sent one.
        """
        body = rendering.stream(stream.question.stream, None, text, (), finish)
        if not stream.is_open and stream.question.req_id in self._received:
            body["stream"]["feedback"] = {"id": stream.question.stream}
        req_id = stream.question.req_id
        ack = await self.socket.request(req_id, protocol.frame(protocol.RESPOND, req_id, body), ACK_SECONDS)
        protocol.check(ack, way=protocol.STREAMS)
        stream.is_open, stream.shown = True, text
        return ack

    def _close_late(self, stream: Stream) -> None:
        task = asyncio.get_running_loop().create_task(self._say_later(stream))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _say_later(self, stream: Stream) -> None:
        """End the stream with what there is and the sentence that the answer follows, as a message of its own."""
        text = "\n\n".join(filter(None, (stream.shown, self.sentences.get("later"))))
        try:
            await self.finish(stream.question, text)
        except ChannelError as error:
            log.info("a stream could not be ended in time (%s)", error.code)
            stream.end()
