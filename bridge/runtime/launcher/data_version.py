"""A small file in a data folder tells which release wrote it. It is read before a server is started with the folder.

The first release writes it. A folder with data but without this file is older, and no migration can read its tables.
"""

from __future__ import annotations

import shlex
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "data-version"
VERSION = "1"  # to be increased if older folders cannot be read any more; migrations of tables do not count
DATA_PATTERNS = ("postgres/PG_VERSION", "spool/*")  # files of an older release that this one would have to read


def is_before_first_release(data_dir: Path) -> bool:
    """Whether the folder has data but no version. Writes nothing."""
    return not (data_dir / FILE_NAME).exists() and any(
        True for pattern in DATA_PATTERNS for _ in data_dir.glob(pattern)
    )


def write_version(data_dir: Path) -> None:
    """Write the version. Done before anything else is written, so that a killed start leaves no data without a version."""
    (data_dir / FILE_NAME).write_text(f"{VERSION}\n")


def explain_old_folder(data_dir: Path, command: str, *, demo: bool) -> str:
    """Return the message about a folder from before the first release. command: the command that was typed."""
    new_name = next(
        path for number in count(1) if not (path := data_dir.with_name(f"{data_dir.name}.old-{number}")).exists()
    )
    advice = (
        "Nothing of it has to be kept: a demo makes its accounts, messages and passwords anew."
        if demo
        else f"Keep .env as it is, and {new_name}: messages, files and settings stay in it and are not carried over. "
        "Enter accounts, gateways, mappings and users anew."
    )
    return (
        f"{data_dir} is from before the first release: this release cannot read its tables. Nothing in it was changed.\n"
        f"To begin anew, put it aside and start again: mv {shlex.quote(str(data_dir))} {shlex.quote(str(new_name))} && {command}\n"
        f"{advice}"
    )
