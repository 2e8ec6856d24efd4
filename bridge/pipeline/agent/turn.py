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
from bridge.people import open_questions
from bridge.pipeline.agent import notices, stop, takeover, typing_indicator
from bridge.pipeline.agent.prompt import clean_file_name
from bridge.pipeline.agent.usage import TurnUsage, store_usage
from bridge.pipeline.delivery import claims, retry_policy, settle
from bridge.pipeline.delivery.types import Failure, LostLease, OpenAttempt, Success, build_failure
from bridge.pipeline.outbound import moderation, outbox, rights
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
# A question waits so long for its files; then it is sent without them and says so.
FILES_WAIT_SECONDS = 30
# A turn costs money, and the model's own client has retried already. An interrupted turn does not count as failed.
MAX_FAILURES = 4
# With these errors no model was asked and they pass, as after a gateway's start, so only the retry table limits the retries.
BEFORE_MODEL = (Code.RUN_NOT_STARTED, Code.UNAVAILABLE, Code.UNREACHABLE)
MEDIA_MAX_BYTES = 20 * 1024 * 1024
# At most so many files and bytes of one answer are fetched; the reader is told which ones are missing.
MAX_FILES = 20
MAX_FILE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn whose attempt is committed. lost: it was asked before and its outcome is unknown; stopped: by /stop since then."""

    turn: Turn
    attempt: Attempt
    lost: bool = False
    stopped: bool = False


def claim_turns(holder: str, limit: int, gateway: Gateway) -> list[tuple[Delivery, OpenTurn | None]]:
    """Claim a gateway's turns, and open in one statement those that can start at once: never asked, no files, and no content check."""
    claimed = claims.claim(Carrier.CONNECTOR, holder, limit, gateway_id=gateway.pk)
    for row in claimed:
        row.gateway = gateway
    new_turns = [row for row in claimed if _is_new(row)]
    attempts = (
        settle.open_attempts([OpenAttempt(row, _describe_request(row)) for row in new_turns]) if new_turns else []
    )
    opened = {
        row.pk: OpenTurn(build_turn(row), attempt) for row, attempt in zip(new_turns, attempts, strict=True) if attempt
    }
    return [(row, opened.get(row.pk)) for row in claimed]


def _is_new(delivery: Delivery) -> bool:
    asked = delivery.tries or delivery.run_number
    waits = delivery.payload.get("attachments") or moderation.is_moderated(delivery)
    return not asked and not waits and not retry_policy.is_expired(delivery)


def open_turn(delivery: Delivery) -> OpenTurn:
    """Open one turn, also one that was asked before. Raises LostLease."""
    lost, stopped = has_unknown_outcome(delivery), is_stopped(delivery)
    turn = build_turn(delivery)
    return OpenTurn(turn, settle.open_attempt(delivery, _describe_request(delivery, lost)), lost, stopped)


def _describe_request(delivery: Delivery, lost: bool = False) -> dict[str, str]:
    """Return the request without its text, because a long request would be cut, and `has_unknown_outcome` must find the key in it."""
    return {"recover" if lost else "ask": idempotency_key_of(delivery), "session_key": delivery.payload["session_key"]}


