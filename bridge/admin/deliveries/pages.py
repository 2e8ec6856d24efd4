"""Deliveries with their attempts, and the dead letters: replay, release, dismiss, recall."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from accounts.channels import build_channel
from bridge.admin.base import ReadOnlyAdmin, local_path, user_of
from bridge.admin.conversations.messages import DayFilter, add_sender_names
from bridge.admin.deliveries import replay_report
from bridge.admin.deliveries.causes import CodeFilter, PossibleReasons, PossibleStates, causes
from bridge.admin.paging import CountedPaginator, row_number
from bridge.models import Attempt, Delivery, Message, State
from bridge.operations import replay
from bridge.operations.codes import RECENT
from bridge.operations.dashboard import DEAD, REVIEW
from bridge.operations.waiting import Wait, waits
from bridge.pipeline.outbound import outbox
from bridge.security import audit
from bridge.security.permissions import HIDDEN, hide_errors, may_read
from bridge.ui import formatting, search
from channels_wechat.contract.capabilities import Recall
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

# One confirmation is for at most so many; the rest is selected again.
BULK_SIZE = 1000
# What can be done to many, and the permission it takes.
VERBS = {
    "replay": "bridge.replay_delivery",
    "release": "bridge.replay_delivery",
    "dismiss": "bridge.dismiss_delivery",
}


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


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin[Delivery]):
    list_display = ("preview", "state_label", "why", "conversation_link", "target", "tries", "when")
    masked_columns = {"preview": "masked_preview"}
    list_select_related = ("account", "gateway", "endpoint", "message__conversation")
    sortable_by = ("when",)  # by anything else a million rows would be sorted for one page
    list_filter = (OpenWorkFilter, DayFilter, "state", "reason", "target", "account", "gateway", "endpoint")
    search_fields = ("message__text",)
    search_help_text = _("Text, id, #number or error code")
    actions = ("replay_selected", "release_selected", "dismiss_selected")
    empty_hint = _("Each message that goes to an agent, to WeChat or to a webhook has a delivery here.")
    buttons = {"recall": "bridge.send_message"}

    @admin.display(description=_("message"))
    def preview(self, delivery: Delivery) -> str:
        return _with_part_number(
            delivery, delivery.message.preview if delivery.message else formatting.recipient_text(delivery)
        )

    @admin.display(description=_("message"))
    def masked_preview(self, delivery: Delivery) -> str:
        return _with_part_number(
            delivery, f"{delivery.message} {HIDDEN}" if delivery.message else formatting.recipient_text(delivery)
        )

    @admin.display(description=_("state"), ordering="state")
    def state_label(self, delivery: Delivery) -> SafeString:
        return formatting.state_badge(delivery)

    @admin.display(description=_("reason"), ordering="reason")
    def why(self, delivery: Delivery) -> SafeString | str:
        """What it is called, and the sentence that says what to do about it."""
        if wait := getattr(delivery, "wait", None):
            return waiting_text(wait)
        if not delivery.reason:
            return "–"
        reason, said = str(delivery.get_reason_display()), Truncator(delivery.error).chars(140)
        return format_html("<div>{}<br><small>{}</small></div>", reason, said) if said else reason

    @admin.display(description=_("conversation"))
    def conversation_link(self, delivery: Delivery) -> SafeString | str:
        conversation = delivery.message.conversation if delivery.message else None
        if conversation is None:
            return "–"
        link = reverse("admin:bridge_conversation_change", args=[conversation.pk])
        return format_html('<a href="{}">{}</a> <small>{}</small>', link, conversation, delivery.account or "")

    @admin.display(description=_("when"), ordering="id")
    def when(self, delivery: Delivery) -> SafeString | str:
        return formatting.relative_time(delivery.finished_at or delivery.created_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        secret = ("payload", "message__raw", "message__data", "message__reply_address", "account__credentials")
        gateway = ("gateway__token", "gateway__device_key", "gateway__device_token")
        endpoint = ("endpoint__url", "endpoint__secret", "endpoint__previous_secret")
        return super().get_queryset(request).defer(*secret, *gateway, *endpoint)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = search.messages(Message.objects.all(), term, in_text=may_read(user_of(request)))
        by_message, _may_repeat = self.search_results(request, queryset, found, by="message")
        return queryset.filter(Q(pk__in=_ids_by_number_or_code(term)) | Q(pk__in=by_message.values("pk"))), False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Says of what waits why it does, and until when."""
        found = super().get_changelist_instance(request)
        reads = may_read(user_of(request))
        if not reads:
            hide_errors(found.result_list)
        why = waits(found.result_list, reads=reads)
        for delivery in found.result_list:
            delivery.wait = why.get(delivery.pk)
        return found

    def get_urls(self) -> list[URLPattern]:
        letters = DeadLetterAdmin(self.model, self.admin_site) if type(self) is DeliveryAdmin else None
        pages = [self.route("dead-letters/", letters.changelist_view, "dead_letters")] if letters else []
        confirm = self.route("confirm/", require_POST(self.confirm_view), "confirm")
        report = self.route("replayed/", partial(replay_report.report, self), "replayed")
        return [*pages, confirm, report, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        delivery = self.get_or_404(request, object_id)
        if delivery.message:
            add_sender_names([delivery.message])
        attempts = list(delivery.attempts.all())
        reads = may_read(user_of(request))
        if not reads:
            hide_errors([delivery, *attempts])
        wait = waits([delivery], reads=reads).get(delivery.pk)
        context = {
            "delivery": delivery,
            "waits": waiting_text(wait) if wait else "",
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

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return user_of(request).has_perm("bridge.replay_delivery")

    def has_dismiss_permission(self, request: HttpRequest) -> bool:
        return user_of(request).has_perm("bridge.dismiss_delivery")

    @admin.action(description=_("Replay…"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        return self.ask_first(request, "replay", queryset.values_list("pk", flat=True)[: BULK_SIZE + 1])

    @admin.action(description=_("Release…"), permissions=["replay"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        return self.ask_first(request, "release", queryset.values_list("pk", flat=True)[: BULK_SIZE + 1])

    @admin.action(description=_("Dismiss…"), permissions=["dismiss"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        return self.ask_first(request, "dismiss", queryset.values_list("pk", flat=True)[: BULK_SIZE + 1])

    def ask_first(self, request: HttpRequest, verb: str, ids: Iterable[int]) -> HttpResponse:
        """The page that says what will happen, to how many, and to which not."""
        chosen = list(ids)
        rows = Delivery.objects.filter(pk__in=chosen[:BULK_SIZE]).order_by("id")
        rows = rows.select_related(
            "account", "endpoint", "message__account", "message__reply_to", "message__conversation"
        )
        plan = [(row, _why_not(verb, row)) for row in rows]
        going = [row for row, reason in plan if not reason]
        refused = [(row, reason) for row, reason in plan if reason]
        context: dict[str, Any] = {
            "verb": verb,
            "going": going[:50],
            "count": len(going),
            "ids": ",".join(str(row.pk) for row in going),
            "refused": refused[:50],
            "refused_count": len(refused),
            "uncertain": len(replay.may_arrive_twice(going)) if verb == "replay" else 0,
            "held": sum(row.state == State.HELD for row in going),
            "to_agent": sum(row.target == "agent" for row in going),
            "more": len(chosen) > BULK_SIZE,
            "back": local_path(request.POST.get("back") or request.get_full_path(), self.url("changelist")),
        }
        titles = {"replay": _("Replay?"), "release": _("Release?"), "dismiss": _("Dismiss?")}
        return self.page(request, "admin/bridge/confirm.html", titles[verb], **context)

    def confirm_view(self, request: HttpRequest) -> HttpResponse:
        """First POST: asks; the second, with `sure`, does it. ids: numbers with commas."""
        verb = request.POST.get("verb", "")
        if verb not in VERBS:
            raise BadRequest
        self.require(request, VERBS[verb])
        numbers = map(row_number, request.POST.get("ids", "").split(","))
        ids = [number for number in numbers if number is not None][:BULK_SIZE]
        if "sure" not in request.POST:
            return self.ask_first(request, verb, ids)
        {"replay": self._replay, "release": self._release, "dismiss": self._dismiss}[verb](request, ids)
        back = local_path(request.POST.get("back", ""), self.url("changelist"))
        return HttpResponseRedirect(self.url("replayed") if replay_report.begins_with(request, verb, back) else back)

    def run_recall(self, request: HttpRequest, delivery: Delivery) -> None:
        try:
            outbox.recall(delivery)
        except (outbox.CannotSend, ChannelError) as error:
            messages.error(request, str(error))
        else:
            self.notify_and_audit(request, delivery, _("Recalled: it is no longer shown in the chat."))

    def _replay(self, request: HttpRequest, ids: list[int]) -> None:
        done = replay.replay(ids, user_of(request), twice="twice" in request.POST)
        replay_report.remember(request, set(ids) - {pk for pk, _reason in done.refused})
        if done.count:
            text = ngettext("%(n)d delivery is queued again.", "%(n)d deliveries are queued again.", done.count)
            messages.success(request, text % {"n": done.count})
        self._done(request, ids, done, "replayed")

    def _release(self, request: HttpRequest, ids: list[int]) -> None:
        done = replay.release(ids, user_of(request))
        if done.count:
            text = ngettext("%(n)d delivery is released.", "%(n)d deliveries are released.", done.count)
            messages.success(request, text % {"n": done.count})
        self._done(request, ids, done, "released")

    def _done(self, request: HttpRequest, ids: list[int], done: replay.Replayed, word: str) -> None:
        for pk, reason in done.refused[:20]:
            messages.warning(request, f"#{pk}: {reason}")
        self._log(request, set(ids) - {pk for pk, _reason in done.refused}, word)

    def _dismiss(self, request: HttpRequest, ids: list[int]) -> None:
        states = (*replay.REPLAYABLE, State.HELD)
        waiting = Delivery.objects.filter(pk__in=ids, state__in=states, dismissed_at=None)
        ids = list(waiting.values_list("pk", flat=True))
        count = replay.dismiss(ids, user_of(request))
        text = ngettext("%(n)d delivery is dismissed.", "%(n)d deliveries are dismissed.", count)
        messages.success(request, text % {"n": count})
        self._log(request, ids, "dismissed")

    def _log(self, request: HttpRequest, ids: Iterable[int], word: str) -> None:
        rows = list(Delivery.objects.filter(pk__in=ids).only("pk"))
        LogEntry.objects.log_actions(user_of(request).pk, rows, CHANGE, word)
        audit.log_action(word, rows)


class DeadLetterAdmin(DeliveryAdmin):
    """The same list, of what failed and nobody has dealt with, grouped by cause at the top. A page of `DeliveryAdmin`."""

    change_list_template = "admin/bridge/dead_letters.html"
    pages = CountedPaginator
    list_disable_select_all = False
    empty_hint = _("No open failures.")

    def get_list_filter(self, request: HttpRequest) -> Any:
        possible = {"state": ("state", PossibleStates), "reason": ("reason", PossibleReasons)}
        chosen = [possible.get(str(each), each) for each in self.list_filter if each is not OpenWorkFilter]
        return [CodeFilter, *chosen]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).filter(DEAD)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = _("Dead letters")
        request.crumb = title  # type: ignore[attr-defined]  # read by the theme's header_title.html
        found = [] if request.GET.get("q") else causes()
        many = sum(cause["count"] for cause in found) > RECENT
        context = {"title": title, "causes": found, "codes_of": RECENT if many else 0, **(extra_context or {})}
        return super().changelist_view(request, context)


def _ids_by_number_or_code(term: str) -> list[int]:
    """The delivery or message with this number, as pages print it, and the newest failures with this error code."""
    number = row_number(term.removeprefix("#"))
    newest = Delivery.objects.filter(DEAD).order_by("-id").values("pk")[:RECENT]
    found = list(Attempt.objects.filter(delivery__in=newest, code=term).values_list("delivery", flat=True))
    if number is not None:
        add_sender_names = Delivery.objects.filter(Q(pk=number) | Q(message=number))
        found += list(add_sender_names.values_list("pk", flat=True)[:RECENT])
    return found


# Where the row is that a delivery waits for.
PAGES = {
    "account": "accounts_channelaccount",
    "gateway": "openclaw_gateway",
    "webhook": "bridge_webhookendpoint",
    "delivery": "bridge_delivery",
}


def waiting_text(wait: Wait) -> SafeString:
    """Why it waits, with a link to what it waits for and the time of the next attempt."""
    link = reverse(f"admin:{PAGES[wait.on]}_change", args=[wait.id]) if wait.id else ""
    why = format_html('<a href="{}">{}</a>', link, Truncator(wait.why).chars(200)) if link else wait.why
    if wait.until and wait.until > timezone.now():
        return format_html("<div>{} <small>{} {}</small></div>", why, _("next:"), formatting.relative_time(wait.until))
    return format_html("<div>{}</div>", why)


def decisions(request: HttpRequest) -> list[dict[str, Any]]:
    """What this person may do about something that is held for a decision, in the shape of buttons."""
    words = {"release": _("Release…"), "dismiss": _("Dismiss…")}
    allowed = [verb for verb in words if user_of(request).has_perm(VERBS[verb])]
    return [{"verb": verb, "label": words[verb]} for verb in allowed]


def _with_part_number(delivery: Delivery, text: str) -> str:
    return f"{text} ({_('part')} {delivery.part + 1})" if delivery.part else text


def _why_not(verb: str, delivery: Delivery) -> str:
    reasons = {"replay": replay.why_not_replay, "release": replay.why_not_release, "dismiss": replay.why_not_dismiss}
    return reasons[verb](delivery)


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
