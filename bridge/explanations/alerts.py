"""The incidents that alert rules find, and why an alert was not sent by a channel."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Explanation

# Title and detail of what `bridge.operations.alert_rules` finds.
FOUND_BY_RULES: dict[str, Explanation] = {
    "backlog": Explanation(
        Action.WAIT,
        _("Account %(name)s: messages have been waiting for more than %(minutes)s minutes"),
        _("Deliveries that wait: %(count)s. Their pages say what they wait for."),
    ),
    "failure_rate": Explanation(
        Action.PERMANENT,
        _("Account %(name)s: %(percent)s %% of the deliveries fail"),
        _("Failed in the last %(minutes)s minutes: %(failed)s of %(count)s. Their pages say why."),
    ),
    "token_failed": Explanation(
        Action.CONFIG, _("Account %(name)s: the access token cannot be refreshed"), "%(because)s"
    ),
    "token_ends": Explanation(
        Action.CONFIG,
        _("Account %(name)s: the access token ends and was not refreshed"),
        _("It ends at %(ends)s. Are worker and beat running?"),
    ),
    "silent": Explanation(
        Action.CONFIG,
        _("Account %(name)s receives nothing"),
        _("Nothing has come from the platform since %(heard)s. Is the callback address still entered in its console?"),
    ),
    "chats_waiting_long": Explanation(
        Action.CONFIG,
        _("Account %(name)s: chats have been waiting for staff for more than %(minutes)s minutes"),
        _("Chats: %(chats)s. Messages without an answer: %(count)s. Answer them, or let the agent answer again."),
    ),
    "alert_channel_fails": Explanation(Action.CONFIG, _("Alerts by %(name)s are not accepted"), "%(because)s"),
}
# Why an alert was not sent by a channel.
SKIPPED_ALERTS = Explanations(
    {
        "own_channel": Explanation(
            Action.PERMANENT,
            _("Not sent: the incident is about the account by which this channel sends."),
            _("Add another channel."),
            shows_code=False,
        ),
        "own_failure": Explanation(
            Action.PERMANENT,
            _("Not sent: the incident is that this channel does not accept alerts."),
            _("Add another channel."),
            shows_code=False,
        ),
        "acknowledged": Explanation(
            Action.PERMANENT, _("Not sent: the incident was acknowledged before."), shows_code=False
        ),
        "muted": Explanation(Action.PERMANENT, _("Not sent: the incident is muted."), shows_code=False),
        "disabled": Explanation(Action.PERMANENT, _("Not sent: the channel was disabled."), shows_code=False),
        "too_old": Explanation(
            Action.PERMANENT, _("Not sent: the channel accepted nothing for a day."), shows_code=False
        ),
    }
)
