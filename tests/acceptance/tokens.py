"""Acceptance 5: many threads send while the access token dies every second.

python -m tests.acceptance.tokens [--seconds 60] [--threads 32]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, say

if TYPE_CHECKING:
    from tests.acceptance.company import Company

MEMBERS = 240  # the bridge sends 30 messages a minute to a member, in order
SLOW = 0.5  # seconds from what the platform does to its answer, so that all threads are busy
_OPEN = "SELECT count(*) FROM bridge_attempt WHERE finished_at IS NULL"
_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"


@dataclass
class Run:
    stage: Stage
    company: Company
    seconds: float
    threads: int
    sent: int = 0
    invalidated: int = 0
    open_most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def play(self) -> bool:
        killer = threading.Thread(target=self._invalidate, daemon=True)
        killer.start()
        members = itertools.cycle(range(MEMBERS))
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            self.open_most = max(self.open_most, self.stage.count(_OPEN))
            for _ in range(2 * self.threads - self.stage.count(_UNFINISHED)):
                self._send(next(members))
            time.sleep(0.1)
        self.over.set()
        killer.join()
        say(f"{self.sent} sent, {self.invalidated} tokens invalidated; waiting for the rest")
        return wait_until(lambda: not self.stage.count(_UNFINISHED), 180)

    def _send(self, member: int) -> None:
        from bridge.pipeline.outbound import outbox
        from channels_wechat.contract.messages import Content
        from tests.acceptance.company import member_id

        content = Content(text=f"#{self.sent:05d}#")
        outbox.send(self.company.world.app, "direct", member_id(member), content, source="api", client="acceptance")
        self.sent += 1

    def _invalidate(self) -> None:
        """With a client of its own, which is not shared between threads."""
        from bridge.demo.world import AGENT
        from channels_wechat.simulator import SimulatorClient

        client = SimulatorClient(self.company.simulator.url)
        while not self.over.wait(1.0):
            client.invalidate_token(AGENT)
            self.invalidated += 1
        client.close()

    def verdict(self) -> Verdict:
        found = Verdict(f"{self.threads} threads, {self.seconds:g} s, the token invalidated every second")
        record = self.company.simulator.record()
        states = Counter(dict(self.stage.rows("SELECT state, count(*) FROM bridge_delivery GROUP BY 1")))
        requests, issued = record["counters"]["token_requests"], record["counters"]["tokens_issued"]
        found.note("tokens invalidated", self.invalidated)
        found.check("refreshes", requests, f"≤ {self.invalidated + 1}", requests <= self.invalidated + 1)
        found.exactly("refreshes that brought no new token", requests - issued, 0)
        found.exactly("deliveries delivered", states.pop("delivered", 0), self.sent)
        found.exactly("in any other state", dict(states) or 0, 0)
        found.exactly("messages that arrived", sum(self._shown().values()), self.sent)
        found.exactly("arrived twice", sum(count > 1 for count in self._shown().values()), 0)
        found.check("requests open at a time, at most", self.open_most, f"≥ {self.threads // 2}", self._busy())
        found.note("calls refused for their token", record["errors"].get("message/send 40014", 0))
        found.note("tries per delivery, at most", self.stage.count("SELECT max(tries) FROM bridge_delivery"))
        return found

    def _busy(self) -> bool:
        return self.open_most >= self.threads // 2

    def _shown(self) -> Counter[str]:
        chats = (chat["chat"] for chat in self.company.simulator.chats())
        entries = (entry for chat in chats for entry in self.company.simulator.transcript(chat))
        return Counter(entry["text"] for entry in entries if entry["via"] == "message/send")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.tokens")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=32)
    options = parser.parse_args()
    with stage(SEND_THREADS=options.threads, DB_POOL_SIZE=max(24, options.threads + 8)) as running:
        from tests.acceptance import company

        people = company.found(running.plan, groups=0, members=MEMBERS, turns=8)
        company.unlimited(people)
        people.simulator.fault("message/send", "slow_after", times=0, seconds=SLOW)
        run = Run(running, people, options.seconds, options.threads)
        running.play(run.play)
        return 0 if running.play(lambda: run.verdict().print()) else 1


if __name__ == "__main__":
    sys.exit(main())
