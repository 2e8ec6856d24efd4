"""Everything between a start and the first request: checks, migrations, static files and a first administrator."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

ADMIN = "admin"


class Command(BaseCommand):
    """Safe to run at every start. The system checks come first, as before any command."""

    help = "Migrate, collect static files and create the first administrator"

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        """Raises what the commands raise."""
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write("The database has all its tables.")
        if not settings.WHITENOISE_USE_FINDERS:
            call_command("collect")
        with contextlib.suppress(OSError):  # of a folder that is not there yet, or another user's
            Path(settings.MEDIA_ROOT).chmod(0o700)  # an older release left it open to every user of the machine
        self._create_admin()

    def _create_admin(self) -> None:
        users = get_user_model()
        if users._default_manager.filter(is_superuser=True).exists():
            return
        password = os.environ.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        users._default_manager.create_superuser(ADMIN, password=password)
        if path := os.environ.get("ADMIN_CREATED_FILE"):
            Path(path).touch()
        if not os.environ.get("ADMIN_PASSWORD"):
            self.stdout.write(f"Created the administrator: login {ADMIN}, password {password} (shown only now)")
