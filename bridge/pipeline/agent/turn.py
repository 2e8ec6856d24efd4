"""One turn of an agent: from the claimed delivery to the stored answer. Holds no database connection while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.files.base import ContentFile
from django.db import transaction

from accounts.channels import http
from accounts.health import Health
from bridge.explanations.own import internal
from bridge.media import storage
from bridge.models import Carrier, Delivery, Message, Outcome, Reason
from bridge.pipeline.agent import notices, stop, typing_indicator
from bridge.pipeline.agent.prompt import file_name
from bridge.pipeline.agent.usage import TurnUsage, store_usage
from bridge.pipeline.delivery import claims, retry_policy, settle
from bridge.pipeline.delivery.types import Failure, LostLease, OpenAttempt, Success, failure_for
from bridge.pipeline.outbound import moderation, outbox
from bridge.pipeline.replies import unread
from bridge.pipeline.replies.paths import holds_requests
from bridge.runtime.db.batching import GroupCommit
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.runtime.db.threads import in_db_thread, in_io_thread
from bridge.security import logs
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.filetypes import recognise, with_suffix
from channels_wechat.wire.http import error_for_status
from openclaw import agent_text
from openclaw.errors import Code, GatewayError
from openclaw.turns import Answer, Attachment, MediaRef, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bridge.models import Attempt
    from bridge.pipeline.agent.transports import Transport
    from openclaw.models import Gateway
    from openclaw.turns import Usage

log = logging.getLogger(__name__)
# How long the question waits for its files; then it is asked without them, and says so.
FILES_WAIT_SECONDS = 30
# A turn costs money and the model's own client has retried already. What was interrupted has not failed.
MAX_FAILURES = 4
# Here no model was asked and it passes, as after a gateway's start: only the retry table bounds how often and how long.
BEFORE_MODEL = (Code.RUN_NOT_STARTED, Code.UNAVAILABLE, Code.UNREACHABLE)
MEDIA_MAX_BYTES = 20 * 1024 * 1024
# Of one answer's files so many are fetched, and so many bytes of them held at a time; the reader is told of the others.
MAX_FILES = 20
MAX_FILE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn whose attempt is committed. lost: it was asked before and nobody knows what came of it; stopped: by /stop since then."""

    turn: Turn
    attempt: Attempt
    lost: bool = False
    stopped: bool = False


def claim_turns(holder: str, limit: int, gateway: Gateway) -> list[tuple[Delivery, OpenTurn | None]]:
    """Claim a gateway's turns, and open at once, together, those that nothing stands before: never asked, no files, and no check."""
    claimed = claims.claim(Carrier.CONNECTOR, holder, limit, gateway_id=gateway.pk)
    for row in claimed:
        row.gateway = gateway
    fresh = [row for row in claimed if _is_new(row)]
    attempts = settle.open_attempts([OpenAttempt(row, _request(row)) for row in fresh]) if fresh else []
    opened = {row.pk: OpenTurn(turn_for(row), attempt) for row, attempt in zip(fresh, attempts, strict=True) if attempt}
    return [(row, opened.get(row.pk)) for row in claimed]


def _is_new(delivery: Delivery) -> bool:
    asked = delivery.tries or delivery.run_number
    waits = delivery.payload.get("attachments") or moderation.applies_to(delivery)
    return not asked and not waits and not retry_policy.is_expired(delivery)


def open_turn(delivery: Delivery) -> OpenTurn:
    """The same for one, whatever was before. Raises LostLease."""
    lost, stopped = has_unknown_outcome(delivery), is_stopped(delivery)
    turn = turn_for(delivery)
    return OpenTurn(turn, settle.open_attempt(delivery, _request(delivery, lost)), lost, stopped)


def _request(delivery: Delivery, lost: bool = False) -> dict[str, str]:
    """Without the words, which stand in the delivery: a long request would be cut, and `lost_before` has to find the key."""
    return {"recover" if lost else "ask": key_of(delivery), "session_key": delivery.payload["session_key"]}


