"""What is read in the history of a session: which row answers which turn."""

from __future__ import annotations

from typing import Any

import pytest

from openclaw.errors import Code, GatewayError
from openclaw.transcript import read_transcript
from openclaw.turns import Answer, MediaRef, Usage
from tests.openclaw.frames import asked, load, told, transcript


def broken_off(run: str, said: str) -> dict[str, Any]:
    """As an abort leaves it; the run is named by the abort alone."""
    return {
        "role": "assistant",
        "content": said,
        "stopReason": "stop",
        "openclawAbort": {"aborted": True, "runId": run},
    }


@pytest.mark.parametrize(
    ("more", "is_running"),
    [
        ({}, False),
        ({"inFlightRun": None, "sessionInfo": {"status": "done", "hasActiveRun": False}}, False),
        ({"inFlightRun": {"runId": "k"}}, True),
        ({"sessionInfo": {"hasActiveRun": True}}, True),
        ({"sessionInfo": {"status": "running"}}, True),
    ],
)
def test_each_sign_of_a_run_counts(more: dict[str, Any], is_running: bool) -> None:
    assert transcript(**more).is_running is is_running


@pytest.mark.parametrize(("state", "is_pending"), [("queued", True), ("interrupted", False)])
def test_only_what_waits_is_pending(state: str, is_pending: bool) -> None:
    history = transcript(pendingInputs={"items": [{"runId": "k", "state": state}]})
    assert (history.is_pending("k"), history.is_pending("l")) == (is_pending, False)


def test_the_last_of_several_texts_is_the_answer() -> None:
    history = transcript(asked("k"), told("k", "let me see"), told("k", "here it is"), told("l", "another's"))
    for found in (history.find_outcome("k"), history.find_answer("k")):
        assert found
        assert found.text == "here it is"


def test_in_a_turn_only_its_own_run_answers_where_runs_are_named() -> None:
    """A message of the agent's own stands among the rows of the turn before it."""
    assert transcript(asked("k"), told("other", "it is time")).find_outcome("k") is None
    unnamed = {"role": "assistant", "content": "pong", "stopReason": "stop"}
    found = transcript(asked("k"), unnamed).find_outcome("k")
    assert found
    assert found.text == "pong"


@pytest.mark.parametrize("rows", [(asked("k"), broken_off("k", "half")), (broken_off("k", "half"),)])
def test_an_abort_is_seen_wherever_its_row_stands(rows: tuple[dict[str, Any], ...]) -> None:
    history = transcript(*rows)
    with pytest.raises(GatewayError, match="run_aborted"):
        history.find_outcome("k")
    assert history.find_answer("k") is None
    assert transcript(*rows).find_outcome("l") is None


@pytest.mark.parametrize("mark", [{"__openclaw": {"runId": "k", "truncated": True}}, {}])
def test_a_row_that_was_cut_says_so(mark: dict[str, Any]) -> None:
    said = "long" if mark else "long\n...(truncated)..."
    found = transcript(asked("k"), told("k", said, **mark)).find_outcome("k")
    assert found == Answer("long", run_id="k", is_cut=True)


OVER = 1_795_746_067_526


@pytest.mark.parametrize(
    ("moment", "timestamp", "stopped", "is_found"),
    [
        (OVER, OVER - 100, "stop", True),
        (OVER + 2000, OVER - 100, "stop", True),
        (OVER + 2001, OVER - 100, "stop", False),  # another run's end
        (OVER - 2001, OVER - 100, "stop", False),
        (OVER, OVER - 1000, "stop", True),
        (OVER, OVER - 1001, "stop", False),  # said before this run began
        (OVER, None, "stop", False),
        (OVER, OVER - 100, "toolUse", False),
        (None, OVER - 100, "stop", False),
    ],
)
def test_the_last_row_is_the_answer_of_the_run_that_ended_then(
    moment: int | None, timestamp: int | None, stopped: str, is_found: bool
) -> None:
    row = {"role": "assistant", "content": "pong", "stopReason": stopped, "timestamp": timestamp}
    history = transcript(asked("k"), row, sessionInfo={"startedAt": OVER - 1000, "endedAt": OVER})
    assert (history.find_answer_ended_at(moment) is not None) is is_found


def test_the_key_of_a_question_may_stand_apart() -> None:
    inner = {"role": "user", "content": "x", "__openclaw": {"idempotencyKey": "k:user"}}
    found = transcript(inner, told("k", "pong")).find_outcome("k")
    assert found == Answer("pong", run_id="k")


def test_a_row_names_its_artifacts() -> None:
    blocks = [
        {"type": "text", "text": "look"},
        {"type": "image", "artifactId": "artifact_1", "title": "a", "mimeType": "image/png"},
    ]
    found = transcript(asked("k"), told("k", "") | {"content": blocks}).find_outcome("k")  # type: ignore[arg-type]  # of any shape
    assert found == Answer("look", (MediaRef(artifact_id="artifact_1", name="a", mime="image/png"),), "k")


