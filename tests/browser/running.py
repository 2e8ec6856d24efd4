"""The whole bridge without accounts, beside a test that keeps the main thread."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

from tests.acceptance.stage import Stage, demo_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 300
# A person with every right and the admin's password, whose language nobody has chosen yet.
ANOTHER_ADMIN = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT password, true, %s, '', '', '', true, true, now() FROM auth_user WHERE username = 'admin' RETURNING 1
"""
PACE = 0.1  # seconds per word of an agent's answer: slow enough to be seen growing


def add_admin(stage: Stage) -> str:
    """Add one more, and return the name."""
    name = f"admin-{secrets.token_hex(4)}"
    assert stage.rows(ANOTHER_ADMIN, name)
    return name


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stage]:
    """Every process as `make demo` starts them, over a data folder of their own. What they say stands in `bridge.log` there."""
    opened: Future[None] = Future()
    with _own_environment():
        stage = Stage(demo_plan(folder, {}), folder / "bridge.log")
        thread = threading.Thread(target=_look_after, args=(stage, opened), name="supervisor")
        thread.start()
        wait([opened], START_SECONDS)
    try:
        opened.result(0)
        yield stage
    finally:
        stage.supervisor.stopping = True
        thread.join()


def _look_after(stage: Stage, opened: Future[None]) -> None:
    """In a thread that lives as long as the processes, for a child ends with the thread that started it."""
    try:
        stage.open(PACE)
        opened.set_result(None)
        stage.supervisor.run()
    except BaseException as error:
        if opened.done():
            raise
        opened.set_exception(error)
    finally:
        stage.close()


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """What the plan takes out of the environment comes back; what suits tests only is not handed to the processes."""
    before = dict(os.environ)
    os.environ.pop("PYTHONDEVMODE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
