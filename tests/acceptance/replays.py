"""Acceptance 1 of the operations desk: a night's failures planned, run at a rate, and resumed after processes were killed.

python -m tests.acceptance.replays [--deliveries 100000] [--run 6000] [--rate 50] [--slow] [--json]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from tests.acceptance.evidence import numbers
from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, progress

if TYPE_CHECKING:
    from bridge.models import ReplayRun
    from tests.acceptance.company import Company

JSON = dict[str, int]
MEMBERS = 200
PLAN_SECONDS, RATE_SHARE = 2.0, 0.05
# The rate is measured between these shares of the run, before anything is killed.
MEASURED, KILLED_AT = (0.1, 0.4), 0.5
# What a kill may cost: the lease of the dead worker runs out, the supervisor starts it again, and its imports.
KILL_SECONDS = 120
LOOK_SECONDS = 0.5

_QUEUED = "SELECT count(*) FROM bridge_replayitem WHERE run_id = %s AND chosen AND result <> ''"
_RESULTS = "SELECT result, count(*) FROM bridge_replayitem WHERE run_id = %s AND chosen AND result <> '' GROUP BY 1"
# Both sides in one snapshot: the counts that the page shows, and those of the items themselves.
_PROGRESS = """
SELECT r.results, COALESCE((SELECT jsonb_object_agg(result, n) FROM (
  SELECT result, count(*) AS n FROM bridge_replayitem i WHERE i.run_id = r.id AND i.chosen AND i.result <> '' GROUP BY 1) AS found), '{}')
