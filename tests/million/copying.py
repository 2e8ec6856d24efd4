"""Rows into a table by COPY, as fast as this machine's Python can write lines."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import connection, models
from django.db.models.fields import NOT_PROVIDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Lines in one write to the server.
BLOCK = 2000
# What COPY's text format means by NULL.
NULL = r"\N"


def copy(model: type[models.Model], columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Store rows of these columns; every other column gets its field's default. No value may hold a tab, a newline or a backslash."""
    fields = [field for field in model._meta.concrete_fields if _needs_value(field, columns)]
    names = ", ".join(f'"{name}"' for name in (*columns, *(field.column for field in fields)))
    end = "".join(f"\t{_plain(_default(field))}" for field in fields) + "\n"
    with connection.cursor() as cursor:
        with cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as into:
            for block in _blocks(rows):
                into.write("".join("\t".join(map(_plain, row)) + end for row in block))
        _move_sequence(cursor, model)


def first_free(model: type[models.Model]) -> int:
    """The lowest id after all that the table holds."""
    return int(model._default_manager.aggregate(last=models.Max("pk"))["last"] or 0) + 1


def _needs_value(field: models.Field[Any, Any], columns: tuple[str, ...]) -> bool:
    left_to_the_database = field.primary_key or field.db_default is not NOT_PROVIDED
    return field.column not in columns and not left_to_the_database


def _default(field: models.Field[Any, Any]) -> Any:
    value = field.get_default()
    return json.dumps(value) if isinstance(field, models.JSONField) else value


def _plain(value: object) -> str:
    if value is None:
        return NULL
    return ("t" if value else "f") if isinstance(value, bool) else str(value)


def _blocks(rows: Iterable[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
    """itertools.batched, which Python has from 3.12 on."""
    iterator = iter(rows)
    while block := list(islice(iterator, BLOCK)):
        yield block


def _move_sequence(cursor: Any, model: type[models.Model]) -> None:
    """What is stored next comes after what was copied."""
    table = model._meta.db_table
    last = model._default_manager.aggregate(last=models.Max("pk"))["last"]
    cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", [table, model._meta.pk.column, last or 1])
