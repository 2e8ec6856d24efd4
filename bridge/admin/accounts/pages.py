"""Accounts: choose the kind, then its fields. Everything that differs between kinds comes from the channel class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.channels import build_channel, stored_tokens
from accounts.forms import CONFIGURATION, SENTENCE_PREFIX, AccountForm, account_form
from accounts.limits import remaining
from accounts.models import AccessToken, ChannelAccount, Health, kind_choices
from bridge.admin.accounts import groups, quotas, templates
from bridge.admin.base import TESTED, ConfiguredAdmin
from bridge.admin.unfold import style
from bridge.people import peers
from bridge.pipeline.inbound import callback_stats
from bridge.security.permissions import HIDDEN
from bridge.ui import formatting
from channels_wechat import KINDS, can, channel_class
from channels_wechat.contract.capabilities import Callbacks, Groups, Moderated, Quotas, Templates, Tokens
from channels_wechat.contract.errors import Action, ChannelError
from channels_wechat.contract.messages import Peer
from channels_wechat.contract.pasted import without_invisible
from channels_wechat.contract.sentences import SENTENCES

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

    from channels_wechat.contract.channel import Channel


MOST_ID = 200


class KindFilter(admin.SimpleListFilter):
    title, parameter_name = gettext_lazy("kind"), "kind"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return list(kind_choices())

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]
        return queryset.filter(kind=self.value()) if self.value() else queryset


# What came of a callback that was accepted, and why one was refused, by the code that is counted.
CALLBACK_ACCEPTANCES = {"ok": "", "verified": gettext_lazy("the address was verified")}
CALLBACK_REFUSALS = {
    "signature": gettext_lazy("wrong signature (Token)"),
    "padding": gettext_lazy("not readable with the EncodingAESKey"),
    "length": gettext_lazy("not readable with the EncodingAESKey"),
    "base64": gettext_lazy("not readable: no base64"),
    "json": gettext_lazy("not readable: no JSON"),
    "xml": gettext_lazy("not readable: no XML"),
    "dtd": gettext_lazy("not readable: XML with a DTD"),
    "receiveid": gettext_lazy("for another company or account"),
    "agent": gettext_lazy("for another app"),
    "aibotid": gettext_lazy("for another bot"),
    "stream": gettext_lazy("for an unknown stream"),
    "downgrade": gettext_lazy("not encrypted"),
    "mode": gettext_lazy("encrypted, and there is no EncodingAESKey"),
    "stale": gettext_lazy("too old"),
    "too_large": gettext_lazy("too large"),
}


@admin.register(ChannelAccount)
class AccountAdmin(ConfiguredAdmin[ChannelAccount]):
    list_display = ("name", "kind_label", "health", "reason", "since")
    list_filter = (KindFilter, "enabled", "state")
    search_fields = ("name", "external_id")
    search_help_text = gettext_lazy("Name or id")
    change_form_template = "admin/accounts/account.html"
    empty_hint = gettext_lazy(
        "Add the WeChat identity that the agents are to speak as: an AI bot for groups, or an app."
    )
    next_step = gettext_lazy("Next: enter the callback address below in the platform's console, then press Test.")
    instead = {"reason": "hidden_reason"}
    buttons = {
        "test": "accounts.change_channelaccount",
        "refresh_token": "accounts.change_channelaccount",
        "switch": "accounts.change_channelaccount",
        "write": "bridge.send_message",
        "quotas": "accounts.change_channelaccount",
        "clear_quotas": "accounts.change_channelaccount",
        "ask_again": "accounts.change_channelaccount",
    }

    @admin.display(description=gettext_lazy("kind"), ordering="kind")
    def kind_label(self, account: ChannelAccount) -> Any:
        return account.get_kind_display()

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def health(self, account: ChannelAccount) -> SafeString:
        return formatting.health_badge(account)

    @admin.display(description=gettext_lazy("reason"))
    def reason(self, account: ChannelAccount) -> str:
        return account.state_reason or "–"

    @admin.display(description=gettext_lazy("reason"))
    def hidden_reason(self, account: ChannelAccount) -> str:
        return str(HIDDEN) if account.state_reason else "–"

    @admin.display(description=gettext_lazy("since"), ordering="state_since")
    def since(self, account: ChannelAccount) -> SafeString | str:
        return formatting.relative_time(account.state_since)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChannelAccount]:
        """Nothing is decrypted for a list."""
        return super().get_queryset(request).defer("credentials")

    def get_urls(self) -> list[URLPattern]:
        pages = [
            self.route("<int:pk>/groups/", partial(groups.overview, self), "groups"),
            self.route("<int:pk>/groups/<int:conversation>/", partial(groups.one, self), "group"),
            self.route("<int:pk>/templates/", partial(templates.overview, self), "templates"),
        ]
        return [*pages, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Without a kind in the address: the choice of one."""
        if request.GET.get("kind") in KINDS:
            label = channel_class(request.GET["kind"]).label
            title = {"title": _("Add: %(kind)s") % {"kind": label}}
            return super().add_view(request, form_url, {**title, **(extra_context or {})})
        self.need(request, "accounts.add_channelaccount")
        classes = [channel_class(kind) for kind in KINDS]
        kinds = [{"kind": each.kind, "label": each.label, "abilities": each.abilities} for each in classes]
        return self.page(request, "admin/accounts/kinds.html", _("Which kind of account?"), kinds=kinds)

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        account = self.seen(request, object_id)
        known = account.kind in KINDS
        if not known and request.method == "GET":
            text = _(
                "This bridge does not know the kind “%(kind)s” any more: the account can only be renamed and switched off."
            )
            messages.warning(request, text % {"kind": account.kind})
        about = {"about": About(account) if known else None, "may_change": self.has_change_permission(request)}
        return super().change_view(request, object_id, form_url, {**about, **(extra_context or {})})

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kind = obj.kind if obj else request.GET["kind"]
        base = account_form(kind) if kind in KINDS else forms.ModelForm
        made = super().get_form(request, obj, change, **{"form": base, **kwargs})
        for field in made.base_fields.values():
            style(field)
        return made

    def get_fieldsets(self, request: HttpRequest, obj: ChannelAccount | None = None) -> Any:
        """Credentials only for who may change them, and only where their kind is known."""
        kind = obj.kind if obj else request.GET["kind"]
        checks = ["moderation_scope"] if can(kind, Moderated) else []
        ours = (None, {"fields": ["name", "enabled", "retention_days", *checks]})
        if kind not in KINDS or (obj and not self.has_change_permission(request, obj)):
            return [ours]
        channel = channel_class(kind)
        return [
            ours,
            (_("From the platform's console"), {"fields": list(channel.Credentials.base_fields)}),
            (_("Fair share"), {"fields": ["gateway_share", "turns_per_minute"]}),
            (
                _("Sentences of the bridge itself"),
                {"fields": ["language", *(f"{SENTENCE_PREFIX}{name}" for name in SENTENCES)], "classes": ["collapse"]},
            ),
            (_("Only for a proxy or the simulator"), {"fields": ["api_base_url"]}),
        ]

    def save_model(self, request: Any, obj: ChannelAccount, form: AccountForm, change: bool) -> None:
        """Only the configuration is written: what other processes found out meanwhile stays. A stopped account tries again."""
        if change:
            obj.save(update_fields=CONFIGURATION)
            obj.revive()
        else:
            obj.save()

    def has_delete_permission(self, request: HttpRequest, obj: ChannelAccount | None = None) -> bool:
        """What was said is kept, so an account that spoke is switched off instead."""
        return super().has_delete_permission(request, obj) and not (obj and obj.messages.exists())

    def press_test(self, request: HttpRequest, account: ChannelAccount) -> None:
        channel = _channel(account)
        account.revive()
        try:
            found = channel.test()
        except ChannelError as error:
            self._test_failed(request, account, error)
            return
        account.set_state(Health.OK)
        sentences = [str(sentence) for sentence in found] or [_("The platform answers.")]
        for sentence in sentences:
            messages.success(request, sentence)
        self.noted(request, account, TESTED % " ".join(sentences))

    def _test_failed(self, request: HttpRequest, account: ChannelAccount, error: ChannelError) -> None:
        """What becomes the account's state stands once on its page, beside the state."""
        states = {Action.CONFIG: Health.STOPPED, Action.RETRY: Health.FAILING, Action.UNKNOWN: Health.FAILING}
        if error.action not in states:
            self.did(request, account, str(error), messages.ERROR)
            return
        account.set_state(states[error.action], str(error))
        messages.error(request, _("The test failed: the reason stands beside the state."))
        self.noted(request, account, TESTED % error)

    def press_refresh_token(self, request: HttpRequest, account: ChannelAccount) -> None:
        _channel(account)
        account.revive()  # the stored token counts as over by that
        try:
            stored_tokens(account).renew(refused="")
        except ChannelError as error:
            self.did(request, account, str(error), messages.ERROR)
        else:
            self.did(request, account, _("There is a new access token."))

    def press_write(self, request: HttpRequest, account: ChannelAccount) -> HttpResponseRedirect:
        """To the conversation with a person who may never have written; also what else the kind takes as a direct peer."""
        peer_id = without_invisible(request.POST.get("peer_id", ""))
        if not peer_id or not peer_id.isprintable() or len(peer_id) > MOST_ID:
            raise BadRequest
        conversation = peers.conversation_with(account, "direct", peer_id)
        return HttpResponseRedirect(reverse("admin:bridge_conversation_change", args=[conversation.pk]))

    def press_quotas(self, request: HttpRequest, account: ChannelAccount) -> HttpResponse:
        return quotas.show(self, request, account)

    def press_clear_quotas(self, request: HttpRequest, account: ChannelAccount) -> HttpResponse | None:
        return quotas.clear(self, request, account)

    def press_ask_again(self, request: HttpRequest, account: ChannelAccount) -> None:
        quotas.ask_again(self, request, account)

    def press_switch(self, request: HttpRequest, account: ChannelAccount) -> None:
        account.enabled = not account.enabled
        account.save(update_fields=["enabled", "updated_at"])
        if account.enabled:
            account.revive()
        self.told(request, account, _("Switched on.") if account.enabled else _("Switched off."))


