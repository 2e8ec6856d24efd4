"""Deletes what is older than its retention: messages (each account has its own), webhook calls, files, old logins.

A message goes as a whole, with its deliveries, attempts and files, and only when nothing about it is open: it was routed, no file of it
is being fetched, and each delivery was delivered, skipped, or dismissed by staff. It never goes before its idempotency key is a week
old, or a late repetition of its callback would be stored as a new message.

Pruning never blocks other work. It skips rows that are locked, and waits for no lock longer than LOCK_TIMEOUT, which is shorter
than PostgreSQL takes to detect a deadlock. A replay at the same moment either locks the row first, and the message stays; or it comes
second and the row does not exist any more.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, Min, OuterRef, Q
from django.utils import timezone
from knox.models import AuthToken

from accounts.models import RETENTION_LEAST_DAYS, ChannelAccount, ConnectionGap
from accounts.state_changes import StateChange
from bridge.media import storage
from bridge.models import (
    Attachment,
    AttachmentState,
    ContactRequest,
    ConversationEntry,
    CustomerMessage,
    Delivery,
    Incident,
    Message,
    ReplayRun,
    State,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet

# The rows of a batch are locked while it is deleted, which takes tens of milliseconds.
BATCH = 500
LOCK_TIMEOUT = "500ms"
# A file is written before its row is committed, so a file without a row is deleted only when it is this old.
ORPHAN_AGE = timedelta(days=1)
# Closed incidents and logins are only of interest for looking back.
HISTORY_AGE = timedelta(days=90)
# A failed login matters only while it can lock an account, a day at most; strangers cause such rows.
FAILED_LOGIN_AGE = timedelta(days=1)

DONE = Q(state__in=(State.DELIVERED, State.SKIPPED)) | Q(dismissed_at__isnull=False)


@dataclass(slots=True)
class PruneResult:
    messages: int = 0
    webhook_calls: int = 0


def prune(seconds: float) -> PruneResult:
    """Delete what is older than its retention, in batches, for about this long. The next run continues."""
    deadline, pruned = time.monotonic() + seconds, PruneResult()
    for account in _accounts_with_retention():
        pruned.messages += _repeat_until_done(partial(_prune_messages, account), deadline)
    pruned.webhook_calls = _repeat_until_done(_prune_webhook_calls, deadline)
    return pruned


def count_prunable() -> dict[str, int]:
    """Count what `prune` would delete now: name of the account → messages; '' → webhook calls."""
    counts = {account.name: 0 for account in _accounts_with_retention()}
    for account in _accounts_with_retention():
        counts[account.name] += _old_messages(account).count()
    return {**counts, "": _old_webhook_calls().count()}


def delete_orphan_files() -> int:
    """Delete stored files that no row names, left by a crash between a commit and the deletion of the file. Return how many."""
    count = 0
    for folder, names in _list_stored_files():
        in_use = set(Attachment.objects.filter(file__startswith=folder).values_list("file", flat=True))
        orphans = [name for name in names if name not in in_use and _is_older_than_orphan_age(name)]
        storage.delete_files(orphans)
        count += len(orphans)
    return count


def delete_history() -> None:
    """Delete what is old beside the messages: sessions and tokens, incidents, replays and logins, changes of state; and of each account
    messages to customers, requests, gaps and notes.

    A request that waits for staff stays, as a message does about which something is open.

    The audit log stays: it is small and needed for years.
    """
    long_ago = timezone.now() - HISTORY_AGE
    call_command("clearsessions")
    AuthToken.objects.filter(expiry__lt=timezone.now()).delete()
    Incident.objects.filter(closed_at__lt=long_ago).delete()
    StateChange.objects.filter(at__lt=long_ago).delete()
    ReplayRun.objects.filter(created_at__lt=long_ago, state__in=("planned", "cancelled", "finished")).delete()
    for account in _accounts_with_retention():
        before = _latest_time_to_delete(account.retention_days or 0)
        CustomerMessage.objects.filter(account=account, created_at__lt=before).delete()
        decided = Q(state__in=(ContactRequest.State.ACCEPTED, ContactRequest.State.DISMISSED))
        ContactRequest.objects.filter(decided, account=account, created_at__lt=before).delete()
        ConnectionGap.objects.filter(account=account, until__lt=before).delete()  # their messages are gone too
        _delete_entries(account, before)
    for model in (AccessFailureLog, AccessLog):
        model.objects.filter(attempt_time__lt=long_ago).delete()
    AccessAttempt.objects.filter(attempt_time__lt=timezone.now() - FAILED_LOGIN_AGE).delete()


def _delete_entries(account: ChannelAccount, before: object) -> None:
    """Delete notes, and what became of conversations: they repeat what people wrote, as the reason of an agent that hands over."""
    old = ConversationEntry.objects.filter(conversation__account=account, created_at__lt=before)
    while ids := list(old.order_by().values_list("pk", flat=True)[:BATCH]):
        ConversationEntry.objects.filter(pk__in=ids).delete()


def _accounts_with_retention() -> QuerySet[ChannelAccount]:
    return ChannelAccount.objects.filter(retention_days__isnull=False).only("name", "retention_days")


def _repeat_until_done(batch: Callable[[], int], deadline: float) -> int:
    """Delete batch by batch until nothing is left, or only rows that others have locked."""
    count = 0
    while time.monotonic() < deadline and (done := _run_with_lock_timeout(batch)):
        count += done
    return count


def _run_with_lock_timeout(batch: Callable[[], int]) -> int:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            return batch()
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != "55P03":  # lock_not_available
            raise
        return 0


def _prune_messages(account: ChannelAccount) -> int:
    """Delete one batch, in the caller's transaction. Return how many were deleted."""
    old = _old_messages(account).order_by("created_at").select_for_update(skip_locked=True, of=("self",))
    ids = _lock_finished(list(old.values_list("pk", flat=True)[:BATCH]))
    files = Attachment.objects.filter(message__in=ids).exclude(file="")
    names = list(files.values_list("file", flat=True))
    Message.objects.filter(pk__in=ids).only("pk").delete()
    transaction.on_commit(lambda: storage.delete_files(names))
    return len(ids)


