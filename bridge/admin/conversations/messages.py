"""The pages of messages, searchable by text, person and platform id. Messages cannot be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Prefetch
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import ReadOnlyAdmin, user_of
from bridge.admin.conversations import attachments
from bridge.admin.export import Column, columns
from bridge.admin.filters import LinkedFilter, TimeFilter
from bridge.admin.paging import row_number
from bridge.models import Delivery, Message
from bridge.people import peers
from bridge.security.permissions import HIDDEN, may_read
from bridge.ui import formatting, search
from channels_wechat import KINDS, channel_class

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

# What an inbound message can be (`channels_wechat.contract.messages.Inbound`).
INBOUND_KINDS = (
    "text",
    "mixed",
    "image",
    "voice",
    "video",
    "file",
    "location",
    "link",
    "action",
    "event",
    "unsupported",
)


class ConversationFilter(LinkedFilter):
    title, parameter_name = _("conversation"), "conversation"

    def describe(self, value: str) -> Any:
        return _("this one")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = row_number(self.value() or "")
        return queryset if number is None else queryset.filter(conversation_id=number)


class MessageCodeFilter(LinkedFilter):
    """Messages of which a delivery has this code."""

    title, parameter_name = _("code"), "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(pk__in=Delivery.objects.filter(code=value).values("message")) if value else queryset


class KindFilter(admin.SimpleListFilter):
    """A filter of all possible types, because finding the existing ones would read the whole table."""

    title, parameter_name = _("type"), "kind"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        outbound = {kind for name in KINDS for kind in channel_class(name).content_kinds}
        return [(kind, kind) for kind in (*INBOUND_KINDS, *sorted(outbound - set(INBOUND_KINDS)))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin[Message]):
    list_display = ("text_start", "direction_badge", "sender_name", "conversation_link", "account", "when", "kind")
    masked_columns = {"text_start": "masked_text"}
    list_select_related = ("account", "conversation")
    list_filter = (TimeFilter, "direction", "account", "source", KindFilter, ConversationFilter, MessageCodeFilter)
    sortable_by = ("when",)  # by anything else a million rows would be sorted for one page
    search_fields = ("text",)
    search_help_text = _("Text, name, id, #number or code")
    exported = columns(
        Column("id", _("number")),
        "created_at",
        "direction",
        "source",
        "kind",
        "account",
        "conversation",
        "peer_kind",
        "peer_id",
        "sender",
        Column("sender_name", _("name")),
        Column("text", is_content=True),
        Column("idempotency_key"),
    )
    empty_hint = _("Messages to and from your accounts appear here.")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return self.search_results(
            request, queryset, search.messages(queryset, term, in_text=may_read(user_of(request)))
        )

    def load_details(self, request: HttpRequest, rows: list[Message]) -> None:  # noqa: ARG002
        """Load the names of the people on this page in one query."""
        add_sender_names(rows)

    @admin.display(description=_("text"))
    def text_start(self, message: Message) -> str:
        words = message.text[:120] or f"[{message.kind}]"
        return words + ("…" if len(message.text) > 120 else "")

    @admin.display(description=_("text"))
    def masked_text(self, message: Message) -> str:
        return f"{message} {HIDDEN}"

    @admin.display(description=_("direction"), ordering="direction")
    def direction_badge(self, message: Message) -> SafeString:
        return formatting.badge(message.get_direction_display(), "info" if message.direction == "in" else "good")

    @admin.display(description=_("sender"))
    def sender_name(self, message: Message) -> str:
        return getattr(message, "name", "") or message.sender or str(message.get_source_display())

    @admin.display(description=_("conversation"))
    def conversation_link(self, message: Message) -> SafeString | str:
        if message.conversation is None:
            return message.peer_id
        link = reverse("admin:bridge_conversation_change", args=[message.conversation_id])
        return format_html('<a href="{}">{}</a>', link, message.conversation)

    @admin.display(description=_("when"), ordering="id")
    def when(self, message: Message) -> SafeString | str:
        return formatting.full_time(message.created_at)

    def get_urls(self) -> list[URLPattern]:
        return [self.route("attachments/<uuid:uuid>/", attachments.download, "attachment"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Leave out long and secret columns, which the list does not show."""
        return super().get_queryset(request).defer("raw", "data", "reply_address", "account__credentials")

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        message = self.get_or_404(request, object_id)
        add_sender_names([message])
        deliveries = Delivery.objects.filter(message=message).order_by("target", "part")
        context = {
            "message": message,
            "deliveries": deliveries if request.user.has_perm("bridge.view_delivery") else [],
            "files": message.attachments.all(),
            "replies": message.replies.all()[:20],
        }
        title = message.preview if may_read(user_of(request)) else f"{message._meta.verbose_name} {message}"
        return self.page(request, "admin/bridge/message.html", title, message, **context)


def add_sender_names(messages: list[Message]) -> None:
    """Give each message the `name` of its sender, where one is known."""
    names = peers.load_names((message.account_id, message.sender) for message in messages if message.sender)
    for message in messages:
        message.name = names.get((message.account_id, message.sender), "")  # type: ignore[attr-defined]


def prefetch_details(messages: QuerySet[Message]) -> QuerySet[Message]:
    """Load files, deliveries and quoted messages for a transcript, in a fixed number of queries."""
    deliveries = Delivery.objects.select_related("account").order_by("target", "part")
    deliveries = deliveries.defer("payload", "account__credentials")
    messages = messages.select_related("reply_to", "account").defer("account__credentials")
    return messages.prefetch_related("attachments", Prefetch("deliveries", deliveries))
