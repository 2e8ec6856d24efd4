from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from bridge.operations import retention

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    help = "Delete messages that are older than their account keeps them, and files that no message names. The clock does it too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="delete nothing; say how many messages would go")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if dry_run:
            self._foretell()
            return
        pruned = retention.prune(math.inf)
        self.stdout.write(f"Deleted {pruned.messages} messages and {pruned.webhook_calls} webhook calls.")
        self.stdout.write(f"Deleted {retention.delete_orphan_files()} files that no message named.")

    def _foretell(self) -> None:
        counts = retention.count_prunable()
        calls = counts.pop("")
        for name, count in counts.items():
            self.stdout.write(f"{name}: {count} messages would be deleted")
        self.stdout.write(f"{calls} webhook calls would be deleted")