class AgentTurn:
    """A turn under way. `stop` stops it for a user who typed /stop."""

    def __init__(
        self,
        delivery: Delivery,
        opened: OpenTurn | None,
        link: Transport,
        on_partial: Callable[[Delivery, str], None],
        later: Callable[[Coroutine[None, None, None]], None] | None = None,
    ) -> None:
        """later: runs a coroutine that may end after the turn."""
        self.delivery, self.opened, self.link, self.on_partial = delivery, opened, link, on_partial
        self.later = later
        self.stopped = False
        self.lane_waits = True  # whether another turn may be waiting for this one

    async def run(self) -> None:
        """Run the turn. Never raises: every failure becomes the delivery's state."""
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
        except Exception as error:  # a defect of our own must not block the lane
            log.exception("a turn failed")
            # When the request was sent already, its answer may still be fetched by its key.
            action = Action.UNKNOWN if self.opened else Action.PERMANENT
            await self._fail(Failure(action, internal(error), reason=Reason.INTERNAL))

    def _keep_usage(self, usage: Usage) -> None:
        """Store the usage of the turn, which may come after the answer and must not delay it."""
        if self.opened and self.later:
            self.later(_store_usage(TurnUsage(self.opened.attempt.pk, usage)))

    async def stop(self) -> None:
        self.stopped = True
        if self.opened:
            await self.link.abort(self.opened.turn)

    async def _run(self) -> None:
        if self.opened is None:
            if retry_policy.is_expired(self.delivery):
                await self._fail(build_failure(Reason.TOO_OLD))
                return
            await self._wait_for_files()
            if await in_io_thread(moderation.hold_if_flagged, self.delivery):
                return
            if await in_db_thread(takeover.leave_to_staff, self.delivery):
                return
            self.opened = await in_db_thread(open_turn, self.delivery)
        if self.stopped or self.opened.stopped:
            await self._end_stopped(self.opened)
            return
        try:
            answer = await self._answer(self.opened)
        except GatewayError as error:
            await self._handle_error(error)
            return
        await self._settle(answer)

    async def _end_stopped(self, opened: OpenTurn) -> None:
        """End a turn for which /stop came before it was asked (again), and abort it where the gateway may still run it."""
        if opened.lost:
            with contextlib.suppress(GatewayError):
                await self.link.abort(opened.turn)
        await in_db_thread(retry_while_db_down, settle.skip, self.delivery, opened.attempt, Reason.STOPPED)

    async def _answer(self, opened: OpenTurn) -> Answer | None:
        def partial(text: str) -> None:
            self.on_partial(self.delivery, text)

        turn, ask = opened.turn, self.link.recover if opened.lost else self.link.ask
        async with typing_indicator.show_typing(self.delivery):
            return await ask(turn, partial, self._keep_usage)

    async def _wait_for_files(self) -> None:
        waiting = list(self.delivery.payload.get("attachments", []))
        deadline = asyncio.get_running_loop().time() + FILES_WAIT_SECONDS
        while waiting and not self.stopped and asyncio.get_running_loop().time() < deadline:
            if not await in_db_thread(storage.has_unfetched_files, waiting):
                return
            await asyncio.sleep(0.2)

    async def _settle(self, answer: Answer | None) -> None:
        if answer is None:  # the earlier run gave no answer, so the turn is asked again at once with a new key
            unanswered = GatewayError(Code.NOT_ANSWERED)
            await self._fail(Failure(unanswered.action, unanswered.cause, 0.1))
            return
        files, missing = await fetch_files(answer, self._fetch_file)
        await in_db_thread(retry_while_db_down, self._store, answer, files, [*answer.missing, *missing][:MAX_FILES])

    def _store(self, answer: Answer, files: list[ContentFile[bytes]], missing: list[str]) -> None:
        """Store the delivery's end and the answer in one transaction."""
        question = self.delivery.message
        notes = [question.account.sentence("file_missing", name=name) for name in missing] if question else []
        if answer.is_cut and question:
            notes.append(question.account.sentence("answer_cut"))
        if self.delivery.payload.get("unread") and question:
            notes.append(question.account.sentence("not_all_read"))
        text = "\n\n".join(line for line in (agent_text.keep_visible(answer.text), *notes) if line)
        call = find_call_for_staff(self.delivery, answer.text)
        if call is not None and question and not text:
            text = question.account.sentence("handed_over")
        has_answer = bool(text or files) and question is not None
        success = Success(
            self.delivery,
            self._open_attempt(),
            remote_id=answer.run_id,
            reason="" if has_answer else Reason.NO_ANSWER,
            response={"text": answer.text, "files": len(files)},
            then=(lambda: store_answer(self.delivery, text, files, call)) if has_answer else None,
        )
        after = _succeed(success)
        if after is None:
            raise LostLease(self.delivery.pk)
        self.lane_waits = after.next

    async def _fetch_file(self, ref: MediaRef) -> ContentFile[bytes]:
        if ref.artifact_id:
            session_key = self.delivery.payload["session_key"]
            return name_file(await self.link.download(session_key, ref.artifact_id), ref.name, ref.mime)
        return await asyncio.to_thread(fetch_file_from_address, ref)

    async def _handle_error(self, error: GatewayError) -> None:
        if self.stopped and error.code == Code.RUN_ABORTED:
            await in_db_thread(retry_while_db_down, settle.skip, self.delivery, self._open_attempt(), Reason.STOPPED)
            return
        code = str(error.code)
        if error.action == Action.CONFIG and self.delivery.gateway:
            stop = self.delivery.gateway.set_state_as_holder
            await in_db_thread(retry_while_db_down, stop, Health.STOPPED, code, error.params)
        action, reason = error.action, ""
        if action == Action.RETRY and await in_db_thread(has_failed_too_often, self.delivery, error.code):
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


def idempotency_key_of(delivery: Delivery) -> str:
    """Return the idempotency key for the gateway: the same one while the outcome is unknown, else a new one."""
    return f"{delivery.pk}.{delivery.run_number}"


def has_unknown_outcome(delivery: Delivery) -> bool:
    """Whether a turn with this key was asked before and its outcome is unknown."""
    unknown = delivery.attempts.filter(outcome__in=(Outcome.UNKNOWN, Outcome.INTERRUPTED))
    key = idempotency_key_of(delivery)
    return unknown.filter(request__ask=key).exists() or unknown.filter(request__recover=key).exists()


