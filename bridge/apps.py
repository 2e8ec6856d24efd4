from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BridgeConfig(AppConfig):
    name = "bridge"
    verbose_name = _("Bridge")

    def ready(self) -> None:
        from bridge import audit, checks  # noqa: F401  registers the system checks

        audit.watch()
