"""Every named constraint of the database, broken once: what must never be is refused by PostgreSQL, not by good intentions."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import ChannelAccount, Connection, ReplyWindow, Restriction
from accounts.state_changes import StateChange
from bridge.models import (
    AlertChannel,
    AlertDelivery,
    AlertMessage,
    AlertRule,
    Attachment,
    Attempt,
    CannedAnswer,
    Contact,
    ContactRequest,
    Conversation,
    ConversationFigures,
    CountedPeriod,
    CustomerGroup,
    CustomerMessage,
    DayFigures,
    Delivery,
    Department,
    DirectoryChange,
    FallbackSender,
    HourFigures,
    Incident,
    Message,
    ReplayItem,
    ReplayRun,
    Route,
    SavedFilter,
    WebhookEndpoint,
)
from bridge.operations.figures.counting_sql import SUMS
from bridge.operations.figures.times import BUCKETS
from tests.support.factories import (
    FAN,
    alert_channel,
    app,
    endpoint,
    gateway,
    hear,
    incident,
    official,
    route,
    send,
    to_send,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def copied(row: Any, **changes: Any) -> None:
    """The same row once more, with changes."""
    row.pk = None
    for name, value in changes.items():
        setattr(row, name, value)
    row._state.adding = True
    row.save(force_insert=True)


def changed(**values: Any) -> None:
    delivery = to_send(app())
    Delivery.objects.filter(pk=delivery.pk).update(**values)


def two_sending() -> None:
    account = app()
    first, second = to_send(account, "1"), to_send(account, "2")
    Delivery.objects.filter(pk__in=[first.pk, second.pk]).update(state="sending", lease_until=NOW)


def second_part() -> None:
    copied(to_send(app()))


def finished_attempt_without_outcome() -> None:
    Attempt.objects.create(delivery=to_send(app()), number=1, finished_at=NOW)


def same_attempt() -> None:
    delivery = to_send(app())
    Attempt.objects.create(delivery=delivery, number=1)
    Attempt.objects.create(delivery=delivery, number=1)


def two_open_incidents() -> None:
    Incident.objects.create(cause="x", code="x")
    Incident.objects.create(cause="x", code="y")


def an_alert(**columns: Any) -> AlertDelivery:
    values = {"incident": incident(), "channel": alert_channel(), "occasion": "opened"}
    return AlertDelivery.objects.create(**{**values, **columns})


def two_windows() -> None:
    copied(ReplyWindow.objects.create(account=official(), peer_id=FAN, until=NOW))


def same_restriction() -> None:
    copied(Restriction.objects.create(account=official(), capability="custom_send", code="48001", until=NOW))


def same_message() -> None:
    message = send(app())
    message.uuid = "00000000-0000-0000-0000-000000000001"
    copied(message)


def same_position() -> None:
    message = hear(app())
    for _twice in range(2):
        Attachment.objects.create(message=message, kind="image")


def ready_without_file() -> None:
    Attachment.objects.create(message=hear(app()), kind="image", state="ready")


def two_routes() -> None:
    account, home = app(), gateway()
    for _twice in range(2):
        route(account, home, peer_kind="direct", peer_id="zhangsan")


def two_conversations() -> None:
    account = app()
    for _twice in range(2):
        Conversation.objects.create(account=account, peer_kind="group", peer_id="x")


def two_contacts() -> None:
    account = app()
    for _twice in range(2):
        Contact.objects.create(account=account, external_id="zhangsan")


def two_fallbacks(*accounts: ChannelAccount, position: int | None = None) -> None:
    talk = Conversation.objects.create(account=app(), peer_kind="group", peer_id="x")
    for number, account in enumerate(accounts):
        place = number if position is None else position
        FallbackSender.objects.create(
            conversation=talk, account=account, position=place, peer_kind="group", peer_id="x"
        )


def two_accounts() -> None:
    app()
    app()


def same_shortcut() -> None:
    """Also where it is of no account, which PostgreSQL would otherwise take for another one each time."""
    for shortcut in ("hello", "Hello"):
        CannedAnswer.objects.create(shortcut=shortcut, text="x")


def same_filter() -> None:
    for query in ("state__exact=dead", "state__exact=held"):
        SavedFilter.objects.create(owner=someone(), list="bridge_delivery_changelist", name="Mine", query=query)


def someone() -> User:
    return User.objects.get_or_create(username="someone")[0]


def told_twice() -> None:
    for _twice in range(2):
        Delivery.objects.create(
            target="webhook", carrier="webhook", lane="hook:1", endpoint=endpoint_once(), fingerprint="x"
        )


def same_figures(rows: type[Any], **key: Any) -> None:
    """Without a gateway, which PostgreSQL would otherwise take for another one each time."""
    values = dict.fromkeys(SUMS, 0) | {"answer_times": [0] * BUCKETS}
    account = ChannelAccount.objects.first() or app()
    copied(rows.objects.create(account=account, agent_id="", **key, **values))


def chat() -> Conversation:
    return Conversation.objects.create(account=app(), peer_kind="group", peer_id="x")


def endpoint_once() -> WebhookEndpoint:
    return WebhookEndpoint.objects.first() or endpoint()


def run(**columns: Any) -> ReplayRun:
    return ReplayRun.objects.create(name="night", kind="again", **columns)


def item(**columns: Any) -> ReplayItem:
    return ReplayItem.objects.create(run=run(), delivery=to_send(app()), planned="go", **columns)


def impossible_item() -> None:
    ReplayItem.objects.filter(pk=item(chosen=True).pk).update(planned="cannot")


CASES: dict[str, Callable[[], object]] = {
    "delivery_one_sending_per_lane": two_sending,
    "delivery_part": second_part,
    "delivery_lease_iff_sending": lambda: changed(state="sending"),
    "delivery_finished_iff_final": lambda: changed(state="delivered"),
    "delivery_reason_given": lambda: changed(state="dead", finished_at=NOW),
    "delivery_message_iff_not_webhook": lambda: changed(target="webhook"),
    "attempt_number": same_attempt,
    "attempt_outcome_iff_finished": finished_attempt_without_outcome,
    "incident_one_open": two_open_incidents,
    "alert_once": lambda: copied(an_alert()),
    "alert_finished_iff_not_waiting": lambda: an_alert(finished_at=NOW),
    "alert_message_finished_iff_not_sending": lambda: AlertMessage.objects.create(
        channel=alert_channel(), finished_at=NOW
    ),
    "alert_rule_hours_both": lambda: AlertRule.objects.create(kind="silence", work_from="09:00"),
    "alert_channel_quiet_both": lambda: alert_channel(quiet_from="09:00"),
    "alert_channel_environment_once": lambda: AlertChannel.objects.bulk_create(
        [AlertChannel(kind="email", environment="ALERT_EMAIL") for _time in range(2)]
    ),
    "window_one_per_person": two_windows,
    "restriction_once": same_restriction,
    "department_once": lambda: copied(Department.objects.create(account=app(), external_id="2")),
    "customer_group_once": lambda: copied(CustomerGroup.objects.create(account=app(), external_id="wr1")),
    "contact_request_once": lambda: copied(ContactRequest.objects.create(account=app(), kind="group", remote_id="I1")),
    "customer_message_once": lambda: copied(CustomerMessage.objects.create(account=app(), client="staff:1", key="K1")),
    "directory_change_once": lambda: copied(
        DirectoryChange.objects.create(account=app(), part="members", external_id="lisi")
    ),
    "message_idempotency": same_message,
    "attachment_position": same_position,
    "attachment_ready_has_file": ready_without_file,
    "route_one_per_peer": two_routes,
    "route_peer_id_needs_kind": lambda: route(app(), peer_id="zhangsan"),
    "conversation_peer": two_conversations,
    "contact_external_id": two_contacts,
    "account_kind_external_id": two_accounts,
    "account_name_once": lambda: copied(app(), key=uuid.uuid4(), external_id="other", name="ACME APP"),
    "account_retention_not_too_short": lambda: app(columns={"retention_days": 6}),
    "fallback_position_once": lambda: two_fallbacks(app(agent_id=7), app(agent_id=8), position=0),
    "fallback_sender_once": lambda: two_fallbacks(*[app(agent_id=7)] * 2),
    "state_change_of_one": lambda: StateChange.objects.create(before="new", state="ok"),
    "connection_of_one": lambda: Connection.objects.create(account=app(), gateway=gateway()),
    "delivery_event_once": told_twice,
    "canned_answer_shortcut": same_shortcut,
    "saved_filter_name": same_filter,
    "replay_run_once": lambda: copied(run(client="user:1", key="K1")),
    "replay_run_rate": lambda: run(rate=0),
    "replay_run_started_iff_run": lambda: run(state="running"),
    "replay_run_finished_iff_over": lambda: run(state="cancelled"),
    "replay_run_range": lambda: run(from_at=NOW, until_at=NOW),
    "replay_item_result_of_chosen": lambda: item(result="queued"),
    "replay_item_possible": impossible_item,
    "hour_figures_once": lambda: same_figures(HourFigures, hour=NOW),
    "day_figures_once": lambda: same_figures(DayFigures, day=NOW.date()),
    "conversation_figures_once": lambda: same_figures(ConversationFigures, day=NOW.date(), conversation=chat()),
    "counted_period_once": lambda: copied(
        CountedPeriod.objects.create(kind="hour", starts_at=NOW, ends_at=NOW, counted_at=NOW, seconds=0)
    ),
    "webhook_events_given": lambda: endpoint(events=[]),
    "webhook_reason_only_when_off": lambda: WebhookEndpoint.objects.filter(pk=endpoint().pk).update(disabled_code="gone"),
    "webhook_previous_secret_iff_until": lambda: endpoint(previous_secret="whsec_x"),
}  # fmt: skip
OTHER_SIDES = {
    "replay_run_started_iff_run": lambda: run(started_at=NOW),
    "replay_run_finished_iff_over": lambda: run(finished_at=NOW),
    "replay_run_rate": lambda: run(rate=1001),
    "delivery_lease_iff_sending": lambda: changed(lease_until=NOW),
    "delivery_finished_iff_final": lambda: changed(finished_at=NOW),
    "delivery_message_iff_not_webhook": lambda: changed(message=None),
    "attempt_outcome_iff_finished": lambda: Attempt.objects.create(delivery=to_send(app()), number=1, outcome="ok"),
    "webhook_previous_secret_iff_until": lambda: endpoint(previous_until=NOW),
}


def broken(name: str, case: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError, match=f'"{name}"'), transaction.atomic():
        case()


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name: str) -> None:
    broken(name, CASES[name])


@pytest.mark.parametrize("name", OTHER_SIDES)
def test_the_other_direction_is_refused_too(name: str) -> None:
    broken(name, OTHER_SIDES[name])


@pytest.mark.parametrize("state", ["skipped", "held", "uncertain"])
def test_every_bad_end_has_a_reason(state: str) -> None:
    broken("delivery_reason_given", lambda: changed(state=state, finished_at=None if state == "held" else NOW))


@pytest.mark.parametrize("state", ["pending", "sending", "held"])
def test_what_is_not_over_has_no_end(state: str) -> None:
    lease = NOW if state == "sending" else None
    broken(
        "delivery_finished_iff_final", lambda: changed(state=state, reason="human", finished_at=NOW, lease_until=lease)
    )


def test_no_constraint_is_forgotten() -> None:
    models = [*apps.get_app_config("bridge").get_models(), *apps.get_app_config("accounts").get_models()]
    named = {constraint.name for model in models for constraint in model._meta.constraints}
    assert named == set(CASES)


def test_a_delivery_stands_once_in_a_replay() -> None:
    broken("bridge_replayitem_pkey", lambda: ReplayItem.objects.bulk_create([item()]))


def test_two_incidents_may_follow_each_other() -> None:
    Incident.objects.create(cause="x", code="x", closed_at=NOW)
    Incident.objects.create(cause="x", code="x")


def test_an_account_with_messages_is_not_deleted() -> None:
    message = hear(app())
    with pytest.raises(IntegrityError), transaction.atomic():
        ChannelAccount.objects.filter(pk=message.account_id).delete()
    assert Message.objects.filter(pk=message.pk).exists()
    assert Route.objects.count() == 0
