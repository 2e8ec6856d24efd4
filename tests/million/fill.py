"""Ninety days of a busy company: messages with everything that hangs on them, by COPY.

Half of the messages are questions, half their answers. A fifth of all is one conversation; 1 of 20 deliveries failed and nobody has
dismissed it. Accounts and gateways are disabled and the open work is due in a year: no process of the bridge touches any of it.
"""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import (
    AlertChannel,
    AlertDelivery,
    AlertMessage,
    Attachment,
    Attempt,
    Contact,
    Conversation,
    Delivery,
    Incident,
    Message,
    Route,
)
from openclaw.models import Gateway
from tests.million.copying import copy, first_free
from tests.million.texts import person, text

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 90
ACCOUNTS, GATEWAYS, STAFF = 3, 2, 50
# The rows fit by how they are made, so no reference is looked up; and words are sorted into their index in a few large heaps.
QUICKLY = """
    SET LOCAL session_replication_role = replica;
    SET LOCAL work_mem = '256MB';
    ALTER INDEX message_text SET (gin_pending_list_limit = 131072);
    ALTER INDEX message_pairs SET (gin_pending_list_limit = 131072)
"""
KINDS = ("wecom_app", "wecom_aibot", "wecom_app")


class Work(NamedTuple):
    """One delivery. message: its number; state as stored; tries: how many attempts it has."""

    message: int
    part: int
    state: str
    reason: str
    tries: int
    dismissed: bool


