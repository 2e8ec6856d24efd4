"""Stores what came over a long connection: in the database, or in the spool while that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import Message
from bridge.pipeline.inbound import receive
from bridge.pipeline.outbound import outbox
from bridge.runtime.conf import capacity
from bridge.runtime.db.outage import DB_UNAVAILABLE, limit_answer_time
from bridge.runtime.spool import journal
from channels_wechat.contract.messages import message_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.models import ChannelAccount
    from channels_wechat.contract.messages import Inbound


def store_or_spool(account: ChannelAccount, messages: Sequence[Inbound]) -> None:
    """Store messages; in the spool where the database is away or earlier rows wait. Raises SpoolFull where that is full too."""
    rows = [receive.build_row(account, message) for message in messages]
    if journal.is_in_use() or not _store(rows):
        journal.append(rows)


def _store(rows: Sequence[receive.Row]) -> bool:
    """Return False where the database is away; the rows may be stored all the same, and are recognised by their keys later."""
    try:
        with limit_answer_time(capacity.STORE_SECONDS):
            stored = receive.store_each(rows)
    except DB_UNAVAILABLE:
        return False
    for row, pk in zip(rows, stored, strict=True):
        if pk is not None:
            receive.wake_router(with_files=bool(row["media"]))
    return True


def store_own_reply(account: ChannelAccount, message: Inbound, text: str) -> None:
    """Store the text that was sent at once in reply to this message, for the transcript; not while the message is in the spool."""
    uuid = message_uuid(str(account.key), message.key)
    if question := Message.objects.select_related("account").filter(uuid=uuid).first():
        outbox.store_callback_reply(question, text)
