"""Fields whose name is all that is said of them are called by it in the reader's language, on filters and in the audit log."""

from __future__ import annotations

from django.apps import apps
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy, gettext_noop

ROOMS = ("accounts", "bridge", "openclaw")
# Names that no other text of ours has.
NAMES = (
    gettext_noop("acknowledged by"),
    gettext_noop("assignee"),
    gettext_noop("created by"),
    gettext_noop("dismissed by"),
    gettext_noop("endpoint"),
    gettext_noop("instead of"),
    gettext_noop("moved to"),
    gettext_noop("reply to"),
    gettext_noop("route"),
    gettext_noop("run"),
    gettext_noop("started by"),
)


def translate_names() -> None:
    """Called once, when Django is ready. What a migration sees of a field stays as it is."""
    for room in ROOMS:
        for model in apps.get_app_config(room).get_models():
            for field in model._meta.concrete_fields:
                if not isinstance(field.verbose_name, Promise):
                    field.verbose_name = gettext_lazy(field.verbose_name)
