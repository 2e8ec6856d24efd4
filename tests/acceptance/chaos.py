"""Everything at once: each message delivered three times by racing clients while processes, servers and the platform fail at random.

python -m tests.acceptance.chaos [--messages 10000] [--seed N] [--seconds 0] [--every 5] [--json]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import requests

from tests.acceptance.cpu import Spent
from tests.acceptance.disturb import TWINS, Disturber
from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import progress

if TYPE_CHECKING:
    from tests.acceptance.company import Company

PLACES = 120  # groups, and as many members who write to the app
COPIES, CLIENTS = 3, 8
RETRY_PAUSE = 2.0  # seconds between two tries of a copy
OPEN_MOST = 600  # messages under way at a time
TURNS = 160  # of the gateway at a time
PACE = 0.3  # seconds per word: an answer takes about two seconds
POLL_SECONDS = 3.0  # between two polls of a stream: hundreds are open at a time
SETTLE_SECONDS = 300
LOOK_SECONDS = 0.3
# How the platform answers: kind, share of the calls, seconds. Without a worse fate a call is answered late, so that the kills meet some
# requests; 25 s are longer than the bridge waits for an answer.
FAULTS = (
    ("timeout_before", 0.01, 25.0),
    ("timeout_after", 0.01, 25.0),
    ("reset", 0.02, 0.0),
    ("reset_after", 0.02, 0.0),
    ("slow", 0.05, 3.0),
    ("slow_after", 1.0, 0.3),
)

_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
_UNROUTED = "SELECT count(*) FROM bridge_message WHERE routed_at IS NULL AND direction = 'in'"
_ANSWERED = "SELECT count(*) FROM bridge_delivery WHERE target = 'channel' AND finished_at IS NOT NULL"


@dataclass
class Run:
    """The scenario: feed and disturb until all is said, then wait until nothing moves."""

    stage: Stage
    company: Company
    disturber: Disturber
    messages: int
    seconds: float
    every: float
    places: int
    answered: int = 0
    said: list[dict[str, Any]] = field(default_factory=list)
    took: float = 0.0

    def __post_init__(self) -> None:
        self.spent = Spent(self.stage)

    def play(self) -> bool:
        try:
            self._disturbed()
        finally:
            self.disturber.resume(everybody=True)
        progress(f"{self._now():6.1f} s  all said; waiting until nothing moves")
        settled = wait_until(self._settled, SETTLE_SECONDS, pause=1.0)
        self.took = self._now()
        self.spent.sample()
        progress(f"{self.took:6.1f} s  {'at rest' if settled else 'NOT at rest'}")
        return settled

    def _disturbed(self) -> None:
        due = self.every
        while len(self.said) < self.messages:
            self._feed()
            self.disturber.resume()
            if self._now() > due:
                self._disturb()
                due = self._now() + self.every * self.disturber.chance.uniform(0.5, 1.5)
            time.sleep(LOOK_SECONDS)

    def _now(self) -> float:
        return time.monotonic() - self.disturber.began

    def _feed(self) -> None:
        """As many as there is room for, but spread over the seconds that were asked for."""
        if not self.disturber.away:
            self.answered = self.stage.count(_ANSWERED)
        room = OPEN_MOST - (len(self.said) - self.answered)
        share = min(1.0, self._now() / self.seconds) if self.seconds else 1.0
        wanted = min(int(self.messages * share), len(self.said) + room)
        if wanted > len(self.said):
            new = [self._message(number) for number in range(len(self.said), wanted)]
            self.said += self.company.simulator.say_many(new)

    def _message(self, number: int) -> dict[str, object]:
        place, text = number % (2 * self.places), f"#{number:05d}# 好"
        if place < self.places:
            return self.company.group_says(place, number % self.places, text)
        return self.company.member_says(place - self.places, text)

    def _disturb(self) -> None:
        self.spent.sample()
        found = self.disturber.act()
        if found:
            progress(f"{found}, said: {len(self.said)}")

    def _settled(self) -> bool:
        """Nothing on its way on either side; the web server may be on its way back."""
        try:
            record = self.company.simulator.record()
        except requests.RequestException:
            return False
        under_way = sum(record["deliveries"].get(outcome, 0) for outcome in ("queued", "sending"))
        streaming = record["streams"].get("streaming", 0)
        return not (under_way or streaming or self.stage.count(_UNROUTED) or self.stage.count(_UNFINISHED))


def acknowledged(company: Company) -> int:
    """Callbacks with at least one 200 until now."""
    return int(company.simulator.record()["deliveries"].get("delivered", 0))


def prepare(company: Company) -> None:
    """The platform's rhythm gives way to a load; its limits stay, and what is above them it drops without a word."""
    company.simulator.settings(copies=COPIES, clients=CLIENTS, persistent=True, max_exchanges=0)
    company.simulator.settings(retry_pause=RETRY_PAUSE, poll_interval=POLL_SECONDS)
    for kind, rate, seconds in FAULTS:
        company.simulator.fault("*", kind, times=0, rate=rate, seconds=seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.chaos")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--seconds", type=float, default=0, help="spread the messages over at least so long")
    parser.add_argument("--every", type=float, default=5, help="seconds from one disturbance to the next, about")
    parser.add_argument("--places", type=int, default=PLACES, help="groups, and as many members who write to the app")
    parser.add_argument("--away", type=float, default=60, help="longest time in seconds that PostgreSQL is away")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    progress(f"{options.messages} messages, each {COPIES} times by {CLIENTS} clients; --seed {options.seed}")
    with stage(pace=PACE, twins=TWINS, SPOOL_MAX_MB=1) as running:
        from tests.acceptance import company, compare, evidence

        people = company.found(running.plan, groups=options.places, members=options.places, turns=TURNS)
        prepare(people)
        taken = partial(acknowledged, people)
        disturber = Disturber(running, random.Random(options.seed), taken, options.away)
        run = Run(running, people, disturber, options.messages, options.seconds, options.every, options.places)
        running.play(run.play)
        gathered = evidence.gather(run)
        found = compare.verdict(gathered)
        found.print(as_json=options.json)
        for line in [] if found.kept else compare.what_went_wrong(gathered):
            progress(line)
        running.failed = not found.kept
        return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