class AgentTurn:
    """A turn under way. `stop` breaks it off for a user who typed /stop."""

    def __init__(
        self,
        delivery: Delivery,
        opened: OpenTurn | None,
        link: Transport,
        on_partial: Callable[[Delivery, str], None],
        later: Callable[[Coroutine[None, None, None]], None] | None = None,
    ) -> None:
        """later: takes what is still to be done when the turn is over."""
        self.delivery, self.opened, self.link, self.on_partial = delivery, opened, link, on_partial
        self.later = later
        self.stopped = False
        self.lane_waits = True  # whether another turn may be waiting for this one

    async def run(self) -> None:
        """Never raises: whatever happens becomes the delivery's state."""
        row = self.delivery
        with logs.about(account=row.account_id, message=row.message_id, delivery=row.pk):
            await self._run_safely()
            if row.account and holds_requests(row.account.kind):
                await in_io_thread(unread.wake_readers_of_turn, row)

    async def _run_safely(self) -> None:
        try:
            await self._run()
        except LostLease:
            log.warning("the lease was lost")
        except DB_UNAVAILABLE as error:  # the lease decides, and then the gateway is asked what became of the turn
            log.warning("the database is away (%s)", type(error).__name__)
        except Exception as error:  # a defect of ours; the lane must not hang
            log.exception("a turn failed")
            # Once the request has left, its answer may still be had by its key.
            action = Action.UNKNOWN if self.opened else Action.PERMANENT
            await self._fail(Failure(action, internal(error), reason=Reason.INTERNAL))

    def _use(self, usage: Usage) -> None:
        """What the turn took; it comes beside the answer or after it, and never holds it up."""
        if self.opened and self.later:
            self.later(_store_usage(TurnUsage(self.opened.attempt.pk, usage)))

    async def stop(self) -> None:
        self.stopped = True
        if self.opened:
            await self.link.abort(self.opened.turn)

    async def _run(self) -> None:
        if self.opened is None:
            if retry_policy.is_expired(self.delivery):
                await self._fail(failure_for(Reason.TOO_OLD))
                return
            await self._wait_for_files()
            if await in_io_thread(moderation.hold_if_flagged, self.delivery):
                return
            self.opened = await in_db_thread(open_turn, self.delivery)
        if self.stopped or self.opened.stopped:
            await self._break_off(self.opened)
            return
        try:
            answer = await self._answer(self.opened)
        except GatewayError as error:
            await self._refused(error)
            return
        await self._settle(answer)

    async def _break_off(self, opened: OpenTurn) -> None:
        """/stop came while the files did, or while the connection was away and the gateway may still be at it."""
        if opened.lost:
            with contextlib.suppress(GatewayError):
                await self.link.abort(opened.turn)
        await in_db_thread(retry_while_db_down, settle.skip, self.delivery, opened.attempt, Reason.STOPPED)

    async def _answer(self, opened: OpenTurn) -> Answer | None:
        def partial(text: str) -> None:
            self.on_partial(self.delivery, text)

        turn, ask = opened.turn, self.link.recover if opened.lost else self.link.ask
        async with typing_indicator.show_typing(self.delivery):
            return await ask(turn, partial, self._use)

    async def _wait_for_files(self) -> None:
        waiting = list(self.delivery.payload.get("attachments", []))
        deadline = asyncio.get_running_loop().time() + FILES_WAIT_SECONDS
        while waiting and not self.stopped and asyncio.get_running_loop().time() < deadline:
            if not await in_db_thread(storage.still_fetching, waiting):
                return
            await asyncio.sleep(0.2)

    async def _settle(self, answer: Answer | None) -> None:
        if answer is None:  # the old run came to nothing: ask again at once, with a new key
            unanswered = GatewayError(Code.NOT_ANSWERED)
            await self._fail(Failure(unanswered.action, unanswered.cause, 0.1))
            return
        files, missing = await fetch_files(answer, self._file)
        await in_db_thread(retry_while_db_down, self._store, answer, files, [*answer.missing, *missing][:MAX_FILES])

    def _store(self, answer: Answer, files: list[ContentFile[bytes]], missing: list[str]) -> None:
        """The delivery's end and the answer, in one transaction: both or neither."""
        question = self.delivery.message
        notes = [question.account.sentence("file_missing", name=name) for name in missing] if question else []
        if answer.is_cut and question:
            notes.append(question.account.sentence("answer_cut"))
        if self.delivery.payload.get("unread") and question:
            notes.append(question.account.sentence("not_all_read"))
        text = "\n\n".join(line for line in (agent_text.keep_visible(answer.text), *notes) if line)
        said = bool(text or files) and question is not None
        done = Success(
            self.delivery,
            self._open_attempt(),
            remote_id=answer.run_id,
            reason="" if said else Reason.NO_ANSWER,
            response={"text": answer.text, "files": len(files)},
            then=(lambda: store_answer(self.delivery, text, files)) if said else None,
        )
        after = _succeed(done)
        if after is None:
            raise LostLease(self.delivery.pk)
        self.lane_waits = after.next

    async def _file(self, ref: MediaRef) -> ContentFile[bytes]:
        if ref.artifact_id:
            session_key = self.delivery.payload["session_key"]
            return named_file(await self.link.download(session_key, ref.artifact_id), ref.name, ref.mime)
        return await asyncio.to_thread(fetch_media, ref)

    async def _refused(self, error: GatewayError) -> None:
        if self.stopped and error.code == Code.RUN_ABORTED:
            await in_db_thread(retry_while_db_down, settle.skip, self.delivery, self._open_attempt(), Reason.STOPPED)
            return
        code = str(error.code)
        if error.action == Action.CONFIG and self.delivery.gateway:
            stop = self.delivery.gateway.set_state_as_holder
            await in_db_thread(retry_while_db_down, stop, Health.STOPPED, code, error.params)
        action, reason = error.action, ""
        if action == Action.RETRY and await in_db_thread(is_given_up, self.delivery, error.code):
            action, reason = Action.PERMANENT, Reason.TRIES_SPENT
        await self._fail(Failure(action, error.cause, error.retry_after, reason=reason))

    async def _fail(self, failure: Failure) -> None:
        try:
            attempt = self.opened.attempt if self.opened else None
            await in_db_thread(retry_while_db_down, fail_turn, self.delivery, attempt, failure)
        except LostLease:
            log.warning("the lease was lost")

    def _open_attempt(self) -> Attempt:
        if self.opened is None:
            raise ValueError("no attempt is open")
        return self.opened.attempt


