"""People who may log in, and the tokens of scripts, in the admin's look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group, User
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from bridge import shown
from bridge.admin import theme
from bridge.admin.desk import Desk

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

admin.site.unregister([User, Group, AuthToken])


@admin.register(User)
class StaffAdmin(theme.UserAdmin):
    form = theme.UserChangeForm
    add_form = theme.UserCreationForm
    change_password_form = theme.AdminPasswordChangeForm

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A superuser's password and rights are a superuser's business."""
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser makes another."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser")

    def get_actions(self, request: HttpRequest) -> Any:
        """No deleting in bulk: it would not ask for each row."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return request.user.is_superuser or user is None or not user.is_superuser


@admin.register(Group)
class StaffGroupAdmin(GroupAdmin, theme.ModelAdmin[Group]):
    """Rights are given to groups of staff."""


@admin.register(AuthToken)
class TokenAdmin(Desk[AuthToken]):
    """A token is shown once, where `manage.py issue_token` prints it; here it is seen by its first letters, and taken back."""

    list_display = ("starts", "user", "issued", "ends")
    list_select_related = ("user",)
    search_fields = ("token_key", "user__username")
    fields = readonly_fields = ("starts", "user", "issued", "ends")
    empty_hint = _("A script gets its token by “manage.py issue_token USER”, which prints it once.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("begins with"))
    def starts(self, token: AuthToken) -> str:
        return f"{token.token_key}…"

    @admin.display(description=_("issued"), ordering="created")
    def issued(self, token: AuthToken) -> SafeString | str:
        return shown.ago(token.created)

    @admin.display(description=_("ends"), ordering="expiry")
    def ends(self, token: AuthToken) -> SafeString | str:
        return shown.ago(token.expiry)
