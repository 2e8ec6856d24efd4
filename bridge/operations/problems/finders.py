"""Runs every finder of problems, each by itself: one that fails hides what it would find, and nothing else."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bridge.operations import alert_rules
from bridge.operations.problems import alert_channels, chats, failures, outages, processes, secrets
from bridge.operations.problems.problem import Names, Problem, Unknown
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)
# Decides for each finder which repetitions are logged, because the clock runs it three times a minute.
failed_finders: dict[str, logs.Rarely] = {}


class Finder(NamedTuple):
    """causes: how the causes that it finds begin, and those of no other finder."""

    find: Callable[[Names], Iterable[Problem | Unknown]]
    causes: tuple[str, ...]


FINDERS = (
    Finder(outages.find_accounts_down, ("account:",)),
    Finder(outages.find_gateways_down, ("gateway:",)),
    Finder(outages.find_refusing_gateways, ("turns:",)),
    Finder(outages.find_disabled_webhooks, ("hook:",)),
    Finder(outages.find_failing_webhooks, ("calls:",)),
    Finder(secrets.find_unreadable, ("unreadable:",)),
    Finder(chats.find_unmapped, ("unmapped:",)),
    Finder(chats.find_for_staff, ("chats:",)),
    Finder(chats.find_held, ("held:",)),
    Finder(failures.find_failures, failures.CAUSES),
    Finder(processes.find_stuck_deliveries, ("stuck",)),
    Finder(processes.find_silent_sweep, (processes.SWEEP,)),
    Finder(processes.find_silent_connector, ("connector",)),
    Finder(processes.find_spooled_callbacks, ("spool",)),
    Finder(processes.find_low_quotas, ("quota:",)),
    Finder(processes.find_alerts_off, ("alerts_off",)),
    Finder(alert_rules.find_problems, (alert_rules.CAUSE,)),
    Finder(alert_channels.find_failing_channels, (alert_channels.CAUSE,)),
)


@dataclass(slots=True)
class Look:
    """What one look found, by cause; and how the causes begin of which it could not say whether they are there."""

    problems: dict[str, Problem] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def is_gone(self, cause: str) -> bool:
        return cause not in self.problems and not cause.startswith(tuple(self.unknown))

    def add(self, found: Problem | Unknown) -> None:
        if isinstance(found, Unknown):
            self.unknown.append(found.causes)
        else:
            self.problems[found.cause] = found


def look() -> Look:
    """Look for everything that is wrong now, in about forty queries. Raises an error of DB_UNAVAILABLE."""
    names, result = Names.load(), Look()
    for finder in FINDERS:
        for found in _run(finder, names):
            result.add(found)
    return result


def _run(finder: Finder, names: Names) -> list[Problem | Unknown]:
    """Return what it finds; where it fails, that it failed, and that nothing is known of its causes."""
    name = finder.find.__name__
    try:
        found = list(finder.find(names))
    except DB_UNAVAILABLE:
        raise
    except Exception as error:  # a defect of one finder must not end all incidents and all alerts
        if failed_finders.setdefault(name, logs.Rarely()).is_due(type(error).__name__):
            log.exception("the look for problems failed: %s", name)
        params = {"finder": name, "error": type(error).__name__}
        return [Problem(f"look:{name}", "look_failed", params), *map(Unknown, finder.causes)]
    failed_finders.pop(name, None)
    return found
