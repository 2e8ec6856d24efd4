"""`manage.py replay`: plan, run and look at replays."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from bridge.models import Outlook, ReplayKind, ReplayRun
from bridge.models.replays import MAX_RATE
from bridge.operations.replays import control, plan
from bridge.operations.replays.filters import NAMES, ReplayFilter, WrongFilter

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= MAX_RATE):
        raise ArgumentTypeError(f"a number from 1 to {MAX_RATE}")
    return int(text)


class Command(BaseCommand):
    help = "Replay many deliveries: plan what failed, run the plan, look at it. A worker does the work."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        planning = verbs.add_parser("plan", help="make a plan of what failed; nothing is sent")
        planning.add_argument("--kind", choices=ReplayKind.values, default=ReplayKind.AGAIN)
        planning.add_argument("--name", default="")
        for name in NAMES:
            planning.add_argument(f"--{name}", default="")
        running = verbs.add_parser("run", help="run a plan")
        running.add_argument("--rate", type=_rate, help=f"deliveries a second, from 1 to {MAX_RATE}")
        running.add_argument(
            "--outlook", action="append", choices=Outlook.values, help="a group of the plan that goes; may be repeated"
        )
        running.add_argument(
            "--possibly-twice", action="store_true", help="confirms that what has an unknown outcome may arrive twice"
        )
        running.add_argument("number", type=int)
        for verb, text in (
            ("status", "show a replay"), ("pause", "pause it"), ("resume", "go on"), ("cancel", "end it"), ("undo", "take back"),
        ):  # fmt: skip
            verbs.add_parser(verb, help=text).add_argument("number", type=int)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        if verb == "plan":
            self._show(self._plan(options))
            return
        run = ReplayRun.objects.filter(pk=options["number"]).first()
        if run is None:
            raise CommandError(f"There is no replay {options['number']}.")
        try:
            if verb == "run":
                twice = options["possibly_twice"]
                control.start(run, outlooks=options["outlook"], rate=options["rate"], twice=twice)
            elif verb != "status":
                getattr(control, verb)(run)
        except control.CannotControl as refused:
            how = " (--possibly-twice)" if refused.code == "twice" else ""
            raise CommandError(f"{refused}{how}") from refused
        self._show(run)

    def _plan(self, options: dict[str, Any]) -> ReplayRun:
        try:
            wanted = ReplayFilter.parse({name: options[name] for name in NAMES})
            return plan.make_plan(options["kind"], wanted, name=options["name"])
        except WrongFilter as wrong:
            raise CommandError(f"--{wrong.name} is not understood.") from wrong
        except plan.CannotPlan as refused:
            raise CommandError(f"No plan was made: {refused.code}.") from refused

    def _show(self, run: ReplayRun) -> None:
        self.stdout.write(
            f"Replay {run.pk} ({run.name}): {run.state}, {run.done} of {run.chosen} chosen, {run.total} in all"
        )
        for group in run.groups:
            detail = f" ({group['detail']})" if group["detail"] else ""
            self.stdout.write(f"  {group['planned']}{detail}: {group['count']}, for example {group['example']}")
        for result, count in run.results.items():
            self.stdout.write(f"  now {result}: {count}")
