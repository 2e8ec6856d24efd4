"""Prepared statements, for what runs with every message, and the rows that they return by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = TypeVar("Row", bound=tuple[Any, ...])


class Statement(Generic[Row]):
    """SQL, and the type of the rows that it returns: a NamedTuple that has the statement's columns by their names, in their order."""

    def __init__(self, row: type[Row], sql: str) -> None:
        self.row: Any = row
        self.sql = sql
        self._is_checked = False

    def fetch(self, **values: Any) -> list[Row]:
        """Execute it with these values and return its rows. Raises TypeError where its columns are not those of the row type."""
        names, rows = _execute(self.sql, values, describe=not self._is_checked)
        if not self._is_checked:
            if names != self.row._fields:
                raise TypeError(f"the statement returns {names}, and {self.row.__name__} has {self.row._fields}")
            self._is_checked = True
        return list(map(self.row._make, rows))

    def fetch_one(self, **values: Any) -> Row | None:
        """Return its first row; None where there is none."""
        return next(iter(self.fetch(**values)), None)


def execute_prepared(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute a statement on Django's connection, in its transaction, and return its rows."""
    return _execute(sql, values, describe=False)[1]


def _execute(sql: str, values: Mapping[str, Any], *, describe: bool) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return the names of the columns, if `describe` asks for them, and the rows.

    Django's own cursors put the values into the SQL, so that PostgreSQL parses and plans each statement again. The cursor of psycopg
    prepares it once.
    """
    connection.ensure_connection()
    make_cursor = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    psycopg_cursor: Any = psycopg.Cursor(connection.connection)
    with make_cursor(psycopg_cursor) as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return tuple(column.name for column in psycopg_cursor.description) if describe else (), rows
