"""A list as a file through the real web server: it is sent in pieces, which any of the threads may read."""

from __future__ import annotations

import csv
import io
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse

from bridge.models import StaffLanguage
from tests.support import factories

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey", "_without_csrf")]
TEXT = "一条很长的消息。" * 40


def ask(web: str, user: User) -> requests.Response:
    """Press Download as CSV on the list of messages; what is answered is read by the caller."""
    client = Client()
    client.force_login(user)
    cookies = {"sessionid": client.cookies["sessionid"].value}
    return requests.post(f"{web}{reverse('admin:bridge_message_export')}", cookies=cookies, stream=True, timeout=120)


def fill(count: int) -> None:
    """Copy one message, in the database."""
    said = factories.message(factories.conversation(factories.account(), "zhangsan"), TEXT, "KEY")
    names = [
        field.column for field in said._meta.concrete_fields if field.column not in ("id", "uuid", "idempotency_key")
    ]
    quoted = ", ".join(f'"{name}"' for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {said._meta.db_table} ({quoted}, uuid, idempotency_key) "  # noqa: S608  # names of columns
            f"SELECT {quoted}, gen_random_uuid(), 'COPY' || number FROM {said._meta.db_table}, generate_series(2, %s) AS number",
            [count],
        )


def test_a_file_of_several_pieces_is_whole_and_in_the_readers_language(web: str, admin_user: User) -> None:
    StaffLanguage.objects.create(user=admin_user, language="zh-hans")
    fill(3500)
    with ask(web, admin_user) as answer:
        assert answer.status_code == 200
        text = answer.content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len({row["编号"] for row in rows}) == 3500
    assert {(row["文本"], row["方向"]) for row in rows} == {(TEXT, "收")}
    [entry] = LogEntry.objects.filter(action=LogEntry.Action.ACCESS)
    assert (entry.additional_data["download"]["rows"], entry.actor) == (3500, admin_user)


@pytest.mark.heavy
def test_a_hundred_thousand_rows_take_no_more_memory_than_a_few(web: str, admin_user: User) -> None:
    """The process that serves them is this one, so what it keeps can be measured."""
    fill(100_000)
    lines, size, most, before = 0, 0, 0, resident()
    with ask(web, admin_user) as answer:
        for piece in answer.iter_content(256 * 1024):
            lines, size, most = lines + piece.count(b"\r\n"), size + len(piece), max(most, resident() - before)
    assert lines == 100_001
    assert size > 100_000 * len(TEXT.encode())
    assert most < size / 2, f"{most / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