FROM bridge_replayrun r WHERE r.id = %s"""
# One answer for each number, to the members in turn, as the template's was; it failed an hour ago.
_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER' ORDER BY 1"
)
_TEMPLATE = """
SELECT m.id, d.id, m.text, m.peer_id FROM bridge_message m JOIN bridge_delivery d ON d.message_id = m.id
WHERE d.target = 'channel' AND d.state = 'delivered' AND m.source = 'agent' ORDER BY d.id LIMIT 1"""


@dataclass
class Run:
    stage: Stage
    company: Company
    deliveries: int
    chosen: int
    rate: int
    found: Verdict
    slow: bool = False
    as_json: bool = False
    chats: list[str] = field(default_factory=list)
    looks: int = 0
    differing: list[tuple[JSON, JSON]] = field(default_factory=list)

    def play(self) -> bool:
        self._meet_everybody()
        self._fail()
        run = self._plan()
        self._run(run)
        self._judge(run)
        return self.found.print(as_json=self.as_json)

    def _meet_everybody(self) -> None:
        """Each member asks once and is answered, so that their conversations are there, and everything has run once."""
        said = self.company.simulator.say_many([self.company.member_says(n, "!say=好") for n in range(MEMBERS)])
        self.chats = sorted({one["chat"] for one in said})
        unfinished = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
        answered = "SELECT count(*) FROM bridge_delivery WHERE target = 'channel' AND state = 'delivered'"
        if not wait_until(
            lambda: self.stage.count(answered) >= MEMBERS and not self.stage.count(unfinished), 300, pause=1
        ):
            raise RuntimeError("not everybody was answered")

    def _fail(self) -> None:
        """Write the failures as rows, because a hundred thousand real ones would take hours."""
        [(message, delivery, text, peer)] = self.stage.rows(_TEMPLATE)
        people = self.stage.rows(
            "SELECT id, peer_id FROM bridge_conversation WHERE peer_id LIKE 'member%%' ORDER BY peer_id"
        )
        said = f"'{text} #' || lpad(g::text, 5, '0') || '#'"
        who = "(ARRAY[%s])[1 + g %% %s]" % (", ".join(f"'{name}'" for _pk, name in people), len(people))  # noqa: UP031
        talk = "(ARRAY[%s])[1 + g %% %s]" % (", ".join(str(pk) for pk, _name in people), len(people))  # noqa: UP031
        self._copy("bridge_message", message, {
            "uuid": "gen_random_uuid()", "conversation_id": talk, "peer_id": who, "text": said, "reply_to_id": "NULL",
            "idempotency_key": "'failed:' || g",
        })  # fmt: skip
        payload = f"replace(replace(t.payload::text, '{peer}', {who}), '{text}', {said})::jsonb"
        self._copy("bridge_delivery", delivery, {
            "message_id": "(SELECT id FROM bridge_message WHERE idempotency_key = 'failed:' || g AND account_id = t.account_id)",
            "lane": f"'out:' || {talk}", "payload": payload, "fingerprint": "md5('failed' || g)", "remote_id": "''",
            "state": "'dead'", "reason": "'permanent'", "code": "'81013'", "finished_at": "now() - interval '1 hour'",
        })  # fmt: skip
        for table in ("bridge_message", "bridge_delivery"):
            self._execute(f"ANALYZE {table}")
        progress(f"{self.deliveries} deliveries to {len(people)} members have failed")

    def _copy(self, table: str, pk: int, changed: dict[str, str]) -> None:
        names = [name for (name,) in self.stage.rows(_COLUMNS, table) if name != "id"]
        values = ", ".join(changed.get(name, f't."{name}"') for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        self._execute(  # names of our own tables and columns
            f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} t, generate_series(0, {self.deliveries - 1}) g WHERE t.id = {pk}"  # noqa: S608
        )

    def _execute(self, statement: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement)

    # --- the plan and its run

    def _plan(self) -> ReplayRun:
        from bridge.operations.replays import plan
        from bridge.operations.replays.filters import ReplayFilter

        began = time.monotonic()
        run = plan.make_plan("again", ReplayFilter.parse({"code": "81013"}), name="the night", rate=self.rate)
        took = time.monotonic() - began
        self.found.note("load of the machine (1, 5, 15 minutes)", " ".join(f"{one:.1f}" for one in os.getloadavg()))
        limit = f"< {PLAN_SECONDS:g} s" + (", not judged here" if self.slow else "")
        self.found.check("plan made after", f"{took:.2f} s", limit, self.slow or took < PLAN_SECONDS)
        self.found.exactly("planned", run.total, self.deliveries)
        return run

    def _run(self, run: ReplayRun) -> None:
        from bridge.operations.replays import control

        if self.chosen < self.deliveries:
            first = run.items.order_by("delivery_id").values_list("delivery_id", flat=True)[: self.chosen]
            control.start(run, outlooks=[], deliveries=list(first))
        else:
            control.start(run)
        self.found.exactly("chosen", run.chosen, self.chosen)
        watched = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(run.pk, watched), daemon=True)
        watcher.start()
        self._measure(run)
        self._wait_for(run, int(self.chosen * KILLED_AT))
        for name in ("worker", "web"):
            self.stage.signal_group(name, signal.SIGKILL)
        before = self.stage.count(_QUEUED, run.pk)
        progress(f"worker and web killed when {before} were queued")
        seconds = self.chosen / self.rate * 2 + KILL_SECONDS
        over = "SELECT count(*) FROM bridge_replayrun WHERE id = %s AND state = 'finished'"
        done = wait_until(lambda: self.stage.count(over, run.pk) == 1, seconds, pause=1)
        self.found.exactly("resumed after the kills, and finished", done, True)
        watched.set()
        watcher.join()

    def _wait_for(self, run: ReplayRun, count: int) -> None:
        limit = count / self.rate * 3 + KILL_SECONDS
        if not wait_until(lambda: self.stage.count(_QUEUED, run.pk) >= count, limit, pause=0.05):
            raise RuntimeError(f"fewer than {count} were queued in {limit:.0f} s")

    def _measure(self, run: ReplayRun) -> None:
        first, last = (int(self.chosen * share) for share in MEASURED)
        self._wait_for(run, first)
        began, from_count = time.monotonic(), self.stage.count(_QUEUED, run.pk)
        self._wait_for(run, last)
        count = self.stage.count(_QUEUED, run.pk) - from_count
        pace = count / (time.monotonic() - began)
        most, least = self.rate * (1 + RATE_SHARE), self.rate * (1 - RATE_SHARE)
        # A machine that sends fewer than the rate has its run wait for it, which is right: only more would be wrong there.
        limit = f"≤ {most:g}, how slow is not judged here" if self.slow else f"{self.rate} ± {RATE_SHARE:.0%}"
        self.found.check("queued a second", f"{pace:.2f}", limit, (self.slow or pace >= least) and pace <= most)

    def _watch(self, pk: int, over: threading.Event) -> None:
        """Compare what the page shows with the items, in one snapshot each time, through a connection of its own."""
        with psycopg.connect(self.stage.plan.env["DATABASE_URL"], autocommit=True) as database:
            while not over.wait(LOOK_SECONDS):
                for shown, real in database.execute(_PROGRESS, [pk]).fetchall():
                    self.looks += 1
                    self.differing += [(shown, real)] if shown != real else []

    # --- the verdict

    def _judge(self, run: ReplayRun) -> None:
        self.found.check("looks at the progress", self.looks, "> 0", self.looks > 0)
        self.found.exactly("of them not true", len(self.differing), 0)
        results = Counter(dict(self.stage.rows(_RESULTS, run.pk)))
        self.found.note("results", dict(results))
        self.found.exactly("items with a result", sum(results.values()), self.chosen)
        seen = self._seen()
        self.found.exactly("shown to members twice", sum(count > 1 for count in seen.values()), 0)
        lost = results["delivered"] - len(seen)
        self.found.check("delivered, but not shown", max(lost, 0), "= 0", lost <= 0)
        self.found.exactly("neither shown nor uncertain", max(self.chosen - len(seen) - results["uncertain"], 0), 0)

    def _seen(self) -> Counter[int]:
        """Return how often each number stands in what the simulator showed to members."""
        shown: Counter[int] = Counter()
        for chat in self.chats:
            for entry in self.company.simulator.transcript(chat):
                if entry["via"] != "member":
                    shown.update(numbers(entry["text"]))
        return shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.replays")
    parser.add_argument(
        "--deliveries", type=int, default=100_000, help="how many failed and are planned; at most 100000"
    )
    parser.add_argument(
        "--run", type=int, default=6000, help="how many of them are run; 0 for all, which takes half an hour"
    )
    parser.add_argument("--rate", type=int, default=50, help="deliveries a second")
    parser.add_argument(
        "--slow",
        action="store_true",
        help="for a machine with other work: tell how slow the plan and the run are, and do not judge it",
    )
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    wanted: Any = parser.parse_args()
    chosen = min(wanted.run or wanted.deliveries, wanted.deliveries)
    with stage() as running:
        from tests.acceptance.company import found, unlimited

        company = found(running.plan, groups=0, members=MEMBERS, turns=50)
        unlimited(company)
        verdict = Verdict(f"Replay of {chosen} of {wanted.deliveries} deliveries at {wanted.rate} a second")
        run = Run(running, company, wanted.deliveries, chosen, wanted.rate, verdict, wanted.slow, wanted.json)
        kept = running.play(run.play)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