def fail_turn(delivery: Delivery, attempt: Attempt | None, failure: Failure) -> None:
    """Store the turn's failure, and notify the person where that was the last try. Raises LostLease.

    Where staff took over meanwhile it is theirs instead: it is not asked again, and the person is told nothing.
    """
    with transaction.atomic():
        if takeover.leave_to_staff(delivery, attempt, failure):
            return
        settle.fail(delivery, attempt, failure)
        notices.notify_failed(delivery)


def has_failed_too_often(delivery: Delivery, code: Code) -> bool:
    """Whether the turn has failed so often in this way that asking the model again would only cost money."""
    return code not in BEFORE_MODEL and count_failures(delivery, code) >= MAX_FAILURES - 1


def count_failures(delivery: Delivery, code: str) -> int:
    """Count how often this turn failed in this way since it was queued or replayed."""
    return delivery.attempts.filter(outcome=Outcome.ERROR, code=code, started_at__gte=delivery.queued_at).count()


def is_stopped(delivery: Delivery) -> bool:
    """Whether somebody typed /stop after this turn was first asked; a turn never asked is not marked."""
    return bool(stop.stopped_turns({delivery.pk}))


def build_turn(delivery: Delivery) -> Turn:
    payload = delivery.payload
    gateway = delivery.gateway
    files, missing = _read_attachments(payload.get("attachments", []))
    return Turn(
        session_key=payload["session_key"],
        agent_id=payload["agent_id"],
        message="\n".join([payload["message"], *missing]),
        idempotency_key=idempotency_key_of(delivery),
        extra_system_prompt=payload.get("extra_system_prompt", ""),
        attachments=files,
        timeout=float(gateway.timeout_seconds if gateway else 600),
    )


def find_call_for_staff(delivery: Delivery, text: str) -> str | None:
    """Return why the agent hands over to staff; None where it does not, or its mapping does not allow it."""
    return agent_text.find_handover(text) if rights.HANDOVER in delivery.payload.get("allowed", ()) else None


def store_answer(
    delivery: Delivery, text: str, files: list[ContentFile[bytes]], call: str | None = None
) -> Message | None:
    """Store the answer of a turn, in the transaction that settles it; None where staff took over meanwhile, and it is not sent.

    call: as in `find_call_for_staff`.
    """
    if delivery.message is None:
        raise ValueError("an answer needs its question")
    if takeover.withdraw_late_answer(delivery, delivery.message):
        return None
    conversation = delivery.message.conversation if call is not None else None
    if conversation:
        takeover.hand_over(conversation, delivery.message, call or "")
    elif delivery.replays and delivery.message.conversation_id:
        open_questions.end_wait(delivery.message.conversation_id)
    more: Any = {"files": files, "allowed": delivery.payload.get("allowed", ())}
    return outbox.send_answer(
        delivery.message, text, source=Message.Source.AGENT, key=f"answer:{idempotency_key_of(delivery)}", **more
    )


def name_file(content: bytes, name: str, mime: str) -> ContentFile[bytes]:
    """Return the file with a name and a suffix that fits its content. name, mime: as the gateway or the server gave them; may be empty."""
    file_type = recognise(content, name, mime).mime
    file = ContentFile(content, name=with_suffix(name or "file", file_type))
    file.content_type = file_type  # type: ignore[attr-defined]  # as an uploaded file has it
    return file


async def fetch_files(
    answer: Answer, fetch: Callable[[MediaRef], Awaitable[ContentFile[bytes]]]
) -> tuple[list[ContentFile[bytes]], list[str]]:
    """Return the answer's files, and the names of those that cannot be fetched or are too many."""
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


def fetch_file_from_address(ref: MediaRef) -> ContentFile[bytes]:
    """Fetch a file over http(s) by the guarded client, never from a local path. Raises ChannelError."""
    response = http().request("GET", ref.url, follow=3, max_bytes=MEDIA_MAX_BYTES, from_message=True)
    if response.status != 200:
        raise error_for_status(response, harmless=True)
    name = ref.name or ref.url.partition("?")[0].rpartition("/")[2]
    return name_file(response.body, name, ref.mime or response.headers.get("content-type", "").partition(";")[0])


def _read_attachments(ids: list[int]) -> tuple[tuple[Attachment, ...], list[str]]:
    """Return the files that were fetched, and a line of text for each that is missing."""
    files, missing = [], []
    for item in storage.load_attachments(ids) if ids else ():
        if item.file:
            kind: Any = "image" if item.kind == "image" else "file"
            files.append(
                Attachment(
                    kind, clean_file_name(item.name) or item.kind, item.mime, storage.read_attachment(item.pk).content
                )
            )
        else:
            missing.append(f"[{item.kind} {clean_file_name(item.name)}: could not be fetched]")
    return tuple(files), missing


# Turns that end at one moment are settled together, with their answers.
_succeed = GroupCommit(settle.mark_all_delivered)
