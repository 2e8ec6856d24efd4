"""Writes verified callbacks to disk while the database is away. `bridge.pipeline.inbound.spool_drain` stores them when it is back.

Each process appends to one file in `SPOOL_DIR`, one line for each row. `accounts.fields` encrypts the row, and authenticates the file's
name and the line's offset with it. So a line that is incomplete after a kill, or was moved or copied, cannot be decrypted, and the lines
before it can. A file is locked (flock) while a process appends to it and while `spool_drain` deletes it. The file of a process that died
is stored by any other process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import OperationalError

from accounts.fields import encrypt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)
SUFFIX = ".spool"
# Files with rows that no key of FIELD_KEYS decrypts. They are tried again when a process starts.
UNREADABLE_SUFFIX = ".unreadable"
MIB = 1024 * 1024
# How much larger than its limits the spool may become while its rows are being stored: new rows must not overtake them, nor be refused.
RESERVE = 0.25
# `spool_drain` locks a file for one statement before it deletes it. If it does not go on, callbacks must not wait for it: after this time,
# in seconds, the process starts another file.
LOCK_SECONDS = 1.0
LOCK_PAUSE = 0.005


class SpoolFull(OperationalError):
    """No row was stored: the spool has reached its size, or the disk is full. The platform has to repeat the callback."""


def append(rows: Sequence[dict[str, Any]], reserve: float = 0) -> None:
    """Append rows (`receive.build_row`): all are on the disk when this returns, or none. One write and one fsync; it blocks.

    reserve: by which share of its limits the spool may be larger. Raises SpoolFull, which is one of `DB_UNAVAILABLE`.
    """
    _get_spool(settings.SPOOL_DIR).append(rows, reserve)


def is_in_use() -> bool:
    """Whether rows of any process wait. Then new rows must be appended too, to keep their order. It takes some microseconds."""
    return any(name.endswith(SUFFIX) for name in list_files())


def list_files() -> list[str]:
    """Return the names of the files in the folder."""
    try:
        return os.listdir(settings.SPOOL_DIR)
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What is in the spool. messages: those in files that are not stored completely. unreadable: those that no key decrypts."""

    messages: int = 0
    bytes: int = 0
    unreadable: int = 0


def read_status() -> SpoolStatus:
    """Count what waits, of every process that uses this folder. It reads all files."""
    totals = {SUFFIX: [0, 0], UNREADABLE_SUFFIX: [0, 0]}
    for path in map(Path(settings.SPOOL_DIR).joinpath, list_files()):
        with contextlib.suppress(OSError, KeyError):
            total = totals[path.suffix]
            total[0] += _count_lines(path)
            total[1] += path.stat().st_size
    return SpoolStatus(
        totals[SUFFIX][0], totals[SUFFIX][1] + totals[UNREADABLE_SUFFIX][1], totals[UNREADABLE_SUFFIX][0]
    )


def make_context(path: Path, offset: int) -> str:
    """Return the data that is authenticated with the line at this offset."""
    return f"bridge.spool:{path.stem}:{offset}"


@contextlib.contextmanager
def lock_file(descriptor: int, seconds: float = 0) -> Iterator[bool]:
    """Lock the file for the time of the block, waiting up to so many seconds. Yields whether that succeeded."""
    deadline = time.monotonic() + seconds
    while not (is_locked := _try_lock(descriptor)) and time.monotonic() < deadline:
        time.sleep(LOCK_PAUSE)
    try:
        yield is_locked
    finally:
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b""))


@cache
def _get_spool(folder: str) -> _Spool:
    return _Spool(Path(folder))


class _Spool:
    """The spool of one process: it appends to the newest of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.file: _File | None = None

    def append(self, rows: Sequence[dict[str, Any]], reserve: float = 0) -> None:
        texts = [json.dumps(row, ensure_ascii=False) for row in rows]
        max_bytes, max_rows = (
            int(limit * (1 + reserve)) for limit in (settings.SPOOL_MAX_MB * MIB, settings.SPOOL_MAX_MESSAGES)
        )
        try:
            with self.lock, self._locked_file() as file:
                file.append(texts, max_bytes - self._measure_other_files(file), max_rows)
        except OSError as error:
            log.error("the spool cannot be written: %s", error.strerror)
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked_file(self) -> Iterator[_File]:
        """Lock the current file, or a new one if that is deleted or locked: `spool_drain` may delete a file before we lock it."""
        file = self.file if self.file and not self.file.is_broken else _File.create(self.folder)
        while True:
            with lock_file(file.descriptor, LOCK_SECONDS) as is_locked:
                if is_locked and file.exists():
                    self.file = file
                    yield file
                    return
            file = _File.create(self.folder)

    def _measure_other_files(self, own_file: _File) -> int:
        total = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name != own_file.path.name:
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat().st_size
        return total


class _File:
    """A file. size, count: those of the lines that are certainly on the disk. is_broken: the disk failed, so nothing may be appended."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.size = self.count = 0
        self.is_broken = False

    def __del__(self) -> None:
        os.close(self.descriptor)

    @classmethod
    def create(cls, folder: Path) -> _File:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = cls(path, os.open(path, flags, 0o600))
        _sync_folder(folder)
        return file

    def exists(self) -> bool:
        return os.fstat(self.descriptor).st_nlink > 0

    def append(self, texts: Sequence[str], max_bytes: int, max_rows: int) -> None:
        """Append lines. max_bytes, max_rows: how large this file may become. Raises SpoolFull, OSError."""
        lines = bytearray()
        for text in texts:
            lines += encrypt(text, make_context(self.path, self.size + len(lines))).encode() + b"\n"
        if self.size + len(lines) > max_bytes or self.count + len(texts) > max_rows:
            raise SpoolFull("the spool is full")
        self._write_and_sync(lines)
        self.size += len(lines)
        self.count += len(texts)

    def _write_and_sync(self, lines: bytearray) -> None:
        """Write and sync. After a failed fsync it is unknown what is on the disk, so the next rows get a new file."""
        try:
            self._write(lines)
            self.is_broken = True
            os.fsync(self.descriptor)
            self.is_broken = False
        except OSError:
            self._undo_write()
            raise

    def _write(self, data: bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def _undo_write(self) -> None:
        """Remove the lines of a failed write, because the answer is 503. An empty file is deleted: it would look like a spool in use."""
        try:
            os.ftruncate(self.descriptor, self.size)
            if not self.size:
                self.path.unlink()
        except OSError:
            self.is_broken = True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
