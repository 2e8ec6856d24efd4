from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OpenClawConfig(AppConfig):
    name = "openclaw"
    verbose_name = _("Agents")
