"""Installs the packages of npm that a lab needs, once for each lock file, at its versions and checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[2] / ".data"


def install(source: Path, target: Path, *options: str) -> Path:
    """Copy the files of `source` to `target` and install what their lock file names there. Return `target`.

    Raises OSError, subprocess.SubprocessError.
    """
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    mark = target / "installed"
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copyfile(file, target / file.name)
    if mark.exists() and mark.read_text() == wanted:
        return target
    command = ["npm", "ci", *options, "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=target, check=True, timeout=600, capture_output=True, text=True)
    mark.write_text(wanted)
    return target


def install_or_skip(what: str, install_it: Callable[[], Path]) -> Path:
    """Without npm or its registry the proof cannot run: it says why, and fails in CI. what: as it is named in that sentence."""
    try:
        return install_it()
    except (OSError, subprocess.SubprocessError) as error:
        why = f"{what} cannot be installed: {error} {getattr(error, 'stderr', '') or ''}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
