"""Many messages for one group robot at once: its limit is kept to the platform's own count, the order holds, and others do not wait.

python -m tests.acceptance.robot [--messages 600] [--json]

At 20 a minute 600 messages take half an hour.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, percentile, progress

if TYPE_CHECKING:
    from tests.acceptance.company import Company

KEY = "acceptance-robot"
LIMIT, WINDOW_SECONDS = 20, 60.0
PROBES = 30  # of another conversation, before and beside
PROBE_PAUSE = 0.5
_DELIVERED = """SELECT count(*) FROM bridge_delivery d JOIN accounts_channelaccount a ON a.id = d.account_id
WHERE a.kind = 'wecom_robot' AND d.state = 'delivered'"""
_TRIES = """SELECT max(d.tries), count(*) FILTER (WHERE d.state <> 'delivered') FROM bridge_delivery d
JOIN accounts_channelaccount a ON a.id = d.account_id WHERE a.kind = 'wecom_robot'"""


@dataclass
class Run:
    stage: Stage
    company: Company
    messages: int
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    def play(self) -> bool:
        self._probe()  # the first answer of a process is slower than all others
        self.alone = [self._probe() for _ in range(PROBES)]
        self._send_all()
        self.beside = [self._probe() for _ in range(PROBES)]
        minutes = self.messages / LIMIT + 3
        return wait_until(self._all_delivered, minutes * WINDOW_SECONDS, pause=1)

    def _send_all(self) -> None:
        from accounts.models import ChannelAccount
        from bridge.pipeline.outbound import outbox
        from channels_wechat.contract.messages import Content
        from tests.acceptance.company import group_id

        self.company.simulator.robot(group_id(0), key=KEY, name="通知")
        url = self.stage.plan.env["DEMO_SIMULATOR_URL"]
        robot = ChannelAccount(kind="wecom_robot", name="Robot", external_id=KEY, api_base_url=url)
        robot.credentials = {"robot_key": KEY, "format": "text"}
        robot.save()
        for number in range(self.messages):
            outbox.send(robot, "group", "group", Content(f"#{number:05d}#"), source="api", key=f"{number}")

    def _all_delivered(self) -> bool:
        return self.stage.count(_DELIVERED) == self.messages

    def _probe(self) -> float:
        """Seconds from a member's message to its answer on their screen."""
        began = time.monotonic()
        said = self.company.simulator.say_many([self.company.member_says(0, "!say=好")])[0]
        transcript = self.company.simulator.transcript
        wait_until(lambda: transcript(said["chat"])[-1]["seq"] > said["entry"], 60, pause=0.02)
        seconds = time.monotonic() - began
        time.sleep(PROBE_PAUSE)
        return seconds


def judge(run: Run) -> Verdict:
    from tests.acceptance.company import group_id

    found = Verdict(f"{run.messages} messages for one robot at once")
    calls = run.company.simulator.calls("webhook/send")
    shown = [entry["text"] for entry in run.company.simulator.transcript(group_id(0)) if entry["via"] == "webhook"]
    tries, unfinished = run.stage.rows(_TRIES)[0]
    most = most_in_window([call["at"] for call in calls])
    found.check("calls in any 60 s, by the platform's clock", most, f"≤ {LIMIT}", most <= LIMIT)
    found.exactly("calls that the platform refused", sum(bool(call["errcode"]) for call in calls), 0)
    found.exactly(
        "shown in the group, each once and in order", shown == [f"#{n:05d}#" for n in range(run.messages)], True
    )
    found.exactly("not delivered", unfinished, 0)
    found.exactly("attempts of a message at most", tries, 1)
    alone, beside = percentile(run.alone, 0.95), percentile(run.beside, 0.95)
    found.note("another conversation alone, median / p95", _in_milliseconds(run.alone))
    found.note("the same beside it", _in_milliseconds(run.beside))
    found.note("p95 beside / alone", f"{beside / alone:.2f}")
    return found


def most_in_window(times: list[float]) -> int:
    """The most calls in any window of WINDOW_SECONDS."""
    most, first = 0, 0
    ordered = sorted(times)
    for last, at in enumerate(ordered):
        while at - ordered[first] >= WINDOW_SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


def _in_milliseconds(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1000:.0f} / {percentile(seconds, 0.95) * 1000:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.robot")
    parser.add_argument("--messages", type=int, default=600)
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    options = parser.parse_args()
    progress(f"{options.messages} messages: about {options.messages // LIMIT} minutes")
    with stage() as running:
        from tests.acceptance import company

        people = company.found(running.plan, groups=1, members=1, turns=20)
        company.unlimited(people)
        run = Run(running, people, options.messages)
        running.play(run.play)
        found = judge(run)
        running.failed = not found.print(as_json=options.json)
        return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
