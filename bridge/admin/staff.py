"""People who may log in, in the admin's look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group, Permission, User
from django.utils.translation import gettext_lazy as _

from bridge.admin import unfold
from bridge.admin.base import TitledAdmin
from bridge.admin.export import Column, columns
from bridge.ui.permissions import describe

if TYPE_CHECKING:
    from django.http import HttpRequest

admin.site.unregister([User, Group])


def _say_in_the_readers_language(field: Any) -> Any:
    """field: the choice of permissions, or another one, which stays as it is."""
    if field is not None and field.queryset.model is Permission:
        field.queryset = field.queryset.select_related("content_type")
        field.label_from_instance = describe
    return field


@admin.register(User)
class StaffAdmin(unfold.UserAdmin, TitledAdmin[User]):
    form = unfold.UserChangeForm
    add_form = unfold.UserCreationForm
    change_password_form = unfold.AdminPasswordChangeForm
    exported = columns(
        Column("id", _("number")),
        "username",
        "first_name",
        "last_name",
        "email",
        "is_active",
        "is_staff",
        "is_superuser",
        Column("groups", _("staff groups"), lambda row: [group.name for group in row.groups.all()]),
        "last_login",
        "date_joined",
    )
    exported_with = ("groups",)

    def formfield_for_manytomany(self, *args: Any, **options: Any) -> Any:
        return _say_in_the_readers_language(super().formfield_for_manytomany(*args, **options))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A superuser's password and rights are a superuser's business."""
        return super().has_change_permission(request, obj) and _may_change(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_change(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser may make another user a superuser."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser")

    def get_actions(self, request: HttpRequest) -> Any:
        """No deleting in bulk: it would not ask for each row."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


def _may_change(request: HttpRequest, user: User | None) -> bool:
    return request.user.is_superuser or user is None or not user.is_superuser


@admin.register(Group)
class StaffGroupAdmin(TitledAdmin[Group], GroupAdmin):
    """Rights are given to groups of staff."""

    exported = columns(
        Column("id", _("number")),
        "name",
        Column("permissions", _("permissions"), lambda row: [describe(each) for each in row.permissions.all()]),
    )
    exported_with = ("permissions__content_type",)

    def formfield_for_manytomany(self, *args: Any, **options: Any) -> Any:
        return _say_in_the_readers_language(super().formfield_for_manytomany(*args, **options))
