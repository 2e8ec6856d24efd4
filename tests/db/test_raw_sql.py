"""Statements written by hand fit the models and the types of their rows."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from django.apps import apps
from django.db import models

from bridge.runtime.db.prepared import Statement
from tests.structure import ROOT, code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSERT = re.compile(r"INSERT INTO (\w+)(?: AS \w+)? \(([^)]*)\)")
STATEMENT = re.compile(r"\b(SELECT\b.+\bFROM|INSERT INTO|UPDATE \w+( \w+)? SET|DELETE FROM)\b", re.DOTALL)
# SQL made of names that are known at run time only (a model's columns, the fields whose key is changed), or without Django.
BESIDE = {"accounts/rotation.py", "bridge/runtime/db/tables.py", "bridge/runtime/launcher/embedded.py"}
MODELS = {model._meta.db_table: model for model in apps.get_models()}
# Tables that a statement of ours inserts into.
TABLES = {
    "accounts_replywindow",
    "bridge_attachment",
    "bridge_attempt",
    "bridge_contact",
    "bridge_conversation",
    "bridge_conversationfigures",
    "bridge_dayfigures",
    "bridge_delivery",
    "bridge_hourfigures",
    "bridge_message",
    "bridge_replayitem",
}


def texts() -> Iterator[tuple[Path, str]]:
    """Return every string of the product's code with its file; of an f-string what is not computed."""
    for path, tree in code().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield path, "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def inserts() -> list[tuple[str, set[str]]]:
    """Return the table and the columns of every INSERT, each once."""
    found = {
        (table, re.sub(r"[\s\"]", "", columns)) for _path, text in texts() for table, columns in INSERT.findall(text)
    }
    return [(table, set(columns.split(","))) for table, columns in sorted(found)]


def must_be_given(model: type[models.Model]) -> set[str]:
    """Return the columns that PostgreSQL neither fills nor leaves empty."""
    return {
        str(field.column)
        for field in model._meta.concrete_fields
        if not (field.null or field.primary_key or field.generated or field.db_default is not models.NOT_PROVIDED)
    }


@pytest.mark.parametrize(("table", "columns"), inserts())
def test_an_insert_names_every_column_that_must_be_given(table: str, columns: set[str]) -> None:
    assert must_be_given(MODELS[table]) - columns == set()


def test_every_insert_is_read_here() -> None:
    assert {table for table, _columns in inserts()} == TABLES


def test_statements_stand_in_modules_of_their_own() -> None:
    files = {path.relative_to(ROOT) for path, text in texts() if STATEMENT.search(text)}
    assert {str(path) for path in files if not path.stem.endswith("sql")} == BESIDE


class Pair(NamedTuple):
    first: int
    second: int


@pytest.mark.django_db
def test_a_row_type_must_have_the_columns_in_their_order() -> None:
    assert Statement(Pair, "SELECT %(one)s::int AS first, 2 AS second").fetch_one(one=1) == Pair(1, 2)
    with pytest.raises(TypeError, match="second"):
        Statement(Pair, "SELECT 2 AS second, 1 AS first").fetch()
