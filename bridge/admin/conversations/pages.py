"""Conversations: a readable transcript, and what staff can do in it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Count, Q
from django.forms.fields import InvalidJSONInput
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import reply_windows
from accounts.channels import build_channel
from accounts.models import ReplyWindow
from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.conversations import fallbacks, moving, servicers, transcript
from bridge.admin.conversations.uploads import ManyFiles
from bridge.admin.decisions import list_decisions
from bridge.admin.paging import row_number
from bridge.admin.routes import map_url
from bridge.admin.unfold import styled
from bridge.models import Conversation, Delivery, Message, Reason, Route, State
from bridge.operations.dashboard import DEAD
from bridge.operations.moving import why_not_move
from bridge.operations.unanswered import find_skip_reasons, find_unanswered
from bridge.people import peers
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.recipients import count_people, recipients_text
from bridge.pipeline.outbound.surplus import find_surplus_fields
from bridge.pipeline.replies.paths import path_for
from bridge.pipeline.routing import rules
from bridge.security import audit
from bridge.security.permissions import may_read
from bridge.ui import formatting, search
from channels_wechat.contract.capabilities import ReplyWindows
from channels_wechat.contract.messages import Content
from channels_wechat.contract.pasted import clean_title, without_invisible

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

# The reasons for which the newest message got no agent and that staff may want to change; other reasons are intended.
UNANSWERED_REASONS = {
    Reason.NO_ROUTE: _("no mapping"),
    Reason.ROUTE_DISABLED: _("mapping disabled"),
    Reason.PAUSED: _("not answered: paused"),
    Reason.HUMAN: _("for staff"),
}
# The messages after a change of who answers.
MODE_CHANGED = {
    Conversation.Mode.BOT: _("The agent answers again."),
    Conversation.Mode.PAUSED: _("Paused. New messages are stored but not answered."),
    Conversation.Mode.HUMAN: _("Staff answer now. The agent is not asked."),
}
WAITING = Q(state__in=(State.PENDING, State.SENDING))


# Kinds that follow from the chosen file.
FILE_KINDS = frozenset({"image", "voice", "video", "file"})
# A Mini Program's card may have a picture.
KINDS_WITH_FILES = frozenset({"", "miniprogrampage"})
DATA_EXAMPLE = '{"title": "…", "description": "…", "url": "https://…"}'


class JsonField(forms.JSONField):
    """Also refuse what Python's parser cannot read: very deep nesting, and numbers of thousands of digits."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)


