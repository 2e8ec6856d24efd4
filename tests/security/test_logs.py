"""The log: one line for a record, the ids of what it is about, no secrets, nothing of what people wrote."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.db import IntegrityError, connection, transaction
from django.test import Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge.models import Message, Reason
from bridge.pipeline.agent.turn import AgentTurn
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import sender
from bridge.runtime.db.threads import in_db_thread
from bridge.runtime.launcher import commands
from bridge.security import logs
from bridge.security.logs import JsonFormatter, LineFormatter, about
from tests.support.factories import app, claimed, hear, route, to_send, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ["canary-token-1", "canary-secret-2", "canary-key-3"]


class Written:
    """What the formatter made of each record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.stream = StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def listening(formatter: logging.Formatter) -> Iterator[Written]:
    written, root = Written(formatter), logging.getLogger()
    root.addHandler(written.handler)
    yield written
    root.removeHandler(written.handler)


@pytest.fixture
def as_json() -> Iterator[Written]:
    yield from listening(JsonFormatter())


@pytest.fixture
def as_line() -> Iterator[Written]:
    yield from listening(LineFormatter())


log = logging.getLogger("bridge.test")


def test_a_record_is_one_object_in_one_line(as_json: Written) -> None:
    log.warning("你好 %s\nsecond line", "world")
    (record,) = as_json.records
    assert set(record) == {"time", "level", "logger", "pid", "thread", "message", "service"}
    assert (record["level"], record["logger"]) == ("WARNING", "bridge.test")
    assert record["message"] == "你好 world\nsecond line"
    assert record["pid"] == os.getpid()
    assert record["time"].endswith("+00:00")
    assert len(as_json.text.splitlines()) == 1


def test_a_record_says_what_it_is_about(as_json: Written, as_line: Written) -> None:
    with about(account=1, message=2):
        with about(delivery=3, message=None):
            log.warning("inner")
        log.warning("outer")
    log.warning("outside")
    ids = [{name: pk for name, pk in record.items() if name.endswith("_id")} for record in as_json.records]
    assert ids == [{"account_id": 1, "message_id": 2, "delivery_id": 3}, {"account_id": 1, "message_id": 2}, {}]
    lines = [line.partition("bridge.test ")[2] for line in as_line.text.splitlines()]
    assert lines == ["inner [account 1, message 2, delivery 3]", "outer [account 1, message 2]", "outside"]


def test_a_traceback_stays_in_its_record(as_json: Written) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    (record,) = as_json.records
    assert record["message"] == "it failed"
    assert record["traceback"].startswith("Traceback (most recent call last):")
    assert record["traceback"].endswith("ValueError: broken")


def test_a_line_keeps_its_traceback(as_line: Written) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    assert as_line.text.splitlines()[0].endswith("ERROR bridge.test it failed")
    assert as_line.text.splitlines()[-1] == "ValueError: broken"


def test_secrets_are_hidden_wherever_they_stand(as_json: Written, as_line: Written) -> None:
    log.warning("GET https://api/x?access_token=%s&a=1", SECRETS[0])
    log.warning("%s", {"secret": SECRETS[1]})
    try:
        raise ValueError(f'{{"key": "{SECRETS[2]}"}}')
    except ValueError:
        log.exception("Authorization: Bearer %s", SECRETS[0])
    assert len(as_json.records) == 3
    for secret in SECRETS:
        assert secret not in as_json.text + as_line.text


def test_what_libraries_add_is_not_written(as_json: Written) -> None:
    log.warning("x", extra={"request": "canary", "data": {"args": "canary"}, "message_id": "canary"})
    assert "canary" not in as_json.text


def test_a_lost_broker_is_one_line(as_json: Written, as_line: Written) -> None:
    """As Celery's clock says it: the message holds a stack, and there is a traceback."""
    try:
        redis.Redis(port=9, retry=Retry(NoBackoff(), 0)).ping()
    except redis.ConnectionError as error:
        log.exception("Message Error: %s\n%s", error, ["File x", "File y"])
    (record,) = as_json.records
    assert "traceback" not in record
    assert record["message"].startswith("Message Error: Error 111 ")
    assert record["message"].endswith("(ConnectionError)")
    assert len(as_line.text.splitlines()) == 1


