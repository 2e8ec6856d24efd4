"""A database that an earlier commit left, migrated: it becomes what a new one is, keeps its rows, and every page and list opens over it."""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import ChannelAccount
from bridge.management.commands.prepare import check_applied_migrations
from openclaw.models import Gateway
from tests.million import pages
from tests.support import factories
from tests.upgrade.fill import ADMIN
from tests.upgrade.record import dumps, empty_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

NAME = "upgrade_of_"  # before the name of the tests' own database, of which each process has one
STRUCTURE = (
    "SELECT table_name, column_name, udt_name, is_nullable, column_default, character_maximum_length, is_identity "
    "FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
)
# PostgreSQL writes the casts and brackets of an expression otherwise once it was dumped and read again.
CASTS = re.compile(r"::(?:character varying|[a-z]+)(?:\[\])?|[()]")


def structure() -> set[tuple[str, ...]]:
    """Columns, indexes and constraints of the database of `connection`, in no order: a migration adds columns at the end."""
    found: set[tuple[str, ...]] = set()
    with connection.cursor() as cursor:
        for query in STRUCTURE:
            cursor.execute(query)
            found.update(tuple(CASTS.sub("", str(value)) for value in row) for row in cursor.fetchall())
    return found


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """The dump as the database of `connection`, until the block ends."""
    values = connection.get_connection_params()
    server = {key: values[key] for key in ("host", "port", "user", "password") if values.get(key)}
    own, name = connection.settings_dict["NAME"], f"{NAME}{values['dbname']}"
    with psycopg.connect(dbname="postgres", autocommit=True, **server) as maintenance:
        maintenance.execute(f'DROP DATABASE IF EXISTS "{name}"')
        maintenance.execute(f'CREATE DATABASE "{name}"')
        with psycopg.connect(dbname=name, autocommit=True, **server) as target:
            target.execute(gzip.decompress(path.read_bytes()))
        try:
            use(name)
            yield
        finally:
            use(own)
            maintenance.execute(f'DROP DATABASE "{name}"')


def use(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name
    ContentType.objects.clear_cache()


@pytest.fixture
def _pages(valkey: redis.Redis, settings: Any, tmp_path: Path) -> None:
    settings.API_RATE, settings.MEDIA_ROOT = 100_000, str(tmp_path)


@pytest.mark.usefixtures("_pages")
@pytest.mark.django_db(transaction=True)  # the connection leaves its database, so it must not be within a transaction
@pytest.mark.parametrize("path", dumps(), ids=lambda path: path.name.partition(".")[0])
def test_a_database_of_an_earlier_commit_is_migrated_and_every_page_opens(path: Path) -> None:
    fresh = structure()
    with restored(path):
        assert empty_tables() == []  # else the dump shows nothing of that table
        check_applied_migrations()
        call_command("migrate", interactive=False, verbosity=0)
        assert structure() ^ fresh == set(), (
            f"{path.name} holds other tables: was a recorded migration edited? See tests/upgrade/__init__.py"
        )
        assert ChannelAccount.objects.get(kind="wecom_app").credentials == factories.APP_FIELDS_WITH_SEATS
        assert Gateway.objects.get().token == factories.CANARIES["gateway token"]
        assert refused() == {}


def refused() -> dict[str, int]:
    """Address → status of what cannot be read. Each page once and each list as it opens: filters and orders read the same columns."""
    client = Client()
    client.force_login(User.objects.get(username=ADMIN))
    found = [*pages.admin_pages(client), *pages.api_pages(client)]
    addresses = {page.address for page in found if not page.is_list or "=" not in page.address}
    addresses |= {
        reverse("admin:accounts_channelaccount_change", args=[one.pk]) for one in ChannelAccount.objects.all()
    }
    statuses = {address: client.get(address).status_code for address in sorted(addresses)}
    assert list(statuses.values()).count(200) > 60
    unreadable = (
        403,
        404,
        405,
    )  # what nobody may delete, what a kind of account does not have, and what takes POST only
    return {address: status for address, status in statuses.items() if status >= 400 and status not in unreadable}
