"""What a code means: what is done about it, why it happened and what staff can do. Rows keep the code; this is read when one looks."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise


class Action(enum.StrEnum):
    """What is to be done about an error of a platform or a gateway; the pipeline looks at nothing else."""

    RETRY = "retry"  # definitely not done; try again with backoff, at a gateway under a new key
    WAIT = "wait"  # the other side asks us to wait `retry_after` seconds; burns no try
    CONFIG = "configuration"  # nothing will work until staff change something; the account or the gateway stops
    PERMANENT = "permanent"  # this message or turn will never go through
    WINDOW = "window"  # nothing more may be said to this person until they act again; burns no try
    READABLE = "readable"  # nothing can be sent to this person now: it is kept until they ask for it; burns no try
    UNKNOWN = "unknown"  # the request had left and no answer came; a gateway is asked what became of it


class Effect(enum.StrEnum):
    """What a call may have done although the platform answered with an error."""

    NOTHING = "nothing"  # the platform refused it before it did anything
    POSSIBLE = "possible"  # the answer can come after the deed, so a repetition may do it twice


class Explanation(NamedTuple):
    """A row of a table of codes. action: where nothing was done; cure: empty where staff need not, or cannot, do anything.

    Both sentences may name parameters as `%(name)s`.
    """

    action: Action
    cause: _StrOrPromise
    cure: _StrOrPromise = ""
    effect: Effect = Effect.NOTHING

    def action_for(self, harmless: bool) -> Action:
        """What to do. harmless: repeating the call changes nothing, as with a read, an upload or a token's fetch."""
        if self.effect is Effect.NOTHING:
            return self.action
        return Action.RETRY if harmless else Action.UNKNOWN

    def text(self, params: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Cause and cure in the language that is active now. A parameter that was not kept leaves its name in place."""
        both = f"{self.cause} {self.cure}".strip()
        return both % _Filled(params) if params else both


class _Filled(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return f"%({name})s"


def find(table: Mapping[str, Explanation], code: str) -> Explanation | None:
    """The row of this code; for `http_503` also the row `http_5xx`."""
    return table.get(code) or (table.get(f"{code[:6]}xx") if code.startswith("http_") else None)
