"""The errors of this layer: each says what is to be done about it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from channels_wechat.contract.explanations import Action, Effect
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

SHANGHAI = timezone(timedelta(hours=8))


class Rule(NamedTuple):
    """A row of a platform's table of errors. action: where nothing was done; text: cause and cure for staff."""

    action: Action
    effect: Effect
    text: _StrOrPromise

    def action_for(self, harmless: bool) -> Action:
        """What to do. harmless: repeating the call changes nothing, as with a read, an upload or a token's fetch."""
        if self.effect is Effect.NOTHING:
            return self.action
        return Action.RETRY if harmless else Action.UNKNOWN


class ChannelError(Exception):
    """The one error of this layer.

    code: the platform's number or a word of ours ("connect", "timeout", "html"); text: a sentence for staff (cause and cure);
    detail: what the platform said, without secrets; response: its decoded answer, if there was one. max_tries: where the platform
    says how often at most. capability: the platform says that this account may not do this at all ("custom_send", "media", …).
    gone: this person can no longer be reached (they do not follow, or blocked the account).
    """

    def __init__(
        self,
        code: str | int,
        action: Action,
        text: _StrOrPromise,
        *,
        detail: str = "",
        retry_after: float | None = None,
        max_tries: int | None = None,
        response: Any = None,
        capability: str = "",
        gone: bool = False,
    ) -> None:
        super().__init__(code, action, detail)
        self.code, self.action, self.text = str(code), action, text
        self.detail, self.retry_after, self.max_tries, self.response = clean(detail), retry_after, max_tries, response
        self.capability, self.gone = capability, gone

    def __str__(self) -> str:
        return f"{self.text} ({self.code}{': ' + self.detail if self.detail else ''})"


def rest_of_day(now: datetime) -> float:
    """Seconds until the platforms' daily quotas begin anew: midnight in Shanghai."""
    midnight = (now.astimezone(SHANGHAI) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


class CallbackRefused(Exception):
    """A callback that is not taken. status: 400 malformed, 403 not authentic, 413 too large; code: the counter's name."""

    def __init__(self, status: int, code: str, text: _StrOrPromise) -> None:
        super().__init__(code)
        self.status, self.code, self.text = status, code, text

    def __str__(self) -> str:
        return str(self.text)


class ContentRefused(ValueError):
    """Content that can never be sent by this kind. field: which part; text: why, in words a person can act on."""

    def __init__(self, field_name: str, text: _StrOrPromise) -> None:
        super().__init__(field_name, text)
        self.field, self.text = field_name, text

    def __str__(self) -> str:
        return str(self.text)
