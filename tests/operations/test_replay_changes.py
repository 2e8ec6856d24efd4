"""What a run of replays changes before it queues: the mapping, gateway and agent of questions, the text of answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message, Reason
from bridge.operations.replays import control, plan
from bridge.operations.replays.filters import ReplayFilter
from tests.operations.replays import FAILED, ended, failed, planned, results, started, step, work
from tests.support import factories
from tests.support.factories import FAN, app, official, route, row, send, shift, to_send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(valkey: object) -> ChannelAccount:
    return app()


# --- questions


def test_a_chosen_mapping_is_asked_whether_it_takes_the_question(account: ChannelAccount) -> None:
    """Another account's takes nothing; then nothing may change, least of all the failure that staff still have to see."""
    asked = ended(turn(account, "你好"))
    route(account, trigger="keyword", trigger_words="发票")
    others, own = route(app(agent_id=7)), route(account, peer_kind="group", peer_id="elsewhere")
    run = plan.make_plan("ask", FAILED, changes={"route": others.pk})
    assert planned(run) == {asked.pk: ("cannot", "other_account")}
    run.items.update(planned="go", chosen=True)  # as if the mapping had been moved since
    step(started(run))
    assert (results(run), run.items.get().detail) == (["refused"], "no_route")
    assert (row(asked).state, row(asked).reason, row(asked).code) == ("dead", "permanent", "81013")
    outlooks = []
    for columns, mode in (({"enabled": True}, "agent"), ({}, "paused"), ({"enabled": False}, "agent")):
        type(own).objects.filter(pk=own.pk).update(**columns, peer_id="elsewhere")
        Conversation.objects.update(mode=mode)
        outlooks += planned(plan.make_plan("ask", FAILED, changes={"route": own.pk})).values()
    assert outlooks == [("go", ""), ("cannot", "paused"), ("no_route", "route_disabled")]
    own.delete()
    run = plan.make_plan("ask", FAILED, changes={"route": own.pk or 10**9})
    assert planned(run) == {asked.pk: ("no_route", "no_route")}


def test_a_question_goes_to_another_agent_of_another_gateway(account: ChannelAccount) -> None:
    route(account)
    asked = ended(turn(account, "你好"))
    other = factories.gateway()
    run = plan.make_plan("ask", FAILED, changes={"agent": "support", "gateway": other.pk})
    step(started(run))
    after = row(asked)
    assert (after.state, after.gateway_id, after.payload["agent_id"]) == ("pending", other.pk, "support")
    assert "support" in after.payload["session_key"]
    control.undo(run)
    assert (row(asked).gateway_id, row(asked).payload) == (asked.gateway_id, asked.payload)


def test_a_sentence_before_it_is_rendered_and_the_old_text_kept(account: ChannelAccount) -> None:
    [one] = failed(account)
    run = step(started(plan.make_plan("again", FAILED, changes={"before": "抱歉，晚了。"})))
    assert row(one).payload["body"]["text"]["content"] == "抱歉，晚了。\n\ntext 0"
    assert row(one).fingerprint == Delivery.fingerprint_of(row(one).payload)
    assert run.items.get().before["payload"] == one.payload
    assert row(one).message.text == "text 0"  # type: ignore[union-attr]
    control.undo(run)
    assert (row(one).payload, row(one).fingerprint) == (one.payload, one.fingerprint)


def snapshot(message: Message) -> list[tuple[Any, ...]]:
    names = ("payload", "fingerprint", "state", "reason", "code", "finished_at", "replays", "tries", "lane", "carrier")
    return list(message.deliveries.order_by("part").values_list(*names))


@pytest.mark.parametrize(
    ("later", "queued"),
    [(("dead", Reason.NO_REPLY), ("pending", "")), (("skipped", Reason.OTHER_SENDER), ("pending", "")),
     (("held", Reason.PART_BEFORE), ("held", "part_before"))],
)  # fmt: skip
def test_all_parts_of_a_changed_text_go_and_come_back_together(
    account: ChannelAccount, later: tuple[str, str], queued: tuple[str, str]
) -> None:
    message = send(account, "甲" * 1500)
    first, *others = message.deliveries.order_by("part")
    ended(first)
    for part in others:
        shift(part, state=later[0], reason=later[1], finished_at=None if later[0] == "held" else -1)
    before = snapshot(message)
    run = plan.make_plan("again", ReplayFilter(), changes={"before": "抱歉。"})
    others_planned = {} if later[0] != "dead" else {one.pk: ("cannot", "later_part") for one in others}
    assert planned(run) == {first.pk: ("go", ""), **others_planned}
    step(started(run))
    assert factories.parts(message) == [("pending", ""), queued, queued]
    said = "".join(one.payload["body"]["text"]["content"] for one in message.deliveries.order_by("part"))
    assert said.count("甲") == 1500
    assert said.startswith("抱歉。")
    assert control.undo(run) == 1
    assert snapshot(message) == before


