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
    """The seed takes the database away at once, brings kills meanwhile, and takes it away again with a full spool.

    Where a process stands when it dies is chance.
    """
    size = ("--messages", "240", "--places", "40", "--seconds", "40", "--every", "2", "--seed", "4676", "--away", "15")
    command = [sys.executable, "-m", "tests.acceptance.chaos", *size, "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert told["kept"]
    figures = {line["name"]: line["figure"] for line in told["lines"]}
    assert figures["messages stored"] == 240
    assert {"stop postgres", "stop, spool full, postgres"} <= figures["disturbances"].keys()
    assert figures["callbacks acknowledged while PostgreSQL was away"] > 0