async def _store_usage(used: TurnUsage) -> None:
    try:
        await in_db_thread(store_usage, used)
    except DB_UNAVAILABLE as error:
        log.warning("the usage of a turn was not stored: the database is away (%s)", type(error).__name__)


def key_of(delivery: Delivery) -> str:
    """The gateway's idempotency key: stays while the outcome is unknown, else a new one."""
    return f"{delivery.pk}.{delivery.run_number}"


def has_unknown_outcome(delivery: Delivery) -> bool:
    """Whether this key was asked before and nobody knows what came of it."""
    unknown = delivery.attempts.filter(outcome__in=(Outcome.UNKNOWN, Outcome.INTERRUPTED))
    key = key_of(delivery)
    return unknown.filter(request__ask=key).exists() or unknown.filter(request__recover=key).exists()


def fail_turn(delivery: Delivery, attempt: Attempt | None, failure: Failure) -> None:
    """The turn's failure, and what the person reads where that was the last try. Raises LostLease."""
    with transaction.atomic():
        settle.fail(delivery, attempt, failure)
        notices.notify_failed(delivery)


def is_given_up(delivery: Delivery, code: Code) -> bool:
    """Whether a turn that may cost as much again each time has now failed often enough in this way."""
    return code not in BEFORE_MODEL and count_failures(delivery, code) >= MAX_FAILURES - 1


