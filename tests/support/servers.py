"""A pytest plugin, loaded before Django reads its settings: real PostgreSQL and Valkey for the run, and no way out of this machine.

pytest-django loads the settings before any conftest.py is imported, so what the settings read must be set by a plugin named in addopts.
TEST_DATABASE_URL and TEST_REDIS_URL name servers to use instead.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import ipaddress
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bridge.runtime.launcher.embedded import Postgres, Valkey

_running = contextlib.ExitStack()


class ForbiddenConnection(BaseException):
    """A test tried to leave this machine. Not an Exception, so that no error handling under test can hide it."""


def _refuse_the_outside(event: str, args: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto") or not isinstance(args[1], tuple):
        return
    host = args[1][0]
    if host not in ("localhost", "") and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise ForbiddenConnection(f"A test tried to reach {host}. Use a server on 127.0.0.1.")


def _start(server: Postgres | Valkey) -> str:
    server.start()
    _running.callback(server.stop)
    return server.url


def _environment() -> dict[str, str]:
    """Everything the settings read that may differ between machines."""
    folder = Path(
        _running.enter_context(tempfile.TemporaryDirectory(prefix="bridge-test-", ignore_cleanup_errors=True))
    )
    (folder / "static").mkdir()  # whitenoise warns without
    return {
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or _start(Postgres(folder, durable=False)),
        "REDIS_URL": os.environ.get("TEST_REDIS_URL") or _start(Valkey(folder)),
        "SECRET_KEY": "a-key-for-tests-only-of-more-than-fifty-characters-in-length",
        "FIELD_KEYS": base64.b64encode(bytes(range(32))).decode(),
        "PUBLIC_URL": "https://bridge.example",
        "HTTPS_REDIRECT": "0",  # Django's test client speaks plain http; tests.security.test_headers turns it on
        "MEDIA_ROOT": str(folder / "media"),
        "STATIC_ROOT": str(folder / "static"),
        "SPOOL_DIR": str(folder / "spool"),
        "ALLOWED_PRIVATE_HOSTS": "127.0.0.1:*",
        "ALLOWED_PRIVATE_MEDIA_HOSTS": "127.0.0.1:*",
        "EMAIL_URL": "memorymail://",
        "DB_POOL_SIZE": "0",
        "DEBUG": "0",
        "DEMO": "0",
    }


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Stop the servers after everything else has let go of them."""
    _running.close()


atexit.register(_running.close)  # pytest may give up before it is configured
os.environ.update(_environment())
sys.addaudithook(_refuse_the_outside)
