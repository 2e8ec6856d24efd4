"""Search that stays quick among millions of rows: each way to find a row uses one index, and stops after MAX_FOUND rows.

pg_trgm keeps every three letters of a text in an index; Chinese characters are letters to it, if LC_CTYPE of the database is not plain C.
A word of one or two letters holds no trigram: in messages it is looked for only in the newest ones, in names only at their beginning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from accounts.person_ids import any_case_kinds, match_person
from bridge.models import Contact, Conversation, Delivery, Message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet

# The newest so many rows are shown; whoever wants others types more of the word.
MAX_FOUND = 500
# Where no index can help, the newest so many messages are read. 20 000 take about 50 ms.
NEWEST = 20_000
# A name can belong to many people; the first so many are looked for.
NAMESAKES = 200
# Ids are given before a row is stored, so neighbours in time can have them the wrong way round; 10 000 rows are minutes of heavy load.
BESIDE = 10_000
LARGEST_ID = 2**63 - 1
# What pg_trgm can cut a trigram from: letters and digits in a row.
TRIGRAM = re.compile(r"[^\W_]{3}")


@dataclass(frozen=True)
class SearchResult:
    """ids: primary keys, at most MAX_FOUND; note: a sentence about what was not searched, or empty."""

    ids: list[int]
    note: str = ""


def messages(rows: QuerySet[Message], term: str, *, in_text: bool = True) -> SearchResult:
    """Return messages among `rows` whose text, person (by id or part of the name), peer or platform id matches the term.

    in_text: whether the asker may read what messages say; otherwise the text is not searched, because a result would tell it.
    """
    chats = Conversation.objects.filter(match_person("peer_id", term)).values_list("pk", flat=True)[:NAMESAKES]
    ways = [
        rows.filter(idempotency_key=term),
        rows.filter(sender=term),
        rows.filter(sender=term.lower(), account__kind__in=any_case_kinds()),
        rows.filter(sender__in=people(term)),
        rows.filter(conversation__in=list(chats)),
        rows.filter(pk__in=Delivery.objects.filter(remote_id=term).values("message")),
    ]
    if in_text:
        ways.append(holding(rows, term))
    note = "" if TRIGRAM.search(term) or not in_text else _shallow()
    return _first(_union(ways), note)


def holding(rows: QuerySet[Message], term: str) -> QuerySet[Message]:
    """Return messages whose text holds the term; where it is too short for the index, only the newest are searched."""
    matches = rows.filter(text__icontains=term)
    if TRIGRAM.search(term):
        return matches
    oldest = Message.objects.order_by("-pk").values("pk")[NEWEST : NEWEST + 1]
    return matches.filter(pk__gt=Coalesce(Subquery(oldest), Value(0)))


def conversations(rows: QuerySet[Conversation], term: str) -> SearchResult:
    """Return conversations by a part of the title or of the platform's id, or by the person's name."""
    persons = Contact.objects.filter(pk__in=_contacts(Contact.objects.all(), term).values("pk")[:NAMESAKES])
    by_person = rows.filter(
        peer_kind="direct", account__contacts__in=persons, account__contacts__external_id=F("peer_id")
    )
    return _first(_union([rows.filter(_part("title", term) | _part("peer_id", term)), by_person]), _beginnings(term))


def contacts(rows: QuerySet[Contact], term: str) -> SearchResult:
    return _first(_contacts(rows, term).order_by("-pk").values_list("pk", flat=True), _beginnings(term))


def people(term: str) -> QuerySet[Contact, str]:
    """Return platform ids of people whose name holds the term."""
    return Contact.objects.filter(_part("name", term)).values_list("external_id", flat=True)[:NAMESAKES]


def before(rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Return rows made before the moment, for a list in the order of ids, newest first.

    Ids and times run together, but for what was stored side by side; PostgreSQL does not know that and would walk over everything newer.
    So the first row from the moment on says where to begin, with room for BESIDE rows that were stored at the same time.
    """
    newer = rows.model._default_manager.filter(created_at__gte=moment).order_by("created_at").values("pk")[:1]
    return rows.filter(created_at__lt=moment, pk__lt=Coalesce(Subquery(newer) + BESIDE, Value(LARGEST_ID)))


def _contacts(rows: QuerySet[Contact], term: str) -> QuerySet[Contact]:
    return rows.filter(_part("name", term) | _part("external_id", term))


def _part(field: str, term: str) -> Q:
    """Match anywhere in the field; only its beginning where one or two Latin letters or digits would match nearly everything."""
    return Q(**{f"{field}__{'istartswith' if _is_too_common(term) else 'icontains'}": term})


def _is_too_common(term: str) -> bool:
    """Two Chinese characters are a word or a name, so they are looked for everywhere, without an index, in titles and names."""
    return term.isascii() and not TRIGRAM.search(term)


def _union(ways: Iterable[QuerySet[Any]]) -> QuerySet[Any]:
    """Return the ids of all ways, newest first. Each way gives no more than can be shown, so that it uses its own index."""
    first, *others = [way.order_by("-pk").values_list("pk", flat=True)[: MAX_FOUND + 1] for way in ways]
    return first.union(*others).order_by("-pk") if others else first


def _first(ids: QuerySet[Any], note: str) -> SearchResult:
    keys = list(ids[: MAX_FOUND + 1])
    if len(keys) > MAX_FOUND:
        cut = _("These are the newest %(n)d results. Search for more words, or choose a filter.") % {"n": MAX_FOUND}
        note = f"{note} {cut}".strip()
    return SearchResult(keys[:MAX_FOUND], note)


def _shallow() -> str:
    return _(
        "Short terms search the latest %(n)s messages only. Enter three characters or more to search all of them."
    ) % {"n": f"{NEWEST:,}"}


def _beginnings(term: str) -> str:
    if not _is_too_common(term):
        return ""
    return _("Short terms find only what begins with them. Enter three characters or more to search everywhere.")
