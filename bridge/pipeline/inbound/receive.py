"""Stores the messages of callbacks, those of one moment in one statement; `bridge.pipeline.inbound.router` routes them later."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db import DatabaseError, InternalError, OperationalError, ProgrammingError, connection
from django.utils import timezone

from accounts import counters
from accounts.fields import sealed
from bridge.models import Attachment, Message
from bridge.pipeline.inbound import sql
from bridge.runtime.db import outage
from bridge.runtime.db.outage import close_if_lost
from bridge.runtime.spool.fitting import MAX_NAME, fit_message, make_unsupported
from bridge.runtime.wakeups.publish import Topic, notify_soon
from channels_wechat.contract.messages import message_uuid
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.models import ChannelAccount
    from channels_wechat.contract.messages import Inbound, MediaItem

log = logging.getLogger(__name__)
# As `build_row` returns it.
Row = dict[str, Any]
# The id of a new row; None for a repetition.
Stored = int | None
# The key in a row's `raw` under which the parser's facts for the router stand.
PARSED_FACTS = "_bridge"
# The number of rows in one statement.
BATCH_SIZE = 64


def wake_router(*, with_files: bool) -> None:
    """Wake the processes that route a new message and fetch its files."""
    counters.add("messages", direction="in")
    notify_soon(Topic.ROUTE, *([Topic.FETCH] if with_files else []))


def store_inbound(rows: Sequence[Row]) -> list[Stored]:
    """Store messages of a platform: one statement and one commit for all, no platform call.

    Where a message is twice among them, only the first is new. Raises an error of `DB_UNAVAILABLE` where the database is away, and
    DatabaseError where these rows cannot be stored together, but perhaps one by one.
    """
    try:
        return _store_together(rows)
    except Exception as error:
        # The database is a standby that only reads, or its tables are not there yet.
        if isinstance(error, (InternalError, ProgrammingError)):
            raise OperationalError("the database cannot store anything now") from error
        if len(rows) > 1 or not _is_caused_by_values(error):
            raise
        log.exception("message %s is stored as unsupported: its row cannot be stored", rows[0]["uuid"])
        return _store_together([make_unsupported(rows[0], error)])


def _store_together(rows: Sequence[Row]) -> list[Stored]:
    try:
        return _insert_rows(rows)
    except OperationalError as error:
        # Two processes that store the same two messages in opposite order wait for each other until PostgreSQL cancels one of them.
        if len(rows) == 1 or not connection.is_usable():
            raise
        raise DatabaseError("these rows cannot be stored in one statement") from error


def _is_caused_by_values(error: Exception) -> bool:
    """Whether the values of the row caused the error: a data exception or limit of PostgreSQL, or a value that JSON cannot hold."""
    if not isinstance(error, DatabaseError):
        return isinstance(error, (ValueError, TypeError, RecursionError))
    return (getattr(error.__cause__, "sqlstate", None) or "")[:2] in {"22", "54"}


def store_each(rows: Sequence[Row]) -> list[Stored]:
    """Store rows; one that cannot be stored is logged and left out, so that it does not block the others. Raises as `store_inbound`."""
    try:
        return store_inbound(rows)
    except outage.DB_UNAVAILABLE:
        raise
    except Exception as error:  # one of the rows caused it
        if len(rows) > 1:
            return [store_each([row])[0] for row in rows]
        log.exception(
            "message %s of account %s cannot be stored", rows[0].get("uuid"), rows[0].get("account_id"), exc_info=error
        )
        return [None]


def store_and_keep_connection(rows: Sequence[Row], store_connection: outage.AbortableConnection) -> list[Stored]:
    """Store rows in a thread that does nothing else and therefore keeps its own database connection, which is checked before each use."""
    close_if_lost(connection)
    try:
        with store_connection.track():
            return store_inbound(rows)
    except outage.DB_UNAVAILABLE:
        if not connection.in_atomic_block:
            connection.close()
        raise


def build_row(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
    """Return the row as JSON values that fit their columns, whatever the platform sent."""
    row = _build_row_unchecked(account, inbound)
    try:
        return fit_message(row)
    except Exception as error:  # a message that the platform signed must be stored in some form
        log.exception("message %s is stored as unsupported: its row cannot be built", row["uuid"])
        return make_unsupported(row, error)


def _build_row_unchecked(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
    now = timezone.now()
    uuid, reply = str(message_uuid(str(account.key), inbound.key)), inbound.peer.reply
    return {
        "uuid": uuid,
        "account_id": account.pk,
        "peer_kind": inbound.peer.kind,
        "peer_id": inbound.peer.id,
        "key": inbound.key,
        "kind": inbound.kind,
        "text": inbound.text,
        "sender": inbound.sender,
        "addressed": inbound.addressed,
        "raw": _build_raw(inbound),
        "reply_address": sealed(Message, "reply_address", uuid, reply).stored,
        "reply_until": (now + timedelta(seconds=inbound.reply_seconds)).isoformat() if reply else None,
        "occurred_at": _format_time(inbound.occurred_at),
        "now": now.isoformat(),
        "media": [_build_file_row(item) for item in inbound.media],
    }


def _build_file_row(item: MediaItem) -> dict[str, str]:
    """Return the row of a file, with its uuid, which the encryption of its key depends on."""
    uuid = str(uuid4())
    return {
        "uuid": uuid,
        "kind": item.kind,
        "name": item.name[:255],
        "mime": item.mime[:100],
        "source": item.handle,
        "fallback": item.fallback,
        "key": sealed(Attachment, "key", uuid, item.key).stored if item.key else "",
    }


def _format_time(seconds: float) -> str | None:
    """Return the time as text; None where the platform gives none, or one that does not exist."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _build_raw(inbound: Inbound) -> dict[str, Any]:
    """Return the platform's body with the parser's facts for the router; a field of the platform with the same key is renamed."""
    window = inbound.window
    facts = {
        "refers_to": inbound.refers_to or None,
        "contacts": dict(inbound.contacts) or None,
        "window": [window.count, window.seconds] if window else None,
        "follows": inbound.follows,
        "erase": inbound.erase or None,
        "verdict": asdict(inbound.verdict) if inbound.verdict else None,
        "greets": inbound.greets or None,
        "unread": inbound.is_unread or None,
        "title": clean(inbound.title)[:MAX_NAME] or None,
        "own": inbound.own or None,
        "past": inbound.past or None,
        "changes": [list(one) for one in inbound.changes] or None,
        "failed": [inbound.failed.remote_id, *inbound.failed.cause] if inbound.failed else None,
        "servicer": inbound.servicer,
        "recalls": inbound.recalls or None,
        "quotes": clean(inbound.quotes) or None,
        "request": [clean(part) for part in inbound.request] if inbound.request else None,
    }
    extra = {name: value for name, value in facts.items() if value is not None}
    body = {f"{name}_" if name == PARSED_FACTS else name: value for name, value in inbound.raw.items()}
    return {**body, **({PARSED_FACTS: extra} if extra else {})}


def _insert_rows(rows: Sequence[Row]) -> list[Stored]:
    distinct = {row["uuid"]: row for row in rows}
    new = {row.uuid: row.id for row in sql.STORE_INBOUND.fetch(rows=json.dumps(list(distinct.values())))}
    return [new.pop(row["uuid"], None) for row in rows]
