"""Pulls the messages of accounts whose platform keeps them (`Pull`): who is due stands in the row of the account's connection.

    a knock comes ── due now ──▶ a worker leases the row ── page by page: store the messages, then the cursor ──▶ due again in a minute
    the platform fails ── due again after a pause ──▶ …

One worker at a time pulls an account, and whoever lost the lease stores no cursor. The cursor is written when the messages are committed,
so that a process that dies between them reads a page twice, whose messages are recognised by their keys.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from accounts import lease
from accounts.channels import build_channel
from accounts.fields import sealed
from accounts.health import CODE_LENGTH, Health
from accounts.models import ChannelAccount, Connection
from bridge.explanations.own import INTERNAL, OWN
from bridge.pipeline.delivery.claims import holder_name
from bridge.pipeline.inbound import receive
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.wakeups.publish import Topic, notify_soon
from bridge.security import logs
from bridge.security.redaction import redact_params
from channels_wechat import KINDS, can
from channels_wechat.contract.capabilities import Pull
from channels_wechat.contract.connection import ConnectionState
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from channels_wechat.contract.messages import Inbound, Knock

log = logging.getLogger(__name__)
# An account is pulled at least this often, because its knock may have been lost.
PERIOD_SECONDS = 60
# Longer than one page takes: a call to the platform with its renewed token, and storing its messages.
LEASE_SECONDS = 90
# After so many pages the account waits for its next turn, so that others are not kept waiting by a long history.
MOST_PAGES = 20
# A failing account is asked after this at first; each failure doubles the pause, up to the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5, 60


# --- who is due


def note_knock(knock: Knock) -> bool:
    """Store that this account is due now, and the token of the knock. Return False where we have no such account.

    A knock does not shorten the pause after a failure: else every message of a customer would be another call that fails.
    """
    account = ChannelAccount.objects.filter(kind=knock.kind, external_id=knock.external_id, enabled=True).first()
    channel = build_channel(account) if account else None
    if account is None or not isinstance(channel, Pull):
        return False
    row, _new = Connection.objects.get_or_create(account=account)
    now, columns = timezone.now(), dict[str, Any]()
    if knock.token:
        columns["knock_token"] = sealed(Connection, "knock_token", row.device_id, knock.token)
        columns["knock_until"] = now + timedelta(seconds=channel.knock_seconds)
    due: Any = Case(When(pull_failures=0, then=Value(now)), default=F("pull_due_at"))
    Connection.objects.filter(pk=row.pk).update(pull_due_at=due, **columns)
    notify_soon(Topic.PULL)
    return True


def schedule_new_accounts() -> None:
    """Make accounts due that were never pulled; the clock calls it."""
    for account in _usable_accounts().filter(Q(connection=None) | Q(connection__pull_due_at=None)):
        row, _new = Connection.objects.get_or_create(account=account)
        Connection.objects.filter(pk=row.pk, pull_due_at=None).update(pull_due_at=timezone.now())


def has_due() -> bool:
    """Whether an account is due that nobody pulls now; the sweep calls it."""
    return _due_rows().exists()


def claim_due(limit: int) -> list[Connection]:
    """Lease due accounts, those that waited longest first. Each claim has a holder's name and a fence of its own."""
    claimed: list[Connection] = []
    for pk in list(_due_rows().order_by("pull_due_at").values_list("pk", flat=True)[:limit]):
        free = Connection.objects.filter(pk=pk, pull_due_at__lte=timezone.now())
        holder = holder_name()
        if lease.acquire(free, holder, LEASE_SECONDS, held_since=timezone.now()):
            claimed += Connection.objects.filter(pk=pk, owner=holder).select_related("account")
    return claimed


def _usable_accounts() -> QuerySet[ChannelAccount]:
    kinds = [kind for kind in KINDS if can(kind, Pull)]
    return ChannelAccount.objects.filter(kind__in=kinds, enabled=True).exclude(state=Health.STOPPED)


def _due_rows() -> QuerySet[Connection]:
    now = timezone.now()
    free = Q(owner="") | Q(owner_until=None) | Q(owner_until__lt=now)
    return Connection.objects.filter(free, pull_due_at__lte=now, account__in=_usable_accounts())


# --- one account


def pull_account(row: Connection) -> None:
    """Pull everything that the platform has for a claimed account. Never raises; while the database is away the lease runs out."""
    account = row.account
    if account is None:
        return
    with logs.about(account=account.pk):
        try:
            _pull(row, account)
        except ChannelError as error:
            _note_failure(row, account, error)
        except DB_UNAVAILABLE as error:
            log.warning("the database is away (%s): the pull is repeated from the stored cursor", type(error).__name__)
        except Exception as error:  # a defect of our own must not be met again and again without a pause
            log.exception("the messages could not be pulled")
            _note_failure(row, account, OWN.error(INTERNAL, detail=type(error).__name__))


