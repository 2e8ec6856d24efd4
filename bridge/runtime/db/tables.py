"""Model instances in prepared statements, for what runs with every message: Django would need more time for the SQL than for the work.

A `Table` makes instances from the columns of a statement, and inserts instances. Everything else uses Django's querysets.
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
    """The columns of a model. only: the names of those that are read, or all if empty; Django reads another one when it is used."""

    def __init__(self, model: type[Row], alias: str, only: Sequence[str] = ()) -> None:
        self.model, self.alias = model, alias
        self.fields = [field for field in model._meta.concrete_fields if not only or field.attname in only]

    @cached_property
    def columns(self) -> str:
        """The columns for a SELECT or RETURNING."""
        return ", ".join(f"{self.alias}.{field.column}" for field in self.fields)

    @cached_property
    def _names(self) -> list[str]:
        return [field.attname for field in self.fields]

    @cached_property
    def _converters(self) -> list[tuple[int, Any]]:
        return [
            (place, field.from_db_value) for place, field in enumerate(self.fields) if hasattr(field, "from_db_value")
        ]

    def build(self, row: Any, **values: Any) -> Row:
        """Make an instance. row: has the columns by name, as the database returned them; `values` replace some of them."""
        values_by_place = [values[name] if name in values else getattr(row, name) for name in self._names]
        for place, convert in self._converters:
            values_by_place[place] = convert(values_by_place[place], None, connection)
        return self.model.from_db(connection.alias, self._names, values_by_place)

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows in one statement, in this order, and set their keys. Raises IntegrityError."""
        if rows:
            self._set_keys(rows, self._insert(rows, ""))

    def insert_new(self, row: Row) -> bool:
        """Insert a row. Return False if another row with the same identity exists; that one is not changed."""
        keys = self._insert([row], " ON CONFLICT DO NOTHING")
        self._set_keys([row] if keys else [], keys)
        return bool(keys)

    def _insert(self, rows: Sequence[Row], conflict: str) -> list[tuple[Any, ...]]:
        fields = [field for field in self.fields if not _is_set_by_database(field)]
        values = {f"{f.column}_{n}": _prepare_value(f, row) for n, row in enumerate(rows) for f in fields}
        names = ", ".join(str(field.column) for field in fields)
        places = ", ".join(f"({', '.join(f'%({f.column}_{n})s' for f in fields)})" for n in range(len(rows)))
        table = self.model._meta.db_table
        return execute_prepared(f"INSERT INTO {table} ({names}) VALUES {places}{conflict} RETURNING id", values)  # noqa: S608  the names are those of a model

    def _set_keys(self, rows: Sequence[Row], keys: Sequence[tuple[Any, ...]]) -> None:
        for row, (pk,) in zip(rows, keys, strict=True):
            row.pk, row._state.adding, row._state.db = pk, False, connection.alias


def _is_set_by_database(field: Any) -> bool:
    return bool(field.primary_key or field.db_default is not models.NOT_PROVIDED)


def _prepare_value(field: Any, row: models.Model) -> Any:
    return field.get_db_prep_save(field.pre_save(row, True), connection)
