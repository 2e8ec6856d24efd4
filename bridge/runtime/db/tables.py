"""Rows in statements of ours: for what runs with every message, where Django would spend more on writing the SQL than on the work.

A `Table` reads a model's instances out of a statement's columns, and inserts instances. Everything else goes by Django's querysets.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import connection, models

from bridge.runtime.db.prepared import execute_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = TypeVar("Row", bound=models.Model)


class Table(Generic[Row]):
    """only: the names of the columns that are read, all when empty; Django reads the others when somebody asks."""

    def __init__(self, model: type[Row], alias: str, only: Sequence[str] = ()) -> None:
        self.model, self.alias = model, alias
        self.fields = [field for field in model._meta.concrete_fields if not only or field.attname in only]

    @cached_property
    def columns(self) -> str:
        """For a SELECT or RETURNING."""
        return ", ".join(f"{self.alias}.{field.column}" for field in self.fields)

    @cached_property
    def _names(self) -> list[str]:
        return [field.attname for field in self.fields]

    @cached_property
    def _readers(self) -> list[tuple[int, Any]]:
        return [(place, f.from_db_value) for place, f in enumerate(self.fields) if hasattr(f, "from_db_value")]

    def build(self, row: Any, **values: Any) -> Row:
        """row: has these columns by name, as the database gave them, but for those that are given as `values`."""
        found = [values[name] if name in values else getattr(row, name) for name in self._names]
        for place, reader in self._readers:
            found[place] = reader(found[place], None, connection)
        return self.model.from_db(connection.alias, self._names, found)

    def insert(self, rows: Sequence[Row]) -> None:
        """One statement, in this order; the rows get their keys. Raises IntegrityError."""
        if rows:
            self._keyed(rows, self._insert(rows, ""))

    def insert_new(self, row: Row) -> bool:
        """False where another row with the same identity is there; that one stays as it is."""
        found = self._insert([row], " ON CONFLICT DO NOTHING")
        self._keyed([row] if found else [], found)
        return bool(found)

    def _insert(self, rows: Sequence[Row], conflict: str) -> list[tuple[Any, ...]]:
        fields = [field for field in self.fields if not _by_database(field)]
        values = {f"{f.column}_{n}": _prepared(f, row) for n, row in enumerate(rows) for f in fields}
        names = ", ".join(str(field.column) for field in fields)
        places = ", ".join(f"({', '.join(f'%({f.column}_{n})s' for f in fields)})" for n in range(len(rows)))
        table = self.model._meta.db_table
        return execute_prepared(f"INSERT INTO {table} ({names}) VALUES {places}{conflict} RETURNING id", values)  # noqa: S608  a model's names

    def _keyed(self, rows: Sequence[Row], keys: Sequence[tuple[Any, ...]]) -> None:
        for row, (pk,) in zip(rows, keys, strict=True):
            row.pk, row._state.adding, row._state.db = pk, False, connection.alias


def _by_database(field: Any) -> bool:
    return bool(field.primary_key or field.db_default is not models.NOT_PROVIDED)


def _prepared(field: Any, row: models.Model) -> Any:
    return field.get_db_prep_save(field.pre_save(row, True), connection)
