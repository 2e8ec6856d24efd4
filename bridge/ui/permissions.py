"""What a permission lets somebody do, in the language of the reader: Django stores the English sentence in its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from django.contrib.auth.models import Permission


def describe(permission: Permission) -> str:
    """Return where it belongs and what it allows, for example `Bridge | message | Can read what messages say`."""
    kind = permission.content_type
    model = kind.model_class()
    if model is None:
        return f"{kind.app_label} | {kind.model} | {permission.name}"
    config = apps.get_app_config(kind.app_label)
    return f"{config.verbose_name} | {model._meta.verbose_name} | {_describe_action(permission, str(model._meta.verbose_name))}"


def _describe_action(permission: Permission, what: str) -> str:
    sentences = {
        "add": _("Can add: %(what)s"),
        "change": _("Can change: %(what)s"),
        "delete": _("Can delete: %(what)s"),
        "view": _("Can view: %(what)s"),
    }
    verb, _underscore, model = permission.codename.partition("_")
    if verb in sentences and model == permission.content_type.model:
        return sentences[verb] % {"what": what}
    return _(permission.name)
