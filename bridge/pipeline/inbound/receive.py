"""Callbacks become rows, those of one moment in one statement; `bridge.pipeline.inbound.router` routes them later."""

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
# As `row_of` makes it.
Row = dict[str, Any]
# The id of a row that is new, None for a repetition.
Stored = int | None
# In a row's `raw`: what the parser found for the router.
PARSED_FACTS = "_bridge"
# Rows of one statement.
BATCH_SIZE = 64


def wake_router(*, with_files: bool) -> None:
    """A new row is committed: somebody has to route it and to fetch its files."""
    counters.add("messages", direction="in")
    notify_soon(Topic.ROUTE, *([Topic.FETCH] if with_files else []))


def store_inbound(rows: Sequence[Row]) -> list[Stored]:
    """Every message from a platform is stored here: one statement and one commit for all, no platform call.

    Of a message that is twice among them one is new. Raises an error of `DB_UNAVAILABLE` where the database is away, and
    DatabaseError where these rows cannot be stored together, but perhaps one by one.
    """
    try:
        return _store_together(rows)
    except Exception as error:
        # A standby that only reads, or a schema that is not there yet.
        if isinstance(error, (InternalError, ProgrammingError)):
            raise OperationalError("the database cannot store anything now") from error
        if len(rows) > 1 or not _is_about_values(error):
            raise
        log.exception("message %s is stored as unsupported: its row cannot be stored", rows[0]["uuid"])
        return _store_together([make_unsupported(rows[0], error)])


def _store_together(rows: Sequence[Row]) -> list[Stored]:
    try:
        return _execute(rows)
    except OperationalError as error:
        # Two processes that store the same two messages in opposite order wait for each other until PostgreSQL ends one of them.
        if len(rows) == 1 or not connection.is_usable():
            raise
        raise DatabaseError("these rows cannot be stored in one statement") from error


def _is_about_values(error: Exception) -> bool:
    """Whether the row is at fault: data exceptions and program limits in PostgreSQL, or what could not even be written as JSON."""
    if not isinstance(error, DatabaseError):
        return isinstance(error, (ValueError, TypeError, RecursionError))
    return (getattr(error.__cause__, "sqlstate", None) or "")[:2] in {"22", "54"}


def store_each(rows: Sequence[Row]) -> list[Stored]:
    """`store`, where a row that cannot be stored keeps back no other: it is logged and left out. Raises an error of `DB_UNAVAILABLE`."""
    try:
        return store_inbound(rows)
    except outage.DB_UNAVAILABLE:
        raise
    except Exception as error:  # whatever it is, it is the matter of one of them
        if len(rows) > 1:
            return [store_each([row])[0] for row in rows]
        log.exception(
            "message %s of account %s cannot be stored", rows[0].get("uuid"), rows[0].get("account_id"), exc_info=error
        )
        return [None]


def store_and_keep_connection(rows: Sequence[Row], store_connection: outage.AbortableConnection) -> list[Stored]:
    """`store` in a thread that does nothing else: it keeps its connection, which nobody else can take, and looks whether it is open."""
    close_if_lost(connection)
    try:
        with store_connection.track():
            return store_inbound(rows)
    except outage.DB_UNAVAILABLE:
        if not connection.in_atomic_block:
            connection.close()
        raise


def row_of(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
    """What the statement takes, as JSON has it: every value fits its column, whatever the platform signed."""
    row = _row_as_parsed(account, inbound)
    try:
        return fit_message(row)
    except Exception as error:  # whatever it is: what was signed is stored in some form
        log.exception("message %s is stored as unsupported: its row cannot be built", row["uuid"])
        return make_unsupported(row, error)


def _row_as_parsed(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
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
        "raw": _raw(inbound),
        "reply_address": sealed(Message, "reply_address", uuid, reply).stored,
        "reply_until": (now + timedelta(seconds=inbound.reply_seconds)).isoformat() if reply else None,
        "occurred_at": _time(inbound.occurred_at),
        "now": now.isoformat(),
        "media": [_row_of_file(item) for item in inbound.media],
    }


def _row_of_file(item: MediaItem) -> dict[str, str]:
    """With its uuid, which the key is encrypted for."""
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


def _time(seconds: float) -> str | None:
    """None where the platform says nothing, or no time that there is."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _raw(inbound: Inbound) -> dict[str, Any]:
    """The platform's body, and what its parser made of it for the router; a field of theirs that has our name gets another."""
    window = inbound.window
    told = {
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
    }
    extra = {name: value for name, value in told.items() if value is not None}
    theirs = {f"{name}_" if name == PARSED_FACTS else name: value for name, value in inbound.raw.items()}
    return {**theirs, **({PARSED_FACTS: extra} if extra else {})}


def _execute(rows: Sequence[Row]) -> list[Stored]:
    distinct = {row["uuid"]: row for row in rows}
    new = {row.uuid: row.id for row in sql.STORE_INBOUND.fetch(rows=json.dumps(list(distinct.values())))}
    return [new.pop(row["uuid"], None) for row in rows]