def test_a_changed_text_arrives_as_a_whole(account: ChannelAccount) -> None:
    message = send(account, "甲" * 1500)
    for part in message.deliveries.all():
        ended(part)
    run = step(started(plan.make_plan("again", FAILED, changes={"before": "抱歉。"})))
    for part in message.deliveries.order_by("part"):
        work(part)
    step(run)
    assert ({state for state, _reason in factories.parts(message)}, run.results) == ({"delivered"}, {"delivered": 1})


def test_a_text_that_was_refused_is_stored_nowhere(account: ChannelAccount) -> None:
    [one] = failed(account)
    run = started(plan.make_plan("again", FAILED, changes={"text": "x" * 4000}))
    step(run)
    assert (results(run), run.items.get().detail, row(one).payload) == (["refused"], "too_long", one.payload)


def merged_into(head: Delivery, text: str) -> Delivery:
    """A text of the same chat that was merged into this delivery."""
    found = ended(to_send(head.account, text, FAN), "skipped", Reason.MERGED)  # type: ignore[arg-type]
    shift(found, code="merged", code_params={"head": head.pk}, finished_at=0)
    return row(found)


def test_a_text_into_which_others_were_merged_is_not_changed(valkey: object) -> None:
    """They are in its payload alone, and are never sent by themselves."""
    head, plain = failed(official(), 2, FAN)
    merged_into(head, "text 1")
    run = plan.make_plan("again", ReplayFilter(state="dead"), changes={"before": "抱歉。"})
    assert planned(run) == {head.pk: ("cannot", "carries_others"), plain.pk: ("window", "")}
    run.items.update(planned="go", chosen=True)  # as if they had been merged after the plan
    step(started(run))
    assert (results(run), run.items.get(delivery=head.pk).detail) == (["refused", "queued"], "carries_others")
    assert (row(head).payload, row(head).state) == (head.payload, "dead")


def test_what_was_merged_during_a_run_stays_in_the_text_after_an_undo(valkey: object) -> None:
    [head] = failed(official(), 1, FAN)
    run = step(started(plan.make_plan("again", FAILED, changes={"before": "抱歉。"})))
    merged_into(head, "text 1")
    both = {**row(head).payload, "merged": True}
    shift(head, payload=both, fingerprint="both", state="held", reason="window")
    assert control.undo(run) == 1
    assert (row(head).state, row(head).payload, row(head).fingerprint) == ("dead", both, "both")


def test_the_plan_of_a_changed_text_says_what_it_cannot_change(account: ChannelAccount) -> None:
    text = failed(account)[0]
    picture = ended(to_send(account, "with a file"))
    factories.attachment(picture.message, b"x", kind="image", name="a.png")  # type: ignore[arg-type]
    factories.endpoint(events=["delivery.dead"])
    call = Delivery.objects.create(
        target="webhook", endpoint=factories.endpoint(), lane="hook:1", state="dead", reason="permanent",
        finished_at=timezone.now() - timedelta(seconds=1),
    )  # fmt: skip
    first, second, third = send(account, "甲" * 1500).deliveries.order_by("part")
    shift(first, state="delivered", finished_at=-1)
    ended(second)
    shift(third, state="held", reason="part_before")
    assert {detail for _outlook, detail in planned(plan.make_plan("again", FAILED)).values()} == {""}
    run = plan.make_plan("again", FAILED, changes={"before": "抱歉。"})
    assert planned(run) == {
        text.pk: ("go", ""), picture.pk: ("cannot", "not_text"), call.pk: ("cannot", "not_text"), second.pk: ("cannot", "sent_in_part"),
    }  # fmt: skip
    run.items.update(planned="go", chosen=True)
    step(started(run))
    assert results(run) == ["queued", "refused", "refused", "refused"]
    assert [item.detail for item in run.items.order_by("delivery_id")][1:] == [
        detail for outlook, detail in list(planned(run).values())[1:]
    ]


def test_a_text_of_which_a_part_arrived_is_not_changed(account: ChannelAccount) -> None:
    first, second, third = send(account, "甲" * 1500).deliveries.order_by("part")
    shift(first, state="delivered", finished_at=0)
    ended(second)
    shift(third, state="held", reason="part_before")
    run = plan.make_plan("again", FAILED, changes={"text": "x"})
    assert planned(run) == {second.pk: ("cannot", "sent_in_part")}
    with pytest.raises(control.CannotControl, match="Nothing is chosen"):
        control.start(run)
    assert row(second).payload == second.payload
