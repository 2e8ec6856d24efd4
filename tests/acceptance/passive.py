"""Acceptance 3 of Official Accounts: when the follower of an account that is not verified gets an answer, and what holding costs others.

python -m tests.acceptance.passive [--held 50]
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, percentile, say

if TYPE_CHECKING:
    from tests.acceptance.company import Company

THINKING = (1, 6, 12, 30)  # seconds that the agent takes
LATE = (
    1.0  # that an answer may be after its moment: routing, the agent's first word, the pause until the platform repeats
)
LATER = "回复 1 查看"
PROBES, A_SECOND = 180, 15
_TURNS = "SELECT count(*) FROM bridge_delivery WHERE target = 'agent' AND payload::text LIKE %s"
_READING = "SELECT count(*) FROM bridge_delivery WHERE target = 'agent' AND reason = 'read_on'"


@dataclass
class Seen:
    """What one follower was shown: (seconds after the question, number of the delivery, text); asked: how often they sent 1."""

    thinking: int
    shown: list[tuple[float, int, str]]
    asked: int = 0

    @property
    def answer(self) -> tuple[float, int, str]:
        return next((one for one in self.shown if "done" in one[2]), (0.0, 0, ""))

    @property
    def earliest(self) -> float:
        """While it waits the platform is always on the line but for the moments between the last delivery and the next 1."""
        return float(self.thinking)


@dataclass
class Run:
    stage: Stage
    company: Company
    official: str
    held: int
    found: Verdict

    def play(self) -> bool:
        self._connected()
        seen = [Seen(seconds, []) for seconds in THINKING]
        readers = [threading.Thread(target=self._read, args=(one,), daemon=True) for one in seen]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(120)
        self._judge(seen)
        self._others()
        return self.found.print()

    def _connected(self) -> None:
        """The gateway's connection is there, and every process has done all this once."""
        who = follower(0)
        self._say(who, "!say=hello")
        if not wait_until(lambda: self._shown(who), 60):
            raise RuntimeError("no answer at all")

    # --- one answer -----------------------------------------------------------------------------------------------------

    def _read(self, seen: Seen) -> None:
        """As a person does it: ask, and send 1 whenever told to, until the answer is there."""
        who, began = follower(seen.thinking), time.time()
        self._say(who, f"!slow={seen.thinking} !say=done after {seen.thinking} s")
        while not seen.answer[2]:
            known = len(seen.shown)
            if not wait_until(lambda: len(self._shown(who)) > known, 60, pause=0.05):  # noqa: B023  used at once
                return
            shown = self._shown(who)
            seen.shown = [(one["at"] - began, one["data"]["delivery"], one["text"]) for one in shown]
            if LATER in shown[-1]["text"]:
                seen.asked += 1
                self._say(who, "1")

    def _judge(self, all_seen: list[Seen]) -> None:
        say("\nagent takes   answer after   by delivery   sent 1   what was shown")
        for seen in all_seen:
            at, number, _text = seen.answer
            told = " · ".join(f"{when:.1f} s: {text}" for when, _number, text in seen.shown)
            say(f"{seen.thinking:9d} s   {at:10.2f} s   {number:11d}   {seen.asked:6d}   {told}")
            name = f"an agent that takes {seen.thinking} s: seconds to the answer"
            in_time = seen.earliest <= at <= seen.earliest + LATE
            self.found.check(name, f"{at:.2f}", f"{seen.earliest:g} to {seen.earliest + LATE:g}", in_time)
            turns = self.stage.count(_TURNS, f"%done after {seen.thinking} s%")
            self.found.exactly(f"an agent that takes {seen.thinking} s: turns", turns, 1)
        runs = self.stage.agent_runs()
        self.found.exactly("runs of the agent, each once", [run["count"] for run in runs], [1] * (1 + len(THINKING)))
        self.found.exactly("messages “1” that were no turn", self.stage.count(_READING), sum(s.asked for s in all_seen))
        self.found.exactly("complaints of the platform", self.company.simulator.record()["violations"], [])

    # --- others meanwhile -----------------------------------------------------------------------------------------------

    def _others(self) -> None:
        """As many as are to be held wait for an agent that thinks longer than any request lives; another account's go on."""
        alone = self._post("nobody held")
        holders = [self._say(follower(1000 + number), "!slow=60") for number in range(self.held)]
        time.sleep(1)
        beside = self._post(f"{self.held} held")
        self.found.note("another account's callback, nobody held: median / p99", _figures(alone))
        name = f"another account's callback, {self.held} held: median / p99"
        self.found.check(name, _figures(beside), "≤ 200 ms", percentile(beside, 0.99) <= 0.2)
        wait_until(lambda: all(self._tries(one) == 3 for one in holders), 30)
        tries = [self._tries(one) for one in holders]
        self.found.check("held to the third delivery", tries.count(3), f"= {self.held}", tries.count(3) == self.held)
        told = sum(LATER in one["text"] for n in range(self.held) for one in self._shown(follower(1000 + n)))
        self.found.exactly("told how to read later", told, self.held)

    def _post(self, when: str) -> list[float]:
        """Seconds of each callback of the company's app, at an even pace."""
        simulator, said = self.company.simulator, []
        for number in range(PROBES):
            said.append(simulator.say_many([self.company.member_says(number % 20, "!say=好")])[0])
            time.sleep(1 / A_SECOND)
        wait_until(lambda: all(simulator.delivery(one["id"])["tries"] for one in said), 30)
        seconds = [float(simulator.delivery(one["id"])["tries"][0]["seconds"]) for one in said]
        say(f"{when}: {_figures(seconds)}, slowest {max(seconds) * 1000:.0f} ms")
        return seconds

    # --- the platform ---------------------------------------------------------------------------------------------------

    def _say(self, who: str, text: str) -> dict[str, Any]:
        return self.company.simulator.say(text, official=self.official, from_=who)

    def _shown(self, who: str) -> list[dict[str, Any]]:
        return self.company.simulator.sent_to(who)

    def _tries(self, said: dict[str, Any]) -> int:
        return len(self.company.simulator.delivery(said["id"])["tries"])


def follower(number: int) -> str:
    return f"oFollower-of-the-account-{number:04d}"


def _figures(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1000:.0f} / {percentile(seconds, 0.99) * 1000:.0f} ms"


def _account(people: Company, running: Stage, held: int) -> str:
    """An account that is not verified, mapped to the agent, with its followers. Returns its AppID."""
    from bridge.demo.world import callback_url
    from openclaw.models import Gateway
    from tests.support import factories

    account = factories.official(running.plan.env["DEMO_SIMULATOR_URL"], answers="passive")
    factories.route(account, Gateway.objects.get())
    simulator = people.simulator
    keys = {"secret": account.credentials["app_secret"], "token": factories.TOKEN, "aes_key": factories.KEY}
    simulator.official(factories.OFFICIAL, verified=False, callback_url=callback_url(account), **keys)
    for number in (0, *THINKING, *range(1000, 1000 + held)):
        simulator.person(factories.OFFICIAL, f"关注者{number}", follower(number))
    return factories.OFFICIAL


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.passive")
    parser.add_argument("--held", type=int, default=50)
    options = parser.parse_args()
    with stage(pace=0.02) as running:
        from tests.acceptance import company

        people = company.found(running.plan, groups=1, members=20, turns=options.held + 50)
        company.unlimited(people)
        official = _account(people, running, options.held)
        found = Verdict(f"An account that is not verified: its answers, and {options.held} requests held")
        run = Run(running, people, official, options.held, found)
        return 0 if running.play(run.play) else 1


if __name__ == "__main__":
    sys.exit(main())
