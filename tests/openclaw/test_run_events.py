"""What a scripted gateway tells unasked: replies that nobody waits for, and the events of a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from openclaw import client as clients
from openclaw.client import Answer, GatewayClient, MediaRef, ProactiveReply
from openclaw.runs import Run
from tests.openclaw.recorded import Recorded, Scripted
from tests.openclaw.scripted import ANSWER, BUSY, KEY, SESSION, said, talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    Found = TypeVar("Found")


# --- the agent speaks first -------------------------------------------------------------------------------------------


class Speaks(Scripted):
    """Sends these events of the chat as soon as it is asked for its agents."""

    def __init__(self, *events: dict[str, Any], history: dict[str, Any]) -> None:
        super().__init__({"agents.list": [{"agents": []}], "chat.history": [history]})
        self.events = events

    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        for payload in self.events if frame["method"] == "agents.list" else ():
            await socket.send_json({"type": "event", "event": "chat", "payload": payload})
        await super()._answer(socket, frame)


def heard(gateway: Recorded, first: Callable[[GatewayClient], Any] = lambda _client: None) -> list[ProactiveReply]:
    """What is handed over until the reply "the end" comes."""
    replies: list[ProactiveReply] = []

    async def work(client: GatewayClient) -> None:
        first(client)
        await client.list_agents()
        while not replies or replies[-1].run_id != "end":
            await asyncio.sleep(0.01)

    talk(gateway, work, replies.append)
    return replies[:-1]


THE_END = said("end", "the end")


def test_only_a_finished_run_speaks() -> None:
    events = [said("a", "half", "delta"), said("b", "half", "aborted"), said("c", "", "error"), THE_END]
    assert heard(Speaks(*events, history={"messages": []})) == []


def test_a_reply_whose_transcript_cannot_be_read_is_handed_over_as_it_came() -> None:
    (reply,) = heard(Speaks(said("a", "it is time"), THE_END, history=BUSY))
    assert reply == ProactiveReply(SESSION, "a", Answer("it is time", run_id="a"))


def test_the_transcript_names_the_files_of_a_reply_and_a_file_alone_is_one() -> None:
    row = {**ANSWER, "content": "MEDIA:https://files.example/a.png", "__openclaw": {"runId": "a"}}
    (reply,) = heard(Speaks(said("a", ""), said("b", ""), THE_END, history={"messages": [row]}))
    assert reply.answer == Answer("", (MediaRef(url="https://files.example/a.png", name="a.png"),), "a")


def test_the_late_end_of_a_turn_that_was_given_up_is_no_reply() -> None:
    def give_up(client: GatewayClient) -> None:
        with client._follow("a", lambda _partial: None, lambda _usage: None):
            pass

    assert heard(Speaks(said("a", "late"), THE_END, history={"messages": []}), give_up) == []


def test_of_the_runs_that_were_asked_for_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MAX_REMEMBERED_RUNS", 2)

    def give_up(client: GatewayClient) -> None:
        for run in "abc":
            with client._follow(run, lambda _partial: None, lambda _usage: None):
                pass

    events = [*(said(run, run) for run in "cba"), THE_END]
    assert [reply.run_id for reply in heard(Speaks(*events, history={"messages": []}), give_up)] == ["a"]


def test_no_more_replies_at_once_than_an_agent_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PROACTIVE_LIMIT", 3)
    events = [said(str(number), "again") for number in range(20)]
    gateway = Speaks(*events, history={"messages": []})
    replies: list[ProactiveReply] = []

    async def work(client: GatewayClient) -> int:
        await client.list_agents()
        return len(client._proactive_tasks)

    assert talk(gateway, work, replies.append) <= 3


# --- what the events of a run say -------------------------------------------------------------------------------------


def events(*said: tuple[str, dict[str, Any]]) -> Run:
    run = Run(KEY, lambda _partial: None, lambda _usage: None)
    for name, payload in said:
        run.read(name, payload)
    return run


def lifecycle(**data: Any) -> tuple[str, dict[str, Any]]:
    return "agent", {"stream": "lifecycle", "data": data}


def test_the_last_attempt_of_a_run_says_whether_it_failed() -> None:
    assert events(lifecycle(phase="error")).event_summary.has_failed
    assert not events(lifecycle(phase="error"), lifecycle(phase="start")).event_summary.has_failed
    assert not events(lifecycle(phase="error"), lifecycle(phase="end")).event_summary.has_failed
    assert events(lifecycle(phase="error"), lifecycle(phase="model")).event_summary.has_failed


@pytest.mark.parametrize(
    ("said", "was_cancelled"),
    [
        (("chat", {"state": "aborted", "stopReason": "rpc"}), True),
        (("chat", {"state": "aborted", "stopReason": "timeout"}), False),
        (lifecycle(phase="error", status="cancelled"), True),
        (lifecycle(phase="end", status="ok"), False),
    ],
)
def test_each_sign_of_an_abort_is_seen_and_stays(said: tuple[str, dict[str, Any]], was_cancelled: bool) -> None:
    after = lifecycle(phase="end"), ("chat", {"state": "aborted"})
    assert events(said, *after).event_summary.was_cancelled is was_cancelled


def test_the_reason_of_a_failure_is_kept_when_it_is_told_again_without_one() -> None:
    first = {"state": "error", "errorDetail": {"failoverReason": "billing"}}
    assert events(("chat", first), ("chat", {"state": "error"})).event_summary.reason == "billing"
    assert (
        events(
            lifecycle(phase="end", terminalReply={"disposition": "empty"}), lifecycle(phase="end")
        ).event_summary.disposition
        == "empty"
    )
