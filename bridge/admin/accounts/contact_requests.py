"""Invitations to groups and friend requests: all of them in a list, the open ones on their account's page, with the buttons to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Case, Value, When
from django.http import HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from bridge.admin.accounts.panel import AccountPanel, Position, has_capability
from bridge.admin.base import ReadOnlyAdmin, local_path, user_of
from bridge.admin.export import Column, columns
from bridge.models import ContactRequest
from bridge.people import contact_requests
from bridge.security.permissions import HIDDEN
from bridge.ui import formatting
from channels_wechat.contract.capabilities import ContactRequests
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

State = ContactRequest.State
VIEW, DECIDE = "bridge.view_contact", "bridge.change_contact"
TONES = {State.OPEN: "warn", State.ACCEPTING: "info", State.ACCEPTED: "good", State.DISMISSED: "quiet"}
# So many stand on an account's page.
SHOWN = 20


@admin.register(ContactRequest)
class ContactRequestAdmin(ReadOnlyAdmin[ContactRequest]):
    list_display = ("what", "account", "who", "readable_text", "standing", "received", "decision")
    list_display_links = ("what",)
    list_select_related = ("account", "decided_by")
    list_filter = ("state", "kind", "account")
    search_fields = ("sender", "title")
    search_help_text = _("Id of the person, or name of the group")
    sortable_by = ()
    empty_hint = _("Invitations to groups and friend requests of personal accounts wait here until staff decide.")
    exported = columns(
        Column("id", _("number")),
        "kind",
        "title",
        "account",
        "sender",
        Column("text", is_content=True),
        Column("standing"),
        "created_at",
        "decided_by",
        "decided_at",
    )
    masked_columns = {"readable_text": "hidden_text"}
    buttons = {"accept": DECIDE, "dismiss": DECIDE}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return user_of(request).has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ContactRequest]:
        return super().get_queryset(request).defer("account__credentials")

    def get_ordering(self, request: HttpRequest) -> Any:
        """The open ones first, then the newest."""
        return [Case(When(state__in=(State.OPEN, State.ACCEPTING), then=Value(0)), default=Value(1)), "-id"]

    @admin.display(description=_("what"))
    def what(self, asked: ContactRequest) -> str:
        label = str(asked.get_kind_display())
        return f"{label}: {asked.title}" if asked.title else label

    @admin.display(description=_("from"))
    def who(self, asked: ContactRequest) -> str:
        return asked.sender or "–"

    @admin.display(description=_("text"))
    def readable_text(self, asked: ContactRequest) -> str:
        return asked.text or "–"

    @admin.display(description=_("text"))
    def hidden_text(self, asked: ContactRequest) -> str:
        return str(HIDDEN) if asked.text else "–"

    @admin.display(description=_("state"))
    def standing(self, asked: ContactRequest) -> SafeString:
        return describe_state(asked)

    @admin.display(description=_("received"))
    def received(self, asked: ContactRequest) -> SafeString | str:
        return formatting.relative_time(asked.created_at)

    @admin.display(description=_("decided by"))
    def decision(self, asked: ContactRequest) -> str:
        return str(asked.decided_by or "–")

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        asked = self.get_or_404(request, object_id)
        shown = {"asked": asked, "state": describe_state(asked), "may_decide": user_of(request).has_perm(DECIDE)}
        return self.page(request, "admin/bridge/contact_request.html", self.what(asked), asked, **shown)

    def run_accept(self, request: HttpRequest, asked: ContactRequest) -> HttpResponse:
        try:
            done = contact_requests.accept_request(asked, user_of(request))
        except (ChannelError, contact_requests.CannotAccept) as error:
            text = _("It could not be accepted: %(error)s") % {"error": error}
            self.notify_and_audit(request, asked, text, messages.ERROR)
        else:
            self._report(request, asked, _("Accepted.") if done else "")
        return self._go_back(request, asked)

    def run_dismiss(self, request: HttpRequest, asked: ContactRequest) -> HttpResponse:
        done = contact_requests.dismiss_request(asked, user_of(request))
        self._report(request, asked, _("Dismissed. Whoever asked is told nothing.") if done else "")
        return self._go_back(request, asked)

    def _report(self, request: HttpRequest, asked: ContactRequest, text: Any) -> None:
        """text: what was done; empty where somebody else was faster."""
        if text:
            self.notify_and_audit(request, asked, text)
        else:
            messages.warning(request, _("Somebody else has decided it already, or it is being accepted just now."))

    def _go_back(self, request: HttpRequest, asked: ContactRequest) -> HttpResponse:
        page: str = self.url("change", asked.pk)
        return HttpResponseRedirect(local_path(request.POST.get("back", ""), page))


def describe_state(asked: ContactRequest) -> SafeString:
    state = State(asked.state)
    word = _("outcome unknown") if state == State.ACCEPTING and asked.code else state.label
    return formatting.badge(word, "warn" if state == State.ACCEPTING and asked.code else TONES[state])


def describe_requests(account: ChannelAccount, _channel: Channel) -> dict[str, Any]:
    undecided = account.contact_requests.filter(state__in=(State.OPEN, State.ACCEPTING)).order_by("-id")
    found = list(undecided.select_related("decided_by")[: SHOWN + 1])
    rows = [{"asked": asked, "state": describe_state(asked)} for asked in found[:SHOWN]]
    return {"rows": rows, "more": len(found) > SHOWN}


PANEL = AccountPanel(
    applies_to=has_capability(ContactRequests),
    template="admin/accounts/panels/contact_requests.html",
    facts=describe_requests,
    position=Position.ABOVE_FORM,
    permission=VIEW,
)
