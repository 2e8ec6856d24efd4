"""The pages of deliveries: each with its attempts, and the button that recalls it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.channels import build_channel
from bridge.admin.base import user_of
from bridge.admin.conversations.messages import add_sender_names
from bridge.admin.deliveries import replay_report
from bridge.admin.deliveries.dead_letters import DeadLetterAdmin
from bridge.admin.deliveries.lists import DeliveryListAdmin, format_wait
from bridge.models import Attempt, Delivery, State
from bridge.operations import replay
from bridge.operations.waiting import explain_waits
from bridge.pipeline.outbound import outbox
from bridge.security.permissions import hide_errors, may_read
from bridge.ui import formatting
from channels_wechat.contract.capabilities import Recall
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


@admin.register(Delivery)
class DeliveryAdmin(DeliveryListAdmin):
    buttons = {"recall": "bridge.send_message"}

    def get_urls(self) -> list[URLPattern]:
        letters = DeadLetterAdmin(self.model, self.admin_site)
        dead_letters = self.route("dead-letters/", letters.changelist_view, "dead_letters")
        confirm = self.route("confirm/", require_POST(self.confirm_view), "confirm")
        report = self.route("replayed/", partial(replay_report.show_report, self), "replayed")
        beside = letters.list_routes("dead-letters/", "dead_letters_")
        return [dead_letters, *beside, confirm, report, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        delivery = self.get_or_404(request, object_id)
        if delivery.message:
            add_sender_names([delivery.message])
        attempts = list(delivery.attempts.all())
        reads = may_read(user_of(request))
        if not reads:
            hide_errors([delivery, *attempts])
        wait = explain_waits([delivery], may_read=reads).get(delivery.pk)
        context = {
            "delivery": delivery,
            "waits": format_wait(wait) if wait else "",
            "attempts": [_attempt_row(attempt) for attempt in attempts],
            "cannot_replay": replay.why_not_replay(delivery),
            "may_recall": _can_recall(delivery),
            "cannot_release": replay.why_not_release(delivery),
            "may_dismiss": _can_dismiss(delivery),
        }
        title = _("Delivery #%(id)s") % {"id": delivery.pk}
        return replay_report.refresh_while_moving(
            self.page(request, "admin/bridge/delivery.html", title, delivery, **context), [delivery]
        )

    def run_recall(self, request: HttpRequest, delivery: Delivery) -> None:
        try:
            outbox.recall(delivery)
        except (outbox.CannotSend, ChannelError) as error:
            messages.error(request, str(error))
        else:
            self.notify_and_audit(request, delivery, _("Recalled: it is no longer shown in the chat."))


def _can_dismiss(delivery: Delivery) -> bool:
    return delivery.state in (State.DEAD, State.UNCERTAIN, State.HELD) and delivery.dismissed_at is None


def _can_recall(delivery: Delivery) -> bool:
    sent = delivery.state == State.DELIVERED and delivery.remote_id and not delivery.recalled_at
    return bool(sent and delivery.account and isinstance(build_channel(delivery.account), Recall))


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    took = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.finished_at else None
    tone = formatting.OUTCOME_TONES[attempt.outcome] if attempt.outcome else "info"  # type: ignore[index]
    word = attempt.get_outcome_display() if attempt.outcome else _("on its way")
    return {"attempt": attempt, "took": took, "badge": formatting.badge(word, tone)}
