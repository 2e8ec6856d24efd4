"""Two connectors, many AI bots by long connection: the first connector is killed, later the holder stands still for a minute.

python -m tests.acceptance.connections [--bots 50] [--messages 1000] [--still 60] [--json]

A platform that keeps no history loses what comes while there is no connection; its record tells those messages from the ones that it
handed to a connection. What it wrote to a connection in the second in which that connector was killed nobody may have read: told apart.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, progress

if TYPE_CHECKING:
    from tests.acceptance.company import Company

MEMBERS = 40
SECRET = "acceptance-secret"  # noqa: S105 - of a simulated bot
BATCH, PAUSE = 10, 0.4  # so many messages are said at a time, and then a pause
CONNECT_SECONDS = 120
LEASE_SECONDS = 15
_HELD = """SELECT count(*) FROM accounts_connection WHERE account_id IS NOT NULL AND state = 'connected' AND owner_until > now()
AND owner LIKE %s"""
_HELD_BY_ANOTHER = _HELD.replace("LIKE", "NOT LIKE")
_GAPS = "SELECT count(*), coalesce(max(extract(epoch FROM until - since)), 0) FROM accounts_connectiongap"
_FENCES = "SELECT account_id, fence, owner, state FROM accounts_connection WHERE account_id IS NOT NULL ORDER BY 1"
_STORED = "SELECT idempotency_key FROM bridge_message WHERE direction = 'in'"
_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
_UNROUTED = "SELECT count(*) FROM bridge_message WHERE direction = 'in' AND routed_at IS NULL"
_ACCOUNTS = "SELECT state, count(*) FROM accounts_channelaccount WHERE kind = 'wecom_aibot' GROUP BY 1"


@dataclass
class Run:
    stage: Stage
    company: Company
    bots: int
    messages: int
    still: float
    said: list[dict[str, Any]] = field(default_factory=list)
    killed_at: float = 0.0
    takeovers: dict[str, float] = field(default_factory=dict)
    fences: list[list[tuple[Any, ...]]] = field(default_factory=list)

    def play(self) -> bool:
        if not wait_until(lambda: self._connected() == self.bots, CONNECT_SECONDS):
            raise RuntimeError(f"only {self._connected()} of {self.bots} bots connected")
        self._talk_until(self.messages // 3)
        holder = self._find_holder()
        progress(f"{holder} holds the connections and is killed")
        self._kill(holder)
        self._talk_until(2 * self.messages // 3)
        holder = self._find_holder()
        progress(f"{holder} holds the connections and stands still for {self.still:g} s")
        self._pause(holder)
        self._talk_until(self.messages)
        return wait_until(self._settled, 120, pause=1)

    # --- what is done

    def _talk_until(self, count: int) -> None:
        while len(self.said) < count:
            batch = range(len(self.said), min(count, len(self.said) + BATCH))
            self.said += self.company.simulator.say_many([self._message(number) for number in batch])
            time.sleep(PAUSE)

    def _message(self, number: int) -> dict[str, object]:
        from tests.acceptance.company import member_id

        return {"bot": bot_id(number % self.bots), "from": member_id(number % MEMBERS), "text": f"#{number:05d}# 好"}

    def _kill(self, holder: str) -> None:
        """The supervisor starts it again, and what has not been taken over by then it may take itself."""
        pid, self.killed_at = self.stage.pid(holder), time.time()
        self.stage.signal_group(holder, signal.SIGKILL)
        self._wait_for_takeover("kill -9", pid, self.killed_at)

    def _pause(self, holder: str) -> None:
        pid, began = self.stage.pid(holder), time.time()
        self.stage.signal_group(holder, signal.SIGSTOP)
        try:
            self._wait_for_takeover("SIGSTOP", pid, began)
            while time.time() - began < self.still:
                self._say_some()
        finally:
            self.fences.append(self.stage.rows(_FENCES))
            self.stage.signal_group(holder, signal.SIGCONT)
        time.sleep(LEASE_SECONDS)
        self.fences.append(self.stage.rows(_FENCES))

    def _wait_for_takeover(self, what: str, pid: int, began: float) -> None:
        """Wait until no connection is the old holder's, while people go on talking."""
        while self.stage.count(_HELD_BY_ANOTHER, f"%:{pid}:%") < self.bots and time.time() - began < CONNECT_SECONDS:
            self._say_some()
        self.takeovers[what] = time.time() - began

    def _say_some(self) -> None:
        self._talk_until(min(self.messages, len(self.said) + 2))
        time.sleep(PAUSE * 2)

    # --- what is seen

    def _connected(self) -> int:
        return self.stage.count(_HELD, "%")

    def _held_by(self, name: str) -> int:
        return self.stage.count(_HELD, f"%:{self.stage.pid(name)}:%")

    def _find_holder(self) -> str:
        """The connector that holds most."""
        return max(("connector", "connector-2"), key=self._held_by)

    def _settled(self) -> bool:
        return not self.stage.count(_UNFINISHED) and not self.stage.count(_UNROUTED)


