"""The spool's file: what is on the disk for certain, what is dropped, what is kept for a key that is gone, and that nobody can read it."""

from __future__ import annotations

import base64
import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError

from bridge.models import Message
from bridge.pipeline.inbound import receive, spool_drain
from bridge.runtime.spool import journal
from tests.support.factories import app, eventually, picture, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
CANARY = "canary-5d1f"
OTHER_KEY = base64.b64encode(b"k" * 32).decode()
# A process of its own that appends what it is told, line by line: how many rows, then "ok".
APPENDING = """
import sys, django; django.setup()
from bridge.runtime.spool import journal
number = 0
print("ready", flush=True)
for line in sys.stdin:
    rows = [{"now": f"2026-01-01T00:00:{(number + n) % 60:02}+00:00", "text": f"row {number + n}"} for n in range(int(line))]
    number += len(rows)
    try:
        journal.append(rows)
        print("ok", flush=True)
    except journal.SpoolFull as error:
        print(error, flush=True)
"""


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.SPOOL_DIR = str(tmp_path / "deep" / "spool")
    return Path(settings.SPOOL_DIR)


def rows(account: ChannelAccount, *texts: str) -> list[dict[str, Any]]:
    return [receive.build_row(account, said(text)) for text in texts]


def files(folder: Path, suffix: str = journal.SUFFIX) -> list[Path]:
    return sorted(folder.glob(f"*{suffix}"))


def texts() -> list[str]:
    return list(Message.objects.order_by("id").values_list("text", flat=True))


