"""What the three sides of a kill run say: the simulator's transcripts, the gateway's record and the database."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.verdict import Verdict

if TYPE_CHECKING:
    from tests.acceptance.kill import Run

# Every message carries its number, and the stand-in agent repeats what it was told.
NUMBER = re.compile(r"#(\d{5})#")


# The stream that an answer outlived says this below the text so far; the answer follows as a message of its own.
FOLLOWS = "This takes longer; the answer will follow."


class Shown(NamedTuple):
    """An answer as a member sees it: its place on the screen, and when its last word came."""

    number: int
    place: int
    ended: int


class Seen:
    """What the members saw, by chat."""

    def __init__(self, run: Run) -> None:
        self.answers: dict[str, list[Shown]] = {}
        self.ways: Counter[str] = Counter()
        self.streaming = self.marked = 0
        for chat in sorted({said["chat"] for said in run.said}):
            entries = [entry for entry in run.company.simulator.transcript(chat) if entry["via"] != "member"]
            self.answers[chat] = [shown for entry in entries for shown in self._read(entry)]

    def _read(self, entry: dict[str, Any]) -> list[Shown]:
        self.streaming += entry["streaming"]
        if entry["text"].endswith(FOLLOWS):
            self.marked += 1
            return []
        found = [Shown(number, entry["seq"], entry["rev"]) for number in _numbers(entry["text"])]
        self.ways.update([entry["via"]] * len(found))
        return found

    def disordered(self) -> int:
        """Chats with an answer that is neither above a later one nor was there before it.

        A stream stands where its question opened it, so an answer that came as a message of its own may stand below a later one.
        """
        return sum(any(_swapped(a, b) for a, b in combinations(shown, 2)) for shown in self.answers.values())


def _swapped(a: Shown, b: Shown) -> bool:
    first, second = sorted((a, b))
    return first.number != second.number and first.place > second.place and first.ended > second.ended


def verdict(run: Run) -> Verdict:
    found = Verdict(f"{run.messages} messages, three times each, {len(run.kills)} kills")
    seen = Seen(run)
    _stored(found, run)
    _asked(found, run)
    _shown(found, run, seen)
    _uncertain(found, run)
    _platform(found, run)
    return found


def _stored(found: Verdict, run: Run) -> None:
    messages = run.stage.rows("SELECT text FROM bridge_message WHERE direction = 'in' ORDER BY id")
    numbers = Counter(number for (text,) in messages for number in _numbers(text))
    found.exactly("messages stored", len(messages), run.messages)
    found.exactly("of them different", len(numbers), run.messages)


def _asked(found: Verdict, run: Run) -> None:
    states = _states(run, "agent")
    found.exactly("turns answered", states.pop("delivered", 0), run.messages)
    found.exactly("turns in any other state", dict(states) or 0, 0)
    answers = "SELECT count(DISTINCT reply_to_id) FROM bridge_message WHERE direction = 'out' AND source = 'agent'"
    found.exactly("messages with an answer stored", run.stage.count(answers), run.messages)
    runs = run.stage.agent_runs()
    heard: dict[str, list[int]] = defaultdict(list)
    for one in runs:
        heard[one["session_key"]] += _numbers(one["message"])
    found.exactly("conversations the agent saw out of order", _disordered(heard.values()), 0)
    found.exactly("messages the agent never saw", run.messages - len(set().union(*heard.values())), 0)
    asked = Counter(number for numbers in heard.values() for number in set(numbers))
    resumed = sum(bool(one["resumes"]) for one in runs)
    found.note("runs of the agent: all, resumed by the gateway", f"{len(runs)}, {resumed}")
    found.exactly("messages in two sessions", sum(count > 1 for count in asked.values()), 0)


def _shown(found: Verdict, run: Run, seen: Seen) -> None:
    times = Counter(shown.number for answers in seen.answers.values() for shown in answers)
    uncertain = {number for numbers in _uncertain_numbers(run) for number in numbers}
    lost = set(range(run.messages)) - set(times) - uncertain
    found.exactly("answers lost", len(lost), 0)
    found.exactly("answers shown twice without a mark", sum(count > 1 for count in times.values()), 0)
    found.exactly("conversations shown out of order", seen.disordered(), 0)
    found.exactly("streams that never ended", seen.streaming, 0)
    found.note("streams that said that the answer follows", seen.marked)
    found.note("answers by way", ", ".join(f"{way} {count}" for way, count in sorted(seen.ways.items())))


def _uncertain(found: Verdict, run: Run) -> None:
    states = _states(run, "channel")
    delivered, uncertain = states.pop("delivered", 0), states.pop("uncertain", 0)
    open_ones = {pk for kill in run.kills for pk in kill.open}
    rows = run.stage.rows("SELECT id FROM bridge_delivery WHERE target = 'channel' AND state = 'uncertain'")
    found.exactly("deliveries to WeChat", delivered + uncertain, run.messages)
    found.exactly("in any other state", dict(states) or 0, 0)
    found.check("uncertain", uncertain, f"≤ {len(open_ones)} open at kills", uncertain <= len(open_ones))
    found.exactly("uncertain and not open at a kill", sorted({pk for (pk,) in rows} - open_ones), [])


def _platform(found: Verdict, run: Run) -> None:
    record = run.company.simulator.record()
    found.exactly("callbacks delivered", record["deliveries"].get("delivered", 0), run.messages)
    found.check("POSTs of callbacks", record["posts"], f"≥ {3 * run.messages}", record["posts"] >= 3 * run.messages)
    found.exactly("broken rules of the platform", record["violations"][:3], [])
    found.note("repetitions the platform swallowed", record["counters"].get("duplicates", 0))
    found.note("kills", ", ".join(f"{name} {n}" for name, n in sorted(Counter(k.name for k in run.kills).items())))


def _states(run: Run, target: str) -> Counter[str]:
    rows = run.stage.rows("SELECT state, count(*) FROM bridge_delivery WHERE target = %s GROUP BY 1", target)
    return Counter(dict(rows))


def _uncertain_numbers(run: Run) -> list[list[int]]:
    rows = run.stage.rows(
        "SELECT m.text FROM bridge_delivery d JOIN bridge_message m ON m.id = d.message_id "
        "WHERE d.target = 'channel' AND d.state = 'uncertain'"
    )
    return [_numbers(text) for (text,) in rows]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in NUMBER.findall(text)]


def _disordered(conversations: Any) -> int:
    """How many do not grow, repetitions left out."""
    firsts = [list(dict.fromkeys(numbers)) for numbers in conversations]
    return sum(numbers != sorted(numbers) for numbers in firsts)
