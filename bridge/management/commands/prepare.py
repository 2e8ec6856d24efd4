"""Everything between a start and the first request: checks, migrations, static files and a first administrator."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand

ADMIN = "admin"


class Command(BaseCommand):
    """Safe to run at every start. The system checks come first, as before any command."""

    help = "Migrate, collect static files and create the first administrator"

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        """Raises what the commands raise."""
        call_command("migrate", interactive=False)
        if not settings.WHITENOISE_USE_FINDERS:
            self._collect()
        self._create_admin()

    def _collect(self) -> None:
        """Compressing every file again takes seconds, so a stamp says for which files it was done."""
        stamp, digest = Path(settings.STATIC_ROOT) / ".stamp", _static_digest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        self.stdout.write("Collecting static files …")
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(digest)

    def _create_admin(self) -> None:
        users = get_user_model()
        if users._default_manager.filter(is_superuser=True).exists():
            return
        password = os.environ.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        users._default_manager.create_superuser(ADMIN, password=password)
        if not os.environ.get("ADMIN_PASSWORD"):
            self.stdout.write(f"Created the administrator: login {ADMIN}, password {password} (shown only now)")


def _static_digest() -> str:
    """A hash over the names, sizes and times of all static files."""
    found = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            state = Path(storage.path(path)).stat()
            found.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    return found.hexdigest()