@dataclass
class World:
    """What is made, by numbers from 0; `first` has the id that number 0 of each table gets."""

    messages: int
    accounts: list[int]
    gateways: list[int]
    staff: list[int]
    first: dict[type, int]
    start: datetime
    step: float  # seconds from one message to the next

    @property
    def conversations(self) -> int:
        return max(self.messages // 200, 20)

    @property
    def contacts(self) -> int:
        return max(self.messages // 2, 60)

    def at(self, number: float) -> datetime:
        return self.start + timedelta(seconds=number * self.step)

    def conversation(self, message: int) -> int:
        """Question and answer share one. A fifth of all is number 0; of the others the low ones have more to say."""
        pair = message // 2
        if pair % 5 == 0:
            return 0
        spread = (pair * 2_654_435_761 % 2**32) / 2**32
        return int(spread * spread * self.conversations)

    def peer(self, conversation: int) -> tuple[str, str]:
        """Its kind and id; an AI bot hears groups only."""
        if conversation % ACCOUNTS == 1 or conversation % 2 == 0:
            return "group", f"wrGROUP{conversation:08}"
        return "direct", self.member(conversation, 0)

    def member(self, conversation: int, number: int) -> str:
        """User ids are given round by round, so every account has a third of the contacts."""
        mine = (conversation * 31 + number * 7919) % (self.contacts // ACCOUNTS)
        return f"user{mine * ACCOUNTS + conversation % ACCOUNTS:07}"

    def account(self, conversation: int) -> int:
        return self.accounts[conversation % ACCOUNTS]

    def gateway(self, conversation: int) -> int:
        return self.gateways[conversation % GATEWAYS]


def fill(messages: int = 1_000_000) -> World:
    """Add this many messages, twice as many attempts and a bit, and the rest in proportion, to Django's default database."""
    with transaction.atomic():
        world = _world(messages)
        with connection.cursor() as cursor:
            cursor.execute(QUICKLY)
        _peers(world)
        _messages(world)
        _deliveries(world)
        _attempts(world)
        _rest(world)
        with connection.cursor() as cursor:
            for index in ("message_text", "message_pairs"):
                cursor.execute(f"ALTER INDEX {index} SET (gin_pending_list_limit = 1024)")  # as the model has it
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.in_atomic_block else "VACUUM (ANALYZE)")
    return world


def works(world: World) -> Iterator[Work]:
    """Every delivery, in order of its id; the second part of every twentieth answer included."""
    for message in range(world.messages):
        yield _work(world, message)
        if message % 40 == 1:
            yield Work(message, 1, "delivered", "", 2, False)


def _work(world: World, message: int) -> Work:
    """What became of it: the last half per thousand is open; of the rest 10 % skipped, 5 % failed, 1 % failed and dismissed."""
    if message >= world.messages - max(world.messages // 2000, 10):
        held = message % 10 == 0
        return Work(message, 0, "held" if held else "pending", "part_before" if held else "", 0, False)
    luck = message * 40_503 % 1000
    if luck < 100:
        return Work(message, 0, "skipped", ("no_route", "not_addressed", "event", "paused")[luck % 4], 0, False)
    if luck < 160:
        reason = ("tries_spent", "permanent", "configuration", "too_old")[luck % 4]
        return Work(message, 0, "dead", reason, 4, luck >= 150)
    if luck < 161:
        return Work(message, 0, "uncertain", "unknown", 1, False)
    return Work(message, 0, "delivered", "", 3 if message % 4 == 0 else 2, False)


def _world(messages: int) -> World:
    now = datetime.now(UTC)
    tag = uuid.uuid4().hex[:8]
    accounts = [
        ChannelAccount.objects.create(
            kind=kind, name=f"Company {number} {tag}", external_id=f"{tag}/{number}", enabled=False, state=Health.OK
        )
        for number, kind in enumerate(KINDS)
    ]
    gateways = [
        Gateway.objects.create(name=f"OpenClaw {number} {tag}", base_url="http://127.0.0.1:9", enabled=False)
        for number in range(GATEWAYS)
    ]
    people = User.objects.bulk_create(User(username=f"staff{number}-{tag}", is_staff=True) for number in range(STAFF))
    tables = (
        Conversation,
        Contact,
        Route,
        Message,
        Delivery,
        Attempt,
        Attachment,
        Incident,
        AlertMessage,
        AlertDelivery,
        LogEntry,
    )
    return World(
        messages=messages,
        accounts=[row.pk for row in accounts],
        gateways=[row.pk for row in gateways],
        staff=[row.pk for row in people],
        first={table: first_free(table) for table in tables},
        start=now - timedelta(days=DAYS),
        step=DAYS * 86400 / messages,
    )


def _peers(world: World) -> None:
    contact, conversation, route = (world.first[table] for table in (Contact, Conversation, Route))
    people = (
        (contact + n, world.accounts[n % ACCOUNTS], f"user{n:07}", person(n), n % 3 == 0, world.start, world.start)
        for n in range(world.contacts)
    )
    columns = ("id", "account_id", "external_id", "name", "subscribed", "name_fetched_at", "created_at")
    copy(Contact, columns, people)
    chats = (
        (
            conversation + n,
            world.account(n),
            *world.peer(n),
            f"{person(n)} · {text(n)[:20]}",
            _heard(world, n),
            world.start,
        )
        for n in range(world.conversations)
    )
    columns = ("id", "account_id", "peer_kind", "peer_id", "title", "last_inbound_at", "created_at")
    copy(Conversation, columns, chats)
    maps = (
        (route + n, world.account(n), *world.peer(n), world.gateway(n), "main" if n % 3 else "support")
        for n in range(world.conversations // 2)
    )
    copy(Route, ("id", "account_id", "peer_kind", "peer_id", "gateway_id", "agent_id"), maps)


def _heard(world: World, conversation: int) -> datetime | None:
    """Somewhere in the last tenth; every fiftieth never said a word."""
    return world.at(world.messages * (1 - conversation % 997 / 9970)) if conversation % 50 else None


def _messages(world: World) -> None:
    chance = random.Random(world.first[Message])
    columns = (
        "id", "uuid", "account_id", "peer_kind", "peer_id", "conversation_id", "direction", "source", "idempotency_key",
        "text", "kind", "sender", "raw", "created_at", "routed_at", "reply_to_id",
    )  # fmt: skip
    copy(Message, columns, (_message(world, number, chance) for number in range(world.messages)))


def _message(world: World, number: int, chance: random.Random) -> tuple[object, ...]:
    asked = number % 2 == 0
    conversation, pk, at = world.conversation(number), world.first[Message] + number, world.at(number)
    key = uuid.UUID(int=chance.getrandbits(128))
    kind = "image" if number % 50 == 0 else "event" if number % 100 == 2 else "text"
    source = "channel" if asked else "staff" if number % 200 == 1 else "agent"
    return (
        pk, key, world.account(conversation), *world.peer(conversation), world.first[Conversation] + conversation,
        "in" if asked else "out", source, key.hex, text(number) if kind == "text" else "", kind,
        world.member(conversation, number % 7) if asked else "", '{"msgtype": "text", "from": {"userid": "someone"}}' if asked else "{}",
        at, at, None if asked else pk - 1,
    )  # fmt: skip


def _deliveries(world: World) -> None:
    columns = (
        "id", "target", "message_id", "account_id", "gateway_id", "carrier", "lane", "part", "payload", "fingerprint", "state", "reason",
        "code", "code_params", "tries", "due_at", "remote_id", "queued_at", "created_at", "finished_at", "dismissed_at",
    )  # fmt: skip
    first = world.first[Delivery]
    copy(Delivery, columns, (_delivery(world, first + number, work) for number, work in enumerate(works(world))))


def _delivery(world: World, pk: int, work: Work) -> tuple[object, ...]:
    asked, at = work.message % 2 == 0, world.at(work.message)
    conversation = world.conversation(work.message)
    final = work.state not in ("pending", "held")
    said = text(work.message)
    where = world.first[Conversation] + conversation
    payload = (
        f'{{"agent_id": "main", "session_key": "agent:main:wechat:{where:x}", "text": "{said}"}}'
        if asked
        else f'{{"body": {{"text": "{said}"}}}}'
    )
    failed = work.state in ("dead", "uncertain")
    return (
        pk, "agent" if asked else "channel", world.first[Message] + work.message, world.account(conversation),
        world.gateway(conversation) if asked else None, "connector" if asked else "worker",
        f"{'in' if asked else 'out'}:{where}", work.part, payload, "" if asked else f"{pk:064x}", work.state, work.reason,
        "81013" if failed else "", "{}", work.tries,
        at if final else at + timedelta(days=365), "" if asked or failed else f"remote{pk}", at, at,
        at + timedelta(seconds=3) if final else None, at + timedelta(hours=1) if work.dismissed else None,
    )  # fmt: skip


def _attempts(world: World) -> None:
    columns = (
        "id",
        "delivery_id",
        "number",
        "started_at",
        "finished_at",
        "outcome",
        "code",
        "code_params",
        "request",
        "response",
        "usage",
    )
    copy(Attempt, columns, _tried(world))


def _tried(world: World) -> Iterator[tuple[object, ...]]:
    pk, delivery = world.first[Attempt], world.first[Delivery]
    usage = '{"model": "a/b", "input": 900, "output": 40, "cache_read": 100, "cache_write": 5, "cost": 0.0031}'
    request, params = '{"msgtype": "text", "touser": "someone"}', '{"detail": "busy"}'
    for number, work in enumerate(works(world)):
        at = world.at(work.message)
        for attempt in range(1, work.tries + 1):
            done = work.state == "delivered" and attempt == work.tries
            code = "" if done else ("45009", "-1", "81013", "timeout")[work.message % 4]
            outcome = "ok" if done else "unknown" if work.state == "uncertain" else "error"
            answer = '{"errcode": 0, "errmsg": "ok"}' if done else '{"errcode": 1}'
            used = usage if done and work.message % 2 == 0 else None
            yield pk, delivery + number, attempt, at, at, outcome, code, "{}" if done else params, request, answer, used
            pk += 1


def _rest(world: World) -> None:
    """Files, incidents, and what staff did."""
    attachment, incident, entry = (world.first[table] for table in (Attachment, Incident, LogEntry))
    count = world.messages
    pictures = (
        (
            attachment + n,
            uuid.uuid4(),
            world.first[Message] + n * 50,
            "image",
            "chart.png",
            "image/png",
            2048,
            "none/none",
            "ready",
            world.at(n * 50),
        )
        for n in range(count // 50)
    )
    copy(Attachment, ("id", "uuid", "message_id", "kind", "name", "mime", "size", "file", "state", "due_at"), pictures)
    troubles = (
        (
            incident + n,
            f"filled:{incident + n}",
            "account_down",
            json.dumps({"name": person(n), "because": text(n)}),
            at,
            None if n < 9 else at,
            None if n < 6 else at,
            None if n < 9 else at,
            world.accounts[n % ACCOUNTS],
            1 + n % 3,
            n % 50,
            "40001",
            at,
            at,
        )
        for n, at in ((n, world.at(n * 100)) for n in range(_count_incidents(world)))
    )
    story = ("opened_at", "closed_at", "notified_at", "resolved_notified_at")
    about = ("account_id", "severity", "count", "error_code", "first_seen_at", "last_seen_at")
    copy(Incident, ("id", "cause", "code", "code_params", *story, *about), troubles)
    _alerts(world)
    kinds = [ContentType.objects.get_for_model(model).pk for model in (Delivery, Conversation)]
    deeds = (
        (
            entry + n,
            world.at(n * 10),
            world.staff[n % STAFF],
            kinds[n % 2],
            n % world.conversations,
            text(n)[:80],
            CHANGE,
            "replayed",
        )
        for n in range(count // 10)
    )
    columns = (
        "id",
        "action_time",
        "user_id",
        "content_type_id",
        "object_id",
        "object_repr",
        "action_flag",
        "change_message",
    )
    copy(LogEntry, columns, deeds)


def _count_incidents(world: World) -> int:
    """Many where there are many messages. Of the first nine, which are open, three were told."""
    return world.messages // 200 + min(9, world.messages // 4)


def _alerts(world: World) -> None:
    """One alert of each incident, and the message that told it; one that waits where nobody was told, by a channel that cannot send."""
    channel = AlertChannel.objects.create(
        kind="email", name="Filled", emails=["ops@example.com"], next_try_at=datetime.now(UTC) + timedelta(days=1)
    )
    incident, message, alert = (world.first[table] for table in (Incident, AlertMessage, AlertDelivery))
    times = [(n, world.at(n * 100)) for n in range(_count_incidents(world))]
    messages = (
        (message + n, channel.pk, False, "ops@example.com", "Account down", text(n), "accepted", "", "{}", at, at)
        for n, at in times
    )
    columns = ("id", "channel_id", "is_test", "target", "title", "text", "state", "code", "code_params")
    copy(AlertMessage, (*columns, "created_at", "finished_at"), messages)
    alerts = (
        (alert + n, incident + n, channel.pk, "opened", 0, "sent", "", message + n, at, at)
        if n >= 6
        else (alert + n, incident + n, channel.pk, "opened", 0, "waiting", "", None, at, None)
        for n, at in times
    )
    columns = ("id", "incident_id", "channel_id", "occasion", "number", "state", "code", "message_id")
    copy(AlertDelivery, (*columns, "created_at", "finished_at"), alerts)
