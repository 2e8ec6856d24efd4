"""Prepared statements, for what runs with every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Mapping


def execute_prepared(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A prepared statement and its rows, on Django's connection and in its transaction: for what runs with every message.

    Django's own cursors put the values into the text, so that PostgreSQL reads and plans every row anew; psycopg's has a plan for all.
    """
    connection.ensure_connection()
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    own: Any = psycopg.Cursor(connection.connection)
    with wrap(own) as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