class SendForm(forms.Form):
    text = forms.CharField(
        label=_("Message"), required=False, widget=forms.Textarea(attrs={"rows": 3}), max_length=100_000
    )
    uploads = ManyFiles(label=_("Files"), required=False)
    kind = forms.ChoiceField(label=_("Type"), required=False)
    details = JsonField(
        label=_("Its content, as the platform's document gives it (JSON)"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "placeholder": DATA_EXAMPLE}),
    )

    people = forms.CharField(label=_("How many people this goes to"), required=False)

    def __init__(self, conversation: Conversation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.people_count = count_people(conversation.peer_kind, conversation.peer_id)
        if self.people_count == 1:
            del self.fields["people"]
        else:
            text = _("This goes to %(people)s. Enter %(answer)s to confirm it.")
            self.fields["people"].help_text = text % {
                "people": recipients_text(self.people_count),
                "answer": self.people_count,
            }
            self.fields["people"].required = True
        self.channel = build_channel(conversation.account)
        kinds = self.channel.content_kinds
        choice: Any = self.fields["kind"]
        choice.choices = [("", _("text and files")), *((kind, kind) for kind in kinds if kind not in FILE_KINDS)]

    def clean_people(self) -> str:
        given: str = self.cleaned_data["people"].strip().casefold()
        if given != str(self.people_count):
            raise forms.ValidationError(self.fields["people"].help_text)
        return given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and cleaned["kind"] and not isinstance(cleaned["details"], dict):
            self.add_error("details", _("Enter the message as a JSON object, for example: %s") % DATA_EXAMPLE)
        elif (
            not self.errors
            and not cleaned["kind"]
            and not without_invisible(cleaned["text"])
            and not cleaned["uploads"]
        ):
            raise forms.ValidationError(_("Write something, or choose a file."))
        elif not self.errors:
            self._refuse_surplus(cleaned)
        return cleaned

    def _refuse_surplus(self, cleaned: dict[str, Any]) -> None:
        """Refuse fields that the chosen type would ignore, because only the reader would notice that they are missing."""
        wrong: dict[str, Any] = {**find_surplus_fields(self.channel, self.content)}
        if cleaned["details"] and not cleaned["kind"]:
            wrong["kind"] = _("Choose the type of this content.")
        if cleaned["uploads"] and cleaned["kind"] not in KINDS_WITH_FILES:
            wrong["uploads"] = _("Files go with text only.")
        for name, why in wrong.items():
            self.add_error(name, why)

    @property
    def content(self) -> Content:
        given = self.cleaned_data
        if given["kind"]:
            return Content(kind=given["kind"], data=given["details"], text=given["text"])
        return Content(text=given["text"])


class TitleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Conversation
        fields = ("title",)

    def clean_title(self) -> str:
        return clean_title(self.cleaned_data["title"])


@admin.register(Conversation)
class ConversationAdmin(BridgeAdmin[Conversation]):
    list_display = ("who", "account", "peer_kind", "answered_by", "last_received", "open_work")
    list_filter = ("account", "peer_kind", "mode")
    search_fields = ("title", "peer_id")
    search_help_text = _("Title, name or id")
    sortable_by = ("last_received",)  # by anything else all of them would be sorted for one page
    empty_hint = _("A group or person appears here with the first message to one of the accounts.")
    buttons = {
        "rename": "bridge.change_conversation",
        "mode": "bridge.pause_conversation",
        "new_session": "bridge.pause_conversation",
        "servicers": "bridge.pause_conversation",
        "hand_over": "bridge.pause_conversation",
        "end_service": "bridge.pause_conversation",
        "send": "bridge.send_message",
        "add_fallback": "bridge.change_conversation",
        "remove_fallback": "bridge.change_conversation",
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).select_related("account").defer("account__credentials")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("conversation"))
    def who(self, conversation: Conversation) -> str:
        return title_of(conversation)

    @admin.display(description=_("answered by"), ordering="mode")
    def answered_by(self, conversation: Conversation) -> SafeString:
        return formatting.mode_badge(conversation)

    @admin.display(description=_("last message"), ordering="last_inbound_at")
    def last_received(self, conversation: Conversation) -> SafeString | str:
        return formatting.relative_time(conversation.last_inbound_at)

    @admin.display(description=_("open"))
    def open_work(self, conversation: Conversation) -> SafeString | str:
        found: dict[str, int] = getattr(conversation, "open_work", {})
        words = {"waiting": (_("waiting"), "info"), "dead": (_("failed"), "bad"), "uncertain": (_("uncertain"), "warn")}
        badges = [
            (formatting.badge(f"{found[name]} {word}", tone),)
            for name, (word, tone) in words.items()
            if found.get(name)
        ]
        if reason := getattr(conversation, "unanswered_reason", ""):
            badges.append((formatting.badge(UNANSWERED_REASONS[Reason(reason)], "warn"),))
        return format_html_join(" ", "{}", badges) or "–"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by the name of the person too."""
        term = search_term.strip()
        return (
            self.search_results(request, queryset, search.conversations(queryset, term)) if term else (queryset, False)
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Load names and open_work for the rows of this page in three queries."""
        found = super().get_changelist_instance(request)
        annotate_rows(found.result_list)
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
            "unanswered": find_unanswered(conversation),
            "fallbacks": fallbacks.list_fallbacks(conversation),
            "fallback_form": styled(fallbacks.FallbackForm(conversation)),
            "has_servicers": servicers.has_servicers(conversation),
            "moves": transcript.list_moves(conversation),
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

    def run_mode(self, request: HttpRequest, conversation: Conversation) -> None:
        mode = request.POST.get("mode", "")
        if mode not in Conversation.Mode.values:
            raise BadRequest
        if mode == Conversation.Mode.BOT and conversation.servicer:
            servicers.end_service(self, request, conversation)
            return
        conversation.mode = mode
        conversation.save(update_fields=["mode"])
        self.notify(request, conversation, MODE_CHANGED[Conversation.Mode(mode)])
        if mode == Conversation.Mode.BOT and (count := len(find_unanswered(conversation))):
            text = ngettext(
                "%(n)d message was received meanwhile.", "%(n)d messages were received meanwhile.", count
            ) % {"n": count}
            messages.info(
                request, f"{text} {_('The agent was not asked: “Replay…” beside the transcript asks it now.')}"
            )

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
        outbox.start_new_session(conversation)
        self.notify_and_audit(
            request, conversation, _("A new session has started: the agent remembers nothing of the messages before.")
        )

    def run_send(self, request: HttpRequest, conversation: Conversation) -> HttpResponse | None:
        form = SendForm(conversation, request.POST, request.FILES)
        if form.is_valid():
            try:
                _send(request, conversation, form)
            except outbox.CannotSend as refused:
                form.add_error(None, str(refused))
            else:
                self.log_change(request, conversation, "sent a message")
                audit.log_action("sent a message", [conversation])
                return None
        return self.show(request, conversation, form)