def _channel(account: ChannelAccount) -> Channel:
    """Raises BadRequest for a kind that is no longer registered: its page offers no button that would need it."""
    if account.kind not in KINDS:
        raise BadRequest
    return build_channel(account)


@dataclass
class About:
    """What the account's page shows beside its form; read only when the template asks."""

    account: ChannelAccount

    @property
    def channel(self) -> Channel:
        return build_channel(self.account)

    @property
    def hears_callbacks(self) -> bool:
        return isinstance(self.channel, Callbacks)

    @property
    def writes_unasked(self) -> bool:
        return not self.channel.cannot_push(Peer("direct", "somebody"))

    @property
    def callback_url(self) -> str:
        """Empty where nobody has told us our own address."""
        return f"{settings.PUBLIC_URL}/callbacks/{self.account.key}" if settings.PUBLIC_URL else ""

    @property
    def last_callback(self) -> dict[str, Any] | None:
        found = callback_stats.last_callback(self.account)
        if found is None:
            return None
        at, result = found
        accepted = result in CALLBACK_ACCEPTANCES
        words = (CALLBACK_ACCEPTANCES if accepted else CALLBACK_REFUSALS).get(result, result)
        return {"at": at, "refused": not accepted, "result": words}

    @cached_property
    def refusals(self) -> dict[str, int]:
        """How many of each sort, in words; most frequent first."""
        counts: Counter[str] = Counter()
        for code, count in callback_stats.refused_callbacks(self.account).items():
            counts[str(CALLBACK_REFUSALS.get(code, code))] += count
        return dict(counts.most_common())

    @property
    def limits(self) -> list[dict[str, Any]]:
        found = remaining(self.channel.limits, str(self.account.key))
        return [{"limit": limit, "left": rest if limit.scope == "account" else None} for limit, rest in found]

    @property
    def has_token(self) -> bool:
        return isinstance(self.channel, Tokens)

    @property
    def token(self) -> AccessToken | None:
        return AccessToken.objects.filter(account=self.account).defer("value").first()

    @property
    def makes_groups(self) -> bool:
        return isinstance(self.channel, Groups)

    @property
    def counts_calls(self) -> bool:
        return isinstance(self.channel, Quotas)

    @property
    def has_templates(self) -> bool:
        return isinstance(self.channel, Templates)

    @property
    def restrictions(self) -> list[dict[str, Any]]:
        return quotas.restrictions(self.account)
