"""Mappings: which agent answers whom, and the box that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import QueryDict
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.forms import OneErrorPerField
from accounts.models import ChannelAccount
from bridge.admin.base import BridgeAdmin
from bridge.admin.export import Column, columns
from bridge.admin.gateways import agent_fields
from bridge.admin.unfold import style, styled
from bridge.models import Conversation, Delivery, Reason, ReplayKind, Route, State
from bridge.models.routes import PeerKinds
from bridge.people import peers
from bridge.pipeline.routing import rules
from bridge.ui import formatting
from channels_wechat import KINDS, channel_class
from openclaw.models import Gateway

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    _RouteForm = forms.ModelForm[Route]
else:
    _RouteForm = forms.ModelForm


# At most so many chats are offered as "group or person", those with the newest messages first.
CHATS_OFFERED = 500
# Unanswered messages are counted up to this.
MAX_REVIEWED = 1000


class RouteForm(OneErrorPerField, _RouteForm):
    collides_with: Route | None = None

    class Meta:
        model = Route
        exclude = ()
        widgets = {
            "peer_id": forms.TextInput(attrs={"list": "known-chats"}),
            "agent_id": forms.TextInput(attrs={"list": "known-agents"}),
            "trigger_words": forms.Textarea(attrs={"rows": 3}),
            "handover_words": forms.Textarea(attrs={"rows": 2}),
        }

    def clean(self) -> dict[str, Any]:
        """Refuse a second mapping of the same peer, and name the first one."""
        cleaned = super().clean() or self.cleaned_data
        if {"account", "peer_kind", "peer_id"} <= set(cleaned):
            same = {name: cleaned[name] for name in ("account", "peer_kind", "peer_id")}
            self.collides_with = Route.objects.filter(**same).exclude(pk=self.instance.pk).first()
        if self.collides_with:
            text = _("This group or person is mapped already: %(route)s.") % {"route": self.collides_with}
            self.add_error("peer_id", text)
        return cleaned


class RoutingQuestion(forms.Form):
    """The box "which agent would get this?"."""

    account = forms.ModelChoiceField(ChannelAccount.objects.all(), label=_("Account"))
    peer_kind = forms.ChoiceField(label=_("Who"), choices=PeerKinds.choices, initial="group")
    peer_id = forms.CharField(label=_("Group or person"), help_text=_("The platform's id."))
    sender = forms.CharField(label=_("Sender"), required=False)
    text = forms.CharField(label=_("Text"), required=False, widget=forms.Textarea(attrs={"rows": 2}))
    addressed = forms.BooleanField(label=_("The bot is addressed"), required=False, initial=True)


@admin.register(Route)
class RouteAdmin(BridgeAdmin[Route]):
    form = RouteForm
    list_display = ("who", "account", "agent", "answers", "state", "note")
    list_select_related = ("account", "gateway")
    list_filter = ("account", "gateway", "peer_kind", "enabled")
    search_fields = ("peer_id", "agent_id", "note")
    search_help_text = _("Id, agent or note")
    exported = columns(
        Column("id", _("number")),
        "account",
        "peer_kind",
        "peer_id",
        Column("who", _("title")),
        "gateway",
        "agent_id",
        "scope",
        "trigger",
        Column("trigger_words", read=lambda row: rules.split_entries(row.trigger_words)),
        Column("allowed_senders", read=lambda row: rules.split_entries(row.allowed_senders)),
        Column("handover_words", read=lambda row: rules.split_entries(row.handover_words)),
        "enabled",
        "note",
    )
    change_list_template = "admin/bridge/route_list.html"
    change_form_template = "admin/bridge/route.html"
    empty_hint = _("Map a group or person to an agent. Until then messages are stored but not answered.")
    fieldsets = (
        (_("Whose messages are mapped"), {"fields": ("account", "peer_kind", "peer_id", "allowed_senders")}),
        (_("Which agent gets them"), {"fields": ("gateway", "agent_id", "scope")}),
        (_("When it answers"), {"fields": ("trigger", "trigger_words", "enabled", "note")}),
        (
            _("What is allowed in the chat"),
            {"fields": ("commands_for_all", "allow_mention_all", "allow_cards", "allow_links")},
        ),
        (
            _("When staff answer"),
            {"fields": ("handover_words", "allow_handover")},
        ),
    )

    @admin.display(description=_("group or person"), ordering="peer_id")
    def who(self, route: Route) -> str:
        everyone = {"": _("everyone"), "group": _("all groups"), "direct": _("all persons")}
        return route.title or route.peer_id or str(everyone[route.peer_kind])

    @admin.display(description=_("agent"), ordering="agent_id")
    def agent(self, route: Route) -> SafeString:
        return format_html("{} <span class='b-quiet-text'>@ {}</span>", route.agent_id, route.gateway.name)

    @admin.display(description=_("answers"))
    def answers(self, route: Route) -> str:
        words = ", ".join(rules.split_entries(route.trigger_words))
        return (
            f"{route.get_trigger_display()}: {words}"
            if route.trigger in Route.BY_WORD
            else str(route.get_trigger_display())
        )

    @admin.display(description=_("state"), ordering="enabled")
    def state(self, route: Route) -> SafeString:
        return formatting.badge(_("enabled"), "good") if route.enabled else formatting.badge(_("disabled"), "quiet")

    def get_urls(self) -> list[URLPattern]:
        return [self.route("explain/", self.explain_view, "explain"), *super().get_urls()]

    def load_details(self, request: HttpRequest, rows: list[Route]) -> None:  # noqa: ARG002
        """Show groups by the title that staff gave them; one query for the page."""
        peers = [route.peer_id for route in rows if route.peer_id]
        known = (
            Conversation.objects.filter(peer_id__in=peers).exclude(title="") if peers else Conversation.objects.none()
        )
        titles = {(row.account_id, row.peer_kind, row.peer_id): row.title for row in known}
        for route in rows:
            route.title = titles.get((route.account_id, route.peer_kind, route.peer_id), "")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Route | None:
        """Load the row with its title, which its pages show like the list."""
        found = super().get_object(request, object_id, from_field)
        if found and found.peer_id:
            same = {"account": found.account_id, "peer_kind": found.peer_kind, "peer_id": found.peer_id}
            found.title = Conversation.objects.filter(**same).values_list("title", flat=True).first() or ""
        return found

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Leave out accounts that receive no messages, because there is nothing to map."""
        made = super().get_form(request, obj, change, **kwargs)
        offered: Any = made.base_fields.get("account")
        if offered:
            offered.queryset = offered.queryset.exclude(
                kind__in=[kind for kind in KINDS if not channel_class(kind).receives_from]
            )
        for field in made.base_fields.values():
            style(field)
        return made

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        """Offer the agents that the gateways listed; another id can be typed."""
        rows = Gateway.objects.values_list("pk", "name", "agents")
        agents = [
            {**agent_fields(agent), "gateway": name, "gateway_id": pk} for pk, name, known in rows for agent in known
        ]
        chats = _list_known_chats() if request.user.has_perm("bridge.view_conversation") else []
        context = {"known_agents": agents, "known_chats": chats, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def save_model(self, request: Any, obj: Route, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if warning := warn_of_unknown_agent(obj):
            messages.warning(request, warning)
        count, waiting = count_unmapped_messages(obj)
        if count and request.user.has_perm("bridge.replay_delivery"):
            text = ngettext(
                "%(n)d unanswered message can now be replayed:", "%(n)d unanswered messages can now be replayed:", count
            )
            messages.info(request, format_html('{} <a href="{}">{}</a>', text % {"n": count}, waiting, _("Review")))

    def explain_view(self, request: HttpRequest) -> HttpResponse:
        self.require(request, "bridge.view_route")
        form = styled(RoutingQuestion(request.GET if "peer_id" in request.GET else None, initial=request.GET.dict()))
        context: dict[str, Any] = {"form": form}
        if form.is_bound and form.is_valid():
            decision = rules.explain(**form.cleaned_data)
            context["decision"] = decision
            context["reason"] = Reason(decision.reason).label if decision.reason else ""
            context["map_url"] = map_url(
                form.cleaned_data["account"].pk, *(form.cleaned_data[n] for n in ("peer_kind", "peer_id"))
            )
        return self.page(request, "admin/bridge/explain.html", _("Test routing"), **context)


def warn_of_unknown_agent(route: Route) -> str:
    """Return a warning where the gateway has listed its agents and this one is not among them; else empty."""
    known = [agent_fields(agent)["id"] for agent in route.gateway.agents]
    if not known or route.agent_id in known:
        return ""
    names = {"gateway": route.gateway.name, "agent": route.agent_id, "known": ", ".join(known)}
    return _("The gateway %(gateway)s has no agent “%(agent)s”: messages would fail. It has: %(known)s.") % names


def _list_known_chats() -> list[dict[str, Any]]:
    """Return groups and people that have written, with their names, as choices of the mapping's field."""
    rows = list(Conversation.objects.select_related("account").defer("account__credentials")[:CHATS_OFFERED])
    names = peers.load_names((row.account_id, row.peer_id) for row in rows)
    return [
        {
            "id": row.peer_id,
            "name": row.title or names.get((row.account_id, row.peer_id), ""),
            "account": str(row.account),
            "account_id": row.account_id,
        }
        for row in rows
    ]


def map_url(account_id: int, peer_kind: str, peer_id: str) -> str:
    """Return the address of the form of a new mapping with this peer filled in."""
    values = QueryDict(mutable=True)
    values.update({"account": str(account_id), "peer_kind": peer_kind, "peer_id": peer_id})
    return f"{reverse('admin:bridge_route_add')}?{values.urlencode()}"


def count_unmapped_messages(route: Route) -> tuple[int, str]:
    """Return how many of this peer's messages were skipped without a mapping, at most MAX_REVIEWED, and the address of a plan of them."""
    rows = Delivery.objects.filter(state=State.SKIPPED, reason=Reason.NO_ROUTE, account=route.account)
    plan = f"kind={ReplayKind.ASK}&state={State.SKIPPED}&reason={Reason.NO_ROUTE}&account={route.account_id}"
    if route.peer_id:
        rows = rows.filter(message__peer_id=route.peer_id)
        same = Conversation.objects.filter(account=route.account, peer_id=route.peer_id)
        plan += f"&conversation={same.values_list('pk', flat=True).first() or ''}"
    count = len(rows.order_by().values_list("pk")[:MAX_REVIEWED])
    return count, f"{reverse('admin:bridge_replayrun_add')}?{plan}"
