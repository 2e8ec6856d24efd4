"""Stores the rows of the spool (`bridge.runtime.spool.journal`) when the database is back, also those of processes that died.

One process at a time works on the whole folder, to save work. Two at once do no harm: each stores all rows in the same order,
and a row that is there already changes nothing. The rows of one file are stored in its order, those of several files by the time at which
they arrived. Until the last file is deleted, new rows are appended too, so none overtakes an earlier one. The files are read one after the
other while that happens: what arrived after the folder was looked at waits for the next look, or a row of the file that is read last
would overtake one of the file that was read first. A row that was stored before, by a run that was killed or by the platform's
repetition, is known by its key.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.fields import Undecryptable, decrypt_once
from bridge.models import Message
from bridge.pipeline.inbound import receive
from bridge.pipeline.outbound import outbox
from bridge.runtime.db.outage import DB_UNAVAILABLE, limit_answer_time
from bridge.runtime.spool import journal, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger(__name__)
LOCK_NAME = "drain.lock"
# The seconds between two runs: while rows wait for the database, and while none do.
WAITING_SECONDS, IDLE_SECONDS = 0.25, 1.0
# A statement that the database has not answered by then is cancelled, and its connection is closed.
ANSWER_SECONDS = 10
# The seconds until files are tried again that another process has locked, for example in the middle of an append.
BUSY_SECONDS = 0.1


def _do_nothing() -> None:
    pass


@dataclass(slots=True)
class Record:
    """A line that was decrypted. end: the offset at which the next line begins."""

    row: dict[str, Any]
    reader: Reader
    end: int


class Reader:
    """Reads one file. stored: the offset up to which its rows are in the database. unreadable: offsets of lines that no key decrypts."""

    def __init__(self, path: Path) -> None:
        self.path, self.stored = path, 0
        self.unreadable: set[int] = set()
        self.file: BinaryIO = path.open("rb")

    def records(self, before: str) -> Iterator[Record]:
        """Yield the records from `stored` to the last complete line; an incomplete line was never confirmed to the platform.

        before: stop at the first row that arrived then or later; in the form of `row["now"]`; empty: read all.
        """
        self.file.seek(self.stored)
        offset = self.stored
        for line in self.file:
            if not line.endswith(b"\n"):
                return
            end = offset + len(line)
            if row := self._open(line, offset):
                if before and row["now"] >= before:
                    return
                yield Record(row, self, end)
            offset = end

    def _open(self, line: bytes, offset: int) -> dict[str, Any] | None:
        try:
            row: dict[str, Any] = json.loads(decrypt_once(line[:-1].decode(), journal.make_context(self.path, offset)))
            return row
        except (Undecryptable, ValueError):
            self.unreadable.add(offset)
            return None

    def close(self) -> None:
        self.file.close()


@dataclass
class _Run:
    """One run over the folder."""

    on_stored: Callable[[], None] = _do_nothing
    report: report.Report = field(default_factory=report.Report)
    readers: dict[str, Reader] = field(default_factory=dict)
    stored: int = 0

    def run(self, suffixes: tuple[str, ...]) -> int:
        """Store rows until no file is left. Return how many rows were read. Raises an error of DB_UNAVAILABLE."""
        try:
            while before := self._open_files(suffixes):
                if self._store_new(before) < receive.BATCH_SIZE:
                    self._finish()
                suffixes = (journal.SUFFIX,)  # a file that no key decrypts is tried once in a run
        finally:
            for reader in self.readers.values():
                reader.close()
        self.report.end()
        return self.stored

    def _open_files(self, suffixes: tuple[str, ...]) -> str:
        """Open new files. Return the time at which all were open, in the form of `row["now"]`; empty: there is no file."""
        now = timezone.now().isoformat()
        for name in journal.list_files():
            if name.endswith(suffixes) and name not in self.readers:
                with contextlib.suppress(FileNotFoundError):
                    self.readers[name] = Reader(Path(settings.SPOOL_DIR, name))
        return now if self.readers else ""

    def _store_new(self, before: str = "") -> int:
        """Store the rows that were appended since the last call. before: as in `Reader.records`."""
        readers = self.readers.values()
        merged = heapq.merge(*(r.records(before) for r in readers), key=lambda record: record.row["now"])
        count = 0
        while batch := list(itertools.islice(merged, receive.BATCH_SIZE)):
            self._store(batch)
            count += len(batch)
        self.stored += count
        return count

    def _store(self, batch: Sequence[Record]) -> None:
        rows = [record.row for record in batch]
        with limit_answer_time(ANSWER_SECONDS):
            stored = receive.store_each(rows)
        self.report.add(rows)
        for row, pk in zip(rows, stored, strict=True):
            if pk is not None:
                receive.wake_router(with_files=bool(row["media"]))
                _store_reply(pk, row)
        for record in batch:
            record.reader.stored = record.end
        self.on_stored()

    def _finish(self) -> None:
        """Lock the files, store their last rows, and delete them. Where a file is in use or new, nothing is deleted in this round."""
        readers = list(self.readers.values())
        with contextlib.ExitStack() as stack:
            locked = [reader for reader in readers if stack.enter_context(journal.lock_file(reader.file.fileno()))]
            done = locked == readers and self._has_all_files()
            if done:
                self._store_new()
                for reader in readers:
                    self._delete(reader)
        if not done:
            time.sleep(BUSY_SECONDS)
            return
        for reader in readers:
            reader.close()

    def _has_all_files(self) -> bool:
        return all(name in self.readers for name in journal.list_files() if name.endswith(journal.SUFFIX))

    def _delete(self, reader: Reader) -> None:
        if reader.unreadable:
            with contextlib.suppress(FileNotFoundError):
                reader.path.rename(reader.path.with_suffix(journal.UNREADABLE_SUFFIX))
            log.error("%d rows of a spool cannot be read: was a key of FIELD_KEYS removed?", len(reader.unreadable))
        else:
            reader.path.unlink(missing_ok=True)
        del self.readers[reader.path.name]


def drain(*, unreadable: bool = False, beside: bool = False, on_stored: Callable[[], None] = _do_nothing) -> int:
    """Store the rows of the spool. Return how many were read. unreadable: whether to try rows again that no key decrypted before.

    beside: whether to do it also while another process does, which may be blocked. on_stored: called whenever rows were stored.

    Raises an error of DB_UNAVAILABLE where the database is away; rows that were stored before are recognised by their key.
    """
    suffixes = (journal.SUFFIX, journal.UNREADABLE_SUFFIX) if unreadable else (journal.SUFFIX,)
    if not any(name.endswith(suffixes) for name in journal.list_files()):
        return 0
    with _lock_folder() as locked:
        return _Run(on_stored).run(suffixes) if locked or beside else 0


@contextlib.contextmanager
def _lock_folder() -> Iterator[bool]:
    descriptor = os.open(Path(settings.SPOOL_DIR, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with journal.lock_file(descriptor) as locked:
            yield locked
    finally:
        os.close(descriptor)


def _store_reply(pk: int, row: dict[str, Any]) -> None:
    """Store the text that the reply to the callback had, for the transcript."""
    if text := row.get("said"):
        outbox.store_callback_reply(Message.objects.select_related("account").get(pk=pk), text)


class Keeper:
    """A thread of a web process that stores the spool, and that caches the accounts for the time when the database is away."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self.refresh = refresh
        self.leaving, self.started = threading.Event(), False
        self.thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        """Start the thread. A second call does nothing."""
        if not self.started:
            self.started = True
            self.thread.start()

    def stop(self) -> None:
        self.leaving.set()
        if self.started:
            self.thread.join()

    def _run(self) -> None:
        first = True
        while not self.leaving.is_set():
            try:
                self.refresh()
                drain(unreadable=first)
                first = False
            except DB_UNAVAILABLE:
                pass  # the processes that need the database log it
            except Exception:  # a defect must not end the thread: rows would wait for ever
                log.exception("the spool could not be stored")
            finally:
                connection.close()
            self.leaving.wait(WAITING_SECONDS if journal.is_in_use() else IDLE_SECONDS)
