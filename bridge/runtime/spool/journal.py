"""Verified callbacks on disk while the database is away. A drain (`bridge.pipeline.inbound.spool_drain`) stores them when it is back.

Each process appends to one file in `SPOOL_DIR`, one line for each row: `accounts.fields` seals the row, and authenticates the file's name
and the line's place with it. So a line that was cut short by a kill, moved or copied does not open, and the lines before it do. A file is
locked (flock) while it is appended to and while the drain deletes it; a process that dies leaves its file to any other one's drain.
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
# Files with rows that no key of FIELD_KEYS opens. They are tried again when a process starts.
UNREADABLE = ".unreadable"
MIB = 1024 * 1024
# A drain that deletes the file has it locked for one statement. A drain that stands still must not hold up callbacks: after this time, in
# seconds, the process begins another file.
LOCK_SECONDS = 1.0
LOCK_PAUSE = 0.005


class SpoolFull(OperationalError):
    """No row was stored: the spool has reached its size, or the disk is full. The platform has to repeat the callback."""


def append(rows: Sequence[dict[str, Any]]) -> None:
    """Append rows (`receive.row_of`): all are on the disk when this returns, or none. One write and one fsync; it blocks.

    Raises SpoolFull, which is one of `database.AWAY`.
    """
    _of_folder(settings.SPOOL_DIR).append(rows)


def is_in_use() -> bool:
    """Whether rows of any process wait. Then new rows must be appended too, so that none overtakes. It costs some microseconds."""
    return any(name.endswith(SUFFIX) for name in names())


def names() -> list[str]:
    """Return the names of the files in the folder."""
    try:
        return os.listdir(settings.SPOOL_DIR)
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Waiting:
    """messages: those in files that no drain has stored completely. unreadable: those that no key opens."""

    messages: int = 0
    bytes: int = 0
    unreadable: int = 0


def waiting() -> Waiting:
    """Count what waits, of every process that uses this folder. It reads the files."""
    found = {SUFFIX: [0, 0], UNREADABLE: [0, 0]}
    for path in map(Path(settings.SPOOL_DIR).joinpath, names()):
        with contextlib.suppress(OSError, KeyError):
            total = found[path.suffix]
            total[0] += _lines_of(path)
            total[1] += path.stat().st_size
    return Waiting(found[SUFFIX][0], found[SUFFIX][1] + found[UNREADABLE][1], found[UNREADABLE][0])


def context(path: Path, offset: int) -> str:
    """Return the data that is authenticated with the line at this offset."""
    return f"bridge.spool:{path.stem}:{offset}"


@contextlib.contextmanager
def locked(descriptor: int, seconds: float = 0) -> Iterator[bool]:
    """Lock the file for the time of the block, waiting up to so many seconds. Yields whether that succeeded."""
    deadline = time.monotonic() + seconds
    while not (ours := _try_lock(descriptor)) and time.monotonic() < deadline:
        time.sleep(LOCK_PAUSE)
    try:
        yield ours
    finally:
        if ours:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b""))


@cache
def _of_folder(folder: str) -> _Spool:
    return _Spool(Path(folder))


class _Spool:
    """The spool of one process: it appends to the newest of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.file: _File | None = None

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        texts = [json.dumps(row, ensure_ascii=False) for row in rows]
        try:
            with self.lock, self._locked_file() as file:
                file.append(texts, room=settings.SPOOL_MAX_MB * MIB - self._size_of_others(file))
        except OSError as error:
            log.error("the spool cannot be written: %s", error.strerror)
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked_file(self) -> Iterator[_File]:
        """Lock the current file, or a new one where it was deleted or is locked: a drain may delete a file before we lock it."""
        file = self.file if self.file and not self.file.broken else _File.create(self.folder)
        while True:
            with locked(file.descriptor, LOCK_SECONDS) as ours:
                if ours and file.is_there():
                    self.file = file
                    yield file
                    return
            file = _File.create(self.folder)

    def _size_of_others(self, own_file: _File) -> int:
        total = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name != own_file.path.name:
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat().st_size
        return total


class _File:
    """size, count: of the lines that are certainly on the disk. broken: the disk failed, so nothing may be appended behind them."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.size = self.count = 0
        self.broken = False

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

    def is_there(self) -> bool:
        return os.fstat(self.descriptor).st_nlink > 0

    def append(self, texts: Sequence[str], room: int) -> None:
        """Append lines. room: how large this file may become. Raises SpoolFull, OSError."""
        lines = bytearray()
        for text in texts:
            lines += encrypt(text, context(self.path, self.size + len(lines))).encode() + b"\n"
        if self.size + len(lines) > room or self.count + len(texts) > settings.SPOOL_MAX_MESSAGES:
            raise SpoolFull("the spool is full")
        self._put_down(lines)
        self.size += len(lines)
        self.count += len(texts)

    def _put_down(self, lines: bytearray) -> None:
        """Write and sync. After a failed fsync nobody knows what is on the disk, so the next rows get a new file."""
        try:
            self._write(lines)
            self.broken = True
            os.fsync(self.descriptor)
            self.broken = False
        except OSError:
            self._take_back()
            raise

    def _write(self, data: bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def _take_back(self) -> None:
        """Remove the lines of a failed write, because the answer is 503. An empty file is deleted: it would look like a spool in use."""
        try:
            os.ftruncate(self.descriptor, self.size)
            if not self.size:
                self.path.unlink()
        except OSError:
            self.broken = True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
