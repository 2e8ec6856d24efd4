"""Callbacks while the database is away, through the real application: taken, answered as usual, and stored in order when it is back."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
from django.db import connection

from accounts import capabilities, channels
from bridge.models import Incident, Message
from bridge.operations import health
from bridge.operations.prometheus import render_metrics
from bridge.pipeline.inbound import receive, router, spool_drain
from bridge.pipeline.replies import streams
from bridge.runtime.spool import journal
from channels_wechat.contract.messages import message_uuid
from channels_wechat.weixin.official_account import OfficialAccount
from tests.replies.passive import LATER, pushed, words
from tests.support.away import database_away
from tests.support.callbacks import call, from_app, from_bot, opened, poll, web_server
from tests.support.factories import answer, app, bot, eventually, official, route

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
PLATFORM_SECONDS = 5


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    for known in (channels._recent, channels._enabled, capabilities._known):
        known.clear()
    channels._enabled_at = -channels.ENABLED_SECONDS
    yield
    channels._enabled.clear()


def texts() -> list[str]:
    return list(Message.objects.order_by("id").values_list("text", flat=True))


def say(account: ChannelAccount, text: str, msgid: int) -> int:
    return call(account, *from_app(text, msgid)).status


def post(address: str, account: ChannelAccount, body: bytes, query: dict[str, str]) -> requests.Response:
    return requests.post(f"{address}/callbacks/{account.key}", data=body, params=query, timeout=30)


@contextmanager
def frozen() -> Iterator[None]:
    """The database takes every statement about accounts and messages, and answers none."""
    found = connection.get_connection_params()
    params = {key: found[key] for key in ("host", "port", "user", "password", "dbname") if found.get(key)}
    with closing(psycopg.connect(**params)) as server:
        server.execute("LOCK TABLE accounts_channelaccount, bridge_message IN ACCESS EXCLUSIVE MODE")
        yield


def test_they_are_answered_as_usual_and_stored_when_it_is_back() -> None:
    account = app()
    assert say(account, "before", 1) == 200
    with database_away():
        assert [say(account, "one", 2), say(account, "two", 3), say(account, "one", 2)] == [200, 200, 200]
        assert journal.read_status().messages == 3
    assert texts() == ["before"]
    assert spool_drain.drain() == 3
    assert texts() == ["before", "one", "two"]
    assert say(account, "one", 2) == 200  # the platform had not heard our answer
    assert len(texts()) == 3


def test_a_refused_one_leaves_nothing_on_the_disk() -> None:
    account = app()
    assert say(account, "before", 1) == 200
    body, query = from_app("forged", 2)
    with database_away():
        assert call(account, body, {**query, "msg_signature": "0" * 40}).status == 403
    assert not journal.is_in_use()


def test_new_ones_do_not_overtake_those_that_wait() -> None:
    account = app()
    assert say(account, "0", 1) == 200
    with database_away():
        assert say(account, "1", 2) == 200
    assert say(account, "2", 3) == 200
    assert texts() == ["0"]
    spool_drain.drain()
    assert say(account, "3", 4) == 200
    assert texts() == ["0", "1", "2", "3"]


def test_order_holds_while_many_come_and_a_drain_runs(settings: Any) -> None:
    account = app()
    assert say(account, "0", 1) == 200
    with web_server() as address, ThreadPoolExecutor(1) as beside:

        def talk() -> list[int]:
            return [post(address, account, *from_app(str(n), n + 1)).status_code for n in range(1, 81)]

        with database_away():
            talking = beside.submit(talk)
            eventually(lambda: journal.read_status().messages > 5)
        while not talking.done() or journal.is_in_use():
            spool_drain.drain()
        assert set(talking.result()) == {200}
    assert texts() == [str(number) for number in range(81)]


def test_an_account_that_had_no_callback_lately_is_known_too() -> None:
    account, off = app(), bot(columns={"enabled": False})
    channels.remember_enabled()
    with database_away():
        assert say(account, "hello", 1) == 200
        assert call(off, *from_bot()).status == 503  # nobody can say whether it was enabled
    spool_drain.drain()
    assert texts() == ["hello"]


def test_the_thread_of_a_web_process_remembers_and_drains() -> None:
    account = app()
    tries: list[float] = []

    def refresh() -> None:
        tries.append(time.monotonic())
        channels.remember_enabled()

    keeper = spool_drain.Keeper(refresh)
    try:
        keeper.start()
        eventually(lambda: channels.last_known(account.key))
        with database_away():
            assert say(account, "hello", 1) == 200
            before = len(tries)
            eventually(lambda: len(tries) > before + 1)  # it tries meanwhile, and fails
            assert journal.is_in_use()
        eventually(lambda: texts() == ["hello"])
        eventually(lambda: not journal.is_in_use())
    finally:
        keeper.stop()


def test_a_database_that_never_answers_counts_as_away() -> None:
    known, other = app(), official()
    channels.remember_enabled()
    with web_server() as address:
        assert post(address, known, *from_app("before", 1)).status_code == 200
        channels._recent.clear()
        with frozen():
            for number in range(2, 5):
                began = time.monotonic()
                assert post(address, known, *from_app(str(number), number)).status_code == 200
                assert time.monotonic() - began < PLATFORM_SECONDS
            assert post(address, other, *pushed("from a fan", 5)).status_code == 200
        eventually(lambda: spool_drain.drain() or not journal.is_in_use())
        assert post(address, known, *from_app("after", 9)).status_code == 200
    spool_drain.drain()
    assert sorted(texts()) == ["2", "3", "4", "after", "before", "from a fan"]


def test_a_full_spool_answers_503_and_loses_nothing_it_took(settings: Any) -> None:
    account = app()
    assert say(account, "0", 1) == 200
    settings.SPOOL_MAX_MESSAGES = 1
    with database_away():
        assert [say(account, "1", 2), say(account, "2", 3)] == [200, 503]
    assert say(account, "2", 3) == 200  # full, but the database is back
    assert texts() == ["0", "1", "2"]


@pytest.mark.parametrize("stands_still", [False, True])
def test_nothing_overtakes_a_full_spool(settings: Any, *, stands_still: bool) -> None:
    account = app()
    assert say(account, "0", 1) == 200
    settings.SPOOL_MAX_MESSAGES = 1
    with database_away():
        assert say(account, "1", 2) == 200
    with (
        spool_drain._lock_folder() if stands_still else nullcontext()
    ):  # another process was stopped in the middle of its drain
        assert say(account, "2", 3) == 200
    assert texts() == ["0", "1", "2"]


@contextmanager
def held_up(msgid: int) -> Iterator[None]:
    """Somebody's open transaction holds the key of this message: only whoever stores that row waits."""
    columns = [f.column for f in Message._meta.concrete_fields if f.column not in ("id", "uuid", "idempotency_key")]
    found = connection.get_connection_params()
    params = {key: found[key] for key in ("host", "port", "user", "password", "dbname") if found.get(key)}
    with closing(psycopg.connect(**params)) as server:
        server.execute(
            f"INSERT INTO bridge_message (uuid, idempotency_key, {', '.join(columns)}) "  # noqa: S608 - our own columns
            f"SELECT gen_random_uuid(), %s, {', '.join(columns)} FROM bridge_message LIMIT 1",
            [str(msgid)],
        )
        yield