def judge(run: Run) -> Verdict:
    found = Verdict(f"{run.messages} messages to {run.bots} bots over two connectors")
    simulator = run.company.simulator
    handed = {one["id"]: one for one in simulator.deliveries() if one["outcome"] == "delivered"}
    lost_on_the_way = {key for key, one in handed.items() if abs(one["tries"][-1]["at"] - run.killed_at) < 1}
    stored = Counter(key for (key,) in run.stage.rows(_STORED))
    answers = {said["id"]: simulator.answers(said) for said in run.said}
    missing = set(handed) - set(stored)
    found.note("messages said while there was no connection, lost by the platform", len(run.said) - len(handed))
    found.note("handed over in the second of the kill and never read", len(missing & lost_on_the_way))
    found.exactly("handed to a live connection and lost", len(missing - lost_on_the_way), 0)
    gaps, longest = run.stage.rows(_GAPS)[0]
    found.note("gaps that the transcripts show, and the longest", f"{gaps}, {longest:.1f} s")
    found.exactly("stored twice", sum(count > 1 for count in stored.values()), 0)
    found.exactly("stored and not answered", sum(not answers[key] for key in stored), 0)
    found.exactly("answered twice", sum(len(shown) > 1 for shown in answers.values()), 0)
    before, after = run.fences
    found.exactly(
        "rows that the paused connector changed when it went on",
        sum(a != b for a, b in zip(before, after, strict=True)),
        0,
    )
    found.exactly(
        "accounts in another state than ok", {state: n for state, n in run.stage.rows(_ACCOUNTS) if state != "ok"}, {}
    )
    found.exactly("broken rules of the platform", simulator.record()["violations"][:3], [])
    for what, seconds in run.takeovers.items():
        found.check(f"take-over of all connections after {what}", f"{seconds:.1f} s", "≤ 45 s", seconds <= 45)
    return found


def bot_id(number: int) -> str:
    return f"ACCEPT{number:03d}"


def make_bots(company: Company, count: int) -> None:
    """Bots with a long connection, each mapped to the gateway's agent."""
    from accounts.models import ChannelAccount
    from bridge.models import Route
    from openclaw.models import Gateway

    gateway = Gateway.objects.get()
    ChannelAccount.objects.filter(kind="wecom_aibot").delete()
    company.simulator.settings(subscribes_per_minute=1000)
    for number in range(count):
        name = bot_id(number)
        company.simulator.bot(name, name=name, mode="connection", secret=SECRET)
        account = ChannelAccount(kind="wecom_aibot", name=name, external_id=name)
        account.api_base_url = company.simulator.websocket_url
        account.credentials = {"bot_id": name, "bot_name": name, "mode": "connection", "secret": SECRET}
        account.save()
        Route.objects.create(account=account, gateway=gateway, agent_id="main")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.connections")
    parser.add_argument("--bots", type=int, default=50)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--still", type=float, default=60, help="seconds that the holder stands still")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    options = parser.parse_args()
    with stage(twins=("connector",)) as running:
        from tests.acceptance import company

        people = company.found(running.plan, groups=1, members=MEMBERS, turns=100)
        company.unlimited(people)
        make_bots(people, options.bots)
        run = Run(running, people, options.bots, options.messages, options.still)
        running.play(run.play)
        found = judge(run)
        running.failed = not found.print(as_json=options.json)
        return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
