"""The pages of replays: the plan from an address, its run, the items, the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from bridge.models import ReplayItem, ReplayRun
from bridge.models.replays import MOST_FAILED_STEPS
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_replayrun_{name}", args=args)


def test_an_address_fills_the_filter_and_the_plan_is_made_of_it(boss: Client, world: factories.World) -> None:
    address = f"{url('add')}?account={world.app.pk}&code=81013&from=2020-01-01"
    page = boss.get(address)
    assert (page.status_code, page.context["form"]["code"].value(), ReplayRun.objects.count()) == (200, "81013", 0)
    answer = boss.post(url("add"), {"kind": "again", "code": "81013", "account": world.app.pk})
    run = ReplayRun.objects.get()
    assert answer.headers["Location"] == url("change", run.pk)
    assert [item.delivery_id for item in run.items.all()] == [world.dead.pk]
    assert run.filter == {"account": world.app.pk, "code": "81013"}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"code": "none"}, "Nothing failed that this filter finds."),
        ({"from": "yesterday"}, "This is not understood."),
        ({"from": "0001-01-01"}, "This is not understood."),
        ({"from": "2999-01-01"}, "Nothing failed that this filter finds."),
        ({"reason": "x"}, "This is not understood."),
    ],
)
def test_a_wrong_filter_says_so_and_makes_nothing(
    boss: Client, world: factories.World, form: dict[str, str], said: str
) -> None:
    page = boss.post(url("add"), {"kind": "again", **form})
    assert (page.status_code, said in page.content.decode(), ReplayRun.objects.count()) == (200, True, 0)


def test_a_text_is_looked_for_only_by_those_who_may_read(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("bridge.view_delivery", "bridge.replay_delivery")
    client.post(url("add"), {"kind": "again", "text": "no such words"})
    assert ReplayRun.objects.get().filter == {}


@pytest.mark.parametrize("right", ["bridge.read_content", "bridge.send_message"])
def test_words_of_ones_own_are_sent_only_by_those_who_may_read_and_send(
    staff: Callable[..., Client], world: factories.World, right: str
) -> None:
    client = staff("bridge.view_delivery", "bridge.replay_delivery", right)
    assert "before" not in client.get(url("add")).context["form"].fields
    client.post(url("add"), {"kind": "again", "before": "Click here"})
    run = ReplayRun.objects.get()
    assert run.changes == {}
    client.post(url("change_before", run.pk), {"before": "Click here", "text": "Click here"})
    run.refresh_from_db()
    assert run.changes == {}


def test_a_sentence_before_it_has_a_limit(boss: Client, world: factories.World) -> None:
    page = boss.post(url("add"), {"kind": "again", "before": "x" * 2001})
    assert (list(page.context["form"].errors), ReplayRun.objects.count()) == (["before"], 0)
    boss.post(url("add"), {"kind": "again", "before": "Sorry."})
    assert ReplayRun.objects.get().changes == {"before": "Sorry."}


def test_what_is_ticked_goes(boss: Client, world: factories.World) -> None:
    boss.post(url("add"), {"kind": "again"})
    run = ReplayRun.objects.get()
    page = boss.get(url("change", run.pk)).content.decode()
    assert "These may have arrived." in page
    boss.post(url("run", run.pk), {"delivery": world.uncertain.pk, "rate": "7"})
    run.refresh_from_db()
    chosen = list(ReplayItem.objects.filter(chosen=True).values_list("delivery_id", flat=True))
    assert (run.state, run.rate, chosen) == ("running", 7, [world.uncertain.pk])


def test_what_is_too_old_goes_by_one_tick_that_says_what_it_means(boss: Client, world: factories.World) -> None:
    factories.shift(world.dead, created_at=-100_000)
    boss.post(url("add"), {"kind": "again", "state": "dead"})
    run = ReplayRun.objects.get()
    group = next(one for one in boss.get(url("change", run.pk)).context["groups"] if one["planned"] == "too_old")
    assert (group["chosen"], group["possible"]) == (False, True)
    assert "gives an answer up after 6" in group["warning"]
    boss.post(url("run", run.pk), {"outlook": "too_old"})
    assert run.items.get(delivery=world.dead).chosen


def test_nothing_ticked_says_so(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead)
    answer = boss.post(url("run", run.pk))
    assert "Nothing is chosen" in str(next(iter(get_messages(answer.wsgi_request))))
    assert ReplayRun.objects.get().state == "planned"


def test_nothing_is_run_where_nothing_can_be_replayed(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead)
    assert f'action="{url("run", run.pk)}"' in boss.get(url("change", run.pk)).content.decode()
    assert 'name="rate"' in boss.get(url("change", run.pk)).content.decode()
    ReplayRun.objects.update(groups=[{**run.groups[0], "planned": "cannot", "detail": "merged"}])
    assert 'name="rate"' not in boss.get(url("change", run.pk)).content.decode()


def test_a_live_part_shows_the_progress(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead, "running", results={"delivered": 1})
    assert f'data-live="{url("live", run.pk)}"' in boss.get(url("change", run.pk)).content.decode()
    live = boss.get(url("live", run.pk)).content.decode()
    assert "1 of 1" in live
    assert "<html" not in live


def test_a_run_that_was_paused_by_errors_says_so(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead, "paused", failed_steps=3)
    assert "steps failed" not in boss.get(url("change", run.pk)).content.decode()
    ReplayRun.objects.update(failed_steps=MOST_FAILED_STEPS)
    assert f"{MOST_FAILED_STEPS} steps failed one after the other" in boss.get(url("live", run.pk)).content.decode()


def test_the_report_is_safe_in_a_spreadsheet(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead, "finished", finished_at=world.dead.created_at)
    run.items.update(result="failed", detail="=cmd|' /C calc'!A0")
    lines = boss.get(url("report", run.pk)).getvalue().decode("utf-8-sig").splitlines()
    assert lines[0] == "delivery_id,planned,chosen,result,detail"
    assert lines[1] == f"{world.dead.pk},go,True,failed,'=cmd|' /C calc'!A0"


def test_items_are_filtered_and_a_page_costs_few_queries(
    boss: Client, world: factories.World, django_assert_max_num_queries: Any
) -> None:
    run = factories.replay_run(world.dead, "running")
    ReplayItem.objects.create(run=run, delivery=world.uncertain, planned="unknown")
    with django_assert_max_num_queries(10):
        page = boss.get(url("change", run.pk), {"outlook": "unknown"})
    assert [item.delivery_id for item in page.context["items"]] == [world.uncertain.pk]


def test_the_mapping_gateway_and_agent_of_questions_are_changed_before_the_run(
    boss: Client, world: factories.World
) -> None:
    boss.post(url("add"), {"kind": "ask", "state": "skipped"})
    run, other, chosen = ReplayRun.objects.get(), factories.gateway(name="second"), world.route
    form = boss.get(url("change", run.pk)).context["changes_form"]
    assert list(form.fields) == ["route", "gateway", "agent"]
    boss.post(url("change_before", run.pk), {"route": chosen.pk, "gateway": other.pk, "agent": "support"})
    run.refresh_from_db()
    assert run.changes == {"route": chosen.pk, "gateway": other.pk, "agent": "support"}
    boss.post(url("change_before", run.pk), {"route": 10**9})
    run.refresh_from_db()
    assert run.changes["agent"] == "support"
    ReplayRun.objects.update(filter={"account": chosen.account_id + 1})
    answer = boss.post(url("change_before", run.pk), {"route": chosen.pk})
    assert "belongs to another account" in str(list(get_messages(answer.wsgi_request))[-1])
    run.refresh_from_db()
    assert run.changes["agent"] == "support"
    boss.post(url("change_before", run.pk), {})
    run.refresh_from_db()
    assert run.changes == {}


def test_the_text_of_a_single_answer_is_edited_before_the_run(boss: Client, world: factories.World) -> None:
    run = factories.replay_run(world.dead)
    form = boss.get(url("change", run.pk)).context["changes_form"]
    stored = world.dead.message.text  # type: ignore[union-attr]
    assert (list(form.fields), form["text"].value()) == (["before", "text"], stored)
    boss.post(url("change_before", run.pk), {"before": "Sorry.", "text": stored})
    run.refresh_from_db()
    assert run.changes == {"before": "Sorry."}
    boss.post(url("change_before", run.pk), {"text": "Better"})
    run.refresh_from_db()
    assert run.changes == {"text": "Better"}
    ReplayRun.objects.update(total=2)
    assert list(boss.get(url("change", run.pk)).context["changes_form"].fields) == ["before"]


def test_who_may_not_read_neither_sees_nor_loses_a_text_that_was_entered(
    staff: Callable[..., Client], world: factories.World
) -> None:
    run = factories.replay_run(world.dead, changes={"before": "Sorry."})
    client = staff("bridge.view_delivery", "bridge.replay_delivery", "bridge.send_message")
    page = client.get(url("change", run.pk))
    assert list(page.context["changes_form"].fields) == []
    assert "Sorry." not in page.content.decode()
    client.post(url("change_before", run.pk), {})
    run.refresh_from_db()
    assert run.changes == {"before": "Sorry."}
