"""Search that stays quick among millions of rows: each way to find a row uses one index, and stops after MAX_FOUND rows.

pg_trgm keeps every three letters of a text in an index; Chinese characters are letters to it, if LC_CTYPE of the database is not plain C.
Two neighbouring Chinese characters have an index of their own (`bridge.models.pairs`). One character, or one or two Latin letters, are in
no index: in messages they are looked for only in the newest ones, in names only at their beginning.

Everywhere a term may also be the number of a message or delivery, with or without #, an id that a platform gave, or the code of a failure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from accounts.health import CODE_LENGTH
from accounts.person_ids import any_case_kinds, match_person
from bridge.models import Contact, Conversation, Delivery, Message
from bridge.models.pairs import find_pairs, holds_pairs

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
# Columns of names and titles whose neighbouring Chinese characters are in an index.
PAIRED = ("name", "title")
# The number of a row, as pages print it. PostgreSQL counts to 2**63, which has one digit more.
NUMBER = re.compile(r"#?([0-9]{1,18})")


@dataclass(frozen=True)
class SearchResult:
    """ids: primary keys, at most MAX_FOUND; note: a sentence about what was not searched or is left out, or empty."""

    ids: list[int]
    note: str = ""


def messages(rows: QuerySet[Message], term: str, *, in_text: bool = True) -> SearchResult:
    """Return messages among `rows` whose text, person (by id or part of the name), peer, number, platform id or code matches the term.

    in_text: whether the asker may read what messages say; otherwise the text is not searched, because a result would tell it.
    """
    ways = [*_saying(rows, term, in_text=in_text), *_named(rows, term)]
    return _first(_union(ways), _shallow(term) if in_text else "")


def deliveries(rows: QuerySet[Delivery], term: str, *, in_text: bool = True) -> SearchResult:
    """Return deliveries by what finds their message, by their own number or platform id, and by their code."""
    said = _first(_union(_saying(Message.objects.all(), term, in_text=in_text)), _shallow(term) if in_text else "")
    ways = [rows.filter(message__in=said.ids), rows.filter(remote_id=term)]
    if is_code(term):
        ways.append(rows.filter(code=term))
    if number := find_number(term):
        ways += [rows.filter(pk=number), rows.filter(message=number)]
    return _first(_union(ways), said.note)


def conversations(rows: QuerySet[Conversation], term: str, *, in_text: bool = False) -> SearchResult:  # noqa: ARG001
    """Return conversations by a part of the title or of the platform's id, by the person's name, or by what names one of their messages."""
    persons = Contact.objects.filter(pk__in=_contacts(Contact.objects.all(), term).values("pk")[:NAMESAKES])
    by_person = rows.filter(
        peer_kind="direct", account__contacts__in=persons, account__contacts__external_id=F("peer_id")
    )
    by_message = rows.filter(pk__in=_find_named(term).values("conversation"))
    called = rows.filter(_part("title", term) | _part("peer_id", term))
    return _first(_union([called, by_person, by_message]), _beginnings(term))


def contacts(rows: QuerySet[Contact], term: str, *, in_text: bool = False) -> SearchResult:  # noqa: ARG001
    """Return people by a part of the name or of the platform's id, or by what names a message of theirs."""
    people: dict[int, set[str]] = {}
    for account, person in _find_named(term).exclude(sender="").values_list("account_id", "sender"):
        people.setdefault(account, set()).add(person)
    theirs = [rows.filter(account=account, external_id__in=persons) for account, persons in people.items()]
    return _first(_union([_contacts(rows, term), *theirs]), _beginnings(term))


def holding(rows: QuerySet[Message], term: str) -> QuerySet[Message]:
    """Return messages whose text holds the term; where it is too short for the indexes, only the newest are searched."""
    matches = rows.filter(text__icontains=term)
    if TRIGRAM.search(term):
        return matches
    if pairs := find_pairs(term):
        return matches.filter(holds_pairs("text", pairs))
    oldest = Message.objects.order_by("-pk").values("pk")[NEWEST : NEWEST + 1]
    return matches.filter(pk__gt=Coalesce(Subquery(oldest), Value(0)))


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