def _pull(row: Connection, account: ChannelAccount) -> None:
    channel = build_channel(account)
    if not isinstance(channel, Pull):
        return
    cursor, has_messages = _read_cursor(row, account), False
    for _page in range(MOST_PAGES):
        before, pulled = cursor, channel.pull(cursor, _read_token(row))
        _store(account, pulled.inbound)
        cursor, has_messages = pulled.cursor, has_messages or bool(pulled.inbound)
        if not _store_cursor(row, account, cursor):
            log.warning("the lease of the pull was lost")
            return
        if not pulled.more or cursor == before:
            _finish(row, account, PERIOD_SECONDS)
            return
    _finish(row, account, 0 if has_messages else FIRST_PAUSE_SECONDS)


def _read_token(row: Connection) -> str:
    is_good = row.knock_until is not None and row.knock_until > timezone.now()
    return row.knock_token if is_good else ""


def _store(account: ChannelAccount, messages: Sequence[Inbound]) -> None:
    """Store messages; when this returns they are committed. Raises an error of DB_UNAVAILABLE."""
    since = _turns_since(account)
    rows = [receive.build_row(account, _mark_past(message, since)) for message in messages]
    for first in range(0, len(rows), receive.BATCH_SIZE):
        batch = rows[first : first + receive.BATCH_SIZE]
        for row, pk in zip(batch, receive.store_each(batch), strict=True):
            if pk is not None:
                receive.wake_router(with_files=bool(row["media"]))


def _turns_since(account: ChannelAccount) -> float:
    """Return from when on messages make turns: not before the account was here, and not so long ago that an answer would confuse."""
    return max(account.created_at.timestamp(), time.time() - settings.MAX_AGE_QUESTION)


def _mark_past(message: Inbound, since: float) -> Inbound:
    is_past = 0 < message.occurred_at < int(since)
    return replace(message, past=True, greets=False) if is_past else message


# --- what is written to the row


def _source(account: ChannelAccount) -> str:
    """Name where a cursor is good: nowhere else, so that staff may enter another account of the platform in the place of this one."""
    return f"{account.api_base_url}#{account.external_id} "


def _read_cursor(row: Connection, account: ChannelAccount) -> str:
    source = _source(account)
    return row.cursor.removeprefix(source) if row.cursor.startswith(source) else ""


def _store_cursor(row: Connection, account: ChannelAccount, cursor: str) -> bool:
    """Store the cursor and renew the lease. Return False where another process has the account now."""
    until, value = timezone.now() + timedelta(seconds=LEASE_SECONDS), _source(account) + cursor
    return bool(row.as_held().update(cursor=value, owner_until=until, last_frame_at=timezone.now()))


def _finish(row: Connection, account: ChannelAccount, seconds: float) -> None:
    """Give the lease back; the account is due again after so many seconds, or at once where a knock came meanwhile."""
    _release(row, seconds, state=ConnectionState.CONNECTED, code="", code_params={}, pull_failures=0)
    if account.state != Health.OK:
        account.set_state(Health.OK)


def _note_failure(row: Connection, account: ChannelAccount, error: ChannelError) -> None:
    """Give the lease back and say why it failed. Nothing is asked again before a pause, and never where only staff can mend it."""
    params = redact_params(error.params)
    failures = row.pull_failures + 1
    pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10), LONGEST_PAUSE_SECONDS)
    told = {"state": ConnectionState.CONNECTING, "code": error.code[:CODE_LENGTH], "code_params": params}
    _release(row, max(pause, error.retry_after or 0), even_if_knocked=True, pull_failures=min(failures, 1000), **told)
    if error.action == Action.CONFIG:
        account.set_state(Health.STOPPED, error.code, error.params)
    elif error.action != Action.WAIT:
        account.set_state(Health.FAILING, error.code, error.params)


def _release(row: Connection, seconds: float, *, even_if_knocked: bool = False, **columns: Any) -> None:
    due_at = timezone.now() + timedelta(seconds=seconds)
    unchanged = When(pull_due_at=row.pull_due_at, then=Value(due_at))
    due: Any = due_at if even_if_knocked else Case(unchanged, default=F("pull_due_at"))
    row.as_held().update(owner="", owner_until=None, held_since=None, pull_due_at=due, **columns)
