"""Rows for the tests of the pipeline, made the way the product makes them: heard by the callback's code, sent by `outbound`."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.utils import timezone

from accounts import valkey
from accounts.channels import build_channel
from accounts.models import ChannelAccount, cleaned_credentials
from bridge.models import Carrier, Delivery, Event, Message, Route, Target, WebhookEndpoint
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import callback_stats, router
from bridge.pipeline.inbound import receive as arrivals
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound import sender as sending
from channels_wechat import channel_class
from channels_wechat.contract.messages import Content, Inbound, MediaItem, Peer
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    Found = TypeVar("Found")

TOKEN, KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CORP, AGENT, BOT, GROUP, SECRET = "wwtest0000000001", 1000002, "AIBOT", "wrGroup", "app-secret"
KEYS = {"token": TOKEN, "encoding_aes_key": KEY}
APP_FIELDS = {"corp_id": CORP, "agent_id": AGENT, "secret": SECRET, "format": "text", **KEYS}
BOT_FIELDS = {"bot_id": BOT, "bot_name": "Robot A", "corp_id": CORP, **KEYS}
FAN, USER = "oFollower-of-the-official-A1", "oUser-of-the-miniprogram-A1"
ROBOT_KEY = "693a91f6-7a1b-4bc4-97a0-0ec2c1fa5aaa"
ROBOT_FIELDS = {"robot_key": ROBOT_KEY, "format": "text"}
OFFICIAL, MINI = "wxofficial0000001", "wxminiprogram0001"
WEIXIN_FIELDS = {"app_secret": "geheim", "mode": "safe", **KEYS}
OFFICIAL_FIELDS = {"app_id": OFFICIAL, "answers": "automatic", **WEIXIN_FIELDS}
MINI_FIELDS = {"app_id": MINI, **WEIXIN_FIELDS}
# Two time zones whose clocks are 26 hours apart.
NEVER_THE_SAME_DAY = ("Etc/GMT+12", "Etc/GMT-14")
# Nobody listens there: what must not be called is refused at once.
NOWHERE = "http://127.0.0.1:9"
_numbers = itertools.count(1)


def account(kind: str, fields: dict[str, Any], name: str, api_base_url: str, **columns: Any) -> ChannelAccount:
    credentials = cleaned_credentials(kind, fields)
    external_id = channel_class(kind).external_id(credentials)
    name = columns.pop("name", name)
    if twins := ChannelAccount.objects.filter(name__istartswith=name).count():
        name = f"{name} {twins + 1}"
    columns = {"turns_per_minute": None, **columns}  # a test says more in a second than a person in a minute
    return ChannelAccount.objects.create(
        kind=kind, name=name, credentials=credentials, external_id=external_id, api_base_url=api_base_url, **columns
    )


def app(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_app", {**APP_FIELDS, **fields}, "Acme app", api_base_url, **(columns or {}))


def bot(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_aibot", {**BOT_FIELDS, **fields}, "Acme bot", api_base_url, **(columns or {}))


def robot(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_robot", {**ROBOT_FIELDS, **fields}, "Acme robot", api_base_url, **(columns or {}))


def official(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    values = {**OFFICIAL_FIELDS, **fields}
    return account("official_account", values, "Acme news", api_base_url, **(columns or {}))


def mini(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("mini_program", {**MINI_FIELDS, **fields}, "Acme shop", api_base_url, **(columns or {}))


def gateway(base_url: str = NOWHERE, token: str = "stub-token", **columns: Any) -> Gateway:
    return Gateway.objects.create(name=f"gateway {next(_numbers)}", base_url=base_url, token=token, **columns)


def route(account: ChannelAccount, gateway: Gateway | None = None, **columns: Any) -> Route:
    fields = {"agent_id": "main", **columns}
    return Route.objects.create(account=account, gateway=gateway or globals()["gateway"](), **fields)


def endpoint(url: str = NOWHERE, events: Iterable[str] = tuple(Event), **columns: Any) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(name=f"webhook {next(_numbers)}", url=url, events=list(events), **columns)


def said(text: str = "hello", sender: str = "zhangsan", *, group: str = "", reply: str = "", **fields: Any) -> Inbound:
    """One message as a channel kind's parser gives it."""
    peer = Peer("group", group, reply) if group else Peer("direct", sender, reply)
    base = Inbound(f"msg-{next(_numbers)}", "text", peer, sender, text, raw={"msgtype": "text"})
    return replace(base, **{"reply_seconds": 3600 if reply else 0, "occurred_at": int(time.time()), **fields})


def picture(handle: str = "MEDIA1", name: str = "") -> MediaItem:
    return MediaItem("image", handle, name)


def receive(account: ChannelAccount, inbound: Inbound) -> int | None:
    """Stored as by the callback, alone and in this thread; the new row's id, or None for a repetition."""
    pk = arrivals.store_inbound([arrivals.row_of(account, inbound)])[0]
    if pk is not None:
        arrivals.wake_router(with_files=bool(inbound.media))
    return pk


def note_callback(account: ChannelAccount, result: str, *, refused: bool = False) -> None:
    """Noted as by the callback."""
    if write := callback_stats.note_callback(str(account.key), result, refused):
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
        return outbox.answer(question, text, source=Message.Source.AGENT, key=key or f"answer-{next(_numbers)}")


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


def eventually(check: Callable[[], Found], seconds: float = 15.0) -> Found:
    """The first truthy value of `check`."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "the state did not come"
        time.sleep(0.02)
    return found


def in_thread(work: Callable[[], Found]) -> Callable[[], Found]:
    """The same for a thread of its own: it hands its database connection back."""

    def run() -> Found:
        try:
            return work()
        finally:
            connection.close()

    return run


def wait_for_a_waiter() -> None:
    """Until somebody waits for a lock that this connection holds."""

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            return bool(cursor.fetchone()[0])

    eventually(waits, seconds=20)


def _is_time(name: str) -> bool:
    return name.endswith(("_at", "_until"))