def test_only_what_a_person_wrote_was_asked() -> None:
    history = transcript(asked("k", "[Fri 12:00] what is it? "), told("k", "did you ask: how are you?"))
    assert history.was_asked(" what is it?\n")
    assert not history.was_asked("how are you?")


def test_usage_of_a_run_is_the_sum_of_its_calls() -> None:
    def used(count: int, cost: float | None) -> dict[str, Any]:
        counts = {"input": count, "output": 10 * count, "cacheRead": 100 * count, "cacheWrite": 1000 * count}
        money = {} if cost is None else {"cost": {"total": cost}}
        return {"provider": "mock", "model": f"mock-{count}", "usage": counts | money}

    aborted = {**told("k", "half"), **used(8, 8.0), "openclawAbort": {"aborted": True, "runId": "k"}}
    rows = [
        told("k", "a", **used(1, 0.5)),
        told("other", "b", **used(4, 4.0)),
        aborted,
        told("k", "c", **used(2, 0.25)),
    ]
    assert transcript(*rows).sum_usage("k") == Usage("mock/mock-2", 3, 30, 300, 3000, 0.75)
    assert transcript(told("k", "a", **used(1, None))).sum_usage("k") == Usage("mock/mock-1", 1, 10, 100, 1000, None)
    assert transcript(*rows).sum_usage("") is None
    assert transcript(told("k", "a")).sum_usage("k") is None


def test_history_answers_a_completed_turn() -> None:
    history = read_transcript(load("history__resumed"))
    answer = history.find_outcome("c1")
    assert answer
    assert answer.text == "pong: first"


def test_resumed_run_answers_the_interrupted_turn() -> None:
    history = read_transcript(load("history__resumed"))
    answer = history.find_outcome("c2")
    assert answer
    assert answer.text.endswith("w28 w29")
    assert answer.run_id != "c2"
    assert history.find_interrupted_run(answer.run_id) == "c2"


def test_interrupted_input_is_never_run_again() -> None:
    history = read_transcript(load("history__resumed"))
    assert history.find_turn("c3") is None
    assert not history.is_pending("c3")
    assert not history.is_running


def test_failure_text_in_the_history_is_no_answer() -> None:
    history = read_transcript(load("history__failed_runs"))
    failed = [row.run_id for row in history.rows if row.key.endswith(":terminal-error")]
    assert len(failed) == 3
    assert [history.find_outcome(run) for run in failed] == [None, None, None]
    assert all(history.find_answer(run) is None for run in failed)


def test_aborted_run_is_an_error_although_its_row_has_text() -> None:
    history = read_transcript(load("history__aborted"))
    with pytest.raises(GatewayError) as caught:
        history.find_outcome("abort-1")
    assert caught.value.code is Code.RUN_ABORTED
    assert history.find_outcome("timeout-1") is None


def test_media_line_of_the_history_is_media() -> None:
    history = read_transcript(load("history__media_line"))
    answers = [row.answer() for row in history.rows if row.is_complete]
    assert [answer.missing for answer in answers[:1]] == [("a.png",)]
    assert answers[1].media == (MediaRef(url="https://example.invalid/x.png", name="x.png"),)
    assert answers[1].text == ""


def test_step_before_a_tool_is_no_answer() -> None:
    rows = [
        {"role": "user", "content": "x", "idempotencyKey": "k:user"},
        {"role": "assistant", "content": "let me look", "stopReason": "toolUse", "__openclaw": {"runId": "k"}},
    ]
    history = read_transcript({"messages": rows, "sessionInfo": {"status": "running"}})
    assert history.find_outcome("k") is None
    assert history.is_running


@pytest.mark.parametrize("reason", ["stop", "length", "end_turn"])
def test_an_answer_that_ended_is_one_for_whatever_reason_the_model_gives(reason: str) -> None:
    rows = [
        {"role": "user", "content": "x", "idempotencyKey": "k:user"},
        {"role": "assistant", "content": "as far as", "stopReason": reason, "__openclaw": {"runId": "k"}},
    ]
    found = read_transcript({"messages": rows}).find_outcome("k")
    assert found
    assert found.text == "as far as"


def test_answer_to_the_next_turn_is_not_taken_for_this_one() -> None:
    rows = [
        {"role": "user", "content": "x", "idempotencyKey": "k:user"},
        {"role": "user", "content": "y", "idempotencyKey": "l:user"},
        {"role": "assistant", "content": "for y", "stopReason": "stop", "__openclaw": {"runId": "l"}},
    ]
    history = read_transcript({"messages": rows})
    assert history.find_outcome("k") is None
    assert history.find_outcome("l") is not None
