"""The list of deliveries: its columns, filters and search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.admin.conversations.messages import ConversationFilter
from bridge.admin.deliveries.bulk import BulkAdmin
from bridge.admin.export import Column, columns
from bridge.admin.filters import CodeFilter, TimeFilter
from bridge.admin.paging import row_number
from bridge.models import Delivery, Message, State
from bridge.operations.dashboard import DEAD, REVIEW
from bridge.operations.waiting import Wait, explain_waits
from bridge.security.permissions import HIDDEN, hide_errors, may_read
from bridge.ui import formatting, search

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

# Of one conversation the deliveries of so many messages are listed: a busy one has hundreds of thousands.
MAX_MESSAGES = 2000


class OpenWorkFilter(admin.SimpleListFilter):
    title, parameter_name = _("open work"), "open"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return [
            ("waiting", _("waiting or on its way")),
            ("held", _("on hold")),
            ("review", _("awaiting your decision")),
            ("dead", _("failed – open")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choices = {
            "waiting": Q(state__in=(State.PENDING, State.SENDING)),
            "held": Q(state=State.HELD),
            "review": REVIEW,
            "dead": DEAD,
        }
        return queryset.filter(choices[self.value() or ""]) if self.value() in choices else queryset


class DeliveriesOfConversation(ConversationFilter):
    """Deliveries of the newest messages of a conversation, which a link set. Uses the index message_transcript."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = row_number(self.value() or "")
        if number is None:
            return queryset
        newest = Message.objects.filter(conversation=number).order_by("-id")[:MAX_MESSAGES]
        return queryset.filter(message__in=newest.values("pk"))


class DeliveryListAdmin(BulkAdmin):
    """The columns, filters and search that the lists of deliveries and of dead letters share."""

    list_display = ("preview", "state_label", "why", "conversation_link", "target", "tries", "when")
    masked_columns = {"preview": "masked_preview"}
    list_select_related = ("account", "gateway", "endpoint", "message__conversation")
    sortable_by = ("when",)  # by anything else a million rows would be sorted for one page
    list_filter = (
        OpenWorkFilter,
        TimeFilter,
        CodeFilter,
        DeliveriesOfConversation,
        "state",
        "reason",
        "target",
        "account",
        "gateway",
        "endpoint",
    )
    search_fields = ("message__text",)
    search_help_text = _("Text, name, id, #number or code")
    exported = columns(
        Column("id", _("number")),
        "created_at",
        "target",
        "state",
        "reason",
        "code",
        Column("explanation", _("explanation"), lambda row: row.wait.why if row.wait else row.error, is_content=True),
        "account",
        Column("conversation", _("conversation"), lambda row: row.message and row.message.conversation),
        "gateway",
        "endpoint",
        Column("message_id", _("number of the message")),
        "part",
        Column("text", _("text"), lambda row: row.message and row.message.text, is_content=True),
        "tries",
        "replays",
        "possibly_twice",
        "remote_id",
        "queued_at",
        "due_at",
        "finished_at",
        "recalled_at",
        "dismissed_at",
    )
    empty_hint = _("Each message that goes to an agent, to WeChat or to a webhook has a delivery here.")

    @admin.display(description=_("message"))
    def preview(self, delivery: Delivery) -> str:
        return _add_part_number(
            delivery, delivery.message.preview if delivery.message else formatting.recipient_text(delivery)
        )

    @admin.display(description=_("message"))
    def masked_preview(self, delivery: Delivery) -> str:
        return _add_part_number(
            delivery, f"{delivery.message} {HIDDEN}" if delivery.message else formatting.recipient_text(delivery)
        )

    @admin.display(description=_("state"), ordering="state")
    def state_label(self, delivery: Delivery) -> SafeString:
        return formatting.state_badge(delivery)

    @admin.display(description=_("reason"), ordering="reason")
    def why(self, delivery: Delivery) -> SafeString | str:
        """Show the reason, and the sentence that says what to do about it."""
        if wait := getattr(delivery, "wait", None):
            return format_wait(wait)
        if not delivery.reason:
            return "–"
        reason, said = str(delivery.get_reason_display()), Truncator(delivery.error).chars(140)
        if not (said or delivery.code):
            return reason
        return format_html("<div>{} {}<br><small>{}</small></div>", reason, formatting.code_link(delivery.code), said)

    @admin.display(description=_("conversation"))
    def conversation_link(self, delivery: Delivery) -> SafeString | str:
        conversation = delivery.message.conversation if delivery.message else None
        if conversation is None:
            return "–"
        link = reverse("admin:bridge_conversation_change", args=[conversation.pk])
        return format_html('<a href="{}">{}</a> <small>{}</small>', link, conversation, delivery.account or "")

    @admin.display(description=_("when"), ordering="id")
    def when(self, delivery: Delivery) -> SafeString | str:
        return formatting.full_time(delivery.finished_at or delivery.created_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        secret = ("payload", "message__raw", "message__data", "message__reply_address", "account__credentials")
        gateway = ("gateway__token", "gateway__device_key", "gateway__device_token")
        endpoint = ("endpoint__url", "endpoint__secret", "endpoint__previous_secret")
        return super().get_queryset(request).defer(*secret, *gateway, *endpoint)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = search.deliveries(queryset, term, in_text=may_read(user_of(request)))
        return self.search_results(request, queryset, found)

    def load_details(self, request: HttpRequest, rows: list[Delivery]) -> None:
        """Load for each waiting delivery why it waits, and until when."""
        reads = may_read(user_of(request))
        if not reads:
            hide_errors(rows)
        why = explain_waits(rows, may_read=reads)
        for delivery in rows:
            delivery.wait = why.get(delivery.pk)  # type: ignore[attr-defined]  # for a column


# The pages of the rows that a delivery can wait for.
PAGES = {
    "account": "accounts_channelaccount",
    "gateway": "openclaw_gateway",
    "webhook": "bridge_webhookendpoint",
    "delivery": "bridge_delivery",
}


def format_wait(wait: Wait) -> SafeString:
    """Return why a delivery waits, with a link to what it waits for and the time of the next attempt."""
    link = reverse(f"admin:{PAGES[wait.on]}_change", args=[wait.id]) if wait.id else ""
    why = format_html('<a href="{}">{}</a>', link, Truncator(wait.why).chars(200)) if link else wait.why
    if wait.until and wait.until > timezone.now():
        return format_html("<div>{} <small>{} {}</small></div>", why, _("next:"), formatting.relative_time(wait.until))
    return format_html("<div>{}</div>", why)


def _add_part_number(delivery: Delivery, text: str) -> str:
    return f"{text} ({_('part')} {delivery.part + 1})" if delivery.part else text
