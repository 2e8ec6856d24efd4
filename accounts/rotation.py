"""Changes the key of FIELD_KEYS while everything runs: every stored ciphertext is encrypted again under the first key.

A row is changed only where it still has the ciphertext that was read, so a value written meanwhile is never overwritten. Rows that
are locked at that moment are skipped until the next round: nothing waits here while it holds a lock, so
no deadlock can stop another process. An interrupted run loses nothing; the next one continues.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from psycopg import sql

from accounts.fields import IN_ROW, Encrypted, Undecryptable, decrypt_in_row, encrypt_in_row, key_ids

if TYPE_CHECKING:
    from collections.abc import Iterator


log = logging.getLogger(__name__)
# A batch of this size is locked for milliseconds, and a million rows take minutes.
BATCH = 500
# A process that still writes under an old key after this many rounds was not restarted with the new settings.
ROUNDS = 5

_READ = sql.SQL(
    "SELECT {pk}, {column}, {row}::text FROM {table}"
    " WHERE {pk} > %(after)s AND {column} <> '' AND {column} NOT LIKE %(current)s"
    " ORDER BY {pk} LIMIT %(limit)s"
)
_SWAP = sql.SQL(
    "WITH swap AS (SELECT * FROM unnest(%(pks)s::bigint[], %(old)s::text[], %(new)s::text[]) AS swap(pk, old, new)),"
    " free AS (SELECT t.{pk} FROM {table} t JOIN swap ON swap.pk = t.{pk} AND swap.old = t.{column} FOR UPDATE OF t SKIP LOCKED)"
    " UPDATE {table} t SET {column} = swap.new FROM swap JOIN free ON free.{pk} = swap.pk WHERE t.{pk} = swap.pk"
)
_COUNT = sql.SQL("SELECT split_part({column}, '.', 2), count(*) FROM {table} WHERE {column} <> '' GROUP BY 1")
_LEFT = sql.SQL("SELECT count(*) FROM {table} WHERE {column} <> '' AND {column} NOT LIKE %(current)s")


class Column:
    """One encrypted field of one model."""

    def __init__(self, field: Encrypted[Any, Any]) -> None:
        meta = field.model._meta
        self.context = field.context
        self.names = {
            "table": sql.Identifier(meta.db_table),
            "pk": sql.Identifier(str(meta.pk.column)),
            "column": sql.Identifier(str(field.column)),
            "row": sql.Identifier(str(field.row_field.column)),
        }

    def counts(self) -> Counter[str]:
        """Return key id → number of rows. Reads the whole column."""
        with connection.cursor() as cursor:
            cursor.execute(_COUNT.format(**self.names))
            return Counter(dict(cursor.fetchall()))

    def left(self) -> int:
        """Return how many rows must be encrypted again."""
        with connection.cursor() as cursor:
            cursor.execute(_LEFT.format(**self.names), {"current": _under_first_key()})
            return int(cursor.fetchone()[0])

    def rotate(self, damaged: set[int]) -> int:
        """Do one round over the rows that are `left`. Return how many were changed; damaged ones are added to `damaged`."""
        changed = 0
        for rows in self._batches():
            fresh = [(pk, old, again) for pk, old, row in rows if (again := self._again(old, row))]
            damaged.update({pk for pk, _old, _row in rows} - {pk for pk, _old, _again in fresh})
            changed += self._swap(fresh)
        return changed

    def _batches(self) -> Iterator[list[tuple[int, str, str]]]:
        after = 0
        while rows := self._read(after):
            yield rows
            after = rows[-1][0]

    def _read(self, after: int) -> list[tuple[int, str, str]]:
        values: dict[str, Any] = {"after": after, "current": _under_first_key(), "limit": BATCH}
        with connection.cursor() as cursor:
            cursor.execute(_READ.format(**self.names), values)
            return list(cursor.fetchall())

    def _again(self, stored: str, row: str) -> str:
        """Return the value encrypted under the first key; empty where it cannot be decrypted. row: the row's key as text."""
        try:
            return encrypt_in_row(decrypt_in_row(stored, self.context, row), self.context, row)
        except Undecryptable:
            return ""

    def _swap(self, rows: list[tuple[int, str, str]]) -> int:
        if not rows:
            return 0
        pks, old, new = ([row[position] for row in rows] for position in range(3))
        with connection.cursor() as cursor:
            cursor.execute(_SWAP.format(**self.names), {"pks": pks, "old": old, "new": new})
            return int(cursor.rowcount)


def list_columns() -> list[Column]:
    """Return every encrypted field of every model."""
    fields = [field for model in apps.get_models() for field in model._meta.local_concrete_fields]
    return [Column(field) for field in fields if isinstance(field, Encrypted)]


def current_key_id() -> str:
    """Return the id of the key that encrypts."""
    return key_ids(settings.FIELD_KEYS)[0]


def _under_first_key() -> str:
    """Return the pattern, for LIKE, of values that need no change."""
    return f"{IN_ROW}.{current_key_id()}.%"


def find_unknown_keys() -> dict[str, str]:
    """Return key id that is not in FIELD_KEYS → description of where it is used."""
    known = set(key_ids(settings.FIELD_KEYS))
    found: dict[str, list[str]] = {}
    for column in list_columns():
        for key_id, count in column.counts().items():
            if key_id not in known:
                found.setdefault(key_id, []).append(f"{column.context}: {count}")
    return {key_id: ", ".join(places) for key_id, places in found.items()}


def rotate(column: Column) -> tuple[int, set[int]]:
    """Encrypt the column again, in rounds until one changes nothing. Return how many rows changed, and the ids of damaged rows."""
    changed, damaged = 0, set[int]()
    for _round in range(ROUNDS):
        done = column.rotate(damaged)
        changed += done
        if not done:
            break
    return changed, damaged
