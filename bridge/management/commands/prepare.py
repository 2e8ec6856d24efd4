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
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader

ADMIN = "admin"
OURS = ("accounts", "openclaw", "bridge")
BEFORE_FIRST_RELEASE = ("bridge", "0002_permissions")  # applied to every database of the time before
NAMES_SHOWN = 3


def check_applied_migrations() -> None:
    """See that every migration of ours that the database had is one of this release. Changes nothing. Raises CommandError."""
    loader = MigrationLoader(connection)
    unknown = [name for name in loader.applied_migrations if name[0] in OURS and name not in loader.disk_migrations]
    if BEFORE_FIRST_RELEASE in unknown:
        raise CommandError(
            "The database is from before the first release: this release cannot read its tables. Nothing in it was changed. To begin anew, "
            "make an empty database (createdb NAME), name it in DATABASE_URL and start again. Keep the settings (.env, FIELD_KEYS) "
            "and the old database: what is in it is not carried over, so enter accounts, gateways, mappings and users anew."
        )
    if unknown:
        names = ", ".join(sorted(".".join(name) for name in unknown)[:NAMES_SHOWN])
        raise CommandError(
            f"The database was migrated by a later release: this one does not know {names}. Nothing in it was changed. "
            "Start the later release, or restore the backup from before the upgrade."
        )


class Command(BaseCommand):
    """Safe to run at every start. The system checks come first, as before any command."""

    help = "Migrate, collect static files and create the first administrator"

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        """Migrate, collect the static files, create the administrator. Raises CommandError, and what these commands raise."""
        check_applied_migrations()
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
