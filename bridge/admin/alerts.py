"""Alerts: the channels by which staff are told, and the rules that say of what. Addresses and secrets are shown nowhere in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.forms import SimpleArrayField
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.admin.secret_fields import HidesSecrets, SecretAddressInput
from bridge.admin.unfold import style
from bridge.models import AlertChannel, AlertDelivery, AlertMessage, AlertRule, ChannelKind, RuleKind
from bridge.models.alerts import MAX_EMAILS, NUMBERS, RULE_NUMBERS
from bridge.operations.alerts import channels, deleting, sending
from bridge.security.permissions import may_read
from bridge.ui import formatting
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    _ChannelForm = forms.ModelForm[AlertChannel]
    _RuleForm = forms.ModelForm[AlertRule]
else:
    _ChannelForm = _RuleForm = forms.ModelForm

CHANNEL_FIELDS = (
    "name", "enabled", "kind", "account", "url", "emails", "language", "rules", "quiet_from", "quiet_until", "max_per_hour",
)  # fmt: skip
ADDRESS_FIELDS = ("kind", "account", "url", "emails")
WRITTEN = [name for name in CHANNEL_FIELDS if name != "rules"]
HOURS = ("work_from", "work_until", "weekdays_only")
RULE_FIELDS = ("kind", "name", "enabled", *NUMBERS, "least_severity", "codes", "accounts", *HOURS, "reminder_hours")
LATEST = 10
# Which kinds have a field that not all have.
CHANNEL_KINDS: dict[str, tuple[str, ...]] = {
    "account": (ChannelKind.ROBOT,),
    "url": (ChannelKind.ROBOT, ChannelKind.WEBHOOK),
    "emails": (ChannelKind.EMAIL,),
}
ABOUT_NO_ACCOUNT = (RuleKind.WORKER_SILENT, RuleKind.GATEWAY_DOWN, RuleKind.OTHER)
RULE_KINDS: dict[str, tuple[str, ...]] = {
    **{name: tuple(kind for kind, used in RULE_NUMBERS.items() if name in used) for name in NUMBERS},
    "codes": (RuleKind.FAILURE_CODES,),
    "least_severity": (RuleKind.OTHER,),
    "accounts": tuple(kind for kind in RuleKind if kind not in ABOUT_NO_ACCOUNT),
    **dict.fromkeys(HOURS, (RuleKind.SILENCE,)),
}


def show_by_kind(kinds: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return unfold's `conditional_fields`. The page of a row has no choice of the kind, and only the fields of the row's own."""
    chosen = {name: [f"kind == '{str(kind)}'" for kind in having] for name, having in kinds.items()}
    return {name: " || ".join(["typeof kind === 'undefined'", *conditions]) for name, conditions in chosen.items()}


class ChannelForm(HidesSecrets, _ChannelForm):
    """An address goes in and never comes out in full, for it holds a secret; a blank keeps the stored one."""

    url = forms.CharField(
        label=_("Address"),
        required=False,
        widget=SecretAddressInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("After saving only its host is shown; then leave it empty to keep it."),
    )
    emails = SimpleArrayField(
        forms.EmailField(),
        label=_("E-mail addresses"),
        required=False,
        max_length=MAX_EMAILS,
        help_text=_("With commas between them. Each gets a mail of its own."),
    )

    class Meta:
        model = AlertChannel
        fields = CHANNEL_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("instance"):
            kwargs["instance"].forget_unreadable()
        super().__init__(*args, **kwargs)
        if "url" in self.fields and self.instance.url:
            self.initial["url"] = ""
            self.fields["url"].widget.attrs["placeholder"] = f"{self.instance.shown_target}/…"

    def clean(self) -> dict[str, Any]:
        """Keep the stored address where none was entered and the kind is the same."""
        given = super().clean() or self.cleaned_data
        same = given.get("kind", self.instance.kind) == self.instance.kind and not given.get("account")
        if "url" in self.fields and not without_invisible(given.get("url") or "") and same:
            given["url"] = self.instance.url
        return given


class RuleForm(_RuleForm):
    codes = SimpleArrayField(
        forms.CharField(max_length=64),
        label=_("Codes"),
        required=False,
        help_text=_("With commas between them, as the page of a delivery shows them. Empty: every code."),
    )

    class Meta:
        model = AlertRule
        fields = RULE_FIELDS


