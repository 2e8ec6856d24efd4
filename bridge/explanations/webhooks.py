"""The errors of calls to webhooks and to the address of the alerts."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.wecom.errors import WECOM_ROBOT
from channels_wechat.wire.errors import WIRE

_NO_ANSWER = {
    "connect": Explanation(
        Action.RETRY,
        _("No connection to the webhook."),
        _("Check its address, and whether this machine reaches it."),
    ),
    "timeout": Explanation(
        Action.RETRY,
        _("The webhook did not answer in time."),
        _("It should take an event at once and work on it afterwards."),
        Effect.POSSIBLE,
    ),
    "reset": Explanation(
        Action.RETRY, _("The webhook broke the connection before it answered."), effect=Effect.POSSIBLE
    ),
}
_BUSY = Explanation(Action.RETRY, _("The webhook does not take it now."))
_REFUSED = Explanation(
    Action.PERMANENT, _("The webhook refuses this."), _("Check its address, and what its own log says.")
)
# The errors of calls to webhook endpoints.
WEBHOOK = Explanations(
    {
        **WIRE,
        **_NO_ANSWER,
        **dict.fromkeys(("http_4xx", "http_413"), _REFUSED),
        **{code: _BUSY for code in WIRE if code.startswith("http_") and code not in ("http_4xx", "http_413")},
        "http_3xx": Explanation(
            Action.PERMANENT,
            _("The webhook answers with a redirect, which is not followed."),
            _("Enter the address it leads to."),
        ),
        "http_410": Explanation(Action.PERMANENT, _("The webhook is gone, as it says itself, and was disabled.")),
    }
)
_ALERT_BUSY = Explanation(Action.RETRY, _("The alert address does not take it now."), effect=Effect.POSSIBLE)
_ALERT_REFUSED = Explanation(Action.PERMANENT, _("The alert address refuses."), _("Check the address of this channel."))
# The errors of calls to the alert address, which may belong to a WeCom group robot or a service with the same answers.
ALERT = Explanations(
    {
        **WECOM_ROBOT,
        **_NO_ANSWER,
        **{code: _ALERT_BUSY for code in WIRE if code.startswith("http_")},
        **dict.fromkeys(("http_3xx", "http_4xx", "http_408", "http_413", "http_425"), _ALERT_REFUSED),
        "mail": Explanation(
            Action.RETRY, _("The mail server did not take the alert."), _("Check EMAIL_URL and the addresses.")
        ),
        "mail_partly": Explanation(
            Action.PERMANENT, _("The mail server did not take it for some of the addresses."), _("Check them.")
        ),
        "no_mail_server": Explanation(
            Action.PERMANENT, _("No mail server is set, so mail goes to the log only."), _("Set EMAIL_URL and restart.")
        ),
        "sending_stopped": Explanation(
            Action.PERMANENT,
            _("The account of the robot is disabled or stopped, or staff have stopped its sending."),
            _("See its page, or choose another channel."),
        ),
        "process_lost": Explanation(
            Action.UNKNOWN, _("The process that sent it was lost, so it may have arrived. It is sent again.")
        ),
        "unreadable": Explanation(
            Action.CONFIG,
            _("No key of FIELD_KEYS opens the stored address or secret."),
            _("Put the key back that was removed, and restart; or enter the address anew."),
        ),
        "no_address": Explanation(Action.PERMANENT, _("ALERT_WEBHOOK_URL is not set any more.")),
        "unlisted": Explanation(
            Action.PERMANENT, _("The robot at the alert address refuses."), _("Check the address of this channel.")
        ),
    }
)
