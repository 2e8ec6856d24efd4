"""The pages' style and scripts, compressed, in one folder. An image is built with it: it needs no setting but STATIC_ROOT."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import BaseCommand

from bridge.runtime.conf.checks import STAMP_FILE


class Command(BaseCommand):
    """Compressing every file takes seconds, so a stamp says for which files it was done; then nothing is written."""

    help = "Collect static files, unless that was done for the same files"
    requires_system_checks = [Tags.staticfiles]

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        stamp, digest = Path(settings.STATIC_ROOT) / STAMP_FILE, _digest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        self.stdout.write("Collecting static files …")
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(digest)


def _digest() -> str:
    """A hash over the names and contents of all static files. Not over their times, which an image's layers round."""
    found = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            content = hashlib.sha256(Path(storage.path(path)).read_bytes()).hexdigest()
            found.update(f"{path} {content}\n".encode())
    return found.hexdigest()
