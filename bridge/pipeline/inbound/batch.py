"""Loads and writes messages that wait for their routing, in batches.

A batch takes the same few statements for one message as for two hundred, in one transaction: lock its peers, load it, write what was
decided of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts.channels import cached_by_id
from bridge.models import Conversation, Reason, Route, State
from bridge.people.open_questions import WAITING_REASONS
from bridge.pipeline.delivery.claim_sql import AHEAD_SECONDS, TURN_SECONDS
from bridge.pipeline.inbound import sql
from bridge.pipeline.inbound.rate import SenderRate
from bridge.pipeline.replies.paths import path_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.models import Delivery, Message
    from bridge.pipeline.replies.paths import ReplyPath
    from channels_wechat.contract.channel import Channel

Peers = list[dict[str, Any]]
_NO_CHANGE: dict[str, Any] = {"ended": False, "since": None, "count": 0, "answered": False}


@dataclass(slots=True)
class RoutingContext:
    """A message and everything that its route and its prompt depend on.

    conversation: one object for all messages of a batch, so that what a message does to it counts for the next. routes: those that fit
    the peer, at least. files: (id, kind, name). facts: what the platform's parser found for the router. person: one object
    for all messages of a sender in a batch.
    """

    message: Message
    conversation: Conversation
    routes: Iterable[Route]
    channel: Channel
    sender_name: str
    files: Sequence[tuple[int, str, str]]
    facts: Mapping[str, Any]
    person: SenderRate = field(default_factory=SenderRate)

    @property
    def path(self) -> ReplyPath:
        """How an answer to the message leaves. Reading it may query the database."""
        return path_for(self.channel, self.message.account_id)


def lock_peers() -> Peers:
    """Lock the peers of a batch until the transaction ends. Return them; empty: no message waits."""
    return [
        {"account_id": peer.account_id, "peer_kind": peer.peer_kind, "peer_id": peer.peer_id}
        for peer in sql.LOCK_PEERS.fetch()
    ]


def unrouted_ids(locked: Peers) -> list[sql.UnroutedId]:
    """Return the waiting messages of these peers, the oldest first."""
    return sql.UNROUTED_IDS.fetch(peers=json.dumps(locked))


def load_batch(locked: Peers, only: int | None = None) -> list[RoutingContext]:
    """Return the waiting messages of these peers, oldest first, each with its conversation; called when the locks are held.

    only: just this message. Messages that another router took before the locks were free are not returned.
    """
    rows = sql.LOAD_BATCH.fetch(peers=json.dumps(locked), only=only, now=timezone.now())
    talks: dict[int, tuple[Conversation, list[Route]]] = {}
    people: dict[tuple[int, str], SenderRate] = {}
    return [_build_context(row, talks, people) for row in rows]


def store_routed(decided: Iterable[tuple[RoutingContext, Delivery]]) -> None:
    """Store the deliveries, pending or skipped, in this order, and mark their messages as routed."""
    pairs = list(decided)
    if pairs:
        values = {
            "rows": [_build_row(*pair) for pair in pairs],
            "people": _rows_of_senders(case for case, _delivery in pairs),
            "waits": _rows_of_waits(pairs),
        }
        parameters = {name: json.dumps(rows) for name, rows in values.items()}
        sql.STORE_ROUTED.fetch(**parameters, now=timezone.now(), turn=TURN_SECONDS, ahead=AHEAD_SECONDS)


def _rows_of_waits(pairs: Iterable[tuple[RoutingContext, Delivery]]) -> list[dict[str, Any]]:
    """Return what changes in the conversations whose questions wait for staff, or wait no more.

    They wait no more where an agent is asked again, or where somebody answered in the platform's own client. ended: what waited before
    waits no more; since, count: of the questions that wait now; answered: by somebody, so that the time until the agent answers again
    begins anew. Of most batches nothing is returned.
    """
    found: dict[int, dict[str, Any]] = {}
    for case, delivery in pairs:
        talk, is_own = case.conversation, delivery.reason == Reason.OWN
        waits = delivery.reason in WAITING_REASONS and case.message.kind != "event"
        ends = is_own or delivery.state == State.PENDING
        is_open = talk.waiting_since is not None or talk.pk in found
        is_answered = is_own and talk.mode == Conversation.Mode.HUMAN
        if not (waits or (ends and is_open) or is_answered):
            continue
        row = found.setdefault(talk.pk, {"conversation": talk.pk, **_NO_CHANGE})
        if ends:
            row.update(ended=True, since=None, count=0, answered=row["answered"] or is_answered)
        else:
            row.update(since=row["since"] or case.message.created_at.isoformat(), count=row["count"] + 1)
    return list(found.values())


def _rows_of_senders(cases: Iterable[RoutingContext]) -> list[dict[str, Any]]:
    """Return the rows of the senders whose turns were counted."""
    counted = {(case.message.account_id, case.message.sender): case.person for case in cases if case.person.changed}
    return [
        {
            "account": account,
            "sender": sender,
            "turns_until": person.turns_until and person.turns_until.isoformat(),
            "refused_at": person.refused_at and person.refused_at.isoformat(),
        }
        for (account, sender), person in counted.items()
    ]


def _build_context(
    row: sql.UnroutedMessage,
    talks: dict[int, tuple[Conversation, list[Route]]],
    people: dict[tuple[int, str], SenderRate],
) -> RoutingContext:
    message = sql.MESSAGE.build(row)
    if row.conversation_id not in talks:
        conversation = sql.CONVERSATION.build(row, id=row.conversation_id)
        talks[row.conversation_id] = conversation, [Route(**fields) for fields in json.loads(row.routes or "[]")]
    message.account, channel = cached_by_id(row.account_id)
    message.conversation, routes = talks[row.conversation_id]
    person = people.setdefault((row.account_id, row.sender), SenderRate(row.turns_until, row.refused_at))
    facts = (json.loads(row.files or "[]"), json.loads(row.parsed_facts or "{}"), person)
    return RoutingContext(message, message.conversation, routes, channel, row.sender_name, *facts)


def _build_row(case: RoutingContext, delivery: Delivery) -> dict[str, Any]:
    return {
        "message": case.message.pk,
        "conversation": case.conversation.pk,
        "reply_to": case.message.reply_to_id,
        "account": delivery.account_id,
        "gateway": delivery.gateway_id,
        "route": delivery.route_id,
        "lane": delivery.lane,
        "state": delivery.state,
        "reason": delivery.reason,
        "payload": delivery.payload,
    }