class Appender:
    """The other process."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        env = {**os.environ, "SPOOL_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "bridge.settings"}
        command = [sys.executable, "-c", APPENDING]
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **limits
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, count: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def append(self, count: int = 1) -> str:
        self.ask(count)
        return self.read()

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


def test_what_was_appended_is_stored_in_order_and_its_file_deleted(account: ChannelAccount, folder: Path) -> None:
    journal.append(rows(account, "1", "2"))
    journal.append([receive.build_row(account, said("3", media=(picture(), picture("M2"))))])
    assert journal.is_in_use()
    assert len(files(folder)) == 1
    assert journal.read_status().messages == 3
    assert spool_drain.drain() == 3
    assert texts() == ["1", "2", "3"]
    assert [message.attachments.count() for message in Message.objects.order_by("id")] == [0, 0, 2]
    assert not files(folder)
    assert not journal.is_in_use()
    assert journal.read_status() == journal.SpoolStatus()


def test_after_a_drain_the_process_begins_a_new_file(account: ChannelAccount, folder: Path) -> None:
    for text in ("1", "2"):
        journal.append(rows(account, text))
        assert spool_drain.drain() == 1
    assert texts() == ["1", "2"]
    assert not files(folder)


def test_nobody_else_may_read_it_and_nothing_of_it_can_be_read(account: ChannelAccount, folder: Path) -> None:
    journal.append([receive.build_row(account, said(CANARY, CANARY, reply=f"https://reply/{CANARY}"))])
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    content = file.read_bytes()
    for form in (CANARY.encode(), base64.b64encode(CANARY.encode())[:-2], str(account.key).encode()):
        assert form not in content


def test_a_folder_that_others_could_read_is_closed(account: ChannelAccount, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    journal.append(rows(account, "1"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_kill_loses_nothing_that_was_answered(folder: Path) -> None:
    """The process is killed while it appends a large batch. Whatever is of it on the disk, the rows before it are whole."""
    other = Appender(folder)
    assert [other.append(3), other.append(2)] == ["ok", "ok"]
    (file,) = files(folder)
    safe = file.stat().st_size
    other.ask(20_000)
    # Looked at often, so that most kills come before the end of the batch.
    eventually(lambda: file.stat().st_size > safe or other.process.poll() is not None, 60, pause=0.001)
    other.end(signal.SIGKILL)
    found = read(file)
    assert [row["text"] for row in found[:5]] == [f"row {number}" for number in range(5)]
    assert [row["text"] for row in found] == [f"row {number}" for number in range(len(found))]


def read(file: Path) -> list[dict[str, Any]]:
    reader = spool_drain.Reader(file)
    try:
        found = [record.row for record in reader.records("")]
        assert not reader.unreadable
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
def test_a_torn_last_row_is_dropped_and_those_before_it_are_stored(
    account: ChannelAccount, folder: Path, cut: int
) -> None:
    journal.append(rows(account, "1", "2", "3"))
    (file,) = files(folder)
    os.truncate(file, file.stat().st_size - cut)
    assert spool_drain.drain() == 2
    assert texts() == ["1", "2"]
    assert not list(folder.glob("*.*ble"))
    assert not files(folder)


def test_a_row_that_was_changed_moved_or_copied_does_not_open(account: ChannelAccount, folder: Path) -> None:
    journal.append(rows(account, "1", "2", "3"))
    (file,) = files(folder)
    first, second, third = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + third + second)
    assert spool_drain.drain() == 1
    assert texts() == ["1"]
    assert len(files(folder, journal.UNREADABLE_SUFFIX)) == 1


def test_without_its_key_it_is_kept_until_the_key_is_back(
    account: ChannelAccount, folder: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ours = list(settings.FIELD_KEYS)
    journal.append(rows(account, "1", "2"))
    settings.FIELD_KEYS = [OTHER_KEY]
    assert spool_drain.drain() == 0
    assert texts() == []
    assert "FIELD_KEYS" in caplog.text
    assert journal.read_status().unreadable == 2
    assert not journal.is_in_use()  # new callbacks do not wait for it
    settings.FIELD_KEYS = [OTHER_KEY, *ours]
    assert spool_drain.drain() == 0
    assert spool_drain.drain(unreadable=True) == 2  # as at a start
    assert texts() == ["1", "2"]
    assert journal.read_status() == journal.SpoolStatus()


def test_full_by_count_and_by_size(account: ChannelAccount, folder: Path, settings: Any) -> None:
    settings.SPOOL_MAX_MESSAGES = 3
    journal.append(rows(account, "1", "2"))
    size = files(folder)[0].stat().st_size
    with pytest.raises(journal.SpoolFull):
        journal.append(rows(account, "3", "4"))
    journal.append(rows(account, "3"))
    assert files(folder)[0].stat().st_size > size
    with pytest.raises(journal.SpoolFull):
        journal.append(rows(account, "4", "5"), reserve=0.5)
    journal.append(rows(account, "4"), reserve=0.5)
    settings.SPOOL_MAX_MESSAGES, settings.SPOOL_MAX_MB = 1000, 1
    big = rows(account, "b" * 300_000)
    journal.append(big)
    journal.append(rows(account, "c" * 200_000))
    with pytest.raises(OperationalError):
        journal.append(big)
    journal.append(big, reserve=0.9)
    assert spool_drain.drain() == 4 + 3
    assert texts()[:4] == ["1", "2", "3", "4"]
    journal.append(rows(account, "after"))  # and there is room again
    assert spool_drain.drain() == 1


def test_the_size_is_that_of_all_processes_together(account: ChannelAccount, folder: Path, settings: Any) -> None:
    settings.SPOOL_MAX_MB = 1
    folder.mkdir(parents=True)
    (folder / "other.spool").write_bytes(b"x" * (1024 * 1024 - 2000))
    journal.append(rows(account, "1"))
    with pytest.raises(journal.SpoolFull):
        journal.append(rows(account, "2", "3", "4"))


def test_a_disk_that_takes_no_more_is_a_full_spool_and_breaks_nothing(folder: Path) -> None:
    """A limit of the kernel for files stands in for the disk; both fail in the middle of the write."""
    limit = 20_000
    other = Appender(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    try:
        assert other.append(2) == "ok"
        (file,) = files(folder)
        size = file.stat().st_size
        assert "cannot be written" in other.append(500)
        assert file.stat().st_size == size
        assert other.append(1) == "ok"
        found = read(file)
        assert [row["text"] for row in found] == ["row 0", "row 1", "row 502"]
    finally:
        other.end()


def test_nothing_is_appended_behind_what_the_disk_may_not_have(
    account: ChannelAccount, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk failed")

    journal.append(rows(account, "1"))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(journal.SpoolFull):
            journal.append(rows(account, "2"))
    journal.append(rows(account, "3"))
    assert len(files(folder)) == 2
    assert spool_drain.drain() == 2
    assert texts() == ["1", "3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount a small disk takes root")
def test_a_disk_without_space_is_a_full_spool(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    other = Appender(disk / "spool")
    try:
        assert other.append(2) == "ok"
        assert "No space left" in other.append(5000)
        assert [row["text"] for row in read(files(disk / "spool")[0])] == ["row 0", "row 1"]
        (disk / "filler").write_bytes(b"x" * 4096)
        assert other.append(1) == "ok"
    finally:
        other.end()
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be_made_is_a_full_spool(account: ChannelAccount, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.SPOOL_DIR = str(tmp_path / "file" / "spool")
    with pytest.raises(journal.SpoolFull):
        journal.append(rows(account, "1"))
    assert not journal.is_in_use()
    assert spool_drain.drain() == 0


def test_rows_of_several_processes_are_stored_by_the_time_they_arrived(account: ChannelAccount, folder: Path) -> None:
    """One of them is dead, the other lives: each has a file of its own."""
    ours = rows(account, "1", "2", "3", "4")
    journal.append([ours[0], ours[2]])
    journal._get_spool.cache_clear()  # as another process
    journal.append([ours[1], ours[3]])
    assert len(files(folder)) == 2
    assert spool_drain.drain() == 4
    assert texts() == ["1", "2", "3", "4"]


def test_the_file_of_a_process_that_died_is_drained_by_another(folder: Path) -> None:
    other = Appender(folder)
    assert other.append(2) == "ok"
    other.end(signal.SIGKILL)
    assert spool_drain.drain() == 2  # rows without an account: logged and left out, but read
    assert not files(folder)


def test_what_is_appended_while_files_are_read_overtakes_nothing(
    account: ChannelAccount, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes append: the first file is read to its end, then the next message goes to it, and the one after that to the second."""
    for text in ("1", "2"):
        journal.append(rows(account, text))
        journal._get_spool.cache_clear()  # another process
    first, second = (journal._File(file, os.open(file, os.O_WRONLY | os.O_APPEND)) for file in _by_age(folder))
    for file in (first, second):
        file.size = file.path.stat().st_size
    read_on = spool_drain.Reader.records
    late = iter([(first, "3"), (second, "4")])

    def records(reader: spool_drain.Reader, before: str) -> Iterator[spool_drain.Record]:
        yield from read_on(reader, before)
        if reader.path == first.path:
            for file, text in late:
                file.append([json.dumps(row) for row in rows(account, text)], journal.MIB, 100)

    monkeypatch.setattr(spool_drain.Reader, "records", records)
    assert spool_drain.drain() == 4
    assert (texts(), files(folder)) == (["1", "2", "3", "4"], [])


