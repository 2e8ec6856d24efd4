"""`manage.py replay`: what a script plans, runs, looks at and takes back."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bridge.models import ReplayRun
from tests.support import factories


@pytest.fixture
def world(db: None, valkey: object) -> factories.World:
    return factories.build_world()


def replay(*words: Any) -> str:
    out = StringIO()
    call_command("replay", *map(str, words), stdout=out)
    return out.getvalue()


def test_a_plan_is_made_run_and_taken_back(world: factories.World) -> None:
    said = replay("plan", "--code", "81013", "--account", world.app.pk, "--name", "the night")
    run = ReplayRun.objects.get()
    assert said.splitlines() == [
        f"Replay {run.pk} (the night): planned, 0 of 1 chosen, 1 in all",
        f"  go: 1, for example {world.dead.pk}",
    ]
    assert "running" in replay("run", run.pk, "--rate", 20)
    run.refresh_from_db()
    assert (run.rate, run.chosen) == (20, 1)
    assert "paused" in replay("pause", run.pk)
    assert "running" in replay("resume", run.pk)
    assert "cancelled" in replay("undo", run.pk)
    assert "now left: 1" in replay("status", run.pk)


def test_only_named_groups_go(world: factories.World) -> None:
    replay("plan")
    run = ReplayRun.objects.get()
    with pytest.raises(CommandError, match="may arrive twice.*--possibly-twice"):
        replay("run", run.pk, "--outlook", "unknown")
    run.refresh_from_db()
    assert (run.state, run.items.filter(chosen=True, planned="unknown").count()) == ("planned", 0)
    replay("run", run.pk, "--outlook", "unknown", "--possibly-twice")
    assert [item.delivery_id for item in run.items.filter(chosen=True)] == [world.uncertain.pk]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--account", "x"], "--account is not understood."),
        (["plan", "--code", "none"], "No plan was made: nothing."),
        (["plan", "--from", "2999-01-01"], "No plan was made: nothing."),
        (["plan", "--from", "0001-01-01"], "--from is not understood."),
        (["run", "1", "--rate", "-1"], "argument --rate: a number from 1 to 1000"),
        (["run", "1", "--rate", "2000"], "argument --rate: a number from 1 to 1000"),
        (["status", "4711"], "There is no replay 4711."),
    ],
)
def test_what_cannot_be_done_is_said(world: factories.World, words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        replay(*words)


def test_a_run_that_is_over_cannot_be_paused(world: factories.World) -> None:
    run = factories.replay_run(world.dead)
    replay("cancel", run.pk)
    with pytest.raises(CommandError, match="another state"):
        replay("pause", run.pk)
