"""The three roles, as the migration makes them."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import connection

from bridge.security.permissions import may_read

pytestmark = pytest.mark.django_db
ROLES = import_module("bridge.migrations.0002_roles")
WRITING = ("add_", "change_", "delete_")
READING_ONLY = {
    "accounts.view_channelaccount",
    "openclaw.view_gateway",
    "bridge.view_route",
    "bridge.view_webhookendpoint",
    "bridge.view_conversation",
    "bridge.view_contact",
    "bridge.view_message",
    "bridge.view_attachment",
    "bridge.view_delivery",
    "bridge.view_attempt",
    "bridge.view_incident",
    "bridge.view_alertrule",
    "bridge.view_alertchannel",
}


def rights(role: str) -> set[str]:
    user = User.objects.create_user(role.lower())
    user.groups.add(Group.objects.get(name=role))
    return User.objects.get(pk=user.pk).get_all_permissions()


def test_viewers_see_everything_but_content_and_people() -> None:
    assert rights("Viewers") == READING_ONLY


def test_operators_read_and_do_the_daily_work_but_configure_nothing() -> None:
    work = "read_content send_message replay_delivery dismiss_delivery pause_conversation change_conversation "
    work += "change_contact handle_incident share_filter"
    assert rights("Operators") == READING_ONLY | {f"bridge.{right}" for right in work.split()}


def test_admins_configure_and_see_who_did_what() -> None:
    found = rights("Admins")
    assert rights("Operators") < found
    for model in ("accounts.channelaccount", "openclaw.gateway", "bridge.route", "bridge.webhookendpoint"):
        app, name = model.split(".")
        assert {f"{app}.{verb}{name}" for verb in WRITING} <= found
    assert {"auth.add_user", "auth.change_group", "knox.delete_authtoken", "auditlog.view_logentry"} <= found
    facts = ("message", "delivery", "attempt", "incident", "logentry", "attachment")
    assert not [right for right in found if right.endswith(facts) and right.partition(".")[2].startswith(WRITING)]


def test_a_role_that_staff_changed_is_left_alone() -> None:
    viewers, operators = Group.objects.get(name="Viewers"), Group.objects.get(name="Operators")
    viewers.permissions.clear()
    operators.delete()
    with connection.schema_editor(atomic=False) as editor:
        ROLES.make(apps, editor)
    assert viewers.permissions.count() == 0
    assert Group.objects.get(name="Operators").permissions.count() == len(ROLES.OPERATORS)


def test_reading_is_a_right_of_its_own() -> None:
    viewer, operator = User.objects.create_user("v"), User.objects.create_user("o")
    viewer.groups.add(Group.objects.get(name="Viewers"))
    operator.groups.add(Group.objects.get(name="Operators"))
    stranger = AnonymousUser()
    assert (may_read(stranger), may_read(viewer), may_read(operator)) == (False, False, True)
