"""The platforms' way in. No session, no CSRF, no call to anybody; a body is read without a thread, and stored with those of its moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.utils.translation import gettext as _

from accounts import channels, valkey
from accounts.health import Health
from bridge.models import Message
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import HttpReply
from bridge.pipeline.inbound import callback_stats, receive, spool_drain
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies import passive, paths
from bridge.pipeline.replies.waiting_requests import WaitSlots
from bridge.runtime.conf import capacity
from bridge.runtime.db.outage import DB_UNAVAILABLE, AbortableConnection
from bridge.runtime.db.threads import execute_on
from bridge.runtime.spool import journal
from bridge.runtime.web.batches import Batches
from bridge.runtime.web.http import Refused, Request, Response
from bridge.security import logs
from channels_wechat.contract.capabilities import Callbacks as TakesCallbacks
from channels_wechat.contract.errors import CallbackRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    from accounts.models import ChannelAccount
    from bridge.pipeline.replies.paths import ReplyPath
    from bridge.runtime.web.threads import Threads
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Inbound

log = logging.getLogger(__name__)
T = TypeVar("T")
PATH = "/callbacks/"
# A larger body is verified and parsed in a thread: it would hold up the others for milliseconds.
LARGE_BYTES = 64 * capacity.KIB
# Between two tries to store that the end of a stream was sent, in seconds.
CONFIRM_PAUSES = (1, 5, 20, 60)
# Notes for Valkey that may wait for a thread; more of them are left out.
MAX_NOTES = 100

Found = tuple["ChannelAccount", "Channel"]


class Callbacks:
    """Those of one web process. Belongs to one event loop."""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.places = WaitSlots(capacity.MAX_WAITING_REPLIES)
        self.accounts = Batches[UUID, "Found | None"](self._find, max_batch=1000)
        self.rows = Batches[receive.Row, receive.Stored](self._store, max_batch=receive.BATCH_SIZE)
        self.store_connection = AbortableConnection()
        self.notes: set[asyncio.Task[Any]] = set()
        self.draining: asyncio.Task[int] | None = None
        self.count = 0

    async def answer(self, request: Request) -> Response:
        """GET verifies the address, POST brings a message, an event or a poll. 400, 403, 413: refused and counted, nothing stored.

        503: the database is away and the spool full, or there is no answer yet; the platform repeats what it gets no 200 for. Raises
        Refused, ClientGone.
        """
        try:
            account, channel = await self._account(request.path)
            with self._counted():  # not those that strangers guess
                return await self._answer(request, account, channel)
        except DB_UNAVAILABLE as error:
            log.warning("%s: the database is away (%s)", request.path, type(error).__name__)
            return Response(503)
        except passive.NotReady:
            return Response(503)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Raises Refused (503)."""
        if self.count >= capacity.MAX_CALLBACKS:
            raise Refused(503, "Too many requests at once.", retry_after="1")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def settle(self) -> None:
        """Wait for what was left to be noted."""
        while self.notes:
            await asyncio.gather(*self.notes, return_exceptions=True)

    async def _answer(self, request: Request, account: ChannelAccount, channel: TakesCallbacks) -> Response:
        if request.method not in ("GET", "POST"):
            raise Refused(405, "Only GET and POST.", allow="GET, POST")
        try:
            with logs.about(account=account.pk):
                found = await self._reply(request, account, channel)
        except CallbackRefused as refused:
            self._note(str(account.key), refused.code, refused=True)
            closes = {"connection": "close"} if refused.status == 413 else {}
            return Response(refused.status, str(refused).encode(), headers=closes)
        body: Any = found.answer.body
        then = partial(self._confirm, found.part) if found.part else None
        return Response(
            200, body.encode() if isinstance(body, str) else bytes(body), found.answer.content_type, then=then
        )

    async def _account(self, path: str) -> tuple[ChannelAccount, TakesCallbacks]:
        """The account is looked up before anything of a body is read: nobody but its platform knows the address."""
        try:
            key = UUID(path.removeprefix(PATH))
        except ValueError:
            raise Refused(404, "There is nothing here.") from None
        found = channels.recent(key) or await self._look_up(key)
        if found is None:
            raise Refused(404, "There is nothing here.")
        account, channel = found
        if not isinstance(channel, TakesCallbacks):
            raise Refused(404, "There is nothing here.")
        return account, channel

    async def _look_up(self, key: UUID) -> Found | None:
        """As last known while the database is away or rows still wait for it. Raises OperationalError."""
        before = channels.last_known(key)
        if before and journal.is_in_use():
            return before
        try:
            seconds = capacity.LOOKUP_SECONDS if before else capacity.RECEIVE_SECONDS
            return await self._within(seconds, self.accounts(key))
        except DB_UNAVAILABLE:
            if before:
                return before
            raise

    async def _reply(self, request: Request, account: ChannelAccount, channel: TakesCallbacks) -> HttpReply:
        query = _query(request)
        if request.method == "GET":
            answer = channel.challenge(query)
            self._note(str(account.key), "verified", refused=False)
            return HttpReply(answer)
        body = await self._body(request)
        parsed = channel.parse(query, body) if len(body) < LARGE_BYTES else await self._run(channel.parse, query, body)
        if parsed.poll and paths.is_polled(account.kind):
            request.listen()
            return await self._poll(account, channel, query, parsed.poll)
        for message in parsed.inbound:
            await self._receive(account, channel, message)
        if parsed.inbound and (path := await self._path(account, channel)).answers_callbacks:
            request.listen()
            self.places.listen()  # also while the database is away: its message is stored or in the spool, so waiting loses nothing
            return await path.answer_callback(account, query, parsed.inbound[0], self.places, self.threads.callbacks)
        return HttpReply(channel.acknowledge(query, parsed))

    async def _body(self, request: Request) -> bytes:
        body = await request.body(settings.CALLBACK_MAX_BYTES, capacity.CALLBACK_BODY_SECONDS)
        if body is None:
            raise CallbackRefused(413, "too_large", _("The body is larger than 1 MiB."))
        return body

    async def _receive(self, account: ChannelAccount, channel: TakesCallbacks, message: Inbound) -> None:
        """The row is committed when this returns, or was before, or it is in the spool."""
        said = channel.passive_text(message)
        row = receive.row_of(account, message)
        stored = await self._stored({**row, "said": str(said)} if said else row)
        self._note(str(account.key), "ok", refused=False)
        if stored is None:
            return
        receive.wake_router(with_files=bool(message.media))
        if account.state == Health.NEW:
            self._later(self._run(account.set_state, Health.OK))
        if said:
            self._later(self._run(_store_reply, stored, said))

    async def _stored(self, row: receive.Row) -> receive.Stored:
        """None: a repetition, or in the spool. Raises OperationalError, also where neither takes it in time; it may still be stored."""
        return await self._within(capacity.RECEIVE_SECONDS, self.rows(row))

    async def _poll(self, account: ChannelAccount, channel: Channel, query: dict[str, str], stream: str) -> HttpReply:
        """While the database is away a poll is told that the agent still works: an error would end the stream."""
        path = await self._path(account, channel)
        try:
            polled = self._run(path.answer_poll, account, query, stream)
            return await self._within(capacity.POLL_SECONDS, polled)
        except DB_UNAVAILABLE:
            return HttpReply(await execute_on(self.threads.disk, path.still_working, query, stream))

    async def _path(self, account: ChannelAccount, channel: Channel) -> ReplyPath:
        """As last known where the database does not answer in time."""
        if known := paths.path_without_query(channel, account.pk):
            return known
        try:
            asked = self._run(paths.path_for, channel, account.pk)
            found: ReplyPath = await self._within(capacity.LOOKUP_SECONDS, asked)
        except DB_UNAVAILABLE:
            return paths.path_as_cached(channel, account.pk)
        return found

    # --- in threads

    async def _find(self, keys: Sequence[UUID]) -> list[Found | None]:
        found = await self._run(channels.cached_by_keys, list(set(keys)))
        return [found.get(key) for key in keys]

    async def _store(self, rows: Sequence[receive.Row]) -> list[receive.Stored]:
        """In the spool where the database is away, or rows that came earlier still wait there; then None for each. Raises SpoolFull."""
        if journal.is_in_use():
            with contextlib.suppress(journal.SpoolFull):
                return await self._append(rows)
            await self._drained()
        loop = asyncio.get_running_loop()
        stored = loop.run_in_executor(
            self.threads.store, receive.store_and_keep_connection, rows, self.store_connection
        )
        try:
            return await self._within(capacity.STORE_SECONDS, stored)
        except DB_UNAVAILABLE as error:
            log.warning("the database is away (%s): callbacks go to the spool", type(error).__name__)
            self.store_connection.abort()
            return await self._append(rows)

    async def _drained(self) -> None:
        """A full spool is drained here: what is stored before overtakes what waits there, and whoever drains it may stand still.

        Raises an error of AWAY. Where it takes longer, or cannot be done: better in the database and perhaps out of order than lost.
        """
        if self.draining is None or self.draining.done():
            self.draining = asyncio.create_task(self._run(partial(spool_drain.drain, beside=True)))
        await asyncio.wait([self.draining], timeout=capacity.SPOOL_WAIT_SECONDS)
        if self.draining.done() and isinstance(error := self.draining.exception(), DB_UNAVAILABLE):
            raise error

    async def _append(self, rows: Sequence[receive.Row]) -> list[receive.Stored]:
        await asyncio.get_running_loop().run_in_executor(self.threads.disk, journal.append, rows)
        return [None] * len(rows)

    async def _within(self, seconds: float, work: Awaitable[T]) -> T:
        """Raises OperationalError too where the database does not answer in time."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise OperationalError("the database does not answer") from None

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await execute_on(self.threads.callbacks, work, *args)

    def _note(self, key: str, result: str, *, refused: bool) -> None:
        if write := callback_stats.note_callback(key, result, refused):
            self._later(self._run(valkey.try_valkey, write, None))

    def _confirm(self, part: int) -> None:
        self._later(self._confirmed(part), most=None)

    async def _confirmed(self, part: int) -> None:
        """Also where the database is away for a moment; where it stays away, the delivery is uncertain."""
        for pause in CONFIRM_PAUSES:
            try:
                await self._run(settle.confirm, part)
            except DB_UNAVAILABLE:
                await asyncio.sleep(pause)
            else:
                return
        await self._run(settle.confirm, part)

    def _later(self, work: Coroutine[Any, Any, Any], most: int | None = MAX_NOTES) -> None:
        """No request waits for it. most: with so many under way it is left out."""
        if most is not None and len(self.notes) >= most:
            work.close()
            return
        task = asyncio.create_task(work)
        self.notes.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.notes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a callback could not be noted: %s", type(error).__name__)


def _query(request: Request) -> dict[str, str]:
    """Of several values of one name the last one."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Refused(400, "Too many parameters.") from None


def _store_reply(message: int, said: Any) -> None:
    outbox.store_callback_reply(Message.objects.select_related("account").get(pk=message), said)
