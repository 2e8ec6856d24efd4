"""What the palette (Ctrl+K) finds among the rows: two queries, whatever there is, each way with an index of its own.

The ways are those of `bridge.ui.search`: parts of names, titles and ids, the numbers of messages and deliveries, ids that platforms gave,
and codes of failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Coalesce, NullIf

from accounts.models import ChannelAccount
from bridge.models import Contact, Conversation, Delivery, Message, Route
from bridge.ui import search
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet

# So many rows of each kind are offered; whoever wants others types more of the word.
MOST = 8


@dataclass(frozen=True)
class Hit:
    """kind: the model's name in small letters, or "code". key: the primary key, or the code. about: the account or the address."""

    kind: str
    key: str
    title: str
    about: str


def find_rows(term: str, allowed: Callable[[str], bool]) -> list[Hit]:
    """Return what the term names, each kind's newest first. allowed: whether the reader has a permission, like "bridge.view_contact"."""
    by_name = [make(term) for permission, make in _BY_NAME if allowed(permission)]
    by_number = [make(term) for permission, make in _BY_NUMBER if term.isascii() and allowed(permission)]
    return [*_read(by_name), *_read(by_number)]


def _read(ways: list[QuerySet[Any, Any]]) -> list[Hit]:
    """Read all ways in one query, in their order."""
    if not ways:
        return []
    first, *others = ways
    rows = first.union(*others, all=True) if others else first
    found = [Hit(*row) for row in rows]
    order = list(dict.fromkeys(hit.kind for hit in found))
    return [hit for kind in order for hit in found if hit.kind == kind]


def _columns(rows: QuerySet[Any], kind: str, title: Any, about: Any, key: Any = "pk") -> QuerySet[Any, Any]:
    """Return the columns of a Hit, so that rows of several tables fit into one union."""
    text = CharField()
    columns = {
        "hit_kind": Value(kind, output_field=text),
        "hit_key": Cast(key, text),
        "hit_title": Cast(title, text),
        "hit_about": Cast(about, text),
    }
    found: QuerySet[Any, Any] = rows.order_by("-pk").annotate(**columns).values_list(*columns)[:MOST]
    return found


def _accounts(term: str) -> QuerySet[Any, Any]:
    rows = ChannelAccount.objects.filter(search.called(("name", "external_id"), term))
    return _columns(rows, "channelaccount", F("name"), F("external_id"))


def _gateways(term: str) -> QuerySet[Any, Any]:
    return _columns(
        Gateway.objects.filter(search.called(("name", "base_url"), term)), "gateway", F("name"), F("base_url")
    )


def _mappings(term: str) -> QuerySet[Any, Any]:
    rows = Route.objects.filter(search.called(("peer_id", "agent_id"), term))
    return _columns(rows, "route", F("agent_id"), Coalesce(NullIf(F("peer_id"), Value("")), F("account__name")))


def _conversations(term: str) -> QuerySet[Any, Any]:
    rows = Conversation.objects.filter(search.called(("title", "peer_id"), term))
    return _columns(rows, "conversation", Coalesce(NullIf(F("title"), Value("")), F("peer_id")), F("account__name"))


def _contacts(term: str) -> QuerySet[Any, Any]:
    rows = Contact.objects.filter(search.called(("name", "external_id"), term))
    return _columns(rows, "contact", Coalesce(NullIf(F("name"), Value("")), F("external_id")), F("account__name"))


def _messages(rows: QuerySet[Message]) -> QuerySet[Any, Any]:
    return _columns(rows, "message", "pk", F("account__name"))


def _deliveries(rows: QuerySet[Delivery]) -> QuerySet[Any, Any]:
    return _columns(rows, "delivery", "pk", F("account__name"))


def _codes(term: str) -> QuerySet[Any, Any]:
    """One delivery that failed with this code says that there are some."""
    rows = Delivery.objects.filter(code=term).exclude(code="")
    return _columns(rows, "code", F("code"), F("account__name"), F("code"))[:1]


Way = tuple[str, "Callable[[str], QuerySet[Any, Any]]"]
_BY_NAME: tuple[Way, ...] = (
    ("bridge.view_conversation", _conversations),
    ("bridge.view_contact", _contacts),
    ("accounts.view_channelaccount", _accounts),
    ("openclaw.view_gateway", _gateways),
    ("bridge.view_route", _mappings),
)
# A number can also be an id that a platform gave.
_BY_NUMBER: tuple[Way, ...] = (
    ("bridge.view_message", lambda term: _messages(Message.objects.filter(pk=search.find_number(term)))),
    ("bridge.view_message", lambda term: _messages(Message.objects.filter(idempotency_key=term))),
    ("bridge.view_delivery", lambda term: _deliveries(Delivery.objects.filter(pk=search.find_number(term)))),
    ("bridge.view_delivery", lambda term: _deliveries(Delivery.objects.filter(remote_id=term))),
    ("bridge.view_delivery", _codes),
)
