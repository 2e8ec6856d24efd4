"""What the pages of deliveries say and offer, what a confirmation counts, and what the report of a replay holds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.admin.deliveries import bulk
from bridge.models import Delivery, Outcome, Reason, State
from bridge.webhooks import events
from tests.admin.test_moderation import confirm, page, url
from tests.support import factories
from tests.support.factories import row, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def skipped(world: factories.World) -> Delivery:
    return Delivery.objects.get(state=State.SKIPPED, reason=Reason.NOT_ADDRESSED)


@pytest.mark.parametrize(("name", "offers"), [("dead", True), ("uncertain", True), ("delivered", False)])
def test_what_failed_is_dealt_with_once(
    boss: Client, world: factories.World, admin_user: Any, name: str, offers: bool
) -> None:
    delivery = getattr(world, name)
    shown = page(boss, delivery)
    assert ("Dismiss…" in shown) == offers
    assert ("It is never sent again by itself" in shown) == (name == "uncertain")
    assert "Dismissed" not in shown
    confirm(boss, "dismiss", delivery, sure="1")
    shown = page(boss, delivery)
    assert "Dismiss…" not in shown
    told = " ".join(shown.partition("Dismissed")[2].partition("</p>")[0].split())
    assert told.endswith(f", {admin_user}") == offers


def test_a_part_is_counted_from_one(boss: Client, world: factories.World) -> None:
    factories.delivery(world.answer, part=1)
    listed = boss.get(url("changelist")).content.decode()
    assert "(part 2)" in listed
    assert "(part 1)" not in listed
    assert "part 2" in " ".join(
        boss.get(reverse("admin:bridge_message_change", args=[world.answer.pk])).content.decode().split()
    )


def test_only_what_can_be_recalled_offers_it(
    boss: Client, staff: Callable[..., Client], world: factories.World
) -> None:
    """A bot's platform takes nothing back, and without an id there is nothing to name."""
    ChannelAccount.objects.update(state=Health.OK)
    said = [factories.message(world.person, "x", f"SENT{n}", direction="out", source="staff") for n in range(3)]
    sent, nameless = factories.delivery(said[0], remote_id="R1"), factories.delivery(said[1])
    failed = factories.delivery(said[2], State.DEAD, Reason.PERMANENT, remote_id="R2")
    offered = [">Recall</button>" in page(boss, each) for each in (sent, nameless, failed, world.delivered)]
    assert offered == [True, False, False, False]
    assert ">Recall</button>" not in page(staff("bridge.view_delivery", "bridge.read_content"), sent)


@pytest.mark.parametrize(("columns", "told"), [({"possibly_twice": True}, True), ({"replays": 2}, False)])
def test_only_what_may_arrive_twice_says_so(
    boss: Client, world: factories.World, columns: dict[str, Any], told: bool
) -> None:
    Delivery.objects.filter(pk=world.dead.pk).update(**columns)
    assert ("Possibly twice: it was sent again" in page(boss, world.dead)) == told
    assert ("replayed 2 times" in page(boss, world.dead)) == (not told)


def test_a_list_shows_the_beginning_of_a_long_reason(boss: Client, world: factories.World) -> None:
    Delivery.objects.filter(pk=world.dead.pk).update(code_params={"text": "x" * 139 + "yz"})
    listed = boss.get(url("changelist")).content.decode()
    assert f"{'x' * 139}…" in listed
    assert f"{'x' * 139}yz" in page(boss, world.dead)


@pytest.mark.parametrize(("minutes", "told"), [(5, True), (-5, False)])
def test_the_next_try_is_named_while_it_is_to_come(
    boss: Client, world: factories.World, minutes: int, told: bool
) -> None:
    ChannelAccount.objects.update(state=Health.OK)
    said = factories.message(world.person, "x", "OUT3", direction="out", source="staff")
    waiting = factories.delivery(
        said, State.PENDING, code_params={"text": "busy"}, due_at=timezone.now() + timedelta(minutes=minutes)
    )
    for shown in (page(boss, waiting), boss.get(url("changelist")).content.decode()):
        assert ("next: <time" in shown) == told


def test_what_a_delivery_waits_for_is_linked(boss: Client, world: factories.World) -> None:
    asked = Delivery.objects.get(state=State.PENDING)
    type(world.gateway).objects.update(enabled=False)
    said = [factories.message(world.person, "x", f"OUT{n}", direction="out", source="staff") for n in (3, 4)]
    stopped, behind = (factories.delivery(each, State.PENDING) for each in said)
    event = events.queue_test_event(world.webhook)
    type(world.webhook).objects.update(enabled=False)

    def leads(delivery: Delivery, name: str, pk: int) -> bool:
        link = f'<a href="{reverse(f"admin:{name}_change", args=[pk])}">'
        return link in page(boss, delivery).partition('b-note b-warn">')[2].partition("</div>")[0]

    assert leads(asked, "openclaw_gateway", world.gateway.pk)
    assert leads(stopped, "accounts_channelaccount", world.app.pk)
    assert leads(event, "bridge_webhookendpoint", world.webhook.pk)
    ChannelAccount.objects.update(state=Health.OK)
    assert leads(behind, "bridge_delivery", stopped.pk)