@pytest.mark.django_db
def test_a_row_that_broke_a_rule_is_not_shown(as_json: Written, as_line: Written) -> None:
    message = hear(app(), "canary\n\ntext")
    try:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("UPDATE bridge_message SET account_id = NULL WHERE id = %s", [message.pk])
        except IntegrityError as error:
            raise ValueError("later") from error
    except ValueError:
        log.exception("it failed")
    assert "canary" not in as_json.text + as_line.text
    assert "DETAIL: (left out)" in as_line.text
    assert as_json.records[0]["traceback"].endswith("ValueError: later")


@pytest.mark.django_db
def test_sending_names_its_rows(as_json: Written) -> None:
    delivery = claimed(to_send(app(), "canary text"))
    delivery.payload = {"broken": True}
    sender.process_delivery(delivery)
    told = next(record for record in as_json.records if record["logger"] == "bridge.pipeline.outbound.sender")
    assert (told["delivery_id"], told["message_id"]) == (delivery.pk, delivery.message_id)
    assert told["account_id"] == delivery.account_id
    assert "canary" not in as_json.text


@pytest.mark.django_db
def test_routing_names_its_rows(as_json: Written) -> None:
    account = app()
    route(account)
    message = hear(account, "canary text")
    Message.objects.filter(pk=message.pk).update(raw={"_bridge": [1]})
    router.route_waiting()
    assert message.deliveries.get().reason == Reason.INTERNAL
    told = next(record for record in as_json.records if record["message"] == "a message could not be routed")
    assert (told["message_id"], told["account_id"]) == (message.pk, account.pk)
    assert "canary" not in as_json.text


@pytest.mark.django_db(transaction=True)
def test_a_turn_names_its_rows_on_every_thread(as_json: Written) -> None:
    account = app()
    route(account)
    delivery = claimed(turn(account, "canary text"))
    delivery.payload = {}
    asyncio.run(AgentTurn(delivery, None, None, lambda _delivery, _text: None).run())  # type: ignore[arg-type]
    told = next(record for record in as_json.records if record["logger"] == "bridge.pipeline.agent.turn")
    assert (told["delivery_id"], told["message_id"]) == (delivery.pk, delivery.message_id)
    assert "canary" not in as_json.text


@pytest.mark.django_db(transaction=True)
def test_the_database_s_threads_know_what_they_work_at(as_json: Written) -> None:
    async def work() -> None:
        with about(delivery=5):
            await in_db_thread(log.warning, "from a thread")

    asyncio.run(work())
    (record,) = as_json.records
    assert (record["delivery_id"], record["thread"].startswith("db")) == (5, True)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/v/site-packages/granian/__main__.py", "--interface", "asginl", "bridge.asgi:application"], "web"),
        (["/v/site-packages/granian/__main__.py", "--interface", "asginl", "bridge.asgi:callbacks"], "callbacks"),
        (["/v/bin/granian", "x"], "web"),
        (["/v/site-packages/celery/__main__.py", "--quiet", "-A", "bridge", "worker", "--pool"], "worker"),
        (["/v/bin/celery", "-A", "bridge", "beat"], "beat"),
        (["/v/bin/celery", "-A", "bridge", "status"], "celery"),
        (["manage.py", "connector"], "connector"),
        (["manage.py"], "manage"),
        (["/v/bin/pytest", "-q"], "pytest"),
    ],
)
def test_the_process_has_a_name(monkeypatch: pytest.MonkeyPatch, argv: list[str], name: str) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert logs.process_name() == name


