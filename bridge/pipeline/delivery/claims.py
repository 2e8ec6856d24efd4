"""Claims deliveries under a lease, and recovers those whose process died."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import prefetch_related_objects
from django.utils import timezone

from accounts.channels import cached_by_id
from bridge.models import Carrier, Delivery, State
from bridge.pipeline.delivery import claim_sql, settle
from bridge.pipeline.delivery.types import OpenAttempt
from bridge.runtime.wakeups.publish import Topic
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The work of a dead process is claimed again after LEASE_SECONDS; a living process renews its leases every RENEW_SECONDS.
LEASE_SECONDS = 30
RENEW_SECONDS = 10
SWEEP_BATCH = 500
# The topic that wakes the processes of each carrier; the worker also takes answers that no HTTP reply fetched in time.
TOPIC_OF_CARRIER = {
    Carrier.WORKER: Topic.SEND,
    Carrier.HTTP_REPLY: Topic.SEND,
    Carrier.CONNECTOR: Topic.ASK,
    Carrier.SOCKET: Topic.SOCKET,
    Carrier.WEBHOOK: Topic.HOOK,
}


def holder_name() -> str:
    """Return a name that is unique for each process that claims."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


def claim(
    carrier: Carrier,
    holder: str,
    limit: int,
    *,
    gateway_id: int | None = None,
    only: int | None = None,
    most: int | None = None,
) -> list[Delivery]:
    """Claim the heads of idle lanes, many in one statement. The worker also claims answers that no poll fetched in time.

    The accounts with the least work under way come first, and within an account the conversations take turns. only: this delivery, due or
    not (for a poll). most: how many the holder has under way at a time, of which one account leaves a part to others; a
    gateway's turns have this limit in its row. Over a connection the holder claims only for accounts whose connection it holds, and that
    are connected.
    """
    carriers = [Carrier.WORKER, Carrier.HTTP_REPLY] if carrier == Carrier.WORKER else [carrier]
    values: dict[str, Any] = {
        "carriers": [str(w) for w in carriers],
        "carrier": str(carrier),
        "holder": holder,
        "lease": LEASE_SECONDS,
    }
    if only:
        rows = claim_sql.CLAIM_ONE.fetch(**values, only=only)
    else:
        first, last = (gateway_id, gateway_id) if gateway_id else (0, claim_sql.LAST_ID)
        horizon = 2 * claim_sql.AHEAD_SECONDS if carrier == Carrier.CONNECTOR else 0
        values |= {"limit": limit, "first": first, "last": last, "most": most, "horizon": horizon}
        rows = claim_sql.CLAIM.fetch(**values, ahead=claim_sql.AHEAD)
    claimed = sorted(map(_read_claimed, rows), key=lambda row: row.due_at)
    if carrier == Carrier.WEBHOOK:
        prefetch_related_objects(claimed, "endpoint")
    return claimed


def _read_claimed(row: claim_sql.ClaimedDelivery) -> Delivery:
    delivery = claim_sql.DELIVERY.build(row)
    if row.message_id:
        ids = {"id": row.message_id, "account_id": row.message_account_id}
        delivery.message = claim_sql.MESSAGE.build(row, **ids)
    if row.account_id and row.account_state:
        account = cached_by_id(row.account_id)[0]
        account.state = row.account_state
        delivery.account = account
    if delivery.message and delivery.account:
        delivery.message.account = delivery.account
    return delivery


def renew(holder: str, ids: Iterable[int]) -> int:
    """Prolong the leases of the deliveries that this holder still works on; others expire. Return how many it still has."""
    lease = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    return Delivery.objects.filter(pk__in=list(ids), holder=holder, state=State.SENDING).update(lease_until=lease)


@transaction.atomic
def claim_and_open(waiting: Delivery, via: str, remote_id: str = "") -> Delivery | None:
    """Claim a delivery for an HTTP reply and open its attempt in one commit; `settle.confirm_sent` settles it when the reply was sent.

    A platform that did not get the reply asks again, but not for ever: where the process or database is lost before, the sweep finds the
    open attempt, and the delivery becomes uncertain. remote_id: the key of the request, by which its repetitions find this part.
    Return None where its lane is not free yet, another request has claimed it, or staff have just stopped all sending.
    """
    claimed = claim(Carrier.HTTP_REPLY, _holder(), 1, only=waiting.pk)
    if not claimed:
        return None
    delivery = claimed[0]
    if delivery.pk != waiting.pk:
        raise ValueError("another delivery was claimed than the one that was asked for")
    if settle.open_attempts([OpenAttempt(delivery, {"via": via, **delivery.payload})])[0] is None:
        transaction.set_rollback(True)
        return None
    if remote_id:
        Delivery.objects.filter(pk=delivery.pk).update(remote_id=clean(remote_id)[:200])
    return delivery


@cache
def _holder() -> str:
    return holder_name()


def sweep() -> int:
    """Recover the deliveries whose lease expired. Return how many."""
    with transaction.atomic():
        expired = Delivery.objects.filter(state=State.SENDING, lease_until__lt=timezone.now())
        rows = list(expired.select_for_update(skip_locked=True)[:SWEEP_BATCH])
        for delivery in rows:
            settle.recover_expired(delivery)
    return len(rows)


def release_all_leases(holder: str) -> None:
    """Give up all leases of a holder that ends cleanly, instead of leaving them to the sweep after they expire."""
    with transaction.atomic():
        for delivery in Delivery.objects.filter(holder=holder, state=State.SENDING).select_for_update():
            settle.recover_expired(delivery)


def find_due_topics() -> Sequence[Topic]:
    """Return the topics for which work is due, so that the sweep wakes their processes."""
    due = Delivery.objects.filter(state=State.PENDING, due_at__lte=timezone.now())
    return list(dict.fromkeys(TOPIC_OF_CARRIER[carrier] for carrier in Carrier if due.filter(carrier=carrier).exists()))
