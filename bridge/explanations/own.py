"""The bridge's own codes: why a delivery waits, failed or was not sent, where neither WeChat nor an agent said it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Cause, Explanation

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise


# The code of a defect of ours; its detail names the exception.
INTERNAL = "internal"


def internal(error: Exception) -> Cause:
    """Return the cause of a failure by a defect of our own."""
    return Cause(INTERNAL, {"detail": f"{type(error).__name__}: {error}"})


def _row(action: Action, cause: _StrOrPromise, cure: _StrOrPromise = "") -> Explanation:
    return Explanation(action, cause, cure, shows_code=False)


OWN = Explanations(
    {
        # A defect, or a process that ended.
        INTERNAL: _row(
            Action.PERMANENT,
            _("A defect of the bridge."),
            _("Its log says where. Report it, and replay this when it is mended."),
        ),
        "interrupted": _row(Action.UNKNOWN, _("The process that sent this was lost.")),
        "repeat_window": _row(
            Action.UNKNOWN,
            _("An earlier attempt may have been carried out, and WeCom no longer recognises a repetition of it."),
        ),
        # What waits.
        "rate_limit": _row(Action.WAIT, _("The platform's rate limit is reached; sent as soon as it allows.")),
        "quiet_hours": _row(Action.WAIT, _("It is sent when the account's quiet hours are over.")),
        "pace": _row(Action.WAIT, _("It is sent after the pause that the account keeps between two messages.")),
        "window": _row(Action.WINDOW, _("It is sent by itself as soon as this person writes again.")),
        "readable": _row(Action.READABLE, _("It waits until the person asks for it.")),
        # What another account sends.
        "other_sender": _row(Action.PERMANENT, _("“%(sender)s” sends it instead: %(because)s")),
        "fallback_quota": _row(Action.WAIT, _("the rate limit of this account is reached.")),
        "fallback_window": _row(Action.WINDOW, _("this account may not write here until the person writes again.")),
        "fallback_refusal": _row(Action.PERMANENT, _("the platform does not allow this account to.")),
        "fallback_down": _row(Action.CONFIG, _("this account is down.")),
        "checking": _row(Action.WAIT, _("WeChat's content check looks at the file, under the number %(numbers)s.")),
        # What the content check left to a person.
        "content_risky": _row(
            Action.PERMANENT,
            _("WeChat's content check calls this risky: %(about)s (%(label)s). Number of the check: %(trace)s"),
        ),
        "content_review": _row(
            Action.PERMANENT,
            _(
                "WeChat's content check wants a person to look at this: %(about)s (%(label)s). Number of the check: %(trace)s"
            ),
        ),
        "check_unfinished": _row(
            Action.PERMANENT, _("WeChat's content check gave no result within %(minutes)s minutes.")
        ),
        "check_no_address": _row(
            Action.PERMANENT, _("WeChat shows this file at no public address, so its content check cannot look at it.")
        ),
        "not_checked": _row(Action.PERMANENT, _("WeChat did not check this: %(because)s")),
        # What is not sent as it is.
        "merged": _row(Action.PERMANENT, _("It is part of delivery #%(head)s.")),
        "content": _row(Action.PERMANENT, _("What the agent wrote cannot be sent to this chat: %(because)s")),
        "check_not_granted": _row(
            Action.PERMANENT,
            _("WeChat does not grant its content check to this account; the account's page says since when."),
        ),
        "no_downloads": _row(Action.PERMANENT, _("This kind of account cannot fetch files.")),
        "erased": _row(Action.PERMANENT, _("Erased with all data of this person.")),
        # Reasons that need no other word.
        "too_old": _row(Action.PERMANENT, _("It is too old to be sent now.")),
        "too_long": _row(Action.PERMANENT, _("It is longer than the platform can carry.")),
        "no_reply": _row(Action.PERMANENT, _("The address for an answer is used up, or its time is over.")),
        "stopped": _row(Action.PERMANENT, _("It was stopped by /stop.")),
    }
)
