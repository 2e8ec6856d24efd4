from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BridgeConfig(AppConfig):
    name = "bridge"
    verbose_name = _("Bridge")

    def ready(self) -> None:
        from django.db import connection

        from bridge.runtime.conf import checks  # noqa: F401  the import registers the system checks
        from bridge.runtime.db import outage
        from bridge.security import audit
        from bridge.ui import field_names, language

        audit.register_models()
        language.connect()
        field_names.translate_names()
        outage.install_pool_check(connection)
