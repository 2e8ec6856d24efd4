"""The titles and details of incidents, by their code. Raise no error for a code of another version: the code itself is shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from bridge.explanations.alerts import FOUND_BY_RULES
from bridge.explanations.tables import show_nested, table_for
from channels_wechat.contract.explanations import Action, Explanation, explain, fill, find

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.explanations import Params

# Parameters that are moments, as ISO 8601.
MOMENTS = ("first", "last", "stored", "since", "ends", "heard")
# Parameters that are sentences of our own, stored in English and translated when they are read.
SENTENCES = ("limit",)
# Of incidents that are closed by the task itself, not by a look at what is wrong.
TASK_FAILED = "task_failed"
# The parameter `task` of these incidents.
TASK_LABELS = {
    "prune": _("delete old messages"),
    "orphan_files": _("delete files that no message names"),
    "history": _("delete old sessions, incidents and logins"),
    "old_figures": _("delete old figures"),
    "figures": _("count figures"),
}

_UNREADABLE = _(
    "No key of FIELD_KEYS opens what is stored. Was a key removed? Put it back at the end of FIELD_KEYS and restart."
)
# Title and detail.
INCIDENTS: dict[str, Explanation] = {
    **FOUND_BY_RULES,
    "account_down": Explanation(Action.CONFIG, _("Account %(name)s is down"), "%(because)s"),
    "gateway_down": Explanation(Action.CONFIG, _("Gateway %(name)s is down"), "%(because)s"),
    "account_unreadable": Explanation(
        Action.CONFIG, _("Account %(name)s: its credentials cannot be read"), _UNREADABLE
    ),
    "gateway_unreadable": Explanation(Action.CONFIG, _("Gateway %(name)s: its token cannot be read"), _UNREADABLE),
    "webhook_unreadable": Explanation(Action.CONFIG, _("Webhook %(name)s: its secret cannot be read"), _UNREADABLE),
    "gateway_takes_no_turns": Explanation(
        Action.RETRY,
        _("Gateway %(name)s takes no turns"),
        _("Questions that are tried again and again: %(count)s. Their pages say why."),
    ),
    "chats_unmapped": Explanation(
        Action.CONFIG,
        _("Account %(name)s: chats without a mapping"),
        _("Chats that nobody answers: %(chats)s. Messages: %(count)s. Map them to an agent, then replay them."),
    ),
    "chats_waiting": Explanation(
        Action.CONFIG,
        _("Account %(name)s: chats wait for staff"),
        _(
            "Chats that are paused or that staff answer: %(chats)s. Messages without an answer: %(count)s. "
            "Answer them, or let the agent answer again."
        ),
    ),
    "review_waiting": Explanation(
        Action.CONFIG,
        _("Account %(name)s: messages await your decision"),
        _("Messages that WeChat's content check stopped: %(count)s. Release or dismiss them."),
    ),
    "window_closed": Explanation(
        Action.WINDOW,
        _("Account %(name)s: the reply window is closed"),
        _("Messages on hold: %(count)s. Each is sent by itself as soon as the person writes again."),
    ),
    "webhook_disabled": Explanation(Action.CONFIG, _("Webhook %(name)s was disabled"), "%(because)s"),
    "webhook_failing": Explanation(
        Action.RETRY,
        _("Webhook %(name)s fails"),
        _("Calls that are tried again and again: %(count)s. %(because)s"),
    ),
    "account_failures": Explanation(
        Action.PERMANENT,
        _("Account %(name)s: failed deliveries – %(reason)s"),
        _("Failed deliveries: %(count)s. %(because)s"),
    ),
    "gateway_failures": Explanation(
        Action.PERMANENT,
        _("Gateway %(name)s: failed deliveries – %(reason)s"),
        _("Failed deliveries: %(count)s. %(because)s"),
    ),
    "webhook_failures": Explanation(
        Action.PERMANENT,
        _("Webhook %(name)s: failed deliveries – %(reason)s"),
        _("Failed deliveries: %(count)s. %(because)s"),
    ),
    "uncertain": Explanation(
        Action.UNKNOWN,
        _("%(name)s: uncertain deliveries"),
        _("They may have arrived already: %(count)s. Look into the chat, then replay or dismiss them. %(because)s"),
    ),
    "stuck": Explanation(
        Action.CONFIG,
        _("Messages wait"),
        _("Due for more than five minutes, deliveries: %(count)s. Are worker, beat and connector running?"),
    ),
    "sweep_silent": Explanation(
        Action.CONFIG,
        _("Worker or beat does not work"),
        _("The last sweep was at %(since)s. Start worker and beat again: without them nothing is sent."),
    ),
    "sweep_never": Explanation(
        Action.CONFIG,
        _("Worker or beat does not work"),
        _("There was no sweep yet. Start worker and beat: without them nothing is sent."),
    ),
    "valkey_away": Explanation(
        Action.CONFIG,
        _("Valkey does not answer"),
        _("Start it again. Without it nothing runs by the clock: nothing is repeated, and no incident is found."),
    ),
    TASK_FAILED: Explanation(
        Action.CONFIG,
        _("A regular task failed: %(task)s"),
        _("The worker's log says why (%(error)s). The incident ends when the task has run without an error."),
    ),
    "look_failed": Explanation(
        Action.CONFIG,
        _("Some problems are not looked for"),
        _("The worker's log says why (%(finder)s, %(error)s). Until then such incidents neither begin nor end."),
    ),
    "connector_silent": Explanation(
        Action.CONFIG,
        _("No connector works"),
        _("Connections that no connector holds: %(count)s. Start the connector: without it no agent is asked."),
    ),
    "quota_low": Explanation(
        Action.WAIT,
        _("Account %(name)s: a quota is nearly used up"),
        _("%(limit)s: at most %(most)s, of which less than %(percent)s %% are left. Messages beyond it wait."),
    ),
    "alerts_off": Explanation(
        Action.CONFIG,
        _("Alerts are off"),
        _("Nobody is alerted of incidents. Set up at least one channel for alerts."),
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

# The values of `Severity` that are not a warning (2). Critical (3): people get no answer. Notice (1): it ends by itself, or nobody waits.
SEVERITIES = {
    "account_down": 3,
    "gateway_down": 3,
    "account_unreadable": 3,
    "gateway_unreadable": 3,
    "chats_unmapped": 3,
    "chats_waiting": 3,
    "chats_waiting_long": 3,
    "stuck": 3,
    "sweep_silent": 3,
    "sweep_never": 3,
    "valkey_away": 3,
    "connector_silent": 3,
    "spool_unreadable": 3,
    "window_closed": 1,
    "alerts_off": 1,
    "spooled": 1,
    "spool_being_stored": 1,
}


def severity_of(code: str) -> int:
    return SEVERITIES.get(code, 2)


def title_of(code: str, params: Params) -> str:
    row = INCIDENTS.get(code)
    return fill(row.cause, _render_params(params)) if row else code


def detail_of(code: str, params: Params) -> str:
    row = INCIDENTS.get(code)
    return fill(row.cure, {"because": "", **_render_params(params)}).strip() if row else ""


def find_inner_explanation(params: Params) -> Explanation | None:
    """Return what the table of the account, the gateway or the webhook says about the cause within; None where there is none."""
    inner = params.get("because")
    return find(table_for(inner["target"], inner["kind"]), inner["code"]) if isinstance(inner, dict) else None


def in_english(sentence: _StrOrPromise) -> str:
    """Return a sentence of our own as it is stored as a parameter of SENTENCES."""
    with override("en"):
        return str(sentence)


def alert_error_of(error: Params) -> str:
    """Return why one channel did not accept an alert. error: `Cause.as_json`."""
    return explain(table_for("alert"), error["code"], error["params"])


def _render_params(params: Params) -> dict[str, Any]:
    return {name: _render_param(name, value) for name, value in params.items()}


def _render_param(name: str, value: Any) -> Any:
    if name in MOMENTS:
        return f"{timezone.localtime(datetime.fromisoformat(value)):%Y-%m-%d %H:%M:%S}"
    if name == "task":
        return str(TASK_LABELS.get(value, value))
    return gettext(value) if name in SENTENCES and value else show_nested(value)
