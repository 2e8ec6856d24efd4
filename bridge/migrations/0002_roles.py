"""The three roles. A group of that name that exists already is left as staff made it."""

from __future__ import annotations

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("accounts", "openclaw", "bridge", "knox", "auth", "auditlog")
FACTS = ("message", "attachment", "delivery", "attempt", "incident")
CONFIGURATION = (
    "accounts.channelaccount",
    "openclaw.gateway",
    "bridge.route",
    "bridge.webhookendpoint",
)


def every(models, *verbs):
    """ "bridge.route" and "view" → "bridge.view_route"."""
    return {"{0}.{2}_{1}".format(*model.split("."), verb) for model in models for verb in verbs}


TALK = ("bridge.conversation", "bridge.contact")
VIEWERS = every([*CONFIGURATION, *TALK, *(f"bridge.{name}" for name in FACTS)], "view")
OPERATORS = VIEWERS | {
    "bridge.read_content",
    "bridge.send_message",
    "bridge.replay_delivery",
    "bridge.dismiss_delivery",
    "bridge.pause_conversation",
    # The title of a group and the name of a person, where the platform tells none.
    "bridge.change_conversation",
    "bridge.change_contact",
}
ADMINS = (
    OPERATORS
    | every([*CONFIGURATION, "auth.user", "auth.group", "knox.authtoken"], "view", "add", "change", "delete")
    | {"bridge.delete_contact", "bridge.send_to_many", "auditlog.view_logentry"}
)
ROLES = {"Viewers": VIEWERS, "Operators": OPERATORS, "Admins": ADMINS}


def make(apps, schema_editor):
    alias = schema_editor.connection.alias
    for label in APPS:  # Django itself makes them only after the last migration
        create_permissions(installed.get_app_config(label), verbosity=0, using=alias, apps=apps)
    permissions = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in apps.get_model("auth", "Permission").objects.using(alias).select_related("content_type")
    }
    for name, wanted in ROLES.items():
        group, new = apps.get_model("auth", "Group").objects.using(alias).get_or_create(name=name)
        if new:
            group.permissions.set([permissions[permission] for permission in wanted])


class Migration(migrations.Migration):
    dependencies = [
        ("bridge", "0001_initial"),
        ("accounts", "0001_initial"),
        ("openclaw", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("knox", "0009_extend_authtoken_field"),
        ("auditlog", "0017_add_actor_email"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
