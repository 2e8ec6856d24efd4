from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from bridge.demo import world

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    help = "Set up the demo on the simulator and the stand-in gateway, and hold a first conversation."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="fail unless every answer arrives")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        try:
            built = world.build_from(os.environ)
        except KeyError as missing:
            raise CommandError(f"{missing} is not set. This command is run by `make demo`.") from None
        answered = world.converse(built, world.show)
        if not answered and once:
            raise CommandError("The demo conversation was not answered in full.")
