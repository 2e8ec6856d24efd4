"""Pages of messages, incidents, tokens and of the audit log: what their columns and lines say."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken

from bridge.models import AlertDelivery, Incident, Message, State
from bridge.operations.alerts import planning, sending
from bridge.security import audit
from tests.admin.test_words import words
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def column(client: Client, name: str, column: str) -> dict[int, str]:
    """What a column says of each row, by its id."""
    changelist = client.get(reverse(f"admin:{name}_changelist")).context["cl"]
    say = getattr(changelist.model_admin, column)
    return {row.pk: re.sub(r"<[^>]+>", "", str(say(row))) for row in changelist.result_list}


# --- messages -----------------------------------------------------------------------------------------------------------------


def test_a_list_of_messages_says_who_spoke_and_how_it_begins(boss: Client, world: factories.World) -> None:
    known = factories.message(world.group, "x" * 120, "K1")
    nameless = factories.message(world.group, "x" * 121, "K2", sender="lisi")
    ours = factories.message(world.group, "", "K3", direction="out", source="agent", sender="", kind="textcard")
    who, said = column(boss, "bridge_message", "sender_name"), column(boss, "bridge_message", "text_start")
    assert [who[row.pk] for row in (known, nameless, ours)] == ["张三", "lisi", "agent"]
    assert [said[row.pk] for row in (known, nameless, ours)] == ["x" * 120, f"{'x' * 120}…", "[textcard]"]
    Message.objects.filter(pk=known.pk).update(conversation=None)
    assert column(boss, "bridge_message", "conversation_link")[known.pk] == world.group.peer_id


def test_a_message_names_what_it_answers_and_what_answers_it(boss: Client, world: factories.World) -> None:
    asked = words(boss, "bridge_message_change", world.question.pk)
    assert "answered by 本周新增用户" in asked
    assert "not addressed to the bot" not in asked
    answer = words(boss, "bridge_message_change", world.answer.pk)
    assert "answers @助手 本周的数据怎么样" in answer
    assert "feedback 👍" in answer
    Message.objects.update(addressed=False)
    assert "text, not addressed to the bot" in words(boss, "bridge_message_change", world.question.pk)
    assert "not addressed" not in words(boss, "bridge_message_change", world.answer.pk)


def test_a_message_lists_its_deliveries_by_target_and_part_and_its_files_by_what_became_of_them(
    boss: Client, world: factories.World
) -> None:
    later = [factories.delivery(world.answer, part=part) for part in (2, 1)]
    page = boss.get(reverse("admin:bridge_message_change", args=[world.answer.pk]))
    assert [row.pk for row in page.context["deliveries"]] == [world.delivered.pk, later[1].pk, later[0].pk]
    factories.attachment(world.question, position=3, kind="file", name="coming.pdf", mime="application/pdf")
    world.question.attachments.filter(name="coming.pdf").update(state="pending", code_params={})
    files = boss.get(reverse("admin:bridge_message_change", args=[world.question.pk])).content.decode()
    for name, tone, word in (("lost.pdf", "bad", "could not be fetched"), ("coming.pdf", "info", "being fetched")):
        assert f'{name} <span class="b-badge b-{tone}">{word}</span>' in files


def test_a_direction_has_its_tone(boss: Client, world: factories.World) -> None:
    way = boss.get(reverse("admin:bridge_message_changelist")).context["cl"].model_admin.direction_badge
    assert ["b-info" in way(world.question), "b-good" in way(world.answer)] == [True, True]


def test_deliveries_of_a_message_are_for_who_may_see_deliveries(
    staff: Callable[..., Client], world: factories.World
) -> None:
    client = staff("bridge.view_message")
    page = client.get(reverse("admin:bridge_message_change", args=[world.answer.pk])).content.decode()
    assert reverse("admin:bridge_delivery_change", args=[world.delivered.pk]) not in page
    assert "None." in page


@pytest.mark.parametrize(("rights", "status"), [(("read_content",), 403), (("read_content", "view_message"), 200)])
def test_a_file_takes_the_right_to_see_messages_too(
    staff: Callable[..., Client], world: factories.World, rights: tuple[str, ...], status: int
) -> None:
    client = staff("bridge.view_conversation", *(f"bridge.{right}" for right in rights))
    answer = client.get(reverse("admin:bridge_message_attachment", args=[world.picture.uuid]))
    assert (answer.status_code, b"PNG" in answer.getvalue()) == (status, status == 200)


# --- incidents ----------------------------------------------------------------------------------------------------------------

ROBOT = "http://127.0.0.1:9/cgi-bin/webhook/send?key=robot-secret"
MAIL = {"code": "mail", "params": {"detail": "no connection"}}


@pytest.mark.parametrize(
    ("columns", "channel", "told"),
    [
        ({"notified_at": "now", "alert_errors": [MAIL]}, True, "just now"),
        ({"alert_errors": [MAIL]}, True, "could not be sent"),
        ({}, True, "on its way"),
        ({"closed_at": "now"}, True, "no"),
        ({}, False, "no"),
        ({"severity": 1}, True, "no"),  # no rule asks for notices
        ({"acknowledged_at": "now"}, True, "no"),
        ({"muted_to_end": True}, True, "no"),
    ],
)
def test_the_list_claims_no_alert_that_was_not_sent(
    boss: Client, settings: Any, columns: dict[str, Any], channel: bool, told: str
) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = ["boss@example.com"] if channel else [], ""
    fields = {name: timezone.now() if value == "now" else value for name, value in columns.items()}
    incident = factories.incident("x", "It", **fields)
    planning.plan_alerts()
    assert column(boss, "bridge_incident", "alert_sent") == {incident.pk: told}
    AlertDelivery.objects.filter(state="waiting").update(
        state="skipped", code="own_channel", finished_at=timezone.now()
    )
    assert "on its way" not in column(boss, "bridge_incident", "alert_sent").values()


@pytest.mark.parametrize(
    "columns",
    [
        {"acknowledged_at": 0},
        {"acknowledged_at": 0, "closed_at": 0},
        {"muted_to_end": True, "closed_at": 0},
        {"muted_until": 60, "closed_at": 0},
    ],
)
def test_the_list_claims_no_alert_that_will_be_skipped_after_the_quiet_hours(
    boss: Client, settings: Any, columns: dict[str, Any]
) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = ["boss@example.com"], ""
    mine, other = factories.incident("x", "It"), factories.incident("y", "Other")
    planning.plan_alerts()
    given = {
        name: value if value is True else timezone.now() + timedelta(seconds=value) for name, value in columns.items()
    }
    Incident.objects.filter(pk=mine.pk).update(**given)
    assert column(boss, "bridge_incident", "alert_sent") == {mine.pk: "no", other.pk: "on its way"}


def test_the_page_says_who_was_told_and_who_was_not(boss: Client) -> None:
    mail, robot = factories.alert_channel("email"), factories.alert_channel("robot", url=ROBOT)
    incident = factories.incident("x", "It")
    page = ("bridge_incident_change", incident.pk)
    assert "Nobody was told." in words(boss, *page)
    planning.plan_alerts()
    sending.send_waiting(mail)
    sending.send_waiting(robot)
    shown = words(boss, *page)
    assert "alert Alerts by email boss@example.com sent just now" in shown
    assert "alert Alerts by robot http://127.0.0.1:9 waiting just now No connection to the webhook." in shown
    assert "robot-secret" not in shown


def test_a_test_alert_is_noted(boss: Client, admin_user: User) -> None:
    LogEntry.objects.all().delete()
    boss.post(reverse("admin:bridge_incident_test_alert"))
    [entry] = LogEntry.objects.all()
    assert (entry.actor, entry.additional_data) == (admin_user, {"action": "sent a test alert"})


# --- tokens -------------------------------------------------------------------------------------------------------------------


def test_a_token_is_good_expired_or_its_user_is_not_active(boss: Client) -> None:
    good, gone = (User.objects.create_user(name, is_active=name == "good") for name in ("good", "gone"))
    tokens = [
        AuthToken.objects.create(user, expiry=expiry)[0]
        for user, expiry in (
            (good, timedelta(days=3)),
            (good, timedelta(days=-3)),
            (good, None),
            (gone, timedelta(days=3)),
        )
    ]
    states = column(boss, "knox_authtoken", "state")
    listed = boss.get(reverse("admin:knox_authtoken_changelist")).context["cl"].result_list
    assert [row.pk for row in listed] == [tokens[3].pk, tokens[2].pk, tokens[1].pk, tokens[0].pk]
    assert [states[token.pk] for token in tokens] == ["good", "expired", "good", "the user is not active"]


# --- the audit log ------------------------------------------------------------------------------------------------------------


def test_who_was_deleted_is_still_named(boss: Client) -> None:
    gone = User.objects.create_user("gone", email="gone@example.com")
    LogEntry.objects.all().delete()
    audit.log_action("a deed", [gone])
    LogEntry.objects.update(actor=gone, actor_email=gone.email)
    [pk] = LogEntry.objects.values_list("pk", flat=True)
    assert column(boss, "auditlog_logentry", "who") == {pk: "gone"}
    gone.delete()
    assert column(boss, "auditlog_logentry", "who")[pk] == "gone@example.com"
    assert "who gone@example.com" in words(boss, "auditlog_logentry_change", pk)


def test_a_right_that_was_given_or_taken_stands_on_its_side(boss: Client) -> None:
    group = Group.objects.create(name="Desk")
    right = Permission.objects.get(codename="read_content")
    LogEntry.objects.all().delete()
    group.permissions.add(right)
    group.permissions.remove(right)
    taken, given = LogEntry.objects.order_by("-id").values_list("pk", flat=True)
    rows = {
        pk: re.findall(
            r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>",
            boss.get(reverse("admin:auditlog_logentry_change", args=[pk])).content.decode(),
        )
        for pk in (given, taken)
    }
    [(_field, before, after)] = rows[given]
    assert (before, str(right.name) in after) == ("–", True)
    [(_field, before, after)] = rows[taken]
    assert (str(right.name) in before, after) == (True, "–")


def test_an_entry_links_to_what_is_still_there(boss: Client, world: factories.World) -> None:
    LogEntry.objects.all().delete()
    audit.log_action("looked at", [world.group])
    world.route.delete()
    deleted, deed = LogEntry.objects.order_by("-id")
    tone = boss.get(reverse("admin:auditlog_logentry_changelist")).content.decode()
    assert '<span class="b-badge b-bad">deleted</span>' in tone
    assert boss.get(reverse("admin:auditlog_logentry_change", args=[deleted.pk])).context["link"] == ""
    link = boss.get(reverse("admin:auditlog_logentry_change", args=[deed.pk])).context["link"]
    assert link == reverse("admin:bridge_conversation_change", args=[world.group.pk])


def test_an_entry_of_a_model_that_is_gone_is_called_by_its_stored_name(boss: Client) -> None:
    kind = ContentType.objects.create(app_label="bridge", model="pigeon")
    changes = {"colour": ["grey", "white"]}
    LogEntry.objects.all().delete()
    entry = LogEntry.objects.create(
        content_type=kind, object_pk="5", object_id=5, object_repr="A pigeon", action=1, changes=changes
    )
    assert column(boss, "auditlog_logentry", "what") == {entry.pk: "pigeon: A pigeon"}
    shown = words(boss, "auditlog_logentry_change", entry.pk)
    assert "colour grey white" in shown
    assert State.DEAD.value not in shown
