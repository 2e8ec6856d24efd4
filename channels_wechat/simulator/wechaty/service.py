"""A puppet service: a gRPC server of its own for one account, which asks for the account's token (facts: wechaty.md 5, 6)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from channels_wechat.simulator.core import record
from channels_wechat.simulator.core.faults import Fault, Faults
from channels_wechat.simulator.wechaty import wire
from channels_wechat.simulator.wechaty.calls import Calls
from channels_wechat.simulator.wechaty.errors import PuppetError
from channels_wechat.simulator.wechaty.files import STREAM, Received, chunks
from channels_wechat.simulator.wechaty.puppets import Puppet
from channels_wechat.simulator.wechaty.wire import M

Context = Any  # grpc.aio.ServicerContext: its type parameters are of no use for messages that are made from a table
MOST_BYTES = 4 * 2**20  # of one message, as Node's server has it
TWICE = "GrpcServerImpl.event() can not call twice."


class Service:
    """`start` and `stop` may follow each other: what the puppet knows stays. spawn: starts work that outlives the call."""

    def __init__(
        self, puppet: Puppet, calls: Calls, faults: Faults, host: str, spawn: Callable[[Awaitable[None]], object]
    ) -> None:
        self.puppet, self.calls, self.host = puppet, calls, host
        self.world, self._faults, self._spawn = puppet.world, faults, spawn
        self.port = puppet.account.port
        self._server: grpc.aio.Server | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        if self._server is not None:
            return
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MOST_BYTES)]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(self._handlers())
        self.port = server.add_insecure_port(self.endpoint)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break every connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def cut(self) -> None:
        """Break every connection, and be there again at once."""
        await self.stop()
        await self.start()

    def _handlers(self) -> tuple[Any, ...]:
        answers = self.calls.unary()
        handlers: dict[str, Any] = {rpc: self._unary(rpc, *wire.UNARY[rpc], answers[rpc]) for rpc in wire.UNARY}
        handlers |= {
            "Event": self._server_stream("Empty", "Event", self._event),
            "Download": self._server_stream("Id", "Chunk", self._download),
            "MessageFileStream": self._server_stream("Id", "FileStream", self._file_stream),
            "Upload": self._client_stream("Chunk", "Id", self._upload),
            "MessageSendFileStream": self._client_stream("SendFileStream", "Sent", self._send_stream),
        }
        health = {"Check": grpc.unary_unary_rpc_method_handler(self._health, M["Empty"].FromString, serialize)}
        return (
            grpc.method_handlers_generic_handler(wire.SERVICE, handlers),
            grpc.method_handlers_generic_handler(wire.HEALTH, health),
        )

    def _server_stream(self, question: str, answer: str, serve: Any) -> Any:
        return grpc.unary_stream_rpc_method_handler(serve, M[question].FromString, serialize)

    def _client_stream(self, question: str, answer: str, serve: Any) -> Any:
        return grpc.stream_unary_rpc_method_handler(serve, M[question].FromString, serialize)

    # -- every call --------------------------------------------------------------------------------------------------------

    async def _admit(self, rpc: str, question: Any, context: Context) -> record.Call:
        """Record the call, and refuse a wrong token in the service's own words."""
        noted = self.world.record.call(f"wechaty/{rpc}", {})
        noted.account = self.puppet.account.key
        if question is not None:
            noted.body = json.dumps(MessageToDict(question), ensure_ascii=False)[: record.BODY]
        given = dict(context.invocation_metadata() or ()).get("authorization")
        kind, _, token = str(given or "").partition(" ")
        if given is None:
            token = self.endpoint  # the server takes the address for the token of an old client
        elif kind != "Wechaty":
            await self._refuse(noted, context, StatusCode.UNAUTHENTICATED, f'Invalid authorization type: "{kind}"')
        if token != self.puppet.account.token:
            self.world.record.counters["wrong_secrets"] += 1
            await self._refuse(noted, context, StatusCode.UNAUTHENTICATED, f'Invalid Wechaty TOKEN "{token}"')
        return noted

    async def _refuse(self, noted: record.Call, context: Context, code: StatusCode, details: str) -> None:
        self.world.record.answered(noted, code.value[0])
        await context.abort(code, details)

    def _unary(self, rpc: str, question: str, answer: str, handle: Callable[[Any], Any]) -> Any:
        async def serve(asked: Any, context: Context) -> Any:
            noted = await self._admit(rpc, asked, context)

            async def process() -> Any:
                return await self._answered(rpc, noted, context, lambda: handle(asked))

            return await self._met_by_faults(rpc, noted, context, process)

        return grpc.unary_unary_rpc_method_handler(serve, M[question].FromString, serialize)

    async def _answered(self, rpc: str, noted: record.Call, context: Context, handle: Callable[[], Any]) -> Any:
        try:
            found = handle()
        except PuppetError as error:
            await self._refuse(noted, context, StatusCode.UNKNOWN, error.details(rpc))
        self.world.record.answered(noted, 0)
        return found

    async def _met_by_faults(
        self, rpc: str, noted: record.Call, context: Context, process: Callable[[], Awaitable[Any]]
    ) -> Any:
        fault = self._faults.take(noted.path)
        if fault is None:
            return await process()
        self.world.record.broken(noted, fault.kind)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault.kind.startswith("slow") or fault.kind.endswith("_after"):
            answer = await process()
        if fault.kind == "slow_after":
            await asyncio.sleep(fault.seconds)
        if fault.kind.startswith("slow"):
            return answer
        return await self._fail(rpc, fault, noted, context)

    async def _fail(self, rpc: str, fault: Fault, noted: record.Call, context: Context) -> None:
        """errcode: a status of gRPC by its number, -1 what the puppet throws; html: a proxy's answer; timeout: silence; reset: a cut."""
        if fault.kind.startswith("errcode"):
            code = next((one for one in StatusCode if one.value[0] == fault.errcode), StatusCode.UNKNOWN)
            thrown = PuppetError(fault.errmsg).details(rpc)
            await self._refuse(noted, context, code, thrown if code is StatusCode.UNKNOWN else fault.errmsg)
        if fault.kind.startswith("html"):
            details = f"Received http2 header with status: {fault.status}"
            await self._refuse(noted, context, StatusCode.UNAVAILABLE, details)
        if fault.kind.startswith("reset"):
            self._spawn(self.cut())
        await asyncio.sleep(fault.seconds or self.world.settings.hang_seconds)
        await context.abort(StatusCode.DEADLINE_EXCEEDED, "the simulator held the call")

    # -- streams -----------------------------------------------------------------------------------------------------------

    async def _event(self, asked: Any, context: Context) -> None:
        """The one stream of events; a second is refused for as long as the first is there."""
        noted = await self._admit("Event", asked, context)
        fault = self._faults.take(noted.path)
        if fault is not None:
            self.world.record.broken(noted, fault.kind)
            await self._fail("Event", fault, noted, context)
        if self.puppet.is_listening:
            await self._refuse(noted, context, StatusCode.ALREADY_EXISTS, TWICE)
        stream = self.puppet.open_stream()
        attending = asyncio.ensure_future(self.puppet.attend())
        ended = "client"
        try:
            while (event := await stream.queue.get()) is not None:
                await stream.may_go_on.wait()
                await context.write(M["Event"](type=event.type, payload=event.text))
                stream.note_written(event)
            ended = "service"
        finally:
            attending.cancel()
            self.puppet.close_stream(stream, ended)
            with contextlib.suppress(asyncio.CancelledError):
                await attending

    async def _download(self, asked: Any, context: Context) -> None:
        """A uuid that is not known is the end of a real service; here nothing ever comes."""
        noted = await self._admit("Download", asked, context)
        data = self.calls.files.find(asked.id)
        if data is None:
            self.world.record.violation("unknown_uuid", asked.id)
            await asyncio.sleep(self.world.settings.hang_seconds)
            await context.abort(StatusCode.DEADLINE_EXCEEDED, "the simulator held the call")

        async def send() -> None:
            for part in chunks(data or b""):
                await context.write(M["Chunk"](chunk=part))

        await self._met_by_faults("Download", noted, context, send)

    async def _file_stream(self, asked: Any, context: Context) -> None:
        noted = await self._admit("MessageFileStream", asked, context)
        media = await self._answered("MessageFileStream", noted, context, lambda: self.calls.stream_file(asked.id))
        await context.write(M["FileStream"](chunk=M["BoxChunk"](name=media.name)))
        for part in chunks(media.data):
            await context.write(M["FileStream"](chunk=M["BoxChunk"](data=part)))

    async def _upload(self, parts: AsyncIterator[Any], context: Context) -> Any:
        noted = await self._admit("Upload", None, context)
        data = b"".join([part.chunk async for part in parts])

        async def process() -> Any:
            return await self._answered("Upload", noted, context, lambda: M["Id"](id=self.calls.files.keep(data)))

        return await self._met_by_faults("Upload", noted, context, process)

    async def _send_stream(self, parts: AsyncIterator[Any], context: Context) -> Any:
        """First the conversation, then the name, then the data."""
        rpc = "MessageSendFileStream"
        noted = await self._admit(rpc, None, context)
        conversation, name, data = "", "", bytearray()
        async for part in parts:
            conversation = part.conversation_id or conversation
            name = part.chunk.name or name
            data += part.chunk.data
        received = Received(name, bytes(data), STREAM)
        return await self._answered(rpc, noted, context, lambda: self.calls.send_received(conversation, received, rpc))

    async def _health(self, asked: Any, context: Context) -> Any:
        """Asks for no token."""
        return M["Health"](status=self.puppet.health)


def serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
