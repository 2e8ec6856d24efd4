"""Conversations: a readable transcript, and what staff can do in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts import reply_windows
from accounts.channels import build_channel
from accounts.models import ReplyWindow
from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.conversations import composer, fallbacks, inbox, moving, servicers, staffing, transcript
from bridge.admin.conversations.composer import NoteForm, SendForm, add_note, list_canned_answers
from bridge.admin.conversations.inbox import annotate_rows, title_of
from bridge.admin.decisions import list_decisions
from bridge.admin.deliveries.bulk import BULK_SIZE
from bridge.admin.export import Column, columns
from bridge.admin.filters import HeardFilter
from bridge.admin.paging import row_number
from bridge.admin.routes import map_url
from bridge.admin.unfold import styled
from bridge.models import Contact, Conversation, Route
from bridge.models.routes import PeerKinds
from bridge.operations.handing_back import MOST_ASKED
from bridge.operations.moving import why_not_move
from bridge.operations.unanswered import select_unanswered
from bridge.people import entries
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies.paths import path_for
from bridge.pipeline.routing import rules
from bridge.security import audit
from bridge.security.permissions import may_read
from bridge.ui import search
from channels_wechat.contract.capabilities import ReplyWindows
from channels_wechat.contract.pasted import clean_title

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString


class TitleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Conversation
        fields = ("title",)

    def clean_title(self) -> str:
        return clean_title(self.cleaned_data["title"])


@admin.register(Conversation)
class ConversationAdmin(BridgeAdmin[Conversation]):
    list_display = ("who", "last_message", "waits", "answered_by", "open_work", "account")
    masked_columns = {"last_message": "masked_message"}
    list_before_template = "admin/bridge/inbox_views.html"
    list_filter = (inbox.ViewFilter, HeardFilter, "account", "peer_kind", "mode")
    search_fields = ("title", "peer_id")
    search_help_text = _("Title, name, id, #number or code")
    sortable_by = ("last_message", "masked_message")  # by anything else all of them would be sorted for one page
    exported = columns(
        Column("id", _("number")),
        Column("title", read=title_of),
        "peer_kind",
        "peer_id",
        "account",
        "mode",
        Column("assignee", read=lambda row: entries.name_of(row.assignee)),
        "servicer",
        "waiting_since",
        "waiting_count",
        "last_inbound_at",
        Column("text", _("text of the last message"), lambda row: row.last and row.last.text, is_content=True),
        Column("open", _("waiting"), lambda row: row.open_work["waiting"]),
        Column("dead", _("failed"), lambda row: row.open_work["dead"]),
        Column("uncertain", _("uncertain"), lambda row: row.open_work["uncertain"]),
        "created_at",
    )
    empty_hint = _("A group or person appears here with the first message to one of the accounts.")
    buttons = {
        "rename": "bridge.change_conversation",
        "mode": "bridge.pause_conversation",
        "assign": "bridge.pause_conversation",
        "note": "bridge.pause_conversation",
        "new_session": "bridge.pause_conversation",
        "servicers": "bridge.pause_conversation",
        "hand_over": "bridge.pause_conversation",
        "end_service": "bridge.pause_conversation",
        "send": "bridge.send_message",
        "add_fallback": "bridge.change_conversation",
        "remove_fallback": "bridge.change_conversation",
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).select_related("account", "assignee").defer("account__credentials")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("conversation"))
    def who(self, conversation: Conversation) -> str:
        return title_of(conversation)

    @admin.display(description=_("last message"), ordering="last_inbound_at")
    def last_message(self, conversation: Conversation) -> SafeString | str:
        return inbox.show_last(conversation, may_read=True)

    @admin.display(description=_("last message"), ordering="last_inbound_at")
    def masked_message(self, conversation: Conversation) -> SafeString | str:
        return inbox.show_last(conversation, may_read=False)

    @admin.display(description=_("waiting since"))
    def waits(self, conversation: Conversation) -> SafeString | str:
        return inbox.show_waiting(conversation)

    @admin.display(description=_("answered by"), ordering="mode")
    def answered_by(self, conversation: Conversation) -> SafeString:
        return inbox.show_answerer(conversation)

    @admin.display(description=_("open"))
    def open_work(self, conversation: Conversation) -> SafeString | str:
        return inbox.show_open_work(conversation)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by the name of the person too."""
        term = search_term.strip()
        return (
            self.search_results(request, queryset, search.conversations(queryset, term)) if term else (queryset, False)
        )

    def load_details(self, request: HttpRequest, rows: list[Conversation]) -> None:  # noqa: ARG002
        """Load names and open_work for the rows of this page in three queries."""
        annotate_rows(rows)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Offer the views of the inbox above the list."""
        found = super().get_changelist_instance(request)
        found.views = next(
            list(spec.choices(found)) for spec in found.filter_specs if isinstance(spec, inbox.ViewFilter)
        )
        return found

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("<int:pk>/transcript/", partial(_transcript_view, self), "transcript"),
            self.route("<int:pk>/move/", partial(moving.show, self), "move"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        return self.show(request, row := self.get_or_404(request, object_id), SendForm(row))

    def show(self, request: HttpRequest, conversation: Conversation, form: SendForm) -> TemplateResponse:
        """Show the page, with the form for a new message."""
        annotate_rows([conversation])
        may_send, may_staff = (
            user_of(request).has_perm(f"bridge.{name}") for name in ("send_message", "pause_conversation")
        )
        context = {
            **_transcript(request, conversation),
            "conversation": conversation,
            "form": styled(form),
            "title_form": styled(TitleForm(instance=conversation)),
            "cannot_send": outbox.why_not_send(conversation),
            "route": _find_route(conversation),
            "map_url": map_url(conversation.account_id, conversation.peer_kind, conversation.peer_id),
            "may_change": self.has_change_permission(request),
            "window": _read_window(conversation),
            **_list_unanswered(conversation),
            "fallbacks": fallbacks.list_fallbacks(conversation),
            "fallback_form": styled(fallbacks.FallbackForm(conversation)),
            "has_servicers": servicers.has_servicers(conversation),
            "canned_answers": list_canned_answers(conversation.account_id) if may_send else [],
            "contact_id": _find_contact(conversation),
            "colleagues": staffing.list_colleagues() if may_staff else [],
            "may_move": moving.may_move(request) and not why_not_move(conversation),
        }
        return self.page(request, "admin/bridge/conversation.html", title_of(conversation), conversation, **context)

    def run_rename(self, request: HttpRequest, conversation: Conversation) -> None:
        form = TitleForm(request.POST, instance=conversation)
        if form.is_valid():
            conversation.save(update_fields=["title"])
            self.notify(request, conversation, _("The title is saved."))
        else:
            messages.error(request, " ".join(map(str, form.errors["title"])))

    def run_mode(self, request: HttpRequest, conversation: Conversation) -> HttpResponse | None:
        return staffing.change_mode(self, request, conversation)

    def run_assign(self, request: HttpRequest, conversation: Conversation) -> None:
        staffing.assign(self, request, conversation)

    def run_note(self, request: HttpRequest, conversation: Conversation) -> None:
        self.require(request, "bridge.read_content")
        form = NoteForm(request.POST)
        if form.is_valid():
            add_note(conversation, form, request)
        else:
            messages.error(request, " ".join(map(str, form.errors["text"])))

    def run_add_fallback(self, request: HttpRequest, conversation: Conversation) -> None:
        fallbacks.add_fallback(self, request, conversation)

    def run_remove_fallback(self, request: HttpRequest, conversation: Conversation) -> None:
        fallbacks.remove_fallback(self, request, conversation)

    def run_servicers(self, request: HttpRequest, conversation: Conversation) -> HttpResponse | None:
        return servicers.show(self, request, conversation)

    def run_hand_over(self, request: HttpRequest, conversation: Conversation) -> None:
        servicers.hand_over(self, request, conversation)

    def run_end_service(self, request: HttpRequest, conversation: Conversation) -> None:
        servicers.end_service(self, request, conversation)

    def run_new_session(self, request: HttpRequest, conversation: Conversation) -> None:
        outbox.start_new_session(conversation, user_of(request))
        self.notify_and_audit(
            request, conversation, _("A new session has started: the agent remembers nothing of the messages before.")
        )

    def run_send(self, request: HttpRequest, conversation: Conversation) -> HttpResponse | None:
        form = SendForm(conversation, request.POST, request.FILES)
        if form.is_valid():
            try:
                self._send(request, conversation, form)
            except outbox.CannotSend as refused:
                form.add_error(None, str(refused))
            else:
                return None
        return self.show(request, conversation, form)

    @transaction.atomic
    def _send(self, request: HttpRequest, conversation: Conversation, form: SendForm) -> None:
        if composer.send(request, conversation, form):
            self.log_change(request, conversation, gettext_noop("sent a message"))
            audit.log_action(gettext_noop("sent a message"), [conversation])


def _list_unanswered(conversation: Conversation) -> dict[str, Any]:
    """Return how many questions no agent was asked, and their ids where the page of a replay takes so many."""
    rows = select_unanswered(conversation)
    ids = list(rows.values_list("pk", flat=True)[: BULK_SIZE + 1])
    return {
        "most_asked": MOST_ASKED,
        "unanswered": rows.count() if len(ids) > BULK_SIZE else len(ids),
        "replayable": ids if len(ids) <= BULK_SIZE else [],
    }


def _find_route(conversation: Conversation) -> Route | None:
    """Return the mapping of this conversation."""
    decision = rules.explain(conversation.account, conversation.peer_kind, conversation.peer_id, "", "", True)
    return decision.route


def _find_contact(conversation: Conversation) -> int | None:
    """Return the contact of a one-to-one conversation."""
    if conversation.peer_kind != PeerKinds.DIRECT:
        return None
    rows = Contact.objects.filter(account=conversation.account_id, external_id=conversation.peer_id)
    return rows.values_list("pk", flat=True).first()


def _read_window(conversation: Conversation) -> dict[str, Any] | None:
    """Return how many messages may still be sent and until when; None where there is no limit, or where no message can be sent."""
    channel = build_channel(conversation.account)
    if not isinstance(channel, ReplyWindows) or not path_for(channel, conversation.account_id).sends_messages:
        return None
    found = ReplyWindow.objects.filter(account=conversation.account_id, peer_id=conversation.peer_id).first()
    left = reply_windows.count_remaining_of(found) if found else 0
    return {"left": left, "until": found.until if found and left else None}


def _transcript(request: HttpRequest, conversation: Conversation) -> dict[str, Any]:
    before = row_number(request.GET.get("before", ""))
    moves = transcript.list_moves(conversation)
    read = transcript.read_page(conversation, moves, before) if _may_read_transcript(request) else None
    return {"transcript": read, "moves": moves, "before": before, "decisions": list_decisions(request)}


def _may_read_transcript(request: HttpRequest) -> bool:
    return may_read(user_of(request)) and user_of(request).has_perm("bridge.view_message")


def _transcript_view(page_admin: ConversationAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Return only the bubbles, for the page's script."""
    conversation = page_admin.get_or_404(request, pk)
    if not _may_read_transcript(request):
        raise PermissionDenied
    context = {"conversation": conversation, **_transcript(request, conversation)}
    return TemplateResponse(request, "admin/bridge/bubbles.html", context)
