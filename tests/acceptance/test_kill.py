"""The kill run in small, for every push; `make acceptance` plays it in full length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.heavy
def test_nothing_is_lost_or_doubled_while_every_process_is_killed() -> None:
    """The kills' order is fixed; their effect is not, for where a process stands when it dies is chance."""
    command = [sys.executable, "-m", "tests.acceptance.kill", "--messages", "120", "--kills", "7", "--seed", "4"]
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout
