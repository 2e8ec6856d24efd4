"""Tokens of the API: whose they are and how long they are good for, and taking one back. `manage.py issue_token` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from bridge.admin.base import ReadOnlyAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.ui import formatting

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

# Enough to tell tokens apart, the prefix included; knox keeps more of it, for its lookup.
SHOWN_CHARACTERS = 10

admin.site.unregister(AuthToken)
# As pages call them; the library says "auth token".
AuthToken._meta.verbose_name, AuthToken._meta.verbose_name_plural = _("API token"), _("API tokens")
AuthToken._meta.get_field("user").verbose_name = _("user")
AuthToken._meta.get_field("expiry").verbose_name = _("expires")


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin[AuthToken]):
    list_display = ("start", "user", "state", "made", "until")
    fields = list_display  # not the digest, by which the library finds a token
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__username",)
    search_help_text = _("Name of the user")
    ordering = ("user__username", "-created")
    exported = columns(
        Column("start"), "user", Column("state"), Column("created", _("issued")), Column("expiry", _("expires"))
    )
    empty_hint = _("Scripts call the API with a token. Make one for a user by the command: manage.py issue_token USER")

    @admin.display(description=_("begins with"))
    def start(self, token: AuthToken) -> str:
        return f"{token.token_key[:SHOWN_CHARACTERS]}…"

    @admin.display(description=_("state"))
    def state(self, token: AuthToken) -> SafeString:
        if token.expiry and token.expiry < timezone.now():
            return formatting.badge(_("expired"), "quiet")
        if not token.user.is_active:
            return formatting.badge(_("the user is not active"), "warn")
        return formatting.badge(_("good"), "good")

    @admin.display(description=_("issued"), ordering="created")
    def made(self, token: AuthToken) -> SafeString | str:
        return formatting.relative_time(token.created)

    @admin.display(description=_("expires"), ordering="expiry")
    def until(self, token: AuthToken) -> SafeString | str:
        return formatting.relative_time(token.expiry)

    def has_delete_permission(self, request: HttpRequest, obj: AuthToken | None = None) -> bool:
        """Allow deleting tokens in the list; a deleted token is not accepted any more."""
        return user_of(request).has_perm("knox.delete_authtoken")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name the tokens as in the list, because Django would print the hash."""
        _names, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return [f"{self.start(token)} ({token.user})" for token in objs], counts, lacking, protected