def count_failures(delivery: Delivery, code: str) -> int:
    """How often this turn failed in this way since it was queued, or replayed."""
    return delivery.attempts.filter(outcome=Outcome.ERROR, code=code, started_at__gte=delivery.queued_at).count()


def is_stopped(delivery: Delivery) -> bool:
    """Whether somebody typed /stop after this turn was first asked; a turn never asked is not marked."""
    return bool(stop.stopped_turns({delivery.pk}))


def turn_for(delivery: Delivery) -> Turn:
    payload = delivery.payload
    gateway = delivery.gateway
    files, lost = _attachments(payload.get("attachments", []))
    return Turn(
        session_key=payload["session_key"],
        agent_id=payload["agent_id"],
        message="\n".join([payload["message"], *lost]),
        idempotency_key=key_of(delivery),
        extra_system_prompt=payload.get("extra_system_prompt", ""),
        attachments=files,
        timeout=float(gateway.timeout_seconds if gateway else 600),
    )


def store_answer(delivery: Delivery, text: str, files: list[ContentFile[bytes]]) -> Message:
    if delivery.message is None:
        raise ValueError("an answer needs its question")
    more: Any = {"files": files, "allowed": delivery.payload.get("allowed", ())}
    return outbox.answer(delivery.message, text, source=Message.Source.AGENT, key=f"answer:{key_of(delivery)}", **more)


def named_file(content: bytes, name: str, mime: str) -> ContentFile[bytes]:
    """name, mime: as the gateway or the file's server told; either may be empty."""
    found = recognise(content, name, mime).mime
    file = ContentFile(content, name=with_suffix(name or "file", found))
    file.content_type = found  # type: ignore[attr-defined]  # as an uploaded file has it
    return file


async def fetch_files(
    answer: Answer, fetch: Callable[[MediaRef], Awaitable[ContentFile[bytes]]]
) -> tuple[list[ContentFile[bytes]], list[str]]:
    """The answer's files, and the names of those that cannot be had or are too many."""
    files: list[ContentFile[bytes]] = []
    missing, size = [ref.name for ref in answer.media[MAX_FILES:]], 0
    for ref in answer.media[:MAX_FILES]:
        if size >= MAX_FILE_BYTES:
            missing.append(ref.name)
            continue
        try:
            files.append(await fetch(ref))
            size += files[-1].size
        except (GatewayError, ChannelError) as error:
            log.warning("media of the answer: %s", error)
            missing.append(ref.name)
    return files, missing


def fetch_media(ref: MediaRef) -> ContentFile[bytes]:
    """Over http(s) by the guarded client only; never a path. Raises ChannelError."""
    found = http().request("GET", ref.url, follow=3, max_bytes=MEDIA_MAX_BYTES, from_message=True)
    if found.status != 200:
        raise error_for_status(found, harmless=True)
    name = ref.name or ref.url.partition("?")[0].rpartition("/")[2]
    return named_file(found.body, name, ref.mime or found.headers.get("content-type", "").partition(";")[0])


def _attachments(ids: list[int]) -> tuple[tuple[Attachment, ...], list[str]]:
    """The files that are there, and a line for each that is not."""
    files, lost = [], []
    for item in storage.attachments_of(ids) if ids else ():
        if item.file:
            kind: Any = "image" if item.kind == "image" else "file"
            files.append(
                Attachment(kind, file_name(item.name) or item.kind, item.mime, storage.read_attachment(item.pk).content)
            )
        else:
            lost.append(f"[{item.kind} {file_name(item.name)}: could not be fetched]")
    return tuple(files), lost


# Turns that end at one moment are settled together, with their answers.
_succeed = GroupCommit(settle.mark_all_delivered)
