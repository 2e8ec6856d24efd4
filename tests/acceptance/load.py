"""Acceptance 7: a conversation's way while hundreds of turns are open, and callbacks while Valkey does not answer.

python -m tests.acceptance.load [--turns 500] [--callbacks 300]
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, percentile, say

if TYPE_CHECKING:
    from tests.acceptance.company import Company

GROUPS, SPEAKERS = 30, 30
PROBES = 12  # of each way
TURN_SECONDS = 150  # long enough to open all of them and to measure meanwhile
CALLBACKS_A_SECOND = 15
_TURNS = """SELECT count(*) FROM bridge_attempt a JOIN bridge_delivery d ON d.id = a.delivery_id
WHERE d.target = 'agent' AND a.finished_at IS NULL"""
_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
_STORED = "SELECT count(*) FROM bridge_message WHERE direction = 'in'"
_ANSWERED = """SELECT count(DISTINCT reply_to_id) FROM bridge_message m JOIN bridge_delivery d ON d.message_id = m.id
WHERE d.target = 'channel' AND d.state = 'delivered'"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'connector'"


@dataclass
class Run:
    stage: Stage
    company: Company
    turns: int
    callbacks: int
    found: Verdict
    said: int = 0

    def play(self) -> bool:
        self._connected()
        self._probes("idle")
        before = self._memory()
        self._open_turns()
        self._probes(f"with {self.turns} turns open", most=2.0)
        self._connector(before)
        self._valkey_away()
        return self.found.print()

    def _connected(self) -> None:
        if not wait_until(lambda: self._probe_app(60) < 60, 1):
            raise RuntimeError("no answer at all")

    # --- many turns open ------------------------------------------------------------------------------------------------

    def _open_turns(self) -> None:
        """One turn in each of many one-to-one chats: what a lane holds is one turn."""
        slow = f"!slow={TURN_SECONDS}"
        messages = [self.company.member_says(SPEAKERS + number, slow) for number in range(self.turns)]
        began = time.monotonic()
        self.said += len(self.company.simulator.say_many(messages))
        opened = wait_until(lambda: self.stage.count(_TURNS) >= self.turns, TURN_SECONDS / 2)
        say(f"{self.stage.count(_TURNS)} turns open after {time.monotonic() - began:.1f} s")
        self.found.check("turns open at once", self.stage.count(_TURNS), f"≥ {self.turns}", opened)

    def _probes(self, when: str, most: float = 0.0) -> None:
        for way, probe in (("a stream in a group", self._probe_group), ("one to one", self._probe_app)):
            seconds = [probe(10) for _ in range(PROBES)]
            middle, worst = percentile(seconds, 0.5), max(seconds)
            figure = f"{middle:.2f} / {worst:.2f} s"
            limit = f"< {most:g} s" if most else ""
            self.found.check(f"{way}, {when}: median / worst", figure, limit, not most or worst < most)
            say(f"{way}, {when}: {' '.join(f'{one:.2f}' for one in seconds)}")
        if most:
            self.found.check(
                "turns still open after that", self._still(), f"≥ {self.turns}", self._still() >= self.turns
            )

    def _still(self) -> int:
        return self.stage.count(_TURNS)

    def _probe_group(self, most: float) -> float:
        """Seconds from a member's message to the last word of the answer on their screen."""
        began = time.monotonic()
        said = self._say(self.company.group_says(0, 0, "!say=好"))
        simulator = self.company.simulator
        wait_until(lambda: any(not one["streaming"] for one in simulator.answers(said)), most, pause=0.02)
        return time.monotonic() - began

    def _probe_app(self, most: float) -> float:
        began = time.monotonic()
        said = self._say(self.company.member_says(0, "!say=好"))
        transcript = self.company.simulator.transcript
        wait_until(lambda: transcript(said["chat"])[-1]["seq"] > said["entry"], most, pause=0.02)
        return time.monotonic() - began

    def _say(self, message: dict[str, object]) -> dict[str, Any]:
        self.said += 1
        return self.company.simulator.say_many([message])[0]

    def _connector(self, before: int) -> None:
        connections = self.stage.count(_CONNECTIONS)
        self.found.check("database connections of the connector", connections, "≤ 8", connections <= 8)
        each = (self._memory() - before) / self.turns
        self.found.check("memory of the connector per turn", f"{each:.0f} KiB", "< 200 KiB", each < 200)
        rest = wait_until(lambda: not self.stage.count(_UNFINISHED), 2 * TURN_SECONDS, pause=1)
        self.found.check("all turns answered in the end", self.stage.count(_ANSWERED), f"= {self.said}", rest)

    def _memory(self) -> int:
        """KiB, proc_pid_status(5)."""
        status = Path(f"/proc/{self.stage.pid('connector')}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    # --- Valkey away ----------------------------------------------------------------------------------------------------

    def _valkey_away(self) -> None:
        quiet = self._post(self.callbacks // 3)
        self.found.note("callback, Valkey well: median / p99", _figures(quiet))
        self.stage.signal("valkey", signal.SIGSTOP)
        try:
            away = self._post(self.callbacks)
        finally:
            self.stage.signal("valkey", signal.SIGCONT)
        worst = percentile(away, 0.99)
        self.found.check("callback, Valkey paused: median / p99", _figures(away), "< 300 ms", worst < 0.3)
        self.found.note("callback, Valkey paused: slowest", f"{max(away) * 1000:.0f} ms")
        rest = wait_until(self._processed, 120, pause=1)
        self.found.exactly("messages stored", self.stage.count(_STORED), self.said)
        self.found.check("answered after the pause", self.stage.count(_ANSWERED), f"= {self.said}", rest)

    def _processed(self) -> bool:
        return self.stage.count(_ANSWERED) == self.said and not self.stage.count(_UNFINISHED)

    def _post(self, count: int) -> list[float]:
        """Signed callbacks at an even pace, four fifths from members and one from groups. Gives the seconds of each."""
        simulator = self.company.simulator
        simulator.reset_record()
        for number in range(count):
            one = number % SPEAKERS
            group = number % 5 == 0
            self._say(
                self.company.group_says(one, one, "!say=好") if group else self.company.member_says(one, "!say=好")
            )
            time.sleep(1 / CALLBACKS_A_SECOND)
        wait_until(lambda: simulator.record()["deliveries"].get("delivered", 0) == count, 30)
        posts = [one for delivery in simulator.deliveries() for one in delivery["tries"]]
        self.found.exactly("callbacks answered with 200", sum(one["status"] == 200 for one in posts), count)
        return [float(one["seconds"]) for one in posts]


def _figures(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1000:.0f} / {percentile(seconds, 0.99) * 1000:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.load")
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--callbacks", type=int, default=300)
    options = parser.parse_args()
    with stage(pace=0.02) as running:
        from tests.acceptance import company

        members = SPEAKERS + options.turns
        people = company.found(running.plan, groups=GROUPS, members=members, turns=options.turns + 100)
        company.unlimited(people)
        found = Verdict(f"{options.turns} turns open at once; Valkey paused")
        run = Run(running, people, options.turns, options.callbacks, found)
        return 0 if running.play(run.play) else 1


if __name__ == "__main__":
    sys.exit(main())
