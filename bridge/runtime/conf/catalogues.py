"""Chinese as gettext reads it: the `.po` files of the rooms are the source, and a `.mo` is made beside each when settings are read.

A `.mo` is not committed. It carries the modification time of the `.po` that it was made from, so any change makes a new one, in a checkout
as in the building of an image. Where nothing can be written, whatever is there stays.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

ROOMS = ("bridge", "accounts", "openclaw", "channels_wechat")


def locale_folders(base: Path) -> list[Path]:
    """The folders with translations; where two of them translate a text, the first one counts."""
    return [base / room / "locale" for room in ROOMS]


def compile_catalogues(folders: list[Path]) -> None:
    """Make the `.mo` files that are missing or not those of their `.po`."""
    for folder in folders:
        for source in folder.glob("*/LC_MESSAGES/*.po"):
            if not _is_current(source):
                with suppress(OSError):  # a read-only file system, or somebody else's folder
                    _compile(source)


def _is_current(source: Path) -> bool:
    try:
        return source.with_suffix(".mo").stat().st_mtime_ns == source.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def _compile(source: Path) -> None:
    """Write the `.mo` under another name first: several processes begin at the same time, and none may read half a file."""
    from babel.messages.mofile import write_mo  # noqa: PLC0415  # not needed by a process that finds all made
    from babel.messages.pofile import read_po  # noqa: PLC0415

    changed_at = source.stat().st_mtime_ns
    with source.open("rb") as file:
        catalogue = read_po(file, locale="zh_Hans")
    with tempfile.NamedTemporaryFile(dir=source.parent, suffix=".tmp", delete=False) as target:
        write_mo(target, catalogue)
    Path(target.name).chmod(0o644)
    os.utime(target.name, ns=(changed_at, changed_at))
    Path(target.name).replace(source.with_suffix(".mo"))
