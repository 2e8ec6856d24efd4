"""The errors of this layer: each has a code, and a table says what it means and what is to be done about it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from channels_wechat.contract.explanations import WRITTEN, Cause, Explanation, explain, find
from channels_wechat.contract.text import hide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.explanations import Action

SHANGHAI = timezone(timedelta(hours=8))


class Circumstances(TypedDict, total=False):
    """What a `ChannelError` tells beside its code."""

    detail: str
    params: Mapping[str, Any] | None
    retry_after: float | None
    max_tries: int | None
    response: Any
    capability: str
    of_peer: bool
    gone: bool


class ChannelError(Exception):
    """The one error of this layer; `Explanations.error` makes it, so that its code has a row in a table.

    code: the platform's number or a word of ours ("connect", "timeout", "html"); action: that of the row, unless the call says more;
    detail: what the platform said, without secrets; params: JSON values that the row's sentences may name, with the detail among them;
    response: the platform's decoded answer, if there was one. max_tries: where the platform says how often at most. capability: the
    platform says that this account may not do this at all ("custom_send", "media", …); of_peer: not with this peer. gone: this person can
    no longer be reached (they do not follow, or blocked the account).
    """

    def __init__(
        self,
        code: str | int,
        explanation: Explanation,
        action: Action | None = None,
        *,
        detail: str = "",
        params: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        max_tries: int | None = None,
        response: Any = None,
        capability: str = "",
        of_peer: bool = False,
        gone: bool = False,
    ) -> None:
        self.code, self.explanation, self.action = str(code), explanation, action or explanation.action
        # A proxy on the way may repeat the call, and with it a secret.
        self.detail, self.retry_after, self.max_tries, self.response = hide(detail), retry_after, max_tries, response
        self.capability, self.of_peer, self.gone = capability, of_peer, gone
        # Another error's detail never comes along with its params: it may name what this one hides.
        self.params = {name: value for name, value in (params or {}).items() if name != "detail"}
        self.params |= {"detail": self.detail} if self.detail else {}
        super().__init__(self.code, self.action, self.detail)

    @property
    def cause(self) -> Cause:
        """What a row keeps."""
        return Cause(self.code, self.params)

    @property
    def text(self) -> str:
        """Cause and cure for staff, in the language that is active now."""
        return self.explanation.text(self.params)

    def __str__(self) -> str:
        return explain({self.code: self.explanation}, self.code, self.params)


class Explanations(dict[str, Explanation]):
    """A table of codes, from which errors are raised and later explained. The row "unlisted" stands for numbers that have none."""

    def row(self, code: str) -> Explanation:
        """Raises KeyError for a word that has no row: it is ours, and was forgotten here."""
        return find(self, code) or self[code]

    def error(
        self, code: str | int, action: Action | None = None, **circumstances: Unpack[Circumstances]
    ) -> ChannelError:
        """Raises KeyError as `row` does."""
        return ChannelError(code, self.row(str(code)), action, **circumstances)

    def refused(self, field_name: str, cause: Cause) -> ContentRefused:
        """Raises KeyError as `row` does."""
        return ContentRefused(field_name, self.row(cause.code).text(cause.params), cause)


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
    """Content that can never be sent by this kind. field: which part; text: why, in words a person can act on.

    cause: what a row keeps. `Explanations.refused` gives it a code where an agent's answer, which is text and files, can meet this;
    whatever else is refused is only ever shown at once, in a form or an answer of the API, and has its sentence alone.
    """

    def __init__(self, field_name: str, text: _StrOrPromise, cause: Cause | None = None) -> None:
        super().__init__(field_name, text)
        self.field, self.text = field_name, text
        self.cause = cause or Cause("", {WRITTEN: str(text)})

    def __str__(self) -> str:
        return str(self.text)
