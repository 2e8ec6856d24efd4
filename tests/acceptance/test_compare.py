"""The table of a chaos run must not be kept where one of its promises was not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.acceptance.compare import FOLLOWS, verdict
from tests.acceptance.disturb import Disturbance
from tests.acceptance.evidence import Evidence, Send, cut_numbers

CHAT = "app:1:somebody"


def entry(number: int, place: int, ended: int, **more: Any) -> dict[str, Any]:
    """An answer on a member's screen."""
    text = f"收到：#{number:05d}# 好"
    return {"text": text, "seq": place, "rev": ended, "via": "message/send", "streaming": False, "data": {}, **more}


def ran(number: int, session: str = "agent:main:one", resumes: str = "") -> dict[str, Any]:
    return {"session_key": session, "message": f"#{number:05d}# 好", "resumes": resumes}


SOUND = Evidence(
    messages=2,
    stored=["#00000# 好", "#00001# 好"],
    turns=Counter(delivered=2),
    answered=2,
    sends=[Send(11, "delivered", [0]), Send(12, "delivered", [1])],
    runs=[ran(0), ran(1)],
    chats={CHAT: [entry(0, 1, 1), entry(1, 2, 2)]},
    record={"deliveries": {"delivered": 2}, "posts": 6, "violations": [], "counters": {}, "faults": {}},
)
DOUBT = replace(SOUND, chats={CHAT: [entry(0, 1, 1)]}, sends=[SOUND.sends[0], Send(12, "uncertain", [1])])
OPEN = Disturbance(1.0, "kill", "worker", open=[12])


def broken(evidence: Evidence) -> list[str]:
    return [line.name for line in verdict(evidence).lines if not line.kept]


def test_a_sound_run_is_kept() -> None:
    assert verdict(SOUND).kept


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"stored": ["#00000# 好"]}, ["messages stored", "of them different"]),
        ({"stored": ["#00000# 好"] * 2}, ["of them different"]),
        ({"turns": Counter(delivered=1, uncertain=1)}, ["turns answered", "turns uncertain"]),
        ({"turns": Counter(delivered=1, dead=1)}, ["turns answered", "turns in any other state"]),
        ({"answered": 1}, ["messages with an answer stored"]),
        ({"runs": [ran(1), ran(0)]}, ["conversations the agent saw out of order"]),
        ({"runs": [ran(0)]}, ["messages the agent never saw"]),
        ({"runs": [ran(0), ran(1), ran(1, "agent:main:other")]}, ["messages in two sessions"]),
        ({"chats": {CHAT: [entry(0, 1, 1)]}}, ["answers lost"]),
        ({"chats": {CHAT: [entry(0, 1, 1), entry(1, 2, 2), entry(1, 3, 3)]}}, ["answers doubled without a mark"]),
        ({"chats": {CHAT: [entry(1, 1, 1), entry(0, 2, 2)]}}, ["conversations shown out of order"]),
        ({"chats": {CHAT: [entry(0, 1, 1), entry(1, 2, 2, streaming=True)]}}, ["streams that never ended"]),
        ({"chats": {CHAT: [entry(0, 1, 1), entry(1, 2, 2, data={"expired": True})]}}, ["answers lost"]),
        ({"failed": ["channel 12 dead"]}, ["deliveries that failed"]),
        ({"ended": ["worker"]}, ["processes that ended by themselves"]),
    ],
)
def test_what_went_wrong_has_a_name(change: dict[str, Any], names: list[str]) -> None:
    assert broken(replace(SOUND, **change)) == names


def test_a_stream_that_the_platform_ended_is_no_answer() -> None:
    """The answer follows by the message's address; below it may stand what came meanwhile."""
    shown = [entry(0, 1, 1), entry(1, 2, 2, data={"expired": True}), entry(1, 3, 3)]
    assert verdict(replace(SOUND, chats={CHAT: shown})).kept


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"deliveries": {"delivered": 1}}, "callbacks delivered"),
        ({"posts": 5}, "POSTs of callbacks"),
        ({"violations": [{"what": "bad_reply"}]}, "broken rules of the platform"),
        ({"counters": {"dropped": 1}}, "messages above the platform's limits"),
    ],
)
def test_the_platforms_side(change: dict[str, Any], name: str) -> None:
    assert broken(replace(SOUND, record=SOUND.record | change)) == [name]


def test_an_answer_of_its_own_may_stand_below_a_later_stream() -> None:
    follows = entry(0, 1, 4, via="stream", text=f"收到\n\n{FOLLOWS}")
    shown = [follows, entry(1, 2, 5, via="stream"), entry(0, 3, 3, via="response_url")]
    assert verdict(replace(SOUND, chats={CHAT: shown})).kept


def test_a_doubt_needs_its_own_reason() -> None:
    assert broken(DOUBT) == ["uncertain", "uncertain, and neither of these"]
    assert broken(replace(DOUBT, disturbances=[OPEN])) == []
    assert broken(replace(DOUBT, cut=[1])) == []
    assert broken(replace(DOUBT, cut=[0])) == ["uncertain, and neither of these"]
    assert broken(replace(DOUBT, disturbances=[replace(OPEN, open=[11])])) == ["uncertain, and neither of these"]


def test_a_repetition_that_the_platform_knows_is_no_reason() -> None:
    body = '{"text": {"content": "#00001# 好"}}'
    known = '{"text": {"content": "#00002# 好"}, "enable_duplicate_check": 1}'
    calls = [
        {"body": body, "fault": "reset_after"},
        {"body": body, "fault": "slow"},
        {"body": known, "fault": "timeout_after"},
    ]
    assert cut_numbers(calls) == [1]