def after(rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Return rows made at the moment or later, for a list in the order of ids: the counterpart of `before`."""
    older = rows.model._default_manager.filter(created_at__lt=moment).order_by("-created_at").values("pk")[:1]
    return rows.filter(created_at__gte=moment, pk__gt=Coalesce(Subquery(older) - BESIDE, Value(0)))


def called(fields: Iterable[str], term: str) -> Q:
    """Match a part of any of these names and ids, as far as an index finds it."""
    return reduce(or_, (_part(field, term) for field in fields))


def find_number(term: str) -> int:
    """Return the number of a row that a term names, #21 or 21; 0 where it names none."""
    found = NUMBER.fullmatch(term)
    return int(found[1]) if found else 0


def is_code(term: str) -> bool:
    """Whether the term can be a code of an error: one word of ASCII, like 81013 or http_502."""
    return term.isascii() and len(term) <= CODE_LENGTH and not re.search(r"\s", term)


def _saying(rows: QuerySet[Message], term: str, *, in_text: bool) -> list[QuerySet[Message]]:
    """Return the ways to messages by their text, person and peer."""
    chats = Conversation.objects.filter(match_person("peer_id", term)).values_list("pk", flat=True)[:NAMESAKES]
    ways = [
        rows.filter(idempotency_key=term),
        rows.filter(sender=term),
        rows.filter(sender=term.lower(), account__kind__in=any_case_kinds()),
        rows.filter(sender__in=people(term)),
        rows.filter(conversation__in=list(chats)),
    ]
    return [*ways, holding(rows, term)] if in_text else ways


def _named(rows: QuerySet[Message], term: str) -> list[QuerySet[Message]]:
    """Return the ways to messages by numbers, by the id of a delivery on the platform, and by the code of a failure."""
    ways = [rows.filter(pk__in=Delivery.objects.filter(remote_id=term).values("message"))]
    if number := find_number(term):
        ways += [rows.filter(pk=number), rows.filter(pk__in=Delivery.objects.filter(pk=number).values("message"))]
    if is_code(term):
        failed = Delivery.objects.filter(code=term, message__isnull=False).order_by("-pk")
        ways.append(rows.filter(pk__in=failed.values("message")[: MAX_FOUND + 1]))
    return ways


def _find_named(term: str) -> QuerySet[Message]:
    """Return the messages that the term names by a number, an id or a code. Platforms give ids in ASCII, so a Chinese word asks nothing."""
    if not term.isascii():
        return Message.objects.none()
    everything = Message.objects.all()
    ids = _union([everything.filter(idempotency_key=term), *_named(everything, term)])
    return Message.objects.filter(pk__in=list(ids[:MAX_FOUND])).order_by()


def _contacts(rows: QuerySet[Contact], term: str) -> QuerySet[Contact]:
    return rows.filter(_part("name", term) | _part("external_id", term))


def _part(field: str, term: str) -> Q:
    """Match anywhere in the field; only its beginning where one or two Latin letters or digits would match nearly everything.

    Two Chinese characters are found anywhere in a name or title, and at the beginning of an id: it has the index for that.
    """
    anywhere, beginning = Q(**{f"{field}__icontains": term}), Q(**{f"{field}__istartswith": term})
    pairs = [] if TRIGRAM.search(term) else find_pairs(term)
    if not pairs:
        return beginning if _is_too_common(term) else anywhere
    return anywhere & Q(holds_pairs(field, pairs)) if field in PAIRED else beginning


def _is_too_common(term: str) -> bool:
    """One Chinese character is looked for everywhere, without an index, in titles and names."""
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


def _shallow(term: str) -> str:
    """Return the sentence that says where a term was looked for that is in no index."""
    if TRIGRAM.search(term) or find_pairs(term) or find_number(term):
        return ""
    return _(
        "Short terms search the latest %(n)s messages only. Enter two Chinese characters, or three letters, to search all of them."
    ) % {"n": f"{NEWEST:,}"}


def _beginnings(term: str) -> str:
    if not _is_too_common(term) or find_number(term):
        return ""
    return _("Short terms find only what begins with them. Enter three characters or more to search everywhere.")