class AlertsAdmin(BridgeAdmin[Any]):
    """What the pages of rules and channels share."""

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj and not self.has_change_permission(request, obj):
            kwargs["form"] = forms.ModelForm
        made = super().get_form(request, obj, change, **kwargs)
        for field in made.base_fields.values():
            style(field)
        return made


@admin.register(AlertChannel)
class ChannelAdmin(AlertsAdmin):
    form = ChannelForm
    list_display = ("name", "kind", "target", "state", "last_result", "last_sent")
    list_select_related = ("account",)
    list_filter = ("kind", "enabled")
    search_fields = ("name",)
    search_help_text = _("Name")
    change_form_template = "admin/bridge/alert_channel.html"
    change_list_template = "admin/bridge/alert_list.html"
    empty_hint = _(
        "Add a channel: a group robot, e-mail addresses or a webhook. Until then nobody is told when something is wrong."
    )
    buttons = dict.fromkeys(("test", "switch", "rotate"), "bridge.change_alertchannel")
    conditional_fields = show_by_kind(CHANNEL_KINDS)
    exported = columns(
        Column("id", _("number")),
        "name",
        "kind",
        Column("target"),
        Column("state"),
        "language",
        "quiet_from",
        "quiet_until",
        "max_per_hour",
        Column("last_result"),
        Column("last_sent", read=lambda row: row.last and row.last.created_at),
        "failures",
        "created_at",
    )
    exported_with = ("account",)

    @admin.display(description=_("to"))
    def target(self, channel: AlertChannel) -> str:
        return channel.shown_target if channel.is_set else str(_("not set any more"))

    @admin.display(description=_("state"), ordering="enabled")
    def state(self, channel: AlertChannel) -> SafeString:
        return state_badge(channel)

    @admin.display(description=_("last result"))
    def last_result(self, channel: AlertChannel) -> SafeString | str:
        last: AlertMessage | None = getattr(channel, "last", None)
        return message_badge(last) if last else "–"

    @admin.display(description=_("last sent"))
    def last_sent(self, channel: AlertChannel) -> SafeString | str:
        last: AlertMessage | None = getattr(channel, "last", None)
        return formatting.relative_time(last.created_at) if last else "–"

    @admin.display(description=_("rules"))
    def rule_names(self, channel: AlertChannel) -> str:
        return ", ".join(str(rule) for rule in channel.rules.all()) or str(_("all rules"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        channels.add_environment_channels()
        return super().get_changelist_instance(request)

    def load_details(self, request: HttpRequest, rows: list[AlertChannel]) -> None:  # noqa: ARG002
        _load_last(rows)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("secret", "account__credentials")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count what was sent by these channels, where Django would list each alert of a year."""
        sent = AlertMessage.objects.filter(channel__in=objs).count()
        counts = {self.opts.verbose_name_plural: len(objs), AlertMessage._meta.verbose_name_plural: sent}
        is_allowed = all(self.has_delete_permission(request, each) for each in objs)
        return [str(each) for each in objs], counts, set() if is_allowed else {self.opts.verbose_name}, []

    def get_fields(self, request: HttpRequest, obj: AlertChannel | None = None) -> Any:
        """Show no address that is set in the environment, and none to people who may only view."""
        if obj is None:
            return CHANNEL_FIELDS
        if self.has_change_permission(request, obj) and not obj.environment:
            return [name for name in CHANNEL_FIELDS if obj.kind in CHANNEL_KINDS.get(name, (obj.kind,))]
        others = [name for name in CHANNEL_FIELDS if name not in (*ADDRESS_FIELDS, "rules")]
        rules = "rules" if self.has_change_permission(request, obj) else "rule_names"
        return (*others[:2], "kind", "target", rules, *others[2:])

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"language": get_language(), **super().get_changeform_initial_data(request)}

    def get_readonly_fields(self, request: HttpRequest, obj: AlertChannel | None = None) -> Any:
        if obj is None:
            return ()
        if self.has_change_permission(request, obj):
            return ("kind", "target", "name") if obj.environment else ("kind",)
        return ("target", "rule_names")

    def has_delete_permission(self, request: HttpRequest, obj: AlertChannel | None = None) -> bool:
        """A channel of the environment would be there again at once."""
        return super().has_delete_permission(request, obj) and not (obj and obj.environment and obj.is_set)

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        channel = self.get_or_404(request, object_id)
        latest = list(channel.messages.order_by("-id")[:LATEST])
        waiting = channel.alerts.filter(state=AlertDelivery.State.WAITING)
        about = {
            "badge": state_badge(channel),
            "latest": latest,
            "waiting": waiting.count(),
            "next_time": channels.next_time(channel),
            "may_change": self.has_change_permission(request),
            "signs": channel.kind == ChannelKind.WEBHOOK,
        }
        about["may_read"] = may_read(user_of(request))
        return super().change_view(request, object_id, form_url, {**about, **(extra_context or {})})

    def save_model(self, request: Any, obj: AlertChannel, form: Any, change: bool) -> None:
        """Write only the configuration, and try again at once what could not be sent by the old one."""
        if not change:
            obj.save()
            return
        obj.failures, obj.next_try_at = 0, None
        obj.save(update_fields=[*WRITTEN, "failures", "next_try_at", "updated_at"])

    def response_add(self, request: Any, obj: AlertChannel, post_url_continue: str | None = None) -> Any:
        """Answer with a page where there is a secret, because it is shown once and stored in no session, message or log."""
        if obj.has_new_secret:
            return self.secret_page(request, obj, obj.secret)
        messages.success(request, _("Saved. Send a test now: only that shows whether an alert arrives."))
        return self.redirect_to(obj)

    def response_change(self, request: Any, obj: AlertChannel) -> Any:
        return (
            self.secret_page(request, obj, obj.secret) if obj.has_new_secret else super().response_change(request, obj)
        )

    def secret_page(self, request: HttpRequest, channel: AlertChannel, secret: str) -> HttpResponse:
        title = _("The secret of %s") % channel
        done = self.url("change", channel.pk)
        return self.page(request, "admin/bridge/alert_secret.html", title, channel, secret=secret, done=done)

    def run_test(self, request: HttpRequest, channel: AlertChannel) -> None:
        show_test(request, channel, sending.send_test(channel))
        self.log_and_audit(request, channel, _("Test alert sent."))

    def run_switch(self, request: HttpRequest, channel: AlertChannel) -> None:
        channel.enabled = not channel.enabled
        channel.save(update_fields=["enabled", "updated_at"])
        self.notify(request, channel, _("Enabled.") if channel.enabled else _("Disabled."))

    def run_rotate(self, request: HttpRequest, channel: AlertChannel) -> HttpResponse | None:
        if channel.kind != ChannelKind.WEBHOOK:
            messages.error(request, _("Only a webhook has a secret."))
            return None
        secret = channel.rotate()
        self.log_change(request, channel, _("Secret rotated."))
        return self.secret_page(request, channel, secret)


@admin.register(AlertRule)
class RuleAdmin(AlertsAdmin):
    form = RuleForm
    list_display = ("title", "watches", "state", "channel_names", "reminder")
    list_filter = ("enabled", "kind")
    search_fields = ("name",)
    search_help_text = _("Name")
    change_list_template = "admin/bridge/alert_list.html"
    buttons = {"switch": "bridge.change_alertrule"}
    empty_hint = _("Without a rule nobody is told of anything.")
    conditional_fields = show_by_kind(RULE_KINDS)
    exported = columns(
        Column("id", _("number")),
        Column("title"),
        Column("watches"),
        "enabled",
        Column("channel_names"),
        Column("accounts", _("accounts"), lambda row: [str(account) for account in row.accounts.all()]),
        "reminder_hours",
        "created_at",
    )

    @admin.display(description=_("rule"), ordering="name")
    def title(self, rule: AlertRule) -> str:
        return str(rule)

    @admin.display(description=_("watches"), ordering="kind")
    def watches(self, rule: AlertRule) -> str:
        return describe_rule(rule)

    @admin.display(description=_("state"), ordering="enabled")
    def state(self, rule: AlertRule) -> SafeString:
        return formatting.badge(_("enabled"), "good") if rule.enabled else formatting.badge(_("disabled"), "quiet")

    @admin.display(description=_("channels"))
    def channel_names(self, rule: AlertRule) -> str:
        channels = {*rule.channels.all(), *getattr(rule, "channels_of_all", ())}
        return ", ".join(sorted(map(_name_channel, channels))) or str(_("none"))

    @admin.display(description=_("reminder"))
    def reminder(self, rule: AlertRule) -> str:
        return str(_("after %d h") % rule.reminder_hours) if rule.reminder_hours else "–"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("channels", "accounts")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        channels.add_environment_channels()
        return super().get_changelist_instance(request)

    def load_details(self, request: HttpRequest, rows: list[AlertRule]) -> None:  # noqa: ARG002
        everything = list(AlertChannel.objects.filter(rules=None))
        for rule in rows:
            rule.channels_of_all = everything  # type: ignore[attr-defined]  # for a column

    def get_fields(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        return [name for name in RULE_FIELDS if obj is None or obj.kind in RULE_KINDS.get(name, (obj.kind,))]

    def get_readonly_fields(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        return ("kind",) if obj and self.has_change_permission(request, obj) else ()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse what would have a channel tell of everything, alone or with others that are deleted at once."""
        names, counts, lacking, protected = super().get_deleted_objects(objs, request)
        text = _(
            "Alert channel %(channel)s: it tells by no other rule, and without one it would tell of everything. Choose another rule "
            "there, or delete the channel, first."
        )
        limited = [text % {"channel": channel} for channel in deleting.list_channels_limited_to(objs)]
        return names, counts, lacking, [*protected, *limited]

    def run_switch(self, request: HttpRequest, rule: AlertRule) -> None:
        rule.enabled = not rule.enabled
        rule.save(update_fields=["enabled", "updated_at"])
        self.notify(request, rule, _("Enabled.") if rule.enabled else _("Disabled."))


def _name_channel(channel: AlertChannel) -> str:
    """Return the name of a channel, and that it tells nothing where it is switched off or its settings are gone."""
    tells = channel.enabled and channel.is_set
    return str(channel) if tells else str(_("%(channel)s (disabled)") % {"channel": channel})


def show_test(request: HttpRequest, channel: AlertChannel, message: AlertMessage) -> None:
    """Say in words what became of a test alert."""
    name = {"channel": channel.name, "error": message.error}
    if message.state != AlertMessage.State.ACCEPTED:
        messages.error(request, _("The test alert by %(channel)s was not accepted: %(error)s") % name)
    elif message.error:
        messages.warning(request, _("The test alert by %(channel)s was accepted, but: %(error)s") % name)
    else:
        messages.success(request, _("The test alert by %(channel)s was accepted. Look whether it has arrived.") % name)


def describe_rule(rule: AlertRule) -> str:
    """Return what a rule watches with its numbers, as a phrase."""
    numbers = {
        "minutes": rule.minutes,
        "percent": rule.percent,
        "count": rule.least_count,
        "severity": rule.get_least_severity_display(),
    }
    phrases = {
        "backlog": _("messages that wait for more than %(minutes)s minutes"),
        "failure_rate": _("%(percent)s %% and at least %(count)s deliveries that fail within %(minutes)s minutes"),
        "failure_codes": ngettext(
            "at least %(count)s failed delivery of one cause",
            "at least %(count)s failed deliveries of one cause",
            rule.least_count or 0,
        ),
        "token": _("an access token that cannot be refreshed, or ends within %(minutes)s minutes"),
        "silence": _("nothing received for %(minutes)s minutes"),
        "other": _("anything else that is listed as an incident, from severity %(severity)s on"),
        "waiting_chats": _("chats that wait for staff for more than %(minutes)s minutes"),
    }
    return str(phrases[rule.kind]) % numbers if rule.kind in phrases else str(rule.get_kind_display())


def state_badge(channel: AlertChannel) -> SafeString:
    if not channel.is_set:
        return formatting.badge(_("not set any more"), "quiet")
    if not channel.enabled:
        return formatting.badge(_("disabled"), "quiet")
    if channel.failures:
        return formatting.badge(_("failing – retrying"), "bad")
    return formatting.badge(_("set in the environment") if channel.environment else _("enabled"), "good")


def message_badge(message: AlertMessage) -> SafeString:
    colours = {"accepted": "warn" if message.code else "good", "sending": "info"}
    return formatting.badge(message.get_state_display(), colours.get(message.state, "bad"))


def _load_last(rows: Iterable[AlertChannel]) -> None:
    """Give each channel its last message."""
    last = AlertMessage.objects.filter(channel__in=[row.pk for row in rows]).order_by("channel_id", "-id")
    found = {message.channel_id: message for message in last.distinct("channel_id")}
    for row in rows:
        row.last = found.get(row.pk)  # type: ignore[attr-defined]
