from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts import rotation
from accounts.fields import key_ids

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    help = "Write every stored secret anew under the first key of FIELD_KEYS, while everything runs. Safe to break off and to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; say which keys are still needed")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        self._refuse_strangers()
        damaged = 0 if check else sum(self._rotate(column) for column in rotation.list_columns())
        left = self._count()
        if damaged:
            raise CommandError(f"{damaged} values are damaged and stay as they are: enter those secrets anew.")
        if left:
            raise CommandError(
                f"{left} values are under older keys."
                + ("" if check else " Were all processes restarted with the new first key? Then run this again.")
            )
        self.stdout.write("Everything is under the first key. The others may be removed from FIELD_KEYS.")

    def _refuse_strangers(self) -> None:
        """Before anything is changed: a value that no key opens means that FIELD_KEYS is not the one this data needs."""
        found = rotation.find_unknown_keys()
        if found:
            lines = [f"  key {key_id} ({places})" for key_id, places in found.items()]
            text = "Nothing was changed. Values are stored under keys that FIELD_KEYS does not hold; add them at its end:\n"
            raise CommandError(text + "\n".join(lines))

    def _rotate(self, column: rotation.Column) -> int:
        """Returns how many values are damaged."""
        changed, damaged = rotation.rotate(column)
        self.stdout.write(f"{column.context}: {changed} written anew")
        if damaged:
            shown = ", ".join(str(pk) for pk in sorted(damaged)[:20])
            self.stderr.write(f"{column.context}: damaged, in the rows {shown}")
        return len(damaged)

    def _count(self) -> int:
        """Says how many values each key holds. Returns how many are not under the first."""
        counts = sum((column.counts() for column in rotation.list_columns()), Counter[str]())
        for position, key_id in enumerate(key_ids(settings.FIELD_KEYS), start=1):
            self.stdout.write(f"key {position} ({key_id}): {counts[key_id]} values")
        return sum(column.left() for column in rotation.list_columns())
