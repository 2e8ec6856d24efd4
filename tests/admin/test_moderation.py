"""What is held, on every page that shows it: released, dismissed, counted; and the window of a conversation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from bridge.models import Conversation, Delivery, Reason, State
from bridge.operations import dashboard
from tests.support import factories
from tests.support.factories import row, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

WHY = "WeChat's content check calls this risky: crime (20006). Number of the check: 60ae120f-371d5872"


@pytest.fixture
def person() -> Conversation:
    account = factories.mini_with_a_token(moderation_scope="both")
    return factories.conversation(account, "oUSER")


@pytest.fixture
def held(person: Conversation) -> Delivery:
    """A question that the check objects to."""
    return factories.delivery(
        factories.message(person, "去赌", "M1", sender="oUSER"), State.HELD, Reason.REVIEW, code_params={"text": WHY}
    )


@pytest.fixture
def waiting(person: Conversation) -> Delivery:
    """An answer for which there is no window."""
    said = factories.message(person, "好的", "A1", direction="out", source="agent", sender="")
    return factories.delivery(said, State.HELD, Reason.WINDOW)


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_delivery_{name}", args=args)


def page(client: Client, delivery: Delivery) -> str:
    return client.get(url("change", delivery.pk)).content.decode()


def confirm(client: Client, verb: str, *deliveries: Delivery, **more: str) -> Any:
    ids = ",".join(str(each.pk) for each in deliveries)
    return client.post(url("confirm"), {"verb": verb, "ids": ids, **more})


def test_the_page_says_why_and_offers_both(boss: Client, held: Delivery) -> None:
    html = page(boss, held)
    assert "crime (20006)" in html
    assert "Release…" in html
    assert "Dismiss…" in html
    assert "It cannot be" not in html


def test_release_asks_first_and_then_lets_it_go(boss: Client, held: Delivery, waiting: Delivery) -> None:
    asked = confirm(boss, "release", held, waiting)
    assert (asked.context["count"], asked.context["refused_count"]) == (1, 1)
    assert "will be released" in asked.content.decode()
    assert state(held) == "held"
    confirm(boss, "release", held, waiting, sure="1")
    assert (state(held), state(waiting)) == ("pending", "held")
    assert row(held).reviewed_at is not None
    entry = LogEntry.objects.get(object_id=held.pk, content_type__model="delivery")
    assert entry.additional_data == {"action": "released"}
    assert not LogEntry.objects.filter(object_id=waiting.pk, content_type__model="delivery").exists()


def test_what_waits_for_a_window_can_only_be_dismissed(boss: Client, waiting: Delivery) -> None:
    html = page(boss, waiting)
    assert "It cannot be released: WeChat takes no more messages until the person writes again" in html
    assert "Release…" not in html
    asked = confirm(boss, "dismiss", waiting)
    assert "It will not be sent" in asked.content.decode()
    confirm(boss, "dismiss", waiting, sure="1")
    assert (state(waiting), row(waiting).reason) == ("skipped", Reason.WINDOW)
    assert row(waiting).dismissed_at is not None


def test_the_list_finds_what_waits_for_a_decision(boss: Client, held: Delivery, waiting: Delivery) -> None:
    found = {name: boss.get(url("changelist"), {"open": name}).context["cl"].result_list for name in ("held", "review")}
    assert {each.pk for each in found["held"]} == {held.pk, waiting.pk}
    assert [each.pk for each in found["review"]] == [held.pk]


def test_the_action_of_the_list(boss: Client, held: Delivery) -> None:
    chosen = {"action": "release_selected", "_selected_action": [held.pk]}
    assert boss.post(url("changelist"), chosen).context["count"] == 1


def test_each_verb_needs_its_permission(staff: Callable[..., Client], held: Delivery) -> None:
    client = staff("bridge.view_delivery", "bridge.dismiss_delivery")
    assert confirm(client, "release", held, sure="1").status_code == 403
    assert "Release…" not in page(client, held)
    confirm(client, "dismiss", held, sure="1")
    assert state(held) == "skipped"


def test_the_conversation_offers_it_where_it_was_said(
    boss: Client, staff: Callable[..., Client], held: Delivery
) -> None:
    address = reverse("admin:bridge_conversation_change", args=[held.message.conversation_id])
    html = boss.get(address).content.decode()
    assert html.count('name="verb" value="release"') == html.count('name="verb" value="dismiss"') == 1
    assert "crime (20006)" in html
    reader = staff("bridge.view_conversation", "bridge.view_message", "bridge.read_content")
    assert 'name="verb"' not in reader.get(address).content.decode()


@pytest.mark.parametrize(
    ("left", "seconds", "words"),
    [
        (3, 3600, "WeChat accepts 3 more messages."),
        (1, 3600, "WeChat accepts 1 more message."),
        (0, 3600, "WeChat accepts no message until"),
        (3, -1, "WeChat accepts no message until"),
    ],
)
def test_the_conversation_shows_its_window(
    boss: Client, person: Conversation, left: int, seconds: int, words: str
) -> None:
    until = timezone.now() + timedelta(seconds=seconds)
    factories.reply_window(person.account, "oUSER", left=left, until=until)
    assert words in boss.get(reverse("admin:bridge_conversation_change", args=[person.pk])).content.decode()


def test_without_windows_there_is_nothing_to_show(boss: Client, world: factories.World) -> None:
    html = boss.get(reverse("admin:bridge_conversation_change", args=[world.person.pk])).content.decode()
    assert "Reply window" not in html


def test_an_account_that_sends_no_messages_shows_no_window(boss: Client) -> None:
    fan = factories.conversation(factories.official(), "oFAN")
    window = {"peer_id": fan.peer_id, "left": 5, "until": timezone.now() + timedelta(days=2)}
    factories.reply_window(fan.account, **window)
    address = reverse("admin:bridge_conversation_change", args=[fan.pk])
    assert "Reply window" in boss.get(address).content.decode()
    fan.account.credentials = {**fan.account.credentials, "answers": "passive"}
    fan.account.save()
    assert "Reply window" not in boss.get(address).content.decode()


def test_what_is_held_is_counted_by_reason(boss: Client, held: Delivery, waiting: Delivery) -> None:
    board = dashboard.read_dashboard()
    assert (board.held, board.held_by) == (2, {"review": 1, "window": 1})
    html = boss.get("/admin/part/numbers/").content.decode()
    assert "awaiting your decision" in html
    assert "WeChat allows no more until the person writes again" in html
