"""Why an unfinished delivery does not go on: for whom it waits, and until when. The same order as the conditions of a claim."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery
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
# What is due is taken within a second; after this it is worth saying that nobody took it.
OVERDUE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Wait:
    """on: account, gateway, webhook, delivery, time, person, staff or process; id: of that row; until: None where nobody knows."""

    on: str
    why: str
    id: int | None = None
    until: datetime | None = None


@dataclass(slots=True)
class Surroundings:
    """The rows that decide about several deliveries, by id; before: a delivery's id → that of the one it waits behind."""

    accounts: dict[int, ChannelAccount]
    gateways: dict[int, Gateway]
    endpoints: dict[int, WebhookEndpoint]
    before: dict[int, int | None]
    reads: bool

    def readable(self, why: str) -> str:
        """What a platform or a gateway said, for somebody who may read messages: it may repeat one."""
        return why if self.reads or not why else str(HIDDEN)


def waits(deliveries: Iterable[Delivery], *, reads: bool) -> dict[int, Wait]:
    """By id, for those that are waiting or held back; five queries for all, none where nothing waits.

    reads: for somebody who may read messages: what a platform or gateway answered may repeat one.
    """
    rows = [delivery for delivery in deliveries if delivery.state in OPEN]
    if not rows:
        return {}
    around = _surroundings(rows, reads)
    return {delivery.pk: _wait(delivery, around) for delivery in rows}


def _surroundings(rows: list[Delivery], reads: bool) -> Surroundings:
    def ids(name: str) -> set[int]:
        return {getattr(row, name) for row in rows} - {None}

    accounts = ChannelAccount.objects.defer("credentials").in_bulk(ids("account_id"))
    gateways = Gateway.objects.defer("token", "device_key", "device_token").in_bulk(ids("gateway_id"))
    endpoints = WebhookEndpoint.objects.defer("url", "secret", "previous_secret").in_bulk(ids("endpoint_id"))
    return Surroundings(accounts, gateways, endpoints, _before(rows), reads)


def _before(rows: list[Delivery]) -> dict[int, int | None]:
    """Of a waiting one: the head of its lane. Of a later part: the part that did not arrive."""
    lane = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    head = lane.filter(state__in=(State.PENDING, State.SENDING)).order_by("seq").values("pk")[:1]
    parts = Delivery.objects.filter(message=OuterRef("message"), target=OuterRef("target"), part__lt=OuterRef("part"))
    part = parts.exclude(state__in=(State.DELIVERED, State.SKIPPED)).order_by("part").values("pk")[:1]
    found = Delivery.objects.filter(pk__in=[row.pk for row in rows]).order_by()
    heads = found.annotate(head=Subquery(head), earlier=Subquery(part)).values_list("pk", "state", "head", "earlier")
    return {pk: head if state == State.PENDING else earlier for pk, state, head, earlier in heads}


def _wait(delivery: Delivery, around: Surroundings) -> Wait:
    if delivery.state == State.HELD:
        return _wait_of_held(delivery, around)
    return _for_other_side(delivery, around) or _behind(delivery, around) or _for_time(delivery)


def _wait_of_held(delivery: Delivery, around: Surroundings) -> Wait:
    before = around.before[delivery.pk]
    if delivery.reason == Reason.PART_BEFORE and before:
        return Wait("delivery", _("It follows when the part before it, #%(id)d, has arrived.") % {"id": before}, before)
    if delivery.reason == Reason.WINDOW:
        return Wait("person", _("It is sent by itself when the person writes again: WeChat allows no more until then."))
    if delivery.reason == Reason.CHECKING:
        return Wait("time", _("WeChat's content check has not answered yet."), until=delivery.due_at)
    return Wait("staff", _("A person decides: release it or dismiss it."))


def _for_other_side(delivery: Delivery, around: Surroundings) -> Wait | None:
    account = around.accounts.get(delivery.account_id or 0)
    gateway = around.gateways.get(delivery.gateway_id or 0)
    endpoint = around.endpoints.get(delivery.endpoint_id or 0)
    if delivery.target == Target.CHANNEL and account and not account.usable:
        return Wait("account", _why_down(_("account"), account, around), account.pk)
    if delivery.target == Target.AGENT and gateway and (not gateway.enabled or gateway.state in _DOWN):
        return Wait("gateway", _why_down(_("gateway"), gateway, around), gateway.pk)
    if endpoint and not endpoint.enabled:
        text = _("The webhook %(name)s is disabled. %(why)s") % {
            "name": endpoint.name,
            "why": around.readable(endpoint.disabled_reason),
        }
        return Wait("webhook", text.strip(), endpoint.pk)
    return None


_DOWN = (Health.STOPPED, Health.FAILING)


def _why_down(what: str, row: Any, around: Surroundings) -> str:
    """row: an account or a gateway."""
    if not row.enabled:
        return _("The %(what)s %(name)s is disabled.") % {"what": what, "name": row.name}
    words = {"what": what, "name": row.name, "why": around.readable(row.state_reason)}
    if row.state == Health.STOPPED:
        return _("The %(what)s %(name)s is stopped: %(why)s") % words
    return _("The %(what)s %(name)s cannot be reached: %(why)s") % words


def _behind(delivery: Delivery, around: Surroundings) -> Wait | None:
    before = around.before[delivery.pk]
    if before is None:
        return None
    text = _("It goes after #%(id)d, which is before it in the same conversation.") % {"id": before}
    return Wait("delivery", text, before)


def _for_time(delivery: Delivery) -> Wait:
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