@pytest.fixture
def filtered(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the log's handler lets pass."""
    client_errors = logs.ClientErrors()
    caplog.handler.addFilter(client_errors)
    yield caplog
    caplog.handler.removeFilter(client_errors)


@pytest.mark.django_db
def test_what_strangers_do_wrong_costs_a_short_line_and_only_so_many(filtered: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        Client().get(f"/nowhere/{number}/{'a' * 3000}")
    lines = [record for record in filtered.records if record.name == "django.request"]
    assert len(lines) <= 2 * logs.MAX_CLIENT_ERRORS  # two minutes may have a part in it
    # The first of a minute says before its text how many of the last were left out.
    texts = [record.getMessage().partition(" were not written here. ")[2] or record.getMessage() for record in lines]
    assert max(len(text) for text in texts) < 300


def test_a_strangers_mistake_has_no_traceback_and_ours_has(filtered: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("django.security.RequestDataTooBig")
    for status_code in (400, 500):
        try:
            raise ValueError("x" * 500)
        except ValueError as error:
            log.error(str(error), exc_info=error, extra={"status_code": status_code})
    theirs, ours = filtered.records
    assert (theirs.exc_info, len(theirs.getMessage())) == (None, logs.MAX_CLIENT_TEXT + 1)
    assert ours.exc_info


# A process of its own in which each setting configures logging anew, as it does when a process starts.
CONFIGURED = """
import importlib, logging, os, sys, django
django.setup()
from django.utils.log import configure_logging
def configure(**environ):
    os.environ.update(environ)
    found = importlib.reload(sys.modules["bridge.settings"])
    configure_logging("logging.config.dictConfig", found.LOGGING)
"""
FORMATS = """
for name in ("line", "json"):
    configure(LOG_FORMAT=name)
    logging.getLogger("x").warning("hello")
"""
QUIET = """
import threading, http.server
from channels_wechat.wire.http import Http
import aiohttp, celery, kombu, psycopg, redis, asyncio
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
for level in ("DEBUG", "NOTSET", "INFO", "debug"):
    configure(LOG_LEVEL=level)
    Http([f"127.0.0.1:{port}"]).request("GET", f"http://127.0.0.1:{port}/hooks/canary-token-1?key=canary-key-3")
    for name in ("urllib3.connectionpool", "aiohttp.client", "celery.worker", "kombu", "psycopg", "redis", "asyncio", "httpx", "anything"):
        logging.getLogger(name).debug("canary-secret-2 of %s", name)
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG), (level, name)
    logging.getLogger("bridge.pipeline.outbound.sender").debug(f"ours is written at {level}")
"""


def written_by(code: str) -> str:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bridge.settings", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CONFIGURED + code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_the_setting_decides() -> None:
    lines = [line for line in written_by(FORMATS).splitlines() if "hello" in line]
    assert [line.startswith("{") for line in lines] == [False, True]


def test_other_peoples_code_is_never_at_debug() -> None:
    """urllib3 writes the whole path of each request at DEBUG, and a webhook's path is its secret."""
    written = written_by(QUIET)
    assert "canary" not in written
    assert re.findall(r"ours is written at (\w+)", written) == ["DEBUG", "debug"]


@pytest.mark.parametrize(
    ("level", "celery"), [("DEBUG", "INFO"), ("notset", "INFO"), ("INFO", "INFO"), ("ERROR", "ERROR"), ("", "INFO")]
)
def test_celery_is_not_told_to_debug(level: str, celery: str) -> None:
    line = commands.make_command("worker", {"LOG_LEVEL": level, "DATA_DIR": "/tmp"})  # noqa: S108 - nothing is written
    assert line[line.index("--loglevel") + 1] == celery


def test_what_repeats_is_written_ever_more_rarely() -> None:
    rarely = logs.Rarely()
    assert [time for time in range(1, 3300) if rarely.is_due("unreachable")] == [2**n for n in range(12)]
    assert rarely.is_due("timeout")
    assert rarely.is_due("unreachable"), "what is new is written at once"
    rarely.is_due("unreachable")
    assert not rarely.is_due("unreachable")
    rarely.forget()
    assert rarely.is_due("unreachable")