def test_the_list_says_when_something_ended(boss: Client, world: factories.World) -> None:
    Delivery.objects.filter(pk=world.dead.pk).update(
        created_at=timezone.now() - timedelta(days=9), finished_at=timezone.now() - timedelta(hours=5)
    )
    changelist = boss.get(url("changelist")).context["cl"]
    shown = {each.pk: str(changelist.model_admin.when(each)) for each in changelist.result_list}
    assert "5\xa0hours ago" in shown[world.dead.pk]


def test_an_attempt_says_how_long_it_took_and_how_it_ended(boss: Client, world: factories.World) -> None:
    started = timezone.now() - timedelta(hours=1)
    for number, outcome in enumerate(Outcome, 10):
        made = factories.attempt(world.delivered, number, outcome)
        type(made).objects.filter(pk=made.pk).update(
            started_at=started, finished_at=started + timedelta(seconds=number)
        )
    items = page(boss, world.delivered).split('<ol class="b-timeline">')[1].split("<li>")[2:]
    assert [f"· {number}.0 s" in item for number, item in zip(range(10, 14), items, strict=True)] == [True] * 4
    tones = ("good", "bad", "warn", "warn")
    assert [f"b-badge b-{tone}" in item for tone, item in zip(tones, items, strict=True)] == [True] * 4
    open_one = page(boss, world.dead).split('<ol class="b-timeline">')[1].split("<li>")[2]
    assert ("on its way" in open_one, "·" in open_one) == (True, False)


def test_a_confirmation_counts_what_will_happen(boss: Client, world: factories.World) -> None:
    event = factories.delivery(
        factories.message(world.group, "came in", "EV", kind="event"), State.SKIPPED, Reason.EVENT
    )
    asked = confirm(boss, "replay", world.dead, skipped(world), event, world.uncertain)
    counts = {name: asked.context[name] for name in ("count", "to_agent", "uncertain", "refused_count", "more")}
    assert counts == {"count": 3, "to_agent": 1, "uncertain": 1, "refused_count": 1, "more": False}
    assert asked.context["ids"] == ",".join(str(each.pk) for each in (skipped(world), world.dead, world.uncertain))
    assert "1 goes to an agent again" in asked.content.decode()
    assert confirm(boss, "dismiss", world.dead).context["uncertain"] == 0