def _by_age(folder: Path) -> list[Path]:
    return sorted(files(folder), key=lambda file: read(file)[0]["now"])


@pytest.mark.django_db(transaction=True)
def test_only_one_drains_and_a_process_that_appends_holds_up_nobody(account: ChannelAccount, folder: Path) -> None:
    journal.append(rows(account, "1"))
    (file,) = files(folder)
    with file.open("rb") as descriptor, ThreadPoolExecutor(1) as beside:
        with journal.lock_file(descriptor.fileno()) as ours:  # a drain stands still in the middle of its last statement
            assert ours
            journal.append(rows(account, "2"))
            assert len(files(folder)) == 2
            done = beside.submit(_drained)
            eventually(lambda: texts() == ["1", "2"])
            assert not done.done()  # it cannot delete the file
            assert spool_drain.drain() == 0  # and is alone
        assert done.result(20) == 2
    assert not files(folder)


def _drained() -> int:
    from django.db import connection

    try:
        return spool_drain.drain()
    finally:
        connection.close()


def test_a_repetition_during_and_after_is_known(account: ChannelAccount) -> None:
    one, two = rows(account, "1", "2")
    journal.append([one])
    journal.append([two, one])
    assert receive.store_inbound([two])[0]
    assert spool_drain.drain() == 3
    assert texts() == ["2", "1"]
    assert receive.store_inbound([one, two]) == [None, None]


def test_many_at_once_lose_nothing(account: ChannelAccount, folder: Path) -> None:
    """Several threads append while a drain runs again and again."""
    messages = [rows(account, f"{number}")[0] for number in range(120)]
    left = threading.Barrier(4)

    def append(own: list[dict[str, Any]]) -> None:
        left.wait()
        for row in own:
            journal.append([row])

    with ThreadPoolExecutor(4) as beside:
        appending = [beside.submit(append, messages[n::4]) for n in range(4)]
        while not all(each.done() for each in appending):
            spool_drain.drain()
        for each in appending:
            each.result()
    spool_drain.drain()
    assert sorted(texts(), key=int) == [str(number) for number in range(120)]
    assert not files(folder)
