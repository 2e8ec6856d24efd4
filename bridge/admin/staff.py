"""People who may log in, in the admin's look."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group, User

from bridge.admin import theme

admin.site.unregister([User, Group])


@admin.register(User)
class StaffAdmin(theme.UserAdmin):
    form = theme.UserChangeForm
    add_form = theme.UserCreationForm
    change_password_form = theme.AdminPasswordChangeForm


@admin.register(Group)
class StaffGroupAdmin(GroupAdmin, theme.ModelAdmin[Group]):
    """Rights are given to groups of staff."""
