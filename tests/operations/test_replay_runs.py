"""Plans and runs of replays: what would become of each delivery, and that a run queues each chosen one once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import ReplyWindow
from bridge.models import Conversation, Delivery, Message, Reason, ReplayItem, ReplayRun, State
from bridge.operations.replays import control, plan, runner
from bridge.operations.replays.filters import ReplayFilter, WrongFilter
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.operations.replays import FAILED, audited, ended, failed, planned, results, started, step, work
from tests.support import factories
from tests.support.factories import FAN, answer, app, claimed, official, route, row, send, shift, to_send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(valkey: object) -> ChannelAccount:
    return app()


# --- the plan


def test_each_outlook_is_told_with_its_count_ages_and_example(account: ChannelAccount) -> None:
    go, old = failed(account), ended(to_send(account, "old"), created_at=-100_000)
    unknown = ended(to_send(account, "?"), "uncertain", Reason.UNKNOWN)
    merged = ended(to_send(account, "m"), "dead", Reason.MERGED)
    run = plan.make_plan("again", FAILED)
    assert planned(run) == {
        go[0].pk: ("go", ""), old.pk: ("too_old", ""), unknown.pk: ("unknown", ""), merged.pk: ("cannot", "merged"),
    }  # fmt: skip
    assert (run.total, run.chosen, run.state) == (4, 1, "planned")
    group = next(group for group in run.groups if group["planned"] == "too_old")
    assert (group["count"], group["example"], group["oldest"] == group["newest"]) == (1, old.pk, True)


def test_an_answer_is_planned_as_answered_where_a_later_one_arrived(account: ChannelAccount) -> None:
    route(account)
    first = ended(answer(turn(account).message).deliveries.get())  # type: ignore[arg-type]
    assert planned(plan.make_plan("again", FAILED)) == {first.pk: ("go", "")}
    later = answer(turn(account).message).deliveries.get()  # type: ignore[arg-type]
    shift(later, state="delivered", finished_at=0)
    assert planned(plan.make_plan("again", FAILED)) == {first.pk: ("answered", "")}


@pytest.mark.parametrize(("left", "outlooks"), [(0, ["window"] * 3), (2, ["go", "go", "quota"]), (5, ["go"] * 3)])
def test_the_reply_window_says_how_many_can_go(valkey: object, left: int, outlooks: list[str]) -> None:
    fans = official()
    rows = failed(fans, 3, FAN)
    ReplyWindow.objects.create(account=fans, peer_id=FAN, left=left, until=timezone.now() + timedelta(hours=1))
    run = plan.make_plan("again", FAILED)
    assert [planned(run)[one.pk][0] for one in rows] == outlooks
    ReplyWindow.objects.update(until=timezone.now())
    plan.look_again(run)
    assert {one for one, _detail in planned(run).values()} == {"window"}


def test_a_question_needs_a_mapping_that_takes_it(account: ChannelAccount) -> None:
    skipped = turn(account, "你好")
    wanted = ReplayFilter(reason="no_route")
    run = plan.make_plan("ask", wanted)
    assert planned(run) == {skipped.pk: ("no_route", "no_route")}
    mapping = route(account, trigger="keyword", trigger_words="发票")
    plan.look_again(run)
    assert planned(run) == {skipped.pk: ("cannot", "no_trigger")}
    type(mapping).objects.update(trigger_words="您\n你")
    plan.look_again(run)
    assert planned(run) == {skipped.pk: ("go", "")}
    Conversation.objects.update(mode="paused")
    plan.look_again(run)
    assert planned(run) == {skipped.pk: ("cannot", "paused")}
    type(mapping).objects.update(enabled=False)
    plan.look_again(run)
    assert planned(run) == {skipped.pk: ("no_route", "route_disabled")}


@pytest.mark.parametrize("end", ["dead", "skipped"])
def test_a_question_that_no_mapping_takes_any_more_stays_what_it_is(account: ChannelAccount, end: str) -> None:
    mapping = route(account)
    asked = ended(turn(account, "你好"), end, Reason.PAUSED if end == "skipped" else Reason.PERMANENT)
    run = plan.make_plan("ask", ReplayFilter(state=end))
    mapping.delete()
    before = row(asked)
    step(started(run))
    assert (results(run), run.items.get().detail) == (["refused"], "no_route")
    after = row(asked)
    assert (after.state, after.reason, after.route_id) == (before.state, before.reason, before.route_id)


def test_what_another_account_sends_may_arrive_twice(account: ChannelAccount) -> None:
    [lost] = failed(account)
    instead = send(app(agent_id=7), "text 0")
    Message.objects.filter(pk=instead.pk).update(instead_of=lost.message_id)
    assert planned(plan.make_plan("again", ReplayFilter(account=account.pk))) == {lost.pk: ("unknown", "")}


def test_of_what_several_accounts_say_only_the_newest_goes(account: ChannelAccount) -> None:
    """Each of them failed: the account itself, and two that were to send in its place."""
    [lost] = failed(account)
    stand_ins = [ended(to_send(app(agent_id=7 + number), "text 0")) for number in range(2)]
    Message.objects.filter(deliveries__in=stand_ins).update(instead_of=lost.message_id)
    run = plan.make_plan("again", FAILED)
    assert planned(run) == {
        lost.pk: ("unknown", ""), stand_ins[0].pk: ("unknown", ""), stand_ins[1].pk: ("go", ""),
    }  # fmt: skip
    run.items.update(planned="go", chosen=True)  # as a plan says that was made before two of them failed
    step(started(run))
    assert results(run) == ["queued", "refused", "refused"]
    assert {item.detail for item in run.items.filter(result="refused")} == {"newer_copy"}
    assert [row(one).state for one in (lost, *stand_ins)] == ["pending", "dead", "dead"]


def test_the_plan_is_fixed_when_it_is_made(account: ChannelAccount) -> None:
    before = failed(account)
    run = plan.make_plan("again", FAILED)
    failed(account, 2)
    plan.look_again(run)
    assert list(planned(run)) == [before[0].pk]


def test_a_filter_finds_what_it_names(account: ChannelAccount) -> None:
    [one] = failed(account)
    other = ended(to_send(app(agent_id=7), "发票在哪"), reason=Reason.CONFIGURATION)
    dismissed = ended(to_send(account, "x"), dismissed_at=0)
    for wanted, found in (
        (ReplayFilter(account=account.pk), one),
        (ReplayFilter(reason="configuration"), other),
        (ReplayFilter(text="发票"), other),
        (ReplayFilter(conversation=one.message.conversation_id), one),  # type: ignore[union-attr]
    ):
        assert list(planned(plan.make_plan("again", wanted))) == [found.pk]
    with pytest.raises(plan.CannotPlan, match="Nothing failed"):
        plan.make_plan("ask", FAILED)
    assert dismissed.pk not in planned(plan.make_plan("again", FAILED))
    assert ReplayRun.objects.filter(kind="ask").count() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "x"),
        ("account", "0"),
        ("state", "pending"),
        ("reason", "?"),
        ("account", "9223372036854775808"),
        ("account", "0" * 19 + "1" + "9" * 20),
        ("from", "yesterday"),
        ("from", "0001-01-01"),
        ("to", "1969-12-31T23:59:59Z"),
        ("to", "9999-12-31T23:59:59-12:00"),
        ("code", "x" * 201),
    ],
)
def test_a_value_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(WrongFilter) as refused:
        ReplayFilter.parse({name: value})
    assert refused.value.name == name


def test_a_filter_survives_its_address() -> None:
    given = {"account": "3", "code": "81013", "from": "2026-01-02T03:04:00+08:00", "to": "2026-01-03T00:00:00+08:00"}
    wanted = ReplayFilter.parse(given)
    assert ReplayFilter.parse(wanted.as_json()) == wanted
    with pytest.raises(WrongFilter):
        ReplayFilter.parse({"from": given["to"], "to": given["from"]})


# --- the run


def test_a_run_queues_each_once_and_follows_it_to_its_end(account: ChannelAccount) -> None:
    good, bad = failed(account, 2)
    run = started(plan.make_plan("again", FAILED, rate=100))
    step(run)
    assert results(run) == ["queued", "queued"]
    work(good)
    work(bad, ok=False)
    step(run)
    assert (run.state, run.results, results(run)) == (
        "finished",
        {"delivered": 1, "failed": 1},
        ["delivered", "failed"],
    )
    assert run.items.get(delivery=bad.pk).detail == "40003"
    assert (row(good).replays, row(bad).replays) == (1, 1)


def test_the_rate_is_kept_and_nothing_comes_in_a_burst(account: ChannelAccount) -> None:
    failed(account, 30)
    run = started(plan.make_plan("again", FAILED, rate=5))
    step(run, seconds=0.4)
    assert run.results == {"queued": 2}
    step(run, seconds=600)
    assert run.results == {"queued": 7}


def test_an_account_has_only_so_many_under_way(account: ChannelAccount) -> None:
    failed(account, 25)
    run = started(plan.make_plan("again", FAILED, rate=1000))
    step(run)
    step(run)
    assert run.results == {"queued": 25}
    ReplayRun.objects.update(rate=1)
    failed(account, 25)
    run = started(plan.make_plan("again", ReplayFilter(), rate=3))
    for _second in range(12):
        step(run, seconds=1)
    assert run.results == {"queued": runner.LEAST_BACKLOG}


def test_a_run_that_was_interrupted_goes_on_by_another_worker(account: ChannelAccount) -> None:
    failed(account, 4)
    run = started(plan.make_plan("again", FAILED, rate=2))
    step(run, seconds=1)
    runner.step_all("other")
    run.refresh_from_db()
    assert (run.owner, run.results) == ("worker", {"queued": 2})
    ReplayRun.objects.update(
        owner_until=timezone.now() - timedelta(seconds=1), paced_at=timezone.now() - timedelta(seconds=1)
    )
    runner.step_all("other")
    run.refresh_from_db()
    assert (run.owner, run.results) == ("other", {"queued": 4})
    assert {one.replays for one in Delivery.objects.all()} == {1}


def test_what_became_uncertain_since_the_plan_is_refused(account: ChannelAccount) -> None:
    [one] = failed(account)
    run = plan.make_plan("again", FAILED)
    ended(one, "uncertain", Reason.UNKNOWN)
    step(started(run))
    assert (results(run), run.items.get().detail, row(one).state) == (["refused"], "twice", "uncertain")


def test_an_uncertain_one_goes_where_it_is_chosen_and_is_marked(account: ChannelAccount) -> None:
    one, other = (ended(to_send(account, str(n)), "uncertain", Reason.UNKNOWN) for n in range(2))
    run = plan.make_plan("again", FAILED)
    with pytest.raises(control.CannotControl, match="chosen"):
        control.start(run)
    for chosen in ({"deliveries": [one.pk]}, {"outlooks": ["unknown"]}):
        with pytest.raises(control.CannotControl, match="arrive twice"):
            control.start(run, **chosen)  # type: ignore[arg-type]
    step(started(run, deliveries=[one.pk], twice=True))
    assert results(run) == ["queued", ""]
    assert (row(one).possibly_twice, row(other).state) == (True, "uncertain")


def test_an_undo_takes_back_the_mark_of_a_repetition(account: ChannelAccount) -> None:
    one = ended(to_send(account), "uncertain", Reason.UNKNOWN)
    run = step(started(plan.make_plan("again", FAILED), deliveries=[one.pk], twice=True))
    assert row(one).possibly_twice
    control.undo(run)
    assert (row(one).state, row(one).possibly_twice) == ("uncertain", False)


def test_what_was_replayed_by_hand_meanwhile_is_not_queued_again(account: ChannelAccount) -> None:
    from bridge.operations.replay import replay

    one, _other = failed(account, 2)
    run = plan.make_plan("again", FAILED)
    replay([one.pk])
    step(started(run))
    assert (results(run), row(one).replays) == (["refused", "queued"], 1)


def test_what_was_dismissed_after_the_plan_is_not_sent(account: ChannelAccount) -> None:
    from bridge.operations.replay import dismiss

    one, other = failed(account, 2)
    run = plan.make_plan("again", FAILED)
    dismiss([one.pk])
    looked = plan.make_plan("again", FAILED)
    step(started(run))
    assert (results(run), run.items.get(delivery=one.pk).detail) == (["refused", "queued"], "dismissed")
    assert (row(one).state, row(one).dismissed_at is None) == ("dead", False)
    assert list(planned(looked)) == [other.pk]


def test_a_second_look_sees_what_was_dismissed_since_but_not_what_was_before(account: ChannelAccount) -> None:
    from bridge.operations.replay import dismiss

    one, other = failed(account, 2)
    dismiss([one.pk])
    run = plan.plan_rows("again", Delivery.objects.all())  # ticked in a list, one of them among the dismissed ones
    plan.look_again(run)
    assert {outlook for outlook, _detail in planned(run).values()} == {"go"}
    dismiss([other.pk])
    plan.look_again(run)
    assert planned(run) == {one.pk: ("go", ""), other.pk: ("cannot", "dismissed")}
    step(started(run))
    assert (row(one).state, row(one).dismissed_at, results(run)) == ("pending", None, ["queued", ""])


def test_what_is_dismissed_between_a_look_and_the_queue_stays_dismissed(account: ChannelAccount) -> None:
    from bridge.operations import replay

    [one] = failed(account)
    as_read = row(one)
    replay.dismiss([one.pk])
    assert replay.requeue(as_read) == 0
    assert (row(one).state, row(one).dismissed_at is None) == ("dead", False)


# --- what a person does with it


def test_undo_makes_everything_that_has_not_left_what_it_was(account: ChannelAccount) -> None:
    gone, waits, held = failed(account, 3)
    dismissed = row(waits)
    run = step(started(plan.make_plan("again", FAILED, rate=100)))
    work(gone)
    shift(held, state="held", reason="window")
    step(run)
    assert control.undo(run) == 2
    assert (run.state, results(run)) == ("cancelled", ["delivered", "undone", "undone"])
    after = row(waits)
    for name in ("state", "reason", "code", "finished_at", "payload", "tries", "replays", "lane", "carrier"):
        assert getattr(after, name) == getattr(dismissed, name)
    assert row(held).state == "dead"
    assert run.results == {"delivered": 1, "undone": 2}
    with pytest.raises(control.CannotControl, match="left already"):
        control.undo(run)


def test_undo_takes_nothing_back_of_which_an_attempt_was_made(account: ChannelAccount) -> None:
    [one] = failed(account)
    run = step(started(plan.make_plan("again", FAILED)))
    mine = claimed(row(one))
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.WAIT, Cause("45009"), 60))
    assert row(one).state == "pending"
    assert control.undo(run) == 0
    assert (row(one).state, results(run)) == ("pending", ["queued"])


def test_pause_resume_and_cancel(account: ChannelAccount) -> None:
    failed(account, 3)
    run = step(started(plan.make_plan("again", FAILED, rate=1)), seconds=1)
    control.pause(run)
    step(run, seconds=9)
    assert (run.state, run.results) == ("paused", {"queued": 1})
    control.resume(run)
    step(run, seconds=1)
    assert run.results == {"queued": 2}
    assert control.cancel(run) == 1
    assert (run.state, run.results) == ("cancelled", {"queued": 2, "left": 1})
    runner.follow_all()
    assert [entry.additional_data["action"].split(":")[0] for entry in audited()] == [
        "replay run", "replay paused", "replay resumed", "replay cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "undo", "start"])
def test_no_other_arrow_is_drawn(account: ChannelAccount, verb: str) -> None:
    failed(account)
    for state, began in (("planned", None), ("running", 1), ("paused", 1), ("cancelled", 1), ("finished", 1)):
        run = plan.make_plan("again", FAILED)
        over = timezone.now() if state in ("cancelled", "finished") else None
        ReplayRun.objects.filter(pk=run.pk).update(state=state, started_at=began and timezone.now(), finished_at=over)
        if state in control.ALLOWED["run" if verb == "start" else verb]:
            continue
        with pytest.raises(control.CannotControl):
            getattr(control, verb)(run)
        assert ReplayRun.objects.get(pk=run.pk).state == state


def test_an_audit_line_is_written_with_the_run_or_not_at_all(account: ChannelAccount) -> None:
    failed(account)
    run = plan.make_plan("again", FAILED)
    with transaction.atomic():
        control.start(run)
        assert len(audited()) == 1
        transaction.set_rollback(True)
    assert (len(audited()), ReplayRun.objects.get().state) == (0, "planned")


# --- races, on connections of their own


@pytest.mark.django_db(transaction=True)
def test_two_workers_and_an_undo_at_once_queue_nothing_twice(account: ChannelAccount) -> None:
    rows = failed(account, 40)
    run = started(plan.make_plan("again", FAILED, rate=1000))
    begin = threading.Barrier(3)

    def work_as(holder: str) -> None:
        begin.wait()
        for _step in range(10):
            ReplayRun.objects.filter(pk=run.pk).update(owner_until=timezone.now() - timedelta(seconds=1))
            runner.step_all(holder)
        connection.close()

    threads = [threading.Thread(target=work_as, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    begin.wait()
    control.undo(run)
    for thread in threads:
        thread.join()
    run.refresh_from_db()
    counts = dict.fromkeys(results(run), 0)
    for result in results(run):
        counts[result] += 1
    assert run.results == counts
    states = {one.pk: (one.state, one.replays) for one in Delivery.objects.filter(pk__in=[r.pk for r in rows])}
    assert set(states.values()) == {("dead", 0)}
    assert set(counts) <= {"undone", "left"}


@pytest.mark.django_db(transaction=True)
def test_a_claim_and_an_undo_at_once_leave_no_delivery_half_done(account: ChannelAccount) -> None:
    rows = [failed(account, 1, f"user{number}")[0] for number in range(20)]
    run = step(started(plan.make_plan("again", FAILED, rate=1000)))
    begin = threading.Barrier(2)

    def send_all() -> None:
        begin.wait()
        for mine in factories.claim():
            settle.mark_delivered(mine, settle.open_attempt(mine, {}))
        connection.close()

    sender = threading.Thread(target=send_all)
    sender.start()
    begin.wait()
    control.undo(run)
    sender.join()
    runner.follow_all()
    ends = {row(one).state: run.items.get(delivery=one.pk).result for one in rows}
    assert all(ends[state] == {"dead": "undone", "delivered": "delivered"}[state] for state in ends)
    assert ReplayItem.objects.filter(result="queued").count() == 0
    assert State.PENDING not in ends
