"""The titles and details of incidents, by their code. Raise no error for a code of another version: the code itself is shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bridge.explanations.tables import show_nested, table_for
from channels_wechat.contract.explanations import Action, Explanation, explain, fill

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Params

# Parameters that are moments, as ISO 8601.
MOMENTS = ("first", "last", "stored")

# Title and detail.
INCIDENTS: dict[str, Explanation] = {
    "account_down": Explanation(Action.CONFIG, _("Account %(name)s is down"), "%(because)s"),
    "gateway_down": Explanation(Action.CONFIG, _("Gateway %(name)s is down"), "%(because)s"),
    "gateway_takes_no_turns": Explanation(
        Action.RETRY,
        _("Gateway %(name)s takes no turns"),
        _("Questions that are tried again and again: %(count)s. Their pages say why."),
    ),
    "webhook_disabled": Explanation(Action.CONFIG, _("Webhook %(name)s was disabled"), "%(because)s"),
    "account_failures": Explanation(
        Action.PERMANENT, _("Account %(name)s: failed deliveries"), _("Failed deliveries: %(count)s.")
    ),
    "webhook_failures": Explanation(
        Action.PERMANENT, _("Webhook %(name)s: failed deliveries"), _("Failed deliveries: %(count)s.")
    ),
    "stuck": Explanation(
        Action.CONFIG,
        _("Messages wait"),
        _("Due for more than five minutes, deliveries: %(count)s. Are worker, beat and connector running?"),
    ),
    "spooled": Explanation(
        Action.WAIT, _("Callbacks were stored on disk"), _("Messages that wait for the database: %(count)s.")
    ),
    "spool_unreadable": Explanation(
        Action.CONFIG,
        _("Callbacks on disk cannot be read"),
        _("Callbacks that cannot be read: %(count)s. Was a key of FIELD_KEYS removed?"),
    ),
    "spool_being_stored": Explanation(
        Action.WAIT, _("Callbacks were stored on disk"), _("The database was away. They are being stored now.")
    ),
    "spool_stored": Explanation(
        Action.WAIT,
        _("Callbacks were stored on disk"),
        _("From %(first)s to %(last)s, messages: %(count)s. All are in the database since %(stored)s."),
    ),
}


def title_of(code: str, params: Params) -> str:
    row = INCIDENTS.get(code)
    return fill(row.cause, params) if row else code


def detail_of(code: str, params: Params) -> str:
    row = INCIDENTS.get(code)
    return fill(row.cure, {name: _render_param(name, value) for name, value in params.items()}) if row else ""


def alert_error_of(error: Params) -> str:
    """Return why one channel did not accept an alert. error: `Cause.as_json`."""
    return explain(table_for("alert"), error["code"], error["params"])


def _render_param(name: str, value: Any) -> Any:
    if name in MOMENTS:
        return f"{timezone.localtime(datetime.fromisoformat(value)):%Y-%m-%d %H:%M:%S}"
    return show_nested(value)
