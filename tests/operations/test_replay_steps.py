"""Steps of a replay that fail: an error of one delivery, of one run, and what was chosen and is gone."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.fields import Sealed
from accounts.models import ChannelAccount
from bridge.models import Conversation, ReplayRun
from bridge.models.replays import MOST_FAILED_STEPS
from bridge.operations import replay
from bridge.operations.replays import control, plan, runner
from bridge.operations.replays.filters import ReplayFilter
from tests.operations.replays import FAILED, ended, failed, planned, results, started, step
from tests.support import factories
from tests.support.factories import app, route, row, turn

pytestmark = pytest.mark.django_db
UNREADABLE = {"queued": "many"}
SEALED_ELSEWHERE = Sealed("v2.00000000.AAAA")


@pytest.fixture
def account(valkey: object) -> ChannelAccount:
    return app()


def asked(account: ChannelAccount, count: int = 1) -> list[int]:
    return [ended(turn(account, "你好", f"user{number}")).pk for number in range(count)]


def test_a_gateway_that_was_deleted_since_is_said_and_stops_nothing(account: ChannelAccount) -> None:
    route(account)
    asked(account)
    gone = factories.gateway()
    late = plan.make_plan("ask", FAILED, changes={"gateway": gone.pk})
    run = started(plan.make_plan("ask", FAILED, changes={"gateway": gone.pk}))
    failed(account)
    other = started(plan.make_plan("again", FAILED))
    gone.delete()
    step(run)
    step(other)
    run.refresh_from_db()
    assert (run.state, results(run), run.items.get().detail) == ("finished", ["refused"], "no_gateway")
    assert results(other) == ["queued"]
    with pytest.raises(control.CannotControl, match="was deleted: choose another one"):
        control.start(late)
    late.refresh_from_db()
    assert late.state == "planned"
    control.change(late, {})
    step(started(late))
    assert results(late) == ["queued"]


def test_a_mapping_that_was_deleted_since_is_said(account: ChannelAccount) -> None:
    mapping = route(account)
    asked(account)
    run = plan.make_plan("ask", FAILED, changes={"route": mapping.pk})
    mapping.delete()
    with pytest.raises(control.CannotControl, match="was deleted: choose another one"):
        control.start(run)
    plan.look_again(run)
    assert [outlook for outlook, _detail in planned(run).values()] == ["no_route"]


def test_an_error_of_one_delivery_stops_no_other(account: ChannelAccount) -> None:
    route(account)
    first, broken, last = asked(account, 3)
    run = started(plan.make_plan("ask", FAILED))
    Conversation.objects.filter(messages__deliveries=broken).update(mode="?")
    step(run)
    assert (results(run), run.items.get(delivery=broken).detail) == (["queued", "refused", "queued"], "internal_error")
    assert (run.failed_steps, run.results) == (0, {"queued": 2, "refused": 1})
    assert [row(run.items.get(delivery=pk).delivery).state for pk in (first, broken, last)] == [
        "pending",
        "dead",
        "pending",
    ]
    assert control.undo(run) == 2


def test_a_run_whose_steps_fail_is_paused_and_another_goes_on(account: ChannelAccount) -> None:
    failed(account)
    stuck = started(plan.make_plan("again", ReplayFilter(state="dead")))
    ReplayRun.objects.update(results=UNREADABLE)
    failed(account, 1, "lisi")
    other = started(plan.make_plan("again", FAILED))
    step(other)
    assert other.results == {"queued": 2}
    stuck.refresh_from_db()
    assert (stuck.state, stuck.failed_steps, stuck.is_stuck) == ("running", 1, False)
    runner.step_all("worker")
    assert ReplayRun.objects.get(pk=stuck.pk).failed_steps == 1  # it waits a moment between its tries
    for _try in range(MOST_FAILED_STEPS):
        step(stuck)
    assert (stuck.state, stuck.owner, stuck.is_stuck) == ("paused", "", True)
    ReplayRun.objects.filter(pk=stuck.pk).update(results={})
    control.resume(stuck)
    assert (stuck.state, stuck.failed_steps) == ("running", 0)
    step(stuck)
    step(stuck)
    assert (stuck.state, results(stuck)) == ("finished", ["refused"])


def test_a_good_step_forgets_those_that_failed_before(account: ChannelAccount) -> None:
    failed(account, 2)
    run = started(plan.make_plan("again", FAILED, rate=1))
    ReplayRun.objects.update(failed_steps=MOST_FAILED_STEPS - 1, paced_at=timezone.now())
    step(run, seconds=1)
    assert (run.state, run.failed_steps, results(run)) == ("running", 0, ["queued", ""])


def test_an_account_whose_credentials_no_key_opens_is_said_and_stops_nothing(account: ChannelAccount) -> None:
    """Neither the plan, where it is disabled and has no part in it, nor the run, where the key went meanwhile."""
    other = app(agent_id=7)
    failed(account)
    run = started(plan.make_plan("again", FAILED))
    failed(other)
    ChannelAccount.objects.filter(pk=account.pk).update(credentials=SEALED_ELSEWHERE, enabled=False)
    step(run)
    run.refresh_from_db()
    assert (results(run), run.items.get().detail, run.failed_steps) == (["refused"], "unreadable", 0)
    late = plan.make_plan("again", FAILED)
    assert {(group["detail"], group["count"]) for group in late.groups} == {("unreadable", 1), ("", 1)}
    assert replay.find_obstacle(run.items.get().delivery) == "unreadable"