def title_of(conversation: Conversation) -> str:
    return conversation.title or getattr(conversation, "contact_name", "") or conversation.peer_id


def annotate_rows(rows: list[Conversation]) -> None:
    """Give each row its `open_work` (what waits and what failed) and the `contact_name` of a person."""
    waiting, uncertain = _count_in_lanes(rows, WAITING), _count_in_lanes(rows, DEAD & Q(state=State.UNCERTAIN))
    dead, outcomes = _count_in_lanes(rows, DEAD & Q(state=State.DEAD)), find_skip_reasons(rows)
    names = peers.load_names((row.account_id, row.peer_id) for row in rows)
    for row in rows:
        row.open_work = {"waiting": waiting[row.pk], "dead": dead[row.pk], "uncertain": uncertain[row.pk]}  # type: ignore[attr-defined]  # for its column
        row.unanswered_reason = reason if (reason := outcomes.get(row.pk, "")) in UNANSWERED_REASONS else ""  # type: ignore[attr-defined]  # for its column
        row.contact_name = names.get((row.account_id, row.peer_id), "")  # type: ignore[attr-defined]


def _count_in_lanes(rows: list[Conversation], which: Q) -> Counter[int]:
    """Count such deliveries of each conversation in its two lanes."""
    lanes = {f"{way}:{row.pk}": row.pk for row in rows for way in ("in", "out")}
    work = Delivery.objects.filter(which, lane__in=lanes).order_by().values_list("lane")
    found: Counter[int] = Counter()
    for lane, count in work.annotate(n=Count("id")):
        found[lanes[lane]] += count
    return found


def _find_route(conversation: Conversation) -> Route | None:
    """Return the mapping of this conversation."""
    decision = rules.explain(conversation.account, conversation.peer_kind, conversation.peer_id, "", "", True)
    return decision.route


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
    read = transcript.read_page(conversation, before) if _may_read_transcript(request) else None
    return {"transcript": read, "before": before, "decisions": list_decisions(request)}


def _may_read_transcript(request: HttpRequest) -> bool:
    return may_read(user_of(request)) and user_of(request).has_perm("bridge.view_message")


def _transcript_view(page_admin: ConversationAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Return only the bubbles, for the page's script."""
    conversation = page_admin.get_or_404(request, pk)
    if not _may_read_transcript(request):
        raise PermissionDenied
    context = {"conversation": conversation, **_transcript(request, conversation)}
    return TemplateResponse(request, "admin/bridge/bubbles.html", context)


def _send(request: HttpRequest, conversation: Conversation, form: SendForm) -> Message:
    """Raises PermissionDenied, CannotSend."""
    if form.people_count != 1 and not user_of(request).has_perm("bridge.send_to_many"):
        raise PermissionDenied
    return outbox.send(
        conversation.account,
        conversation.peer_kind,
        conversation.peer_id,
        form.content,
        source=Message.Source.STAFF,
        client=f"staff:{request.user.pk}",
        files=form.cleaned_data["uploads"],
        several=form.people_count != 1,
    )