@pytest.mark.parametrize(("held", "status"), [(2, 503), (4, 200)])
def test_a_long_drain_of_a_full_spool_is_not_overtaken(
    settings: Any, monkeypatch: pytest.MonkeyPatch, held: int, status: int
) -> None:
    """Where none of its rows are stored the database counts as away; else new rows go behind them, into the reserve."""
    monkeypatch.setattr(receive, "BATCH_SIZE", 1)
    account = app()
    channels.remember_enabled()
    with web_server() as address:

        def send(number: int) -> int:
            return post(address, account, *from_app(str(number), number + 1)).status_code

        assert send(0) == 200
        settings.SPOOL_MAX_MESSAGES = 4
        with database_away():
            assert [send(number) for number in range(1, 5)] == [200] * 4
        with held_up(held):
            assert send(5) == status
            assert texts() == ["0", "1", "2", "3"][: held - 1]
        eventually(lambda: send(5) == 200 and not journal.is_in_use())
    assert texts() == ["0", "1", "2", "3", "4", "5"]


def test_a_full_spool_that_cannot_be_drained_keeps_no_callback_out(settings: Any, tmp_path: Path) -> None:
    settings.SPOOL_DIR, settings.SPOOL_MAX_MESSAGES = str(tmp_path / "spool"), 1
    account = app()
    assert say(account, "0", 1) == 200
    with database_away():
        assert say(account, "1", 2) == 200
    lock = tmp_path / "spool" / spool_drain.LOCK_NAME
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert say(account, "2", 3) == 200
    lock.rmdir()
    spool_drain.drain()
    assert texts() == ["0", "2", "1"]


def test_a_disk_that_fails_answers_503_and_breaks_nothing(settings: Any, tmp_path: Path) -> None:
    account = app()
    assert say(account, "0", 1) == 200
    (tmp_path / "file").write_text("")
    settings.SPOOL_DIR = str(tmp_path / "file" / "spool")
    with database_away():
        assert say(account, "1", 2) == 503
    assert say(account, "1", 2) == 200


