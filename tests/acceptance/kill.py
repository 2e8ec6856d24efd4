"""Acceptance 4: every message delivered three times while the processes are killed and started again.

python -m tests.acceptance.kill [--messages 1000] [--kills 30] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import say

if TYPE_CHECKING:
    from tests.acceptance.company import Company

GROUPS, DIRECT, MEMBERS = 28, 12, 24
# One bag is emptied before the next is begun, so that everybody gets a turn. The connector's successor waits for its lease of 30 s.
BAG = ("worker", "web", "valkey", "worker", "gateway", "web", "valkey", "connector", "beat")
OPEN_MOST = 120  # messages under way at a time
KILL_EVERY = (2.0, 7.0)  # seconds
PACE = 0.15  # seconds per word: an answer takes about two seconds
SLOW = 0.5  # seconds between what the platform does and its answer, so that the kills meet some requests
SETTLE_SECONDS = 300

_OPEN = """
SELECT d.id, split_part(d.holder, ':', 2)::int, d.target FROM bridge_attempt a JOIN bridge_delivery d ON d.id = a.delivery_id
WHERE a.finished_at IS NULL AND d.state = 'sending' ORDER BY d.id"""
_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
_ANSWERED = "SELECT count(*) FROM bridge_delivery WHERE target = 'channel' AND finished_at IS NOT NULL"


@dataclass
class Kill:
    """open: deliveries to WeChat whose request had left from the killed process, and was not answered yet."""

    at: float
    name: str
    open: list[int]
    turns: int


@dataclass
class Run:
    """The scenario: feed and kill until both are done, then wait until nothing moves."""

    stage: Stage
    company: Company
    messages: int
    kills_wanted: int
    random: random.Random
    said: list[dict[str, Any]] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    bag: list[str] = field(default_factory=list)

    def play(self) -> bool:
        next_kill = time.monotonic() + self.random.uniform(*KILL_EVERY)
        while len(self.said) < self.messages or len(self.kills) < self.kills_wanted:
            self._feed()
            if len(self.kills) < self.kills_wanted and time.monotonic() > next_kill:
                self._kill()
                next_kill = time.monotonic() + self.random.uniform(*KILL_EVERY)
            time.sleep(0.2)
        say(f"{self._now():6.1f} s  all said; waiting until nothing moves")
        settled = wait_until(self._settled, SETTLE_SECONDS, pause=1.0)
        say(f"{self._now():6.1f} s  {'at rest' if settled else 'NOT at rest'}")
        return settled

    def _now(self) -> float:
        return time.monotonic() - self.began

    def _under_way(self) -> int:
        return len(self.said) - self.stage.count(_ANSWERED)

    def _feed(self) -> None:
        """As many as it takes to have the kills spread over all of them, unless too many are under way."""
        share = min(1.0, self._now() / (self.kills_wanted * sum(KILL_EVERY) / 2))
        room = OPEN_MOST - self._under_way()
        wanted = min(int(self.messages * share), len(self.said) + room)
        if wanted > len(self.said):
            new = [self._message(number) for number in range(len(self.said), wanted)]
            self.said += self.company.simulator.say_many(new)

    def _message(self, number: int) -> dict[str, object]:
        place, text = number % (GROUPS + DIRECT), f"#{number:05d}# 请回答"
        if place < GROUPS:
            return self.company.group_says(place, number % MEMBERS, text)
        return self.company.member_says(place - GROUPS, text)

    def _kill(self) -> None:
        if not self.bag:
            self.bag = self.random.sample(BAG, len(BAG))
        name = self.bag.pop()
        gone = self.stage.kill(name)
        if not gone:  # down already; its turn comes again
            self.bag.insert(0, name)
            return
        time.sleep(0.3)
        rows = self.stage.rows(_OPEN)
        held = [pk for pk, pid, target in rows if pid in gone and target == "channel"]
        turns = sum(target == "agent" for _pk, _pid, target in rows)
        self.kills.append(Kill(self._now(), name, held, turns))
        say(f"{self._now():6.1f} s  killed {name:<10} open requests to WeChat: {held or 'none'}, turns: {turns}")

    def _settled(self) -> bool:
        """Nothing on its way on either side; the web server may be on its way back."""
        try:
            record = self.company.simulator.record()
        except requests.RequestException:
            return False
        under_way = sum(record["deliveries"].get(outcome, 0) for outcome in ("queued", "sending"))
        unrouted = self.stage.count("SELECT count(*) FROM bridge_message WHERE routed_at IS NULL AND direction = 'in'")
        streaming = record["streams"].get("streaming", 0)
        return not (under_way or unrouted or streaming or self.stage.count(_UNFINISHED))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.kill")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    say(f"{options.messages} messages, each three times; {options.kills} kills; --seed {options.seed}")
    with stage(pace=PACE) as running:
        from tests.acceptance import company, compare

        people = company.found(running.plan, groups=GROUPS, members=MEMBERS, turns=64)
        company.unlimited(people)
        people.simulator.settings(copies=3, persistent=True)
        for path in ("message/send", "aibot/response"):
            people.simulator.fault(path, "slow_after", times=0, seconds=SLOW)
        run = Run(running, people, options.messages, options.kills, random.Random(options.seed))
        running.play(run.play)
        return 0 if running.play(lambda: compare.verdict(run).print()) else 1


if __name__ == "__main__":
    sys.exit(main())