def _old_messages(account: ChannelAccount) -> QuerySet[Message]:
    before = _latest_time_to_delete(account.retention_days or 0)
    old = Message.objects.filter(account=account, created_at__lt=before, routed_at__isnull=False)
    unfinished = Delivery.objects.filter(message=OuterRef("pk")).exclude(DONE)
    fetching = Attachment.objects.filter(message=OuterRef("pk"), state=AttachmentState.PENDING)
    return old.exclude(Exists(unfinished)).exclude(Exists(fetching))


def _lock_finished(ids: list[int]) -> list[int]:
    """Lock the deliveries of these messages. Return the messages that can be deleted: all their deliveries are locked and finished."""
    rows = Delivery.objects.filter(message__in=ids)
    ours = set(rows.filter(DONE).select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
    busy = set(rows.exclude(pk__in=ours).values_list("message_id", flat=True))
    return [pk for pk in ids if pk not in busy]


def _prune_webhook_calls() -> int:
    """Delete one batch, in the caller's transaction. Return how many were deleted."""
    old = _old_webhook_calls().order_by("finished_at").select_for_update(skip_locked=True, of=("self",))
    ids = list(old.values_list("pk", flat=True)[:BATCH])
    Delivery.objects.filter(pk__in=ids).only("pk").delete()
    return len(ids)


def _old_webhook_calls() -> QuerySet[Delivery]:
    """Return webhook calls that are too old. They repeat what messages of any account say, so the shortest retention of all holds."""
    shortest = _accounts_with_retention().aggregate(days=Min("retention_days"))["days"]
    days = min(filter(None, (shortest, settings.RETENTION_DAYS)), default=0)
    calls = Delivery.objects.filter(DONE, target=Target.WEBHOOK)
    return calls.filter(finished_at__lt=_latest_time_to_delete(days)) if days else calls.none()


def _latest_time_to_delete(days: int) -> object:
    return timezone.now() - timedelta(days=max(days, RETENTION_LEAST_DAYS))


def _list_stored_files() -> Iterator[tuple[str, list[str]]]:
    """Yield each folder with the names of its files, as paths from the storage's root; `attachment_path` uses a folder for each month."""
    try:
        years = default_storage.listdir("")[0]
    except FileNotFoundError:  # no file was ever stored
        return
    for year in years:
        for month in default_storage.listdir(year)[0]:
            folder = f"{year}/{month}/"
            yield folder, [folder + name for name in default_storage.listdir(folder)[1]]


def _is_older_than_orphan_age(name: str) -> bool:
    with contextlib.suppress(OSError):  # gone meanwhile
        return default_storage.get_modified_time(name) < timezone.now() - ORPHAN_AGE
    return False