def test_what_is_left_for_the_transcript_is_said_when_it_is_back() -> None:
    account = bot(columns={"sentences": {"welcome": "欢迎"}})
    assert call(account, *from_bot()).status == 200
    with database_away():
        event = {"msgtype": "event", "event": {"eventtype": "enter_chat"}, "chattype": "single", "create_time": 1}
        entered = call(account, *from_bot(**event, text=None))
        assert opened(entered.body)["text"]["content"] == "欢迎"
    spool_drain.drain()
    assert Message.objects.get(direction="out").text == "欢迎"


# --- streams and passive answers


def test_a_stream_is_opened_and_its_polls_say_that_the_agent_works() -> None:
    account = bot()
    route(account)
    assert call(account, *from_bot()).status == 200
    stream = message_uuid(str(account.key), "asked").hex
    with database_away():
        first = opened(call(account, *from_bot(msgid="asked")).body)["stream"]
        polled = opened(call(account, *poll(stream)).body)["stream"]
    waiting = opened(call(account, *poll(stream)).body)["stream"]  # back, and not yet drained
    assert [frame["id"] for frame in (first, polled, waiting)] == [stream] * 3
    assert [frame["finish"] for frame in (first, polled, waiting)] == [False] * 3
    spool_drain.drain()
    router.route_waiting()
    assert opened(call(account, *poll(stream)).body)["stream"]["finish"] is False
    assert Message.objects.filter(uuid=stream).exists()


def test_a_poll_shows_the_text_so_far_while_the_database_is_away(valkey: Any) -> None:
    account = bot()
    assert call(account, *from_bot()).status == 200
    question = Message.objects.get()
    valkey.set(streams.partial_key(question.uuid), "So far")
    with database_away():
        assert opened(call(account, *poll(question.uuid.hex)).body)["stream"]["content"] == "So far"


def test_a_stream_that_nobody_knows_ends() -> None:
    account = bot()
    assert call(account, *from_bot()).status == 200
    assert opened(call(account, *poll("0" * 32)).body)["stream"]["finish"] is True


def test_a_passive_account_waits_and_answers_the_last_request_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 0.2)
    monkeypatch.setattr(OfficialAccount, "last_seconds", 0.1)
    account = official(answers="passive")
    route(account)
    channels.remember_enabled()
    with database_away():
        asked = pushed("hello", 7)
        answers = [call(account, *asked) for _ in range(3)]
    assert answers[0].status == 503  # by the clock the second one may count as the third
    assert words(answers[2]) == LATER
    spool_drain.drain()
    assert texts() == ["hello"]


def test_a_passive_account_whose_database_comes_back_gets_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 30.0)
    account = official(answers="passive")
    route(account)
    channels.remember_enabled()
    with web_server() as address, ThreadPoolExecutor(1) as beside:
        with database_away():
            asked = beside.submit(post, address, account, *pushed("hello", 7))
            eventually(lambda: journal.read_status().messages)
        spool_drain.drain()
        router.route_waiting()
        answer(Message.objects.get(), "here it is")
        assert asked.result(30).status_code == 200


# --- what staff see


def test_an_incident_says_from_when_to_when_and_how_many() -> None:
    account = app()
    assert say(account, "0", 1) == 200
    with database_away():
        assert [say(account, str(number), number) for number in (2, 3)] == [200, 200]
    spool_drain.drain()
    incident = Incident.objects.get()
    assert (incident.cause, incident.title) == ("spool", "Callbacks were stored on disk")
    assert "messages: 2. All are in the database since" in incident.detail
    assert incident.closed_at
    first = Message.objects.order_by("id")[1]
    assert incident.opened_at == first.created_at


def test_a_second_outage_is_an_incident_of_its_own() -> None:
    account = app()
    assert say(account, "0", 1) == 200
    for number in (2, 3):
        with database_away():
            assert say(account, str(number), number) == 200
        spool_drain.drain()
    opened_at = list(Incident.objects.order_by("opened_at").values_list("opened_at", flat=True))
    assert opened_at == list(Message.objects.order_by("id").values_list("created_at", flat=True))[1:]
    assert not Incident.objects.filter(closed_at=None).exists()


def test_readyz_and_metrics_count_what_waits() -> None:
    account = app()
    assert say(account, "0", 1) == 200
    with database_away():
        assert say(account, "1", 2) == 200
        status, body = health.check_readiness()
    assert status == 503
    assert json.loads(body)["spool"] == 1
    assert b"bridge_spool_messages 1.0" in render_metrics(database=False)
    spool_drain.drain()
    assert b"bridge_spool_messages 0.0" in render_metrics(database=False)
