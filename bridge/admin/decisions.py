"""What staff can decide about deliveries, and the permission that each decision takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of

if TYPE_CHECKING:
    from django.http import HttpRequest

# The actions on many deliveries, with the permission that each needs.
VERBS = {
    "replay": "bridge.replay_delivery",
    "release": "bridge.replay_delivery",
    "dismiss": "bridge.dismiss_delivery",
}


def list_decisions(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the decisions that this person may make about a delivery on hold, as buttons."""
    words = {"release": _("Release…"), "dismiss": _("Dismiss…")}
    allowed = [verb for verb in words if user_of(request).has_perm(VERBS[verb])]
    return [{"verb": verb, "label": words[verb]} for verb in allowed]
