"""What the three sides of a chaos run have on record: the simulator, the gateway and the database. They share no code."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.acceptance.chaos import Run
    from tests.acceptance.disturb import Disturbance

JSON = dict[str, Any]
# Every message carries its number, and the stand-in agent repeats what it was told.
NUMBER = re.compile(r"#(\d{5})#")
# Faults after which the caller cannot know what became of its request.
CUT = ("timeout_before", "timeout_after", "reset", "reset_after")

_STORED = "SELECT text FROM bridge_message WHERE direction = 'in' ORDER BY id"
_TURNS = "SELECT state, count(*) FROM bridge_delivery WHERE target = 'agent' GROUP BY 1"
_ANSWERED = "SELECT count(DISTINCT reply_to_id) FROM bridge_message WHERE direction = 'out' AND source = 'agent'"
_SENDS = """SELECT d.id, d.state, m.text FROM bridge_delivery d JOIN bridge_message m ON m.id = d.message_id
WHERE d.target = 'channel' ORDER BY d.id"""
_FAILED = """SELECT d.target, d.id, d.state, d.reason, d.code, d.code_params, d.tries,
  array_agg(a.outcome || ' ' || a.code ORDER BY a.number)
FROM bridge_delivery d LEFT JOIN bridge_attempt a ON a.delivery_id = d.id
WHERE d.state NOT IN ('delivered', 'uncertain') GROUP BY d.id ORDER BY d.id"""


class Send(NamedTuple):
    """A delivery to WeChat. numbers: of the messages it answers, one in a sound run."""

    id: int
    state: str
    numbers: list[int]


@dataclass
class Evidence:
    """stored: texts of the inbound messages; turns: by state; runs: of the gateway; chats: what members saw of the bot; record: of the
    simulator; cut: numbers of answers whose request the platform left without an answer, and would not know again if it were repeated;
    failed: deliveries in any other state, with all that is known of them; ended: processes that nobody killed.
    """

    messages: int
    stored: list[str]
    turns: Counter[str]
    answered: int
    sends: list[Send]
    runs: list[JSON]
    chats: dict[str, list[JSON]]
    record: JSON
    cut: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)


def gather(run: Run) -> Evidence:
    stage, simulator = run.stage, run.company.simulator
    chats = sorted({said["chat"] for said in run.said})
    return Evidence(
        messages=run.messages,
        stored=[text for (text,) in stage.rows(_STORED)],
        turns=Counter(dict(stage.rows(_TURNS))),
        answered=stage.count(_ANSWERED),
        sends=[Send(pk, state, numbers(text)) for pk, state, text in stage.rows(_SENDS)],
        runs=stage.agent_runs(),
        chats={chat: [e for e in simulator.transcript(chat) if e["via"] != "member"] for chat in chats},
        record=simulator.record(),
        cut=[number for path in ("aibot/response", "message/send") for number in cut_numbers(simulator.calls(path))],
        failed=[" ".join(map(str, row)) for row in stage.rows(_FAILED)],
        ended=stage.ended(),
        disturbances=run.disturber.done,
        seconds=run.took,
        cpu=run.spent.seconds(),
    )


def cut_numbers(calls: list[JSON]) -> list[int]:
    """A repetition that the platform swallows is no riddle: those do not count."""
    cut = [call["body"] for call in calls if call["fault"] in CUT]
    return [number for body in cut if '"enable_duplicate_check": 1' not in body for number in numbers(body)]


def numbers(text: str) -> list[int]:
    return [int(number) for number in NUMBER.findall(text)]