def test_a_confirmation_is_for_all_that_it_counts(boss: Client, world: factories.World) -> None:
    """It shows fifty of them."""
    many = [
        factories.delivery(factories.message(world.person, "x", f"M{n}"), State.DEAD, Reason.PERMANENT)
        for n in range(60)
    ]
    asked = confirm(boss, "dismiss", *many)
    assert (asked.context["count"], len(asked.context["going"])) == (60, 50)
    boss.post(url("confirm"), {"verb": "dismiss", "ids": asked.context["ids"], "sure": "1"})
    assert Delivery.objects.filter(pk__in=[each.pk for each in many], dismissed_at=None).count() == 0


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_beyond_one_confirmation_is_said(
    boss: Client, world: factories.World, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    monkeypatch.setattr(bulk, "BULK_SIZE", 3)
    for number in range(more):
        factories.delivery(factories.message(world.person, "x", f"X{number}"), State.DEAD, Reason.PERMANENT)
    form = {"action": "dismiss_selected", "_selected_action": [world.dead.pk], "select_across": "1"}
    asked = boss.post(url("dead_letters"), form)
    assert (asked.context["count"], asked.context["more"]) == (3, bool(more))


def test_after_it_is_done_the_person_is_back_where_they_came_from(boss: Client, world: factories.World) -> None:
    here = url("change", world.dead.pk)
    asked = confirm(boss, "dismiss", world.dead, back=here)
    assert asked.context["back"] == here
    chosen = {"action": "dismiss_selected", "_selected_action": [world.dead.pk]}
    assert boss.post(f"{url('dead_letters')}?p=1", chosen).context["back"] == f"{url('dead_letters')}?p=1"
    assert confirm(boss, "dismiss", world.dead, back=asked.context["back"], sure="1").headers["Location"] == here


def test_what_was_skipped_is_dealt_with_too(boss: Client, world: factories.World) -> None:
    done = confirm(boss, "dismiss", skipped(world), world.dead, world.delivered, sure="1")
    assert [str(each) for each in get_messages(done.wsgi_request)] == ["2 deliveries are dismissed."]
    assert [bool(row(each).dismissed_at) for each in (skipped(world), world.dead, world.delivered)] == [
        True,
        True,
        False,
    ]


def test_the_history_names_what_was_done_and_nothing_that_was_refused(boss: Client, world: factories.World) -> None:
    confirm(boss, "replay", world.dead, world.delivered, sure="1")
    confirm(boss, "dismiss", world.uncertain, world.delivered, sure="1")
    noted = LogEntry.objects.order_by("id").values_list("object_id", "change_message")
    assert list(noted) == [(str(world.dead.pk), "replayed"), (str(world.uncertain.pk), "dismissed")]


def test_the_report_counts_what_was_replayed_and_not_what_was_refused(boss: Client, world: factories.World) -> None:
    more = [
        factories.delivery(factories.message(world.person, "x", f"X{n}", direction="out"), "dead", "permanent")
        for n in (1, 2)
    ]
    done = confirm(boss, "replay", world.dead, *more, world.delivered, sure="1", back=url("dead_letters"))
    assert done.headers["Location"] == url("replayed")
    Delivery.objects.filter(pk=world.dead.pk).update(state=State.DELIVERED, finished_at=timezone.now())
    more[0].delete()
    shown = boss.get(url("replayed"))
    assert [shown.context[name] for name in ("total", "went", "gone")] == [3, 1, 1]
    assert [each.pk for each in shown.context["left"]] == [more[1].pk]
    assert "1 was deleted meanwhile" in shown.content.decode()


def test_only_a_replay_of_several_leads_to_the_report(boss: Client, world: factories.World) -> None:
    back = {"sure": "1", "back": url("dead_letters")}
    assert confirm(boss, "replay", world.dead, **back).headers["Location"] == url("dead_letters")
    assert confirm(boss, "replay", world.uncertain, world.refused_event, twice="1", **back).headers["Location"] == url(
        "replayed"
    )
    others = [factories.delivery(factories.message(world.person, "x", f"X{n}"), "dead", "permanent") for n in (1, 2)]
    assert confirm(boss, "dismiss", *others, **back).headers["Location"] == url("dead_letters")


def test_the_report_hides_errors_from_who_may_not_read(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("bridge.view_delivery", "bridge.replay_delivery")
    confirm(client, "replay", world.dead, world.refused_event, sure="1")
    Delivery.objects.filter(pk=world.dead.pk).update(
        state=State.DEAD,
        reason=Reason.PERMANENT,
        code_params={"text": "canary: what was written"},
        finished_at=timezone.now(),
    )
    shown = client.get(url("replayed")).content.decode()
    assert f"#{world.dead.pk}" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("columns", "fresh"),
    [
        ({"replays": 1}, True),
        ({"replays": 1, "queued_at": timedelta(minutes=-9)}, True),
        ({"replays": 1, "state": "sending", "lease_until": timedelta(minutes=9)}, True),
        ({"replays": 0}, False),
        ({"replays": 1, "queued_at": timedelta(minutes=-11)}, False),
        ({"replays": 1, "state": "held", "reason": "window"}, False),
    ],
)
def test_a_page_is_read_anew_while_what_was_replayed_just_now_moves(
    boss: Client, world: factories.World, columns: dict[str, Any], fresh: bool
) -> None:
    waiting, now = Delivery.objects.get(state=State.PENDING), timezone.now()
    times = {name: now + value for name, value in columns.items() if isinstance(value, timedelta)}
    Delivery.objects.filter(pk=waiting.pk).update(**{"queued_at": now, **columns, **times})
    assert ("Refresh" in boss.get(url("change", waiting.pk)).headers) == fresh


def test_causes_are_counted_most_frequent_first(boss: Client, world: factories.World) -> None:
    for number in range(3):
        failed = factories.delivery(
            factories.message(world.person, "x", f"X{number}", direction="out"), State.UNCERTAIN, Reason.UNKNOWN,
            code="9001" if number else "9000",
        )  # fmt: skip
        factories.attempt(failed, 1, "error", code="7")
    causes = boss.get(url("dead_letters")).context["causes"]
    assert [cause["count"] for cause in causes] == [4, 2]
    codes = [[(item["code"], item["count"]) for item in cause["codes"]] for cause in causes]
    assert codes == [[("9001", 2), ("9000", 1), ("timeout", 1)], [("81013", 1), ("http_404", 1)]]
    assert (
        "causes" not in boss.get(url("dead_letters"), {"q": "zhangsan"}).context
        or not (boss.get(url("dead_letters"), {"q": "zhangsan"}).context["causes"])
    )


def test_the_code_that_was_answered_last_counts(boss: Client, world: factories.World) -> None:
    factories.attempt(world.uncertain, 2, "error", code="timeout")
    Delivery.objects.filter(pk=world.uncertain.pk).update(code="45015")
    listed = [boss.get(url("dead_letters"), {"code": code}).context["cl"].result_list for code in ("45015", "timeout")]
    assert [[each.pk for each in found] for found in listed] == [[world.uncertain.pk], []]
    assert state(world.uncertain) == "uncertain"
