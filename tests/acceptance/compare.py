"""What the evidence of a chaos run says: nothing lost, nothing doubled, nothing out of order, and no doubt but where there must be one."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.evidence import numbers
from tests.acceptance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.acceptance.evidence import Evidence

# The stream that an answer outlived says this below the text so far; the answer follows as a message of its own.
FOLLOWS = "处理时间较长，结果会稍后发送给您。"


class Shown(NamedTuple):
    """An answer as a member sees it: its place on the screen, and when its last word came."""

    number: int
    place: int
    ended: int


class Seen:
    """What the members saw, by chat."""

    def __init__(self, chats: dict[str, list[dict[str, Any]]]) -> None:
        self.ways: Counter[str] = Counter()
        self.streaming = self.marked = self.expired = 0
        self.answers = {chat: [shown for entry in chats[chat] for shown in self._read(entry)] for chat in chats}

    def _read(self, entry: dict[str, Any]) -> list[Shown]:
        self.streaming += entry["streaming"]
        if entry["text"].endswith(FOLLOWS):
            self.marked += 1
            return []
        # The platform ended it, so the client shows a beginning; the answer comes by the address.
        if entry["data"].get("expired"):
            self.expired += 1
            return []
        found = [Shown(number, entry["seq"], entry["rev"]) for number in numbers(entry["text"])]
        self.ways.update([entry["via"]] * len(found))
        return found

    def times(self) -> Counter[int]:
        return Counter(shown.number for answers in self.answers.values() for shown in answers)

    def disordered(self) -> int:
        """Chats with an answer that is neither above a later one nor was there before it.

        A stream stands where its question opened it, so an answer that came as a message of its own may stand below a later one.
        """
        return sum(any(_swapped(a, b) for a, b in combinations(shown, 2)) for shown in self.answers.values())


def _swapped(a: Shown, b: Shown) -> bool:
    first, second = sorted((a, b))
    return first.number != second.number and first.place > second.place and first.ended > second.ended


def what_went_wrong(evidence: Evidence, most: int = 20) -> list[str]:
    """Sessions and chats that were out of order, answers that were lost or shown twice: for whoever looks for the cause."""
    seen = Seen(evidence.chats)
    times, lost = seen.times(), _lost(evidence, seen)
    twice = {number for number, count in times.items() if count > 1}
    lines = [
        f"the agent saw out of order: {session}: {told}"
        for session, told in _heard(evidence).items()
        if _disordered([told])
    ]
    lines += [f"lost: {send}" for send in evidence.sends if lost & set(send.numbers)]
    lines += [
        f"lost: {entry}"
        for entries in evidence.chats.values()
        for entry in entries
        if lost & set(numbers(entry["text"]))
    ]
    for chat, answers in seen.answers.items():
        swapped = any(_swapped(a, b) for a, b in combinations(answers, 2))
        for entry in evidence.chats[chat]:
            shown = numbers(entry["text"])
            if entry["via"] != "member" and (swapped or twice & set(shown)):
                lines.append(f"{chat}{' out of order' if swapped else ''}: {entry}")
    return lines[: most * 10]


def verdict(evidence: Evidence) -> Verdict:
    found = Verdict(f"{evidence.messages} messages, three times each, {len(evidence.disturbances)} disturbances")
    _stored(found, evidence)
    _asked(found, evidence)
    _shown(found, evidence)
    _uncertain(found, evidence)
    _platform(found, evidence)
    _effort(found, evidence)
    found.exactly("deliveries that failed", evidence.failed, [])
    found.exactly("processes that ended by themselves", evidence.ended, [])
    return found


def _stored(found: Verdict, evidence: Evidence) -> None:
    different = Counter(number for text in evidence.stored for number in numbers(text))
    found.exactly("messages stored", len(evidence.stored), evidence.messages)
    found.exactly("of them different", len(different), evidence.messages)


def _asked(found: Verdict, evidence: Evidence) -> None:
    states = Counter(evidence.turns)
    found.exactly("turns answered", states.pop("delivered", 0), evidence.messages)
    found.exactly("turns uncertain", states.pop("uncertain", 0), 0)
    found.exactly("turns in any other state", dict(states) or 0, 0)
    found.exactly("messages with an answer stored", evidence.answered, evidence.messages)
    heard = _heard(evidence)
    found.exactly("conversations the agent saw out of order", _disordered(heard.values()), 0)
    found.exactly("messages the agent never saw", evidence.messages - len(set().union(*heard.values())), 0)
    asked = Counter(number for said in heard.values() for number in set(said))
    found.exactly("messages in two sessions", sum(count > 1 for count in asked.values()), 0)
    resumed = sum(bool(one["resumes"]) for one in evidence.runs)
    found.note("runs of the agent", len(evidence.runs))
    found.note("of them resumed by the gateway after its end", resumed)


def _heard(evidence: Evidence) -> dict[str, list[int]]:
    """What the agent was told in each session, in the order in which its runs began."""
    heard: dict[str, list[int]] = defaultdict(list)
    for one in evidence.runs:
        heard[one["session_key"]] += numbers(one["message"])
    return heard


def _shown(found: Verdict, evidence: Evidence) -> None:
    seen = Seen(evidence.chats)
    times = seen.times()
    found.note("answers sent, by the way they came", dict(sorted(seen.ways.items())))
    found.exactly("answers lost", len(_lost(evidence, seen)), 0)
    found.exactly("answers doubled without a mark", sum(count > 1 for count in times.values()), 0)
    found.exactly("conversations shown out of order", seen.disordered(), 0)
    found.exactly("streams that never ended", seen.streaming, 0)
    found.note("streams that said that the answer follows", seen.marked)
    found.note("streams that the platform ended, as nobody could be asked for six minutes", seen.expired)


def _uncertain(found: Verdict, evidence: Evidence) -> None:
    """Each doubt is owed to a request that was open at a disturbance, or that the platform itself left without an answer."""
    states = Counter(send.state for send in evidence.sends)
    delivered, uncertain = states.pop("delivered", 0), states.pop("uncertain", 0)
    open_ones = {pk for disturbance in evidence.disturbances for pk in disturbance.open}
    most = len(open_ones) + len(evidence.cut)
    found.exactly("deliveries to WeChat", delivered + uncertain, evidence.messages)
    found.exactly("in any other state", dict(states) or 0, 0)
    found.note("requests open at the disturbances", len(open_ones))
    found.note("requests that the platform left without an answer for good", len(evidence.cut))
    found.check("uncertain", uncertain, f"≤ {most}, these together", uncertain <= most)
    doubts = [send for send in evidence.sends if send.state == "uncertain" and send.id not in open_ones]
    unexplained = [send.id for send in doubts if not set(send.numbers) & set(evidence.cut)]
    found.exactly("uncertain, and neither of these", unexplained, [])


def _platform(found: Verdict, evidence: Evidence) -> None:
    record = evidence.record
    least = 3 * evidence.messages
    found.exactly("callbacks delivered", record["deliveries"].get("delivered", 0), evidence.messages)
    found.check("POSTs of callbacks", record["posts"], f"≥ {least}", record["posts"] >= least)
    found.exactly("broken rules of the platform", record["violations"][:3], [])
    found.exactly("messages above the platform's limits", record["counters"].get("dropped", 0), 0)
    found.note("repetitions the platform swallowed", record["counters"].get("duplicates", 0))
    faults: Counter[str] = Counter()
    for name, count in record["faults"].items():
        faults[name.rpartition(" ")[2]] += count
    found.note("faults of the platform", dict(sorted(faults.items())))


def _effort(found: Verdict, evidence: Evidence) -> None:
    done = Counter(f"{one.what} {one.name}" for one in evidence.disturbances)
    found.note("disturbances", dict(sorted(done.items())))
    taken = [one for one in evidence.disturbances if one.taken is not None]
    found.note(
        "callbacks acknowledged while PostgreSQL was away",
        sum(one.taken or 0 for one in taken if "full" not in one.what),
    )
    found.note("the same with a full spool", sum(one.taken or 0 for one in taken if "full" in one.what))
    found.note("turns open at them", sum(one.turns for one in evidence.disturbances))
    found.note("seconds", round(evidence.seconds, 1))
    found.note("messages a second", round(evidence.messages / evidence.seconds, 1) if evidence.seconds else 0)
    found.note("CPU seconds", evidence.cpu)


def _lost(evidence: Evidence, seen: Seen) -> set[int]:
    """Numbers of answers that nobody saw and that are not said to be uncertain."""
    return set(range(evidence.messages)) - set(seen.times()) - _uncertain_numbers(evidence)


def _uncertain_numbers(evidence: Evidence) -> set[int]:
    return {number for send in evidence.sends if send.state == "uncertain" for number in send.numbers}


def _disordered(conversations: Iterable[list[int]]) -> int:
    """How many do not grow, repetitions left out."""
    firsts = [list(dict.fromkeys(said)) for said in conversations]
    return sum(said != sorted(said) for said in firsts)
