"""Reads the directories of companies: one call at a time for each account, the whole once a day, and what an event says has changed.

The row of the account holds the cursor of the next page. A page and the cursor behind it are stored in one transaction, so a process
that is killed costs one call, and a page that is read twice changes nothing. The row's lease keeps a second process away.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from accounts import capabilities, lease, limits
from accounts.channels import build_channel
from accounts.health import CODE_LENGTH, Health
from accounts.models import ChannelAccount
from bridge.explanations.own import internal
from bridge.models import DirectoryChange, DirectoryRead
from bridge.people import directory_rows
from channels_wechat import KINDS, can
from channels_wechat.contract.directory import Directory
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.text import clean_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

    from channels_wechat.contract.directory import DirectoryPage, DirectoryPart
    from channels_wechat.contract.explanations import Params

log = logging.getLogger(__name__)
# Longer than a call may last.
LEASE_SECONDS = 120
READING_SECONDS = 24 * 3600
# After a call that failed: until the next one.
RETRY_SECONDS, STOPPED_SECONDS = 300, 3600
# One run of the task begins no call later than this.
RUN_SECONDS = 8.0
CAPABILITY = "directory_"
NO_PARAMS: Params = MappingProxyType({})


class Call(NamedTuple):
    """The next call of an account: a page of a part, or an entry that changed."""

    part: DirectoryPart
    change: DirectoryChange | None = None


def read_due() -> int:
    """Make the next call of every account that has one. Return how many calls there were to make."""
    _add_rows()
    count, until = 0, time.monotonic() + RUN_SECONDS
    for pk in list(_due().order_by("due_at").values_list("pk", flat=True)):
        if time.monotonic() > until:
            break
        count += _read_next(pk)
    return count


def queue_changes(account: ChannelAccount, changes: Iterable[tuple[str, str, bool]]) -> None:
    """Note entries that an event named: part, id, and whether it is gone. They are read soon, those of the first event first."""
    for part, entry_id, gone in changes:
        row, new = DirectoryChange.objects.get_or_create(
            account=account, part=part, external_id=entry_id[:200], defaults={"gone": gone}
        )
        if not new:
            DirectoryChange.objects.filter(pk=row.pk).update(gone=gone, events=F("events") + 1)


def request_reading(account: ChannelAccount) -> None:
    """Have the whole directory read now, also what the platform refused before."""
    for part in Directory.directory_parts:
        capabilities.lift_restrictions(account, CAPABILITY + part)
    DirectoryRead.objects.get_or_create(account=account)
    now = timezone.now()
    DirectoryRead.objects.filter(account=account).update(next_reading_at=now, due_at=now, code="", code_params={})


def _due() -> QuerySet[DirectoryRead]:
    """Return the rows with a call to make. After a failure a change waits too."""
    changed = Q(Exists(DirectoryChange.objects.filter(account=OuterRef("account"))), code="")
    rows = DirectoryRead.objects.filter(Q(due_at__lte=timezone.now()) | changed, account__enabled=True)
    return rows.exclude(account__state=Health.STOPPED)


def _add_rows() -> None:
    """Give every account whose kind has a directory a row."""
    kinds = [kind for kind in KINDS if can(kind, Directory)]
    missing = ChannelAccount.objects.filter(kind__in=kinds, enabled=True, directory=None).only("pk")
    DirectoryRead.objects.bulk_create([DirectoryRead(account=account) for account in missing], ignore_conflicts=True)


def _read_next(pk: int) -> bool:
    """Make one call where no other process has the row. Return whether there was one to make."""
    if not lease.acquire(_due().filter(pk=pk), uuid.uuid4().hex, LEASE_SECONDS):
        return False
    row = DirectoryRead.objects.select_related("account").get(pk=pk)
    channel, call = build_channel(row.account), None
    try:
        if isinstance(channel, Directory):
            call = _choose_call(row)
        if call is None or not isinstance(channel, Directory):
            row.settle_as_held(due_at=max(row.next_reading_at, timezone.now() + timedelta(seconds=1)))
            return False
        _make_call(row, channel, call)
    except Exception as error:  # a defect must stop neither the other accounts nor this one for ever
        log.exception("the directory of account %s cannot be read", row.account_id)
        _wait(row, STOPPED_SECONDS, "internal", internal(error).params)
    return True


def _choose_call(row: DirectoryRead) -> Call | None:
    """Return the next call: for what changed first, then for the next page. None where nothing is to be read now."""
    change = DirectoryChange.objects.filter(account=row.account).order_by("created_at", "pk").first()
    if change:
        return Call(change.part, change)  # type: ignore[arg-type]
    if row.started_at:
        return Call(row.part)  # type: ignore[arg-type]
    return Call(Directory.directory_parts[0]) if row.next_reading_at <= timezone.now() else None


def _make_call(row: DirectoryRead, channel: Directory, call: Call) -> None:
    change = call.change
    if change and change.gone:
        _store(row, call, directory_rows.build_gone(change.part, change.external_id))
    elif not capabilities.is_allowed(row.account_id, CAPABILITY + call.part):
        _give_up(row, call, {"code": CAPABILITY + call.part})
    elif pause := limits.count_call(channel.directory_limits, str(row.account.key), ""):
        _wait(row, pause)
    else:
        try:
            page = (
                channel.read_entry(call.part, change.external_id)
                if change
                else channel.read_page(call.part, row.cursor)
            )
        except ChannelError as error:
            _handle_failure(row, call, error)
        else:
            _store(row, call, page)


def _handle_failure(row: DirectoryRead, call: Call, error: ChannelError) -> None:
    """What the platform does not grant is a restriction of the account, and no failure: only this part is left out."""
    if capabilities.store_refusal(row.account, error) or error.action == Action.PERMANENT:
        _give_up(row, call, {"code": error.code[:CODE_LENGTH], "params": clean_json(dict(error.params))})
        return
    pause = STOPPED_SECONDS if error.action == Action.CONFIG else max(error.retry_after or 0, RETRY_SECONDS)
    _wait(row, pause, error.code, error.params)


def _wait(row: DirectoryRead, seconds: float, code: str = "", params: Params = NO_PARAMS) -> None:
    due = timezone.now() + timedelta(seconds=seconds)
    row.settle_as_held(due_at=due, code=code[:CODE_LENGTH], code_params=clean_json(dict(params)))


def _give_up(row: DirectoryRead, call: Call, result: dict[str, Any]) -> None:
    """Leave out this part of the reading, or this change, which the reading of the next day makes good."""
    with transaction.atomic():
        columns = {} if call.change else _end_part(row, call.part, result)
        if row.settle_as_held(**{"due_at": timezone.now(), **columns}):
            _end_change(call)


@transaction.atomic
def _store(row: DirectoryRead, call: Call, page: DirectoryPage) -> None:
    """Store a page with what is read next; nothing where another process has the row meanwhile."""
    now = timezone.now()
    columns: dict[str, Any] = {"due_at": now, "code": "", "code_params": {}}
    reading_began = row.started_at or now
    if not call.change:
        columns |= _advance(row, call.part, page)
    if not row.settle_as_held(**columns):
        return
    directory_rows.store_page(row.account, page, now)
    _end_change(call)
    if not call.change and row.started_at is None:
        directory_rows.mark_missing(row.account, reading_began, row.results)


def _advance(row: DirectoryRead, part: DirectoryPart, page: DirectoryPage) -> dict[str, Any]:
    """Return the columns after a page of a reading."""
    count = row.count + len(page.people) + len(page.departments) + len(page.groups)
    skipped = row.skipped + page.skipped
    if not page.next:
        return _end_part(row, part, {"count": count, "skipped": skipped})
    started_at = row.started_at or timezone.now()
    return {"part": part, "started_at": started_at, "cursor": page.next, "count": count, "skipped": skipped}


def _end_part(row: DirectoryRead, part: DirectoryPart, result: dict[str, Any]) -> dict[str, Any]:
    """Return the columns after the last page of a part: the next part follows, or the reading is over until tomorrow."""
    now = timezone.now()
    parts = Directory.directory_parts
    results = {**row.results, part: {**result, "at": now.isoformat()}}
    columns: dict[str, Any] = {"results": results, "cursor": "", "count": 0, "skipped": 0}
    if part != parts[-1]:
        return {**columns, "part": parts[parts.index(part) + 1], "started_at": row.started_at or now}
    later = now + timedelta(seconds=READING_SECONDS)
    return {**columns, "part": "", "started_at": None, "finished_at": now, "next_reading_at": later, "due_at": later}


def _end_change(call: Call) -> None:
    """Delete the change, unless another event about the same entry came meanwhile."""
    if call.change:
        DirectoryChange.objects.filter(pk=call.change.pk, events=call.change.events).delete()
