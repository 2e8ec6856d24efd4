"""A random history of messages, deliveries and attempts, and its figures counted row by row in Python."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from bridge.models import Attempt, Conversation, Delivery, Message, Reason, Route, State
from bridge.operations.figures.counting_sql import SUMS
from bridge.operations.figures.times import BOUNDS, BUCKETS
from tests.support import factories

STATES = (*[State.DELIVERED] * 6, State.DEAD, State.UNCERTAIN, State.SKIPPED, State.PENDING, State.HELD)
FINAL = (State.DELIVERED, State.DEAD, State.UNCERTAIN, State.SKIPPED)


@dataclass
class History:
    """chats: each with its mapping."""

    chance: random.Random
    until: datetime
    days: int
    chats: list[tuple[Conversation, Route]] = field(default_factory=list)
    count: int = 0

    def moment(self) -> datetime:
        return self.until - timedelta(seconds=self.chance.random() * self.days * 86400)

    def key(self) -> str:
        self.count += 1
        return f"H{self.count}"


def begin(seed: int, days: int = 3) -> History:
    """Two accounts, two gateways, three agents and six chats, in which nothing was said yet."""
    history = History(random.Random(seed), timezone.now(), days)
    accounts = [factories.app(), factories.bot()]
    gateways = [factories.gateway(), factories.gateway()]
    for number in range(6):
        chat = factories.conversation(accounts[number % 2], f"person{number}")
        agent = ("main", "support", "night")[number % 3]
        route = factories.route(
            chat.account, gateways[number // 3], agent_id=agent, peer_kind="direct", peer_id=chat.peer_id
        )
        history.chats.append((chat, route))
    return history


def go_on(history: History, questions: int) -> None:
    """Ask so many questions; most are answered, in one part or two; staff say something now and then."""
    for _ in range(questions):
        chat, route = history.chance.choice(history.chats)
        _ask(history, chat, route)
        if history.chance.random() < 0.2:
            factories.message(
                chat, "by hand", history.key(), direction="out", source="staff", created_at=history.moment()
            )


def _ask(history: History, chat: Conversation, route: Route) -> None:
    chance, at = history.chance, history.moment()
    kind = "event" if chance.random() < 0.1 else "text"
    question = factories.message(chat, "?", history.key(), created_at=at, kind=kind)
    if chance.random() < 0.1:
        _deliver(history, question, at, State.SKIPPED, reason=Reason.NO_ROUTE)
        return
    payload = {"agent_id": route.agent_id} if chance.random() < 0.9 else {}
    turn = _deliver(history, question, at, chance.choice(STATES), payload=payload, gateway=route.gateway, route=route)
    for number in range(chance.randint(0, 2)):
        cost = chance.choice([None, round(chance.random(), 6)])
        tokens = {name: chance.randint(0, 9000) for name in ("input", "output", "cache_read", "cache_write")}
        usage = {"model": "a/b", **tokens, "cost": cost}
        factories.attempt(turn, number + 1, usage=chance.choice([usage, usage, None]))
    if turn.state == State.DELIVERED:
        _answer(history, question, at)


def _answer(history: History, question: Message, at: datetime) -> None:
    chance, then = history.chance, at + timedelta(seconds=history.chance.expovariate(1 / 40))
    assert question.conversation
    answer = factories.message(
        question.conversation,
        "!",
        history.key(),
        direction="out",
        source="agent",
        created_at=min(then, history.until),
        reply_to=question,
    )
    for part in range(chance.randint(1, 2)):
        done = then + timedelta(seconds=chance.expovariate(1 / 5))
        _deliver(history, answer, answer.created_at, chance.choice(STATES), part=part, finished_at=done)


def _deliver(history: History, message: Message, at: datetime, state: str, **columns: Any) -> Delivery:
    """Its reason is there where a state must have one."""
    finished_at = columns.pop("finished_at", at)
    columns["finished_at"] = finished_at if state in FINAL else None
    reason = columns.pop("reason", "" if state in (State.DELIVERED, State.PENDING) else Reason.MERGED)
    at = min(at + timedelta(seconds=history.chance.random()), history.until)
    return factories.delivery(message, state, reason, created_at=at, **columns)


def count_plainly(key: Any) -> dict[Any, dict[str, Any]]:
    """Return the figures of all rows. key(created_at, conversation_id, account_id, gateway_id, agent_id) → to what a row counts."""
    found: dict[Any, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(SUMS, 0) | {"answer_times": [0] * BUCKETS})
    turns = {row.message_id: row for row in Delivery.objects.filter(target="agent").select_related("route", "message")}

    def row_of(at: datetime, message: Message) -> dict[str, Any]:
        question = (
            message.pk if message.direction == "in" else message.reply_to_id if message.source == "agent" else None
        )
        turn = turns.get(question)
        agent = "" if turn is None else turn.payload.get("agent_id") or (turn.route.agent_id if turn.route else "")
        gateway = turn.gateway_id if turn else None
        return found[key(at, message.conversation_id, message.account_id, gateway, agent)]

    for message in Message.objects.exclude(kind="event"):
        row_of(message.created_at, message)[f"messages_{message.direction}"] += 1
    for delivery in Delivery.objects.select_related("message"):
        assert delivery.message
        is_turn = delivery.target == "agent"
        if delivery.state in ("dead", "uncertain"):
            row_of(delivery.created_at, delivery.message)["failed" if delivery.state == "dead" else "uncertain"] += 1
        if is_turn and delivery.state != "skipped":
            row_of(delivery.created_at, delivery.message)["questions"] += 1
        if is_turn and delivery.state == "delivered" and (seconds := _seconds(delivery.message)) is not None:
            bucket = sum(seconds >= bound for bound in BOUNDS)
            row_of(delivery.created_at, delivery.message)["answer_times"][bucket] += 1
    for attempt in Attempt.objects.exclude(usage=None).select_related("delivery__message"):
        assert attempt.delivery.message
        assert attempt.usage
        row = row_of(attempt.delivery.created_at, attempt.delivery.message)
        for name in ("input", "output", "cache_read", "cache_write"):
            row[f"tokens_{name}"] += attempt.usage[name]
        row["cost_microdollars"] += round((attempt.usage["cost"] or 0) * 1_000_000)
    return dict(found)


def _seconds(question: Message) -> float | None:
    parts = Delivery.objects.filter(message__reply_to=question, message__source="agent", target="channel")
    parts = parts.filter(state="delivered") | parts.filter(state="skipped", reason="merged")
    finished = [part.finished_at for part in parts if part.finished_at]
    return (min(finished) - question.created_at).total_seconds() if finished else None
