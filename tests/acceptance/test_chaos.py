"""A minute of chaos, for every push; `make chaos` plays it in full length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.heavy
def test_nothing_is_lost_or_doubled_while_everything_fails() -> None:
    """The seed brings kills, a flush and a restart of the database early; where a process stands when it dies is chance."""
    size = ("--messages", "240", "--seconds", "30", "--every", "2", "--seed", "627")
    command = [sys.executable, "-m", "tests.acceptance.chaos", *size, "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert told["kept"]
    assert {"figure": 240, "limit": "= 240", "kept": True, "name": "messages stored"} in told["lines"]
