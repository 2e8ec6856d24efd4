"""Formats log records: each with the ids of the rows it is about, without secrets and without what people wrote.

LOG_FORMAT=line is for a person before a terminal, json for a machine: one object in one line, tracebacks and all. A lost connection to
Valkey is one line in either: it is no defect of ours, and its traceback would say nothing more.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter as _JsonFormatter

from channels_wechat.contract.text import hide

if TYPE_CHECKING:
    from collections.abc import Iterator

# Packages whose connection errors mean that Valkey is away; the rest of the sentence is in the message.
_BROKERS = {"redis", "kombu", "amqp"}
# PostgreSQL shows the whole row that broke a rule, and a row may hold a message.
_ROW = re.compile(r"DETAIL:.*?(?=\n\n(?:During handling|The above exception)|\Z)", re.DOTALL)
# Lines a minute in each process; and letters of a path or a reason.
MAX_CLIENT_ERRORS = 60
MAX_CLIENT_TEXT = 200

_ids: ContextVar[dict[str, int]] = ContextVar("ids", default={})  # noqa: B039  never changed, only replaced


@contextmanager
def about(**ids: int | None) -> Iterator[None]:
    """Add these ids to every record that is logged within: message=…, delivery=…, account=…"""
    given_ids = {f"{name}_id": pk for name, pk in ids.items() if pk is not None}
    token = _ids.set({**_ids.get(), **given_ids})
    try:
        yield
    finally:
        _ids.reset(token)


class ClientErrors(logging.Filter):
    """Shortens what Django logs of a client's mistake to one line without a traceback, and bounds such lines by the minute.

    Strangers cause them at will, and could otherwise fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.minute, self.count = 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("django.") or getattr(record, "status_code", 500) >= 500:
            return True
        minute = int(record.created) // 60
        if minute != self.minute:
            left_out, self.minute, self.count = self.count - MAX_CLIENT_ERRORS, minute, 0
            if left_out > 0:
                record.msg = f"{left_out} requests with mistakes were not written here. {record.msg}"
        self.count += 1
        record.args = tuple(_cut(value) for value in record.args) if isinstance(record.args, tuple) else record.args
        record.msg, record.exc_info = _cut(record.msg), None
        return self.count <= MAX_CLIENT_ERRORS


class Rarely:
    """Decides whether a message that repeats is logged: its 1st, 2nd, 4th, 8th … time in a row. Another message begins the count anew."""

    def __init__(self) -> None:
        self.last, self.times = "", 0

    def is_due(self, message: str) -> bool:
        """Count the message. message: without what changes from one time to the next."""
        self.times = self.times + 1 if message == self.last else 1
        self.last = message
        return self.times & (self.times - 1) == 0

    def note_outage(self, logger: logging.Logger, waiting: str, error: Exception) -> None:
        """Log that the database is away, if that is due. waiting: what waits for it."""
        name = type(error).__name__
        if self.is_due(name):
            logger.warning("%s: the database is away (%s)", waiting, name)

    def forget(self) -> None:
        """Begin the count anew: it is over, so the next message is the first."""
        self.last, self.times = "", 0


def _cut(value: object) -> object:
    return f"{value[:MAX_CLIENT_TEXT]}…" if isinstance(value, str) and len(value) > MAX_CLIENT_TEXT else value


class LineFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        safe = without_secrets(record)
        ids = ", ".join(f"{name.removesuffix('_id')} {pk}" for name, pk in _ids.get().items())
        safe.msg += f" [{ids}]" if ids else ""
        return super().format(safe)


class JsonFormatter(_JsonFormatter):
    """Writes the fields that are named here and no others: libraries add requests and arguments to their records."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "traceback"}
        super().__init__(
            ["levelname", "name", "process", "threadName", "message"],
            rename_fields={**names, "threadName": "thread"},
            static_fields={"service": process_name()},
            timestamp="time",
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        safe = without_secrets(record)
        safe.__dict__.update(_ids.get())
        return super().format(safe)


def without_secrets(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of the record with secrets and values of rows masked, and without what was passed as `extra`."""
    message, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
    if error is not None and _lost_broker(error):
        message = f"{message.partition(chr(10))[0]} ({type(error).__name__})"
    fields = ("created", "msecs", "process", "threadName")
    safe = logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, hide(message), None, None)
    safe.__dict__.update({name: getattr(record, name) for name in fields})
    if record.exc_info and error is not None and not _lost_broker(error):
        safe.exc_text = hide(_ROW.sub("DETAIL: (left out)", logging.Formatter().formatException(record.exc_info)))
    return safe


def process_name() -> str:
    """Return web, callbacks, worker, beat, connector, or the command that was started."""
    program, *arguments = [Path(sys.argv[0]), *sys.argv[1:]]
    if "granian" in program.parts or program.name == "granian":
        return "callbacks" if arguments[-1:] == ["bridge.asgi:callbacks"] else "web"
    if "celery" in program.parts or program.name == "celery":
        return next((word for word in arguments if word in ("worker", "beat")), "celery")
    return next(iter(arguments), program.stem) if program.name == "manage.py" else program.stem


def _lost_broker(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _BROKERS or isinstance(error, ConnectionError)
