"""Which release wrote a data folder, told by one small file in it, so that it is known before a server is started over the folder.

The first release writes it. A folder that holds data without it is from before, and its tables fit no migration there is.
"""

from __future__ import annotations

import shlex
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "data-version"
VERSION = "1"  # to be counted up when a folder of before can no longer be read; migrations of tables are no reason
DATA = ("postgres/PG_VERSION", "spool/*")  # what a release of before leaves that this one would have to read


def is_before_first_release(data_dir: Path) -> bool:
    """Whether there is data without a version. Writes nothing."""
    return not (data_dir / NAME).exists() and any(True for pattern in DATA for _ in data_dir.glob(pattern))


def write_version(data_dir: Path) -> None:
    """Before anything else is written, so that a start that is killed leaves no data without it."""
    (data_dir / NAME).write_text(f"{VERSION}\n")


def explain_old_folder(data_dir: Path, command: str, *, demo: bool) -> str:
    """What to say of a folder from before the first release. command: what was typed to start."""
    aside = next(
        path for number in count(1) if not (path := data_dir.with_name(f"{data_dir.name}.old-{number}")).exists()
    )
    keep = (
        "Nothing of it has to be kept: a demo makes its accounts, messages and passwords anew."
        if demo
        else f"Keep .env as it is, and {aside}: messages, files and settings stay in it and are not carried over. "
        "Enter accounts, gateways, mappings and users anew."
    )
    return (
        f"{data_dir} is from before the first release: this release cannot read its tables. Nothing in it was changed.\n"
        f"To begin anew, put it aside and start again: mv {shlex.quote(str(data_dir))} {shlex.quote(str(aside))} && {command}\n"
        f"{keep}"
    )
