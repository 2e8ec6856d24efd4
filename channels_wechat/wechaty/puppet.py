"""A puppet service as it is called: by the process that receives its events (asyncio), and by any other for a call or two."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc

from channels_wechat.contract.explanations import Action
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.errors import WECHATY, error_of
from channels_wechat.wechaty.protocol import EVENT, UPLOAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.message import Message

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.wechaty.endpoint import Target
    from channels_wechat.wechaty.protocol import Rpc

    Metadata = tuple[tuple[str, str], ...]

Q = TypeVar("Q", bound="Message")
A = TypeVar("A", bound="Message")
CALL_SECONDS, CONNECT_SECONDS, FILE_SECONDS = 15.0, 10.0, 60.0
UPLOAD_SECONDS = 120.0
UPLOAD_CHUNK = 64 * 1024
# Where a call finds no connection, it is made again after this.
RECONNECT_SECONDS = 1.0


def _metadata(token: str) -> Metadata:
    """The word before the token is case sensitive."""
    return (("authorization", f"Wechaty {token}"),)


class Puppet:
    """The service over one channel of asyncio. Used in one event loop; `close` ends it."""

    def __init__(self, target: Target, token: str) -> None:
        self.token, self._metadata = token, _metadata(token)
        options = list(target.options)
        self.channel = (
            grpc.aio.secure_channel(target.address, target.tls, options=options)
            if target.tls
            else grpc.aio.insecure_channel(target.address, options=options)
        )

    async def close(self) -> None:
        await self.channel.close(None)

    @property
    def is_connected(self) -> bool:
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def ask(
        self, rpc: Rpc[Q, A], request: Q, *, seconds: float = CALL_SECONDS, harmless: bool = True, left: bool = True
    ) -> A:
        """Make a call. harmless, left: as `error_of` takes them. Raises ChannelError."""
        call = self.channel.unary_unary(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.read
        )
        try:
            answer: A | None = await call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, self.token, harmless=harmless, left=left) from None
        if answer is None:  # gRPC's word for an answer that cannot be decoded
            action = WECHATY.row("service_failed").action_for(harmless)
            raise WECHATY.error("service_failed", action, detail="its answer cannot be decoded")
        return answer

    async def send(self, rpc: Rpc[Q, A], request: Q, seconds: float) -> A:
        """Make a call that people notice. Without a connection nothing leaves, and the message waits. Raises ChannelError."""
        if not self.is_connected:
            raise WECHATY.error("connection_lost", Action.WAIT, retry_after=RECONNECT_SECONDS)
        return await self.ask(rpc, request, seconds=seconds, harmless=False)

    async def upload(self, content: bytes) -> str:
        """Give the service a file. Return its uuid, which is good with this service only as long as it runs. Raises ChannelError."""
        call = self.channel.stream_unary(
            UPLOAD.path, request_serializer=pb.Chunk.SerializeToString, response_deserializer=UPLOAD.read
        )
        try:
            answer: pb.Id = await call(_chunks(content), timeout=UPLOAD_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, self.token, harmless=True) from None
        return answer.id

    async def events(self) -> AsyncIterator[pb.EventData]:
        """Yield events until the service ends the stream in order. Raises ChannelError where it breaks or is refused."""
        call = self.channel.unary_stream(
            EVENT.path, request_serializer=pb.Empty.SerializeToString, response_deserializer=EVENT.read
        )
        stream = call(pb.Empty(), metadata=self._metadata)
        try:
            async for event in stream:
                if event is not None:  # one that cannot be decoded
                    yield event
        except grpc.RpcError as error:
            raise error_of(error, self.token, harmless=True, left=self.is_connected) from None
        finally:
            stream.cancel()


async def _chunks(content: bytes) -> AsyncIterator[pb.Chunk]:
    for start in range(0, len(content), UPLOAD_CHUNK):
        yield pb.Chunk(chunk=content[start : start + UPLOAD_CHUNK])


class PuppetCalls:
    """The service over one channel of this thread, which `open_calls` makes."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self.channel, self.token, self._metadata = channel, token, _metadata(token)

    def ask(self, rpc: Rpc[Q, A], request: Q, *, seconds: float = CALL_SECONDS, harmless: bool = True) -> A:
        """Raises ChannelError."""
        call = self.channel.unary_unary(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.read
        )
        try:
            answer: A = call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, self.token, harmless=harmless) from None
        return answer

    def stream(self, rpc: Rpc[Q, A], request: Q, *, seconds: float) -> Iterator[A]:
        """Yield the parts of a file; whoever stops early ends the call. Raises ChannelError."""
        call = self.channel.unary_stream(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.read
        )
        parts = call(request, timeout=seconds, metadata=self._metadata)
        try:
            yield from parts
        except grpc.RpcError as error:
            raise error_of(error, self.token, harmless=True) from None
        finally:
            parts.cancel()  # type: ignore[no-untyped-call]


@contextmanager
def open_calls(target: Target, token: str) -> Iterator[PuppetCalls]:
    """Connect to the service. Raises ChannelError where it cannot be reached: then nothing was asked of it."""
    options = list(target.options)
    channel = (
        grpc.secure_channel(target.address, target.tls, options=options)
        if target.tls
        else grpc.insecure_channel(target.address, options=options)
    )
    with channel:
        _wait_connected(channel, token)
        yield PuppetCalls(channel, token)


def _wait_connected(channel: grpc.Channel, token: str) -> None:
    """Raises ChannelError, with the words of gRPC, by which a refused handshake is told from a service that is away."""
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        raise _probe(channel, token) from None
    finally:
        ready.cancel()


def _as_it_is(body: bytes) -> bytes:
    return body


def _probe(channel: grpc.Channel, token: str) -> ChannelError:
    """A call that does nothing, without the token: its error says why there is no connection."""
    call = channel.unary_unary("/grpc.health.v1.Health/Check", _as_it_is, _as_it_is)
    try:
        call(b"", timeout=1.0)
    except grpc.RpcError as error:
        return error_of(error, token, harmless=True, left=False)
    return WECHATY.error("service_away")
