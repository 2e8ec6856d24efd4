"""Callbacks of one moment in one statement: what happens to one of them happens to no other."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from django.db import DatabaseError, connection

from bridge.models import Message
from bridge.pipeline.inbound import receive, spool_drain, sql
from bridge.pipeline.inbound.callbacks import Callbacks
from bridge.runtime.web.threads import Threads
from tests.support import factories
from tests.support.away import database_away
from tests.support.factories import app, eventually, picture, said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from accounts.models import ChannelAccount
    from channels_wechat.contract.messages import Inbound

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@contextmanager
def closed() -> Iterator[None]:
    """Nothing gets into the table until the end of the block, so that what comes meanwhile is one group behind the first."""
    with closing(psycopg.connect(**params())) as server:
        server.execute("LOCK TABLE bridge_message IN SHARE MODE")
        yield


def params() -> dict[str, str]:
    found = connection.get_connection_params()
    return {key: found[key] for key in ("host", "port", "user", "password", "dbname") if found.get(key)}


def waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return int(cursor.fetchone()[0])


@pytest.fixture
def batches() -> Iterator[Storing]:
    with Storing() as storing:
        yield storing


class Storing:
    """The web process's batches on a loop of their own, with its one thread that stores."""

    def __enter__(self) -> Self:
        self.loop, self.threads = asyncio.new_event_loop(), Threads()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.rows = Callbacks(self.threads).rows
        return self

    def __exit__(self, *_error: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.threads.close()

    def group(self, account: ChannelAccount, messages: list[Inbound]) -> list[Future[int | None]]:
        """The first message is on its way alone, the others stand behind it, as one group and in this order."""
        first = self.store(account, said("first"))
        eventually(lambda: waiting() == 1)
        others = []
        for number, message in enumerate(messages, 1):
            others.append(self.store(account, message))
            eventually(lambda number=number: len(self.rows.waiting) == number)
        return [first, *others]

    def store(self, account: ChannelAccount, message: Inbound) -> Future[int | None]:
        return asyncio.run_coroutine_threadsafe(self.rows(receive.build_row(account, message)), self.loop)


def test_what_comes_together_is_stored_together_in_order(account: ChannelAccount, batches: Storing) -> None:
    with closed():
        stored = batches.group(account, [said("1", media=(picture("M1"), picture("M2"))), said("2"), said("3")])
    ids = [one.result(20) for one in stored]
    assert ids == sorted(filter(None, ids))
    rows = Message.objects.order_by("id")
    assert [row.text for row in rows] == ["first", "1", "2", "3"]
    assert len({transaction_of(row) for row in rows}) == 2
    assert [row.attachments.count() for row in rows] == [0, 2, 0, 0]


def transaction_of(message: Message) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin FROM bridge_message WHERE id = %s", [message.pk])
        return str(cursor.fetchone()[0])


def test_of_three_deliveries_of_one_message_one_is_new(account: ChannelAccount, batches: Storing) -> None:
    one = said("one", media=(picture(),))
    with closed():
        stored = batches.group(account, [one, said("other"), one, one])
    assert [bool(each.result(20)) for each in stored] == [True, True, True, False, False]
    assert Message.objects.get(text="one").attachments.count() == 1
    assert factories.receive(account, one) is None


def test_a_row_that_cannot_be_stored_fails_no_other(account: ChannelAccount, batches: Storing) -> None:
    gone = app(agent_id=7)
    gone.delete()
    gone.pk = 0
    with closed():
        stored = batches.group(account, [said("1"), said("3")])
        wrong = batches.store(gone, said("2"))
        eventually(lambda: len(batches.rows.waiting) == 3)
    with pytest.raises(DatabaseError):
        wrong.result(20)
    assert all(each.result(20) for each in stored)
    assert set(Message.objects.values_list("text", flat=True)) == {"first", "1", "3"}


@pytest.mark.parametrize(
    ("cause", "at_fault"),
    [
        (psycopg.errors.StringDataRightTruncation, True),
        (psycopg.errors.ProgramLimitExceeded, True),
        (psycopg.errors.ForeignKeyViolation, False),
        (psycopg.errors.DeadlockDetected, False),
    ],
)
def test_a_row_is_at_fault_for_its_values_and_for_what_postgresql_is_too_small_for(
    cause: type[psycopg.Error], at_fault: bool
) -> None:
    error = DatabaseError()
    error.__cause__ = cause()
    assert receive._is_caused_by_values(error) is at_fault


def test_all_are_in_the_spool_when_the_database_goes_away(account: ChannelAccount, batches: Storing) -> None:
    with closed():
        stored = batches.group(account, [said("1"), said("2")])
        with database_away():
            for (
                each
            ) in stored:  # the first may be stored when the session that keeps the table closed is ended before its own
                each.result(20)
            assert [each.result() for each in stored[1:]] == [None, None]
    assert spool_drain.drain() >= 2
    assert list(Message.objects.order_by("id").values_list("text", flat=True)) == ["first", "1", "2"]


def test_two_processes_that_store_the_same_in_opposite_order(account: ChannelAccount, batches: Storing) -> None:
    """PostgreSQL ends ours, whose rows are then stored one by one."""
    one, two = said("one"), said("two")
    with psycopg.connect(**params()) as other:
        other.execute("SET deadlock_timeout = '1min'")
        store(other, account, two)
        other.execute("SAVEPOINT closed")
        other.execute("LOCK TABLE bridge_message IN SHARE MODE")
        stored = batches.group(account, [one, two])
        other.execute("ROLLBACK TO closed")
        eventually(lambda: Message.objects.filter(text="first").exists() and waiting() == 1)
        store(other, account, one)
        other.rollback()
    assert all(each.result(20) for each in stored)
    assert transaction_of(Message.objects.get(text="one")) != transaction_of(Message.objects.get(text="two"))


def store(other: psycopg.Connection[Any], account: ChannelAccount, message: Inbound) -> None:
    other.execute(sql.STORE_INBOUND.sql, {"rows": json.dumps([receive.build_row(account, message)])})
