"""Answers the platforms' callbacks. No session, no CSRF check and no call to a platform; those of one moment are stored together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
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
from bridge.pipeline.inbound import callback_stats, pulling, receive, spool_drain
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
    from channels_wechat.contract.messages import Inbound, Knock, Reception

log = logging.getLogger(__name__)
T = TypeVar("T")
PATH = "/callbacks/"
# A larger body is verified and parsed in a thread, because that takes milliseconds in which the event loop would stand still.
LARGE_BYTES = 64 * capacity.KIB
# The seconds between two tries to store that a reply was sent.
CONFIRM_PAUSES = (1, 5, 20, 60)
# At most so many background tasks may wait for a thread; further ones are left out.
MAX_TASKS = 100

AccountAndChannel = tuple["ChannelAccount", "Channel"]


class Callbacks:
    """Answers the callbacks of one web process. Belongs to one event loop."""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.slots = WaitSlots(capacity.MAX_WAITING_REPLIES)
        self.accounts = Batches[UUID, "AccountAndChannel | None"](self._read_accounts, max_batch=1000)
        self.rows = Batches[receive.Row, receive.Stored](self._store, max_batch=receive.BATCH_SIZE)
        self.store_connection = AbortableConnection()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.spool_task: asyncio.Task[int] | None = None
        self.spool_progress = threading.Event()
        self.count = 0

    async def answer(self, request: Request) -> Response:
        """Answer a request. GET verifies the address, POST brings a message, an event or a poll. 400, 403, 413: refused, nothing stored.

        503: the database is away and the spool is full, or there is no answer yet; the platform repeats the request. Raises
        Refused, ClientGone.
        """
        try:
            account, channel = await self._find_account(request.path)
            with self._count_request():  # after the account is known, so that guessed addresses do not count
                return await self._answer(request, account, channel)
        except DB_UNAVAILABLE as error:
            log.warning("%s: the database is away (%s)", request.path, type(error).__name__)
            return Response(503)
        except passive.NotReady:
            return Response(503)

    @contextmanager
    def _count_request(self) -> Iterator[None]:
        """Count a request that is under way. Raises Refused (503) where there are too many."""
        if self.count >= capacity.MAX_CALLBACKS:
            raise Refused(503, "Too many requests at once.", retry_after="1")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def settle(self) -> None:
        """Wait for the background tasks."""
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _answer(self, request: Request, account: ChannelAccount, channel: TakesCallbacks) -> Response:
        if request.method not in ("GET", "POST"):
            raise Refused(405, "Only GET and POST.", allow="GET, POST")
        try:
            with logs.about(account=account.pk):
                reply = await self._reply(request, account, channel)
        except CallbackRefused as refused:
            self._count(str(account.key), refused.code, refused=True)
            closes = {"connection": "close"} if refused.status == 413 else {}
            return Response(refused.status, str(refused).encode(), headers=closes)
        body: Any = reply.answer.body
        then = partial(self._confirm, reply.part) if reply.part else None
        return Response(
            200, body.encode() if isinstance(body, str) else bytes(body), reply.answer.content_type, then=then
        )

    async def _find_account(self, path: str) -> tuple[ChannelAccount, TakesCallbacks]:
        """Return the account of this address. This comes before the body is read, because only the platform knows the address."""
        try:
            key = UUID(path.removeprefix(PATH))
        except ValueError:
            raise Refused(404, "There is nothing here.") from None
        found = channels.cached_without_query(key) or await self._look_up(key)
        if found is None:
            raise Refused(404, "There is nothing here.")
        account, channel = found
        if not isinstance(channel, TakesCallbacks):
            raise Refused(404, "There is nothing here.")
        return account, channel

    async def _look_up(self, key: UUID) -> AccountAndChannel | None:
        """Return the account of this key; the last known one while the database is away or rows wait for it. Raises OperationalError."""
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
        query = _parse_query(request) | _read_headers(request, channel)
        if request.method == "GET":
            answer = channel.challenge(query)
            self._count(str(account.key), "verified", refused=False)
            return HttpReply(answer)
        body = await self._read_body(request)
        parsed = channel.parse(query, body) if len(body) < LARGE_BYTES else await self._run(channel.parse, query, body)
        if account.sending_stopped_at and not parsed.poll:
            return await self._receive_silently(account, channel, query, parsed)
        if parsed.poll and paths.is_polled(account.kind):
            request.listen()
            return await self._answer_poll(account, channel, query, parsed)
        for message in parsed.inbound:
            await self._receive(account, channel, message)
        if parsed.knocks:
            await self._note_knocks(account, parsed.knocks)
        if parsed.inbound and (path := await self._find_path(account, channel)).answers_callbacks:
            request.listen()
            self.slots.listen()  # also while the database is away: its message is stored or in the spool, so waiting loses nothing
            return await path.answer_callback(account, query, parsed.inbound[0], self.slots, self.threads.callbacks)
        return HttpReply(channel.acknowledge(query, parsed))

    async def _receive_silently(
        self, account: ChannelAccount, channel: TakesCallbacks, query: dict[str, str], parsed: Reception
    ) -> HttpReply:
        """Store what came; the reply says nothing to whoever wrote, because staff have stopped all sending.

        The account is known as it was up to two seconds ago; what is claimed or polled is looked up.
        """
        for message in parsed.inbound:
            await self._receive(account, channel, message, is_silent=True)
        if parsed.knocks:
            await self._note_knocks(account, parsed.knocks)
        return HttpReply(paths.answer_silently(channel, query, parsed))

    async def _read_body(self, request: Request) -> bytes:
        body = await request.body(settings.CALLBACK_MAX_BYTES, capacity.CALLBACK_BODY_SECONDS)
        if body is None:
            raise CallbackRefused(413, "too_large", _("The body is larger than 1 MiB."))
        return body

    async def _receive(
        self, account: ChannelAccount, channel: TakesCallbacks, message: Inbound, *, is_silent: bool = False
    ) -> None:
        """Store a message: when this returns, its row is committed, or it is in the spool."""
        reply_text = "" if is_silent else channel.passive_text(message)
        row = receive.build_row(account, message)
        stored = await self._store_row({**row, "said": str(reply_text)} if reply_text else row)
        self._count(str(account.key), "ok", refused=False)
        if stored is None:
            return
        receive.wake_router(with_files=bool(message.media))
        if account.state == Health.NEW:
            self._run_later(self._run(account.set_state, Health.OK))
        if reply_text:
            self._run_later(self._run(_store_reply, stored, reply_text))

    async def _note_knocks(self, account: ChannelAccount, knocks: Sequence[Knock]) -> None:
        """Make the named accounts due. While the database is away that is left to the clock: the platform keeps their messages."""
        self._count(str(account.key), "ok", refused=False)
        for knock in knocks:
            try:
                await self._within(capacity.LOOKUP_SECONDS, self._run(pulling.note_knock, knock))
            except DB_UNAVAILABLE as error:
                log.warning("a knock is left to the clock: the database is away (%s)", type(error).__name__)

    async def _store_row(self, row: receive.Row) -> receive.Stored:
        """Store one row, together with others. None: a repetition, or in the spool. Raises OperationalError; it may be stored later."""
        return await self._within(capacity.RECEIVE_SECONDS, self.rows(row))

    async def _answer_poll(
        self, account: ChannelAccount, channel: TakesCallbacks, query: dict[str, str], parsed: Reception
    ) -> HttpReply:
        """Answer a poll. While the database is away the answer is that the agent still works, because an error would end the stream."""
        path = await self._find_path(account, channel)
        try:
            answer = self._run(path.answer_poll, account, query, parsed.poll)
            return await self._within(capacity.POLL_SECONDS, answer)
        except DB_UNAVAILABLE:
            if account.sending_stopped_at:
                return HttpReply(paths.answer_silently(channel, query, parsed))
            return HttpReply(await execute_on(self.threads.disk, path.still_working, query, parsed.poll))

    async def _find_path(self, account: ChannelAccount, channel: Channel) -> ReplyPath:
        """Return the account's reply path; the last known one where the database does not answer in time."""
        if known := paths.path_without_query(channel, account.pk):
            return known
        try:
            lookup = self._run(paths.path_for, channel, account.pk)
            path: ReplyPath = await self._within(capacity.LOOKUP_SECONDS, lookup)
        except DB_UNAVAILABLE:
            return paths.path_as_cached(channel, account.pk)
        return path

    # --- in threads

    async def _read_accounts(self, keys: Sequence[UUID]) -> list[AccountAndChannel | None]:
        found = await self._run(channels.cached_by_keys, list(set(keys)))
        return [found.get(key) for key in keys]

    async def _store(self, rows: Sequence[receive.Row]) -> list[receive.Stored]:
        """Store rows; in the spool where the database is away or earlier rows wait, and then return None for each. Raises SpoolFull."""
        if journal.is_in_use():
            with contextlib.suppress(journal.SpoolFull):
                return await self._append(rows)
            if not await self._empty_spool():
                with contextlib.suppress(journal.SpoolFull):
                    return await self._append(rows, journal.RESERVE)
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

    async def _empty_spool(self) -> bool:
        """Store the rows of a full spool first, because a row that is stored before them would overtake them. Return whether it is empty.

        False: it takes longer, and rows of the spool are being stored meanwhile. Raises an error of DB_UNAVAILABLE where none are. A defect
        of the drain, and a reserve that is full too, must not keep callbacks out: then new rows are stored out of order rather than lost.
        """
        if self.spool_task is None or self.spool_task.done():
            self.spool_progress = threading.Event()
            drain = partial(spool_drain.drain, beside=True, on_stored=self.spool_progress.set)
            self.spool_task = asyncio.create_task(self._run(drain))
        await asyncio.wait([self.spool_task], timeout=capacity.SPOOL_WAIT_SECONDS)
        if not self.spool_task.done():
            if self.spool_progress.is_set():
                return False
            raise OperationalError("the database does not answer")
        if isinstance(error := self.spool_task.exception(), DB_UNAVAILABLE):
            raise error
        return True

    async def _append(self, rows: Sequence[receive.Row], reserve: float = 0) -> list[receive.Stored]:
        append = partial(journal.append, rows, reserve)
        await asyncio.get_running_loop().run_in_executor(self.threads.disk, append)
        return [None] * len(rows)

    async def _within(self, seconds: float, work: Awaitable[T]) -> T:
        """Wait for work, at most so long. Raises OperationalError where the database does not answer in time."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise OperationalError("the database does not answer") from None

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await execute_on(self.threads.callbacks, work, *args)

    def _count(self, key: str, result: str, *, refused: bool) -> None:
        if write := callback_stats.count_callback(key, result, refused):
            self._run_later(self._run(valkey.try_valkey, write, None))

    def _confirm(self, part: int) -> None:
        self._run_later(self._store_confirmation(part), most=None)

    async def _store_confirmation(self, part: int) -> None:
        """Store that the reply was sent, also after a short outage of the database; after a longer one the delivery is uncertain."""
        for pause in CONFIRM_PAUSES:
            try:
                await self._run(settle.confirm_sent, part)
            except DB_UNAVAILABLE:
                await asyncio.sleep(pause)
            else:
                return
        await self._run(settle.confirm_sent, part)

    def _run_later(self, work: Coroutine[Any, Any, Any], most: int | None = MAX_TASKS) -> None:
        """Run work in the background. most: where so many tasks are under way already, this one is left out."""
        if most is not None and len(self.tasks) >= most:
            work.close()
            return
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a task after a callback failed: %s", type(error).__name__)


def _parse_query(request: Request) -> dict[str, str]:
    """Return the parameters of the address; of several values of one name the last one counts."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Refused(400, "Too many parameters.") from None


def _read_headers(request: Request, channel: TakesCallbacks) -> dict[str, str]:
    """Return the headers that the kind asks for. Nobody can name one in the address: a missing one is empty."""
    return {name: request.headers.get(name, "") for name in channel.header_names}


def _store_reply(message: int, said: Any) -> None:
    outbox.store_callback_reply(Message.objects.select_related("account").get(pk=message), said)
