"""Explains why an unfinished delivery does not go on: what it waits for, and until when. Checks in the order of the claim's conditions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Prefetch, Subquery, prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Carrier, Delivery, Reason, State, Target, WebhookEndpoint
from bridge.security.permissions import HIDDEN
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

OPEN = (State.PENDING, State.HELD)
# The rows on which a delivery depends, without their secrets; those that came with it are not read again.
_OTHER_SIDES = (
    Prefetch("account", ChannelAccount.objects.defer("credentials")),
    Prefetch("gateway", Gateway.objects.defer("token", "device_key", "device_token")),
    Prefetch("endpoint", WebhookEndpoint.objects.defer("url", "secret", "previous_secret")),
)
# A due delivery is usually claimed within a second; after this time the page says that no process claimed it.
OVERDUE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Wait:
    """What a delivery waits for. on: account, gateway, webhook, delivery, time, person, staff or process; id: of its row."""

    on: str
    why: str
    id: int | None = None
    until: datetime | None = None


@dataclass(slots=True)
class Surroundings:
    """What is known of several deliveries. predecessors: a delivery's id → the id of the one that must go first."""

    predecessors: dict[int, int | None]
    may_read: bool

    def readable(self, why: str) -> str:
        """Return an answer of a platform or a gateway, masked for those who may not read messages, because it may repeat one."""
        return why if self.may_read or not why else str(HIDDEN)


def explain_waits(deliveries: Iterable[Delivery], *, may_read: bool) -> dict[int, Wait]:
    """Return by id what each pending or held delivery waits for; at most four queries for all, none where nothing waits.

    may_read: whether the reader has the right to read messages, which answers of a platform or gateway may repeat.
    """
    rows = [delivery for delivery in deliveries if delivery.state in OPEN]
    if not rows:
        return {}
    prefetch_related_objects(rows, *_OTHER_SIDES)
    around = Surroundings(_find_predecessors(rows), may_read)
    return {delivery.pk: _explain_wait(delivery, around) for delivery in rows}


def _find_predecessors(rows: list[Delivery]) -> dict[int, int | None]:
    """Return delivery → what must go first: for a pending one the head of its lane, for a later part the part that did not arrive."""
    lane = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    head = lane.filter(state__in=(State.PENDING, State.SENDING)).order_by("seq").values("pk")[:1]
    parts = Delivery.objects.filter(message=OuterRef("message"), target=OuterRef("target"), part__lt=OuterRef("part"))
    part = parts.exclude(state__in=(State.DELIVERED, State.SKIPPED)).order_by("part").values("pk")[:1]
    chosen = Delivery.objects.filter(pk__in=[row.pk for row in rows]).order_by()
    heads = chosen.annotate(head=Subquery(head), earlier=Subquery(part)).values_list("pk", "state", "head", "earlier")
    return {pk: head if state == State.PENDING else earlier for pk, state, head, earlier in heads}


def _explain_wait(delivery: Delivery, around: Surroundings) -> Wait:
    if delivery.state == State.HELD:
        return _explain_hold(delivery, around)
    return _wait_for_other_side(delivery, around) or _wait_for_predecessor(delivery, around) or _wait_for_time(delivery)


def _explain_hold(delivery: Delivery, around: Surroundings) -> Wait:
    before = around.predecessors[delivery.pk]
    if delivery.reason == Reason.PART_BEFORE and before:
        return Wait("delivery", _("It follows when the part before it, #%(id)d, has arrived.") % {"id": before}, before)
    if delivery.reason == Reason.WINDOW:
        return Wait("person", _("It is sent by itself when the person writes again: WeChat allows no more until then."))
    if delivery.reason == Reason.CHECKING:
        return Wait("time", _("WeChat's content check has not answered yet."), until=delivery.due_at)
    return Wait("staff", _("A person decides: release it or dismiss it."))


def _wait_for_other_side(delivery: Delivery, around: Surroundings) -> Wait | None:
    account, gateway, endpoint = delivery.account, delivery.gateway, delivery.endpoint
    if delivery.target == Target.CHANNEL and account and not account.usable:
        return Wait("account", _explain_outage(_("account"), account, around), account.pk)
    if delivery.target == Target.CHANNEL and account and account.sending_stopped_at:
        text = _("Staff have stopped all sending of the account %(name)s: see its page.") % {"name": account.name}
        return Wait("account", text, account.pk)
    if delivery.target == Target.AGENT and gateway and (not gateway.enabled or gateway.state in _FAILED_STATES):
        return Wait("gateway", _explain_outage(_("gateway"), gateway, around), gateway.pk)
    if endpoint and not endpoint.enabled:
        text = _("The webhook %(name)s is disabled. %(why)s") % {
            "name": endpoint.name,
            "why": around.readable(endpoint.disabled_reason),
        }
        return Wait("webhook", text.strip(), endpoint.pk)
    return None


_FAILED_STATES = (Health.STOPPED, Health.FAILING)


def _explain_outage(what: str, row: Any, around: Surroundings) -> str:
    """Say why an account or a gateway (row) does not work."""
    if not row.enabled:
        return _("The %(what)s %(name)s is disabled.") % {"what": what, "name": row.name}
    words = {"what": what, "name": row.name, "why": around.readable(row.state_reason)}
    if row.state == Health.STOPPED:
        return _("The %(what)s %(name)s is stopped: %(why)s") % words
    return _("The %(what)s %(name)s cannot be reached: %(why)s") % words


def _wait_for_predecessor(delivery: Delivery, around: Surroundings) -> Wait | None:
    before = around.predecessors[delivery.pk]
    if before is None:
        return None
    text = _("It goes after #%(id)d, which is before it in the same conversation.") % {"id": before}
    return Wait("delivery", text, before)


def _wait_for_time(delivery: Delivery) -> Wait:
    now = timezone.now()
    if delivery.carrier == Carrier.HTTP_REPLY:
        text = _("It is given out when the chat asks for it; else it is sent, or given up, at the time named.")
        return Wait("person", text, until=delivery.due_at)
    if delivery.due_at > now:
        tried = _("It was tried and is tried again: %(error)s") % {"error": delivery.error} if delivery.error else ""
        return Wait("time", tried or _("It is not to go earlier."), until=delivery.due_at)
    if now - delivery.due_at < OVERDUE:
        return Wait("process", _("It is due now."), until=delivery.due_at)
    text = _("It is due, and no process has taken it: see whether worker, beat and connector run, or are all busy.")
    return Wait("process", text, until=delivery.due_at)
