"""Accounts: choose the kind, then its fields. Everything that differs between kinds comes from the channel class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.channels import build_channel
from accounts.forms import CONFIGURATION, SENTENCE_PREFIX, AccountForm, account_form
from accounts.health import Health
from accounts.models import ChannelAccount, kind_choices
from bridge.admin.accounts import scan
from bridge.admin.accounts.panels import PANELS, PanelsOfAccount
from bridge.admin.base import TESTED, ConfiguredAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.admin.secret_fields import HidesSecrets
from bridge.admin.unfold import style
from bridge.operations.alerts import deleting
from bridge.security.permissions import HIDDEN
from bridge.ui import formatting
from channels_wechat import KINDS, can, channel_class
from channels_wechat.contract.capabilities import Moderated
from channels_wechat.contract.connection import Connection, Login
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.sentences import SENTENCES

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

    from bridge.admin.accounts.panel import AccountPanel, Button, Page
    from channels_wechat.contract.channel import Channel


class KindFilter(admin.SimpleListFilter):
    title, parameter_name = _("kind"), "kind"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return list(kind_choices())

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(ChannelAccount)
class AccountAdmin(ConfiguredAdmin[ChannelAccount]):
    list_display = ("name", "kind_label", "health", "reason", "since")
    list_filter = (KindFilter, "enabled", "state")
    search_fields = ("name", "external_id")
    search_help_text = _("Name or id")
    change_form_template = "admin/accounts/account.html"
    exported = columns(
        Column("id", _("number")),
        "name",
        "kind",
        "external_id",
        "enabled",
        "state",
        "state_since",
        Column("state_code", _("code")),
        Column("reason", is_content=True),
        "sending_stopped_at",
        "retention_days",
        "created_at",
    )
    empty_hint = _("Add the WeChat identity that the agents are to speak as: an AI bot for groups, or an app.")
    next_step = _("Next: enter the callback address below in the platform's console, then press Test.")
    masked_columns = {"reason": "hidden_reason"}
    buttons = {
        "test": "accounts.change_channelaccount",
        "switch": "accounts.change_channelaccount",
    }

    def next_step_of(self, row: ChannelAccount) -> Any:
        if isinstance(build_channel(row), Login):
            return _("Next: enable it where it is not, and scan the code that appears below.")
        if isinstance(build_channel(row), Connection):
            return _("Next: see below whether the connection stands. It is opened within seconds.")
        return self.next_step

    @admin.display(description=_("kind"), ordering="kind")
    def kind_label(self, account: ChannelAccount) -> Any:
        return account.get_kind_display()

    @admin.display(description=_("state"), ordering="state")
    def health(self, account: ChannelAccount) -> SafeString:
        return formatting.health_badge(account)

    @admin.display(description=_("reason"))
    def reason(self, account: ChannelAccount) -> str:
        return account.state_reason or "–"

    @admin.display(description=_("reason"))
    def hidden_reason(self, account: ChannelAccount) -> str:
        return str(HIDDEN) if account.state_reason else "–"

    @admin.display(description=_("since"), ordering="state_since")
    def since(self, account: ChannelAccount) -> SafeString | str:
        return formatting.relative_time(account.state_since)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChannelAccount]:
        """Leave out the encrypted columns, so that nothing is decrypted for a list."""
        return super().get_queryset(request).defer("credentials")

    def get_urls(self) -> list[URLPattern]:
        """Add the buttons and pages of all panels."""
        urls = [
            self.route(f"<int:pk>/{button.name}/", require_POST(partial(self._run_panel, panel, button)), button.name)
            for panel in PANELS
            for button in panel.buttons
        ]
        urls += [
            self.route(f"<int:pk>/{page.path}", partial(self._show_panel_page, panel, page), page.name)
            for panel in PANELS
            for page in panel.pages
        ]
        return [*urls, *scan.routes(self), *super().get_urls()]

    def _run_panel(self, panel: AccountPanel, button: Button, request: HttpRequest, pk: int) -> HttpResponse:
        account, channel = self._open_panel(panel, button.permission, request, pk)
        return button.run(self, request, account, channel) or self.redirect_to(account)

    def _show_panel_page(
        self, panel: AccountPanel, page: Page, request: HttpRequest, pk: int, **captured: Any
    ) -> HttpResponse:
        account, channel = self._open_panel(panel, page.permission, request, pk)
        return page.view(self, request, account, channel, **captured)

    def _open_panel(
        self, panel: AccountPanel, permission: str, request: HttpRequest, pk: int
    ) -> tuple[ChannelAccount, Channel]:
        """Raise PermissionDenied; Http404 where the kind has no such panel; BadRequest for a button of an unregistered kind."""
        self.require(request, permission)
        account = self.get_or_404(request, pk)
        channel = _channel(account) if request.method == "POST" else build_channel(account)
        if not panel.applies_to(channel):
            raise Http404
        return account, channel

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Without a kind in the address, let the person choose one."""
        if request.GET.get("kind") in KINDS:
            added = channel_class(request.GET["kind"])
            title = {"title": _("Add: %(kind)s") % {"kind": added.label}, "is_risky": added.is_risky}
            return super().add_view(request, form_url, {**title, **(extra_context or {})})
        self.require(request, "accounts.add_channelaccount")
        classes = [channel_class(kind) for kind in KINDS]
        kinds = [
            {
                "kind": each.kind,
                "label": each.label,
                "abilities": each.abilities,
                "is_risky": each.is_risky,
                "can_be_scanned": scan.can_be_scanned(each.kind),
            }
            for each in classes
        ]
        return self.page(request, "admin/accounts/kinds.html", _("Which kind of account?"), kinds=kinds)

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        account = self.get_or_404(request, object_id)
        known = account.kind in KINDS
        if not known and request.method == "GET":
            text = _(
                "This bridge does not know the kind “%(kind)s” any more: the account can only be renamed and disabled."
            )
            messages.warning(request, text % {"kind": account.kind})
        context: dict[str, Any] = {"may_change": self.has_change_permission(request)}
        if known:
            channel = build_channel(account)
            context |= {"channel": channel, "panels": PanelsOfAccount(account, channel, user_of(request))}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kind = obj.kind if obj else request.GET["kind"]
        base = _page_form(kind) if kind in KINDS else forms.ModelForm
        made = super().get_form(request, obj, change, **{"form": base, **kwargs})
        for field in made.base_fields.values():
            style(field)
        return made

    def get_fieldsets(self, request: HttpRequest, obj: ChannelAccount | None = None) -> Any:
        """Show the credentials only to people who may change them, and only where the kind is known."""
        kind = obj.kind if obj else request.GET["kind"]
        checks = ["moderation_scope"] if can(kind, Moderated) else []
        ours = (None, {"fields": ["name", "enabled", "retention_days", *checks]})
        if kind not in KINDS or (obj and not self.has_change_permission(request, obj)):
            return [ours]
        channel = channel_class(kind)
        return [
            ours,
            (_("From the platform's console"), {"fields": list(channel.Credentials().fields)}),
            (_("Fair share"), {"fields": ["gateway_share", "turns_per_minute"]}),
            (_("Staff"), {"fields": ["staff_minutes"]}),
            (
                _("The bridge's own sentences"),
                {"fields": ["language", *(f"{SENTENCE_PREFIX}{name}" for name in SENTENCES)], "classes": ["collapse"]},
            ),
            (_("Only for a proxy or the simulator"), {"fields": ["api_base_url"]}),
        ]

    def save_model(self, request: Any, obj: ChannelAccount, form: AccountForm, change: bool) -> None:
        """Write only the configuration, so that columns that other processes wrote meanwhile stay. A stopped account is revived."""
        if change:
            obj.save(update_fields=CONFIGURATION)
            obj.revive()
        else:
            obj.save()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse what would make an alert rule one about all accounts."""
        names, counts, lacking, protected = super().get_deleted_objects(objs, request)
        text = _(
            "Alert rule %(rule)s: it is about nothing else, and without an account it would be about all. Choose another account there, "
            "or delete the rule, first."
        )
        limited = [text % {"rule": rule} for rule in deleting.list_rules_limited_to(objs)]
        return names, counts, lacking, [*protected, *limited]

    def has_delete_permission(self, request: HttpRequest, obj: ChannelAccount | None = None) -> bool:
        """Messages are kept, so an account that has messages can only be disabled."""
        return super().has_delete_permission(request, obj) and not (obj and obj.messages.exists())

    def run_test(self, request: HttpRequest, account: ChannelAccount) -> None:
        channel = _channel(account)
        account.revive()
        try:
            found = channel.test()
        except ChannelError as error:
            self._test_failed(request, account, error)
            return
        account.set_state(Health.OK)
        sentences = [str(sentence) for sentence in found] or [str(_("The platform answers."))]
        for sentence in sentences:
            messages.success(request, sentence)
        self.log_and_audit(request, account, TESTED % " ".join(sentences))

    def _test_failed(self, request: HttpRequest, account: ChannelAccount, error: ChannelError) -> None:
        """Show the error of a test, unless it became the account's state, which the page shows already."""
        states = {Action.CONFIG: Health.STOPPED, Action.RETRY: Health.FAILING, Action.UNKNOWN: Health.FAILING}
        if error.action not in states:
            self.notify_and_audit(request, account, str(error), messages.ERROR)
            return
        account.set_state(states[error.action], error.code, error.params)
        messages.error(request, _("The test failed. The reason is shown beside the state."))
        self.log_and_audit(request, account, TESTED % error)

    def run_switch(self, request: HttpRequest, account: ChannelAccount) -> None:
        account.enabled = not account.enabled
        account.save(update_fields=["enabled", "updated_at"])
        if account.enabled:
            account.revive()
        self.notify(request, account, _("Enabled.") if account.enabled else _("Disabled."))


def _page_form(kind: str) -> type[AccountForm]:
    return type("AccountPageForm", (HidesSecrets, account_form(kind)), {"__module__": __name__})


def _channel(account: ChannelAccount) -> Channel:
    """Raises BadRequest for a kind that is no longer registered: its page offers no button that would need it."""
    if account.kind not in KINDS:
        raise BadRequest
    return build_channel(account)
