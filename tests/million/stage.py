"""Servers of their own in a temporary folder, and Django over them in this process."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command

from bridge.runtime.launcher.embedded import run_embedded_servers
from bridge.runtime.launcher.launch import BASE_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def stage() -> Iterator[Path]:
    """An empty, migrated database for the time of the block; gives the folder. Nothing of this process's environment counts."""
    with tempfile.TemporaryDirectory(prefix="bridge-million-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "static").mkdir()
        with run_embedded_servers(folder, durable=False) as (database, valkey):
            os.environ.update(_environment(folder, database, valkey))
            django.setup()
            call_command("migrate", interactive=False, verbosity=0)
            yield folder


def _environment(folder: Path, database: str, valkey: str) -> dict[str, str]:
    for setting in re.findall(r"^#? ?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE):
        os.environ.pop(setting, None)
    return {
        "DJANGO_SETTINGS_MODULE": "bridge.settings",
        "DATABASE_URL": database,
        "REDIS_URL": valkey,
        "SECRET_KEY": secrets.token_urlsafe(50),
        "FIELD_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        "MEDIA_ROOT": str(folder / "media"),
        "STATIC_ROOT": str(folder / "static"),
        "DB_POOL_SIZE": "0",
        "LOG_LEVEL": "ERROR",
        "API_RATE": "1000000",
        "DEMO": "1",
    }
