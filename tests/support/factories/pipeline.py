"""Rows made the way the product makes them: received by the callback's code, sent by `outbox`, claimed by `claims`."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from accounts import valkey
from accounts.channels import build_channel
from bridge.models import Carrier, Delivery, Message, Target
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import callback_stats, pulling, router
from bridge.pipeline.inbound import receive as receiving
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound import sender as sending
from channels_wechat.contract.messages import Content, Inbound, Knock, MediaItem, Peer

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

__all__ = [
    "answer",
    "claim",
    "claimed",
    "due",
    "hear",
    "limit_of",
    "note_callback",
    "outcomes",
    "parts",
    "picture",
    "pull",
    "receive",
    "row",
    "said",
    "send",
    "shift",
    "state",
    "to_send",
    "turn",
    "work_off",
]
_numbers = itertools.count(1)


def said(text: str = "hello", sender: str = "zhangsan", *, group: str = "", reply: str = "", **fields: Any) -> Inbound:
    """One message as a channel kind's parser gives it."""
    peer = Peer("group", group, reply) if group else Peer("direct", sender, reply)
    base = Inbound(f"msg-{next(_numbers)}", "text", peer, sender, text, raw={"msgtype": "text"})
    return replace(base, **{"reply_seconds": 3600 if reply else 0, "occurred_at": int(time.time()), **fields})


def picture(handle: str = "MEDIA1", name: str = "") -> MediaItem:
    return MediaItem("image", handle, name)


def receive(account: ChannelAccount, inbound: Inbound) -> int | None:
    """Stored as by the callback, alone and in this thread; the new row's id, or None for a repetition."""
    pk = receiving.store_inbound([receiving.build_row(account, inbound)])[0]
    if pk is not None:
        receiving.wake_router(with_files=bool(inbound.media))
    return pk


def pull(account: ChannelAccount, token: str = "") -> None:
    """As a worker does after a knock."""
    assert pulling.note_knock(Knock(account.kind, account.external_id, token))
    for row in pulling.claim_due(10):
        pulling.pull_account(row)


def note_callback(account: ChannelAccount, result: str, *, refused: bool = False) -> None:
    """Noted as by the callback."""
    if write := callback_stats.count_callback(str(account.key), result, refused):
        valkey.try_valkey(write, None)


def hear(account: ChannelAccount, text: str = "hello", sender: str = "zhangsan", **fields: Any) -> Message:
    """Received as by the callback; not routed."""
    pk = receive(account, said(text, sender, **fields))
    assert pk is not None
    return Message.objects.get(pk=pk)


def turn(account: ChannelAccount, text: str = "hello", sender: str = "zhangsan", **fields: Any) -> Delivery:
    """Received and routed."""
    message = hear(account, text, sender, **fields)
    router.route_waiting()
    return Delivery.objects.get(message_id=message.pk, target=Target.AGENT)


def send(account: ChannelAccount, text: str = "hello", peer_id: str = "zhangsan", **fields: Any) -> Message:
    """Queued by staff for a person."""
    values = {"source": Message.Source.STAFF, "peer_kind": "direct", "content": Content(text=text), **fields}
    return outbox.send(account, values.pop("peer_kind"), peer_id, values.pop("content"), **values)


def to_send(account: ChannelAccount, text: str = "hello", peer_id: str = "zhangsan", **fields: Any) -> Delivery:
    """The only delivery of `send`."""
    return send(account, text, peer_id, **fields).deliveries.get()


def answer(question: Message, text: str = "the answer", key: str = "") -> Message:
    """What an agent says to a message."""
    with transaction.atomic():
        return outbox.send_answer(question, text, source=Message.Source.AGENT, key=key or f"answer-{next(_numbers)}")


def claim(carrier: Carrier = Carrier.WORKER, holder: str = "holder", limit: int = 100, **fields: Any) -> list[Delivery]:
    return claims.claim(carrier, holder, limit, **fields)


def claimed(delivery: Delivery, holder: str = "holder") -> Delivery:
    """This delivery as its claimer has it."""
    return next(row for row in claim(Carrier(delivery.carrier), holder) if row.pk == delivery.pk)


def work_off(holder: str = "worker", carrier: Carrier = Carrier.WORKER) -> int:
    """What the worker's drain does, in this thread, until nothing is due."""
    count = 0
    while rows := claims.claim(carrier, holder, 10):
        for row in rows:
            sending.process_delivery(row)
        count += len(rows)
    return count


def shift(delivery: Delivery, **columns: Any) -> None:
    """Let time pass, or anything else happen, in the row: seconds from now for times."""
    values = {
        name: timezone.now() + timedelta(seconds=value) if isinstance(value, int | float) and _is_time(name) else value
        for name, value in columns.items()
    }
    Delivery.objects.filter(pk=delivery.pk).update(**values)


def due(*deliveries: Delivery) -> None:
    for delivery in deliveries:
        shift(delivery, due_at=-1)


def state(delivery: Delivery) -> str:
    return row(delivery).state


def row(delivery: Delivery) -> Delivery:
    return Delivery.objects.get(pk=delivery.pk)


def outcomes(delivery: Delivery) -> list[str]:
    return list(delivery.attempts.order_by("number").values_list("outcome", flat=True))


def parts(message: Message) -> list[tuple[str, str]]:
    """(state, reason) of each part, in order."""
    return list(message.deliveries.order_by("part").values_list("state", "reason"))


def limit_of(account: ChannelAccount, name: str) -> Any:
    return next(limit for limit in build_channel(account).limits if limit.name == name)


def _is_time(name: str) -> bool:
    return name.endswith(("_at", "_until"))
