"""What a code means: what is done about it, why it happened and what staff can do. Rows keep the code; this is read when one looks."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.places import is_chinese

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.places import Place


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

    Both sentences may name parameters as `%(name)s`. shows_code: whether the code says something to staff that the sentence does not.
    place: where the cure is done; it is read out behind the cure.
    """

    action: Action
    cause: _StrOrPromise
    cure: _StrOrPromise = ""
    effect: Effect = Effect.NOTHING
    shows_code: bool = True
    place: Place | None = None

    def action_for(self, harmless: bool) -> Action:
        """What to do. harmless: repeating the call changes nothing, as with a read, an upload or a token's fetch."""
        if self.effect is Effect.NOTHING:
            return self.action
        return Action.RETRY if harmless else Action.UNKNOWN

    def text(self, params: Params = MappingProxyType({})) -> str:
        """Cause, cure and place in the language that is active now."""
        place = self.place.sentence if self.place else ""
        return join_sentences(fill(self.cause, params), fill(self.cure, params), place)


# What rows keep beside a code: JSON values. detail: what the other side said, without secrets. A value that is a `Cause.as_json`, or a
# list of them, is explained by the same table.
Params = Mapping[str, Any]
Table = Mapping[str, Explanation]
# The row of a table for codes that the platform's documents do not list.
UNLISTED = "unlisted"
UNLISTED_CURE = _("Report the code with these words, so that it gets an explanation of its own.")
NUMBER = re.compile(r"-?[0-9]+")
# The parameter of a row that holds a sentence, by a version that stored sentences: it is shown as it was written.
WRITTEN = "text"


class Cause(NamedTuple):
    """Why something is as it is, as rows keep it: a code, and what its sentence and its reader need beside it."""

    code: str = ""
    params: Params = MappingProxyType({})

    def as_json(self) -> dict[str, Any]:
        """As a parameter of another cause."""
        return {"code": self.code, "params": dict(self.params)}


NO_CAUSE = Cause()


def all_of(code: str, causes: Sequence[Cause]) -> Cause:
    """One cause for several, under a code whose sentence is `%(parts)s`; none where there are none."""
    return Cause(code, {"parts": [cause.as_json() for cause in causes]}) if causes else NO_CAUSE


class _Filled(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "…"


def fill(sentence: _StrOrPromise, params: Params) -> str:
    """Return the sentence with its parameters filled in. A parameter that was not stored, or was erased, is shown as "…"."""
    text = str(sentence)
    return text % _Filled(params) if "%(" in text else text


def join_sentences(*sentences: str) -> str:
    """Return those that are not empty, one behind the other, as the active language sets them: Chinese puts no space between."""
    return ("" if is_chinese() else " ").join(sentence for sentence in sentences if sentence)


def find(table: Table, code: str) -> Explanation | None:
    """The row of this code: for `http_503` also the row `http_5xx`, and for a number that has none the row `unlisted`."""
    if code in table:
        return table[code]
    if code.startswith("http_"):
        return table.get(f"{code[:6]}xx")
    return table.get(UNLISTED) if NUMBER.fullmatch(code) else None


def is_listed(table: Table, code: str) -> bool:
    """Whether the table has a row of this code's own, and not only the one for numbers that no document lists."""
    row = find(table, code)
    return row is not None and row is not table.get(UNLISTED)


def explain(table: Table, code: str, params: Params) -> str:
    """What staff read about a code in the language that is active now: cause, cure, and behind them the code and its detail.

    A code that the table does not know is shown itself.
    """
    if WRITTEN in params or not code:
        return str(params.get(WRITTEN, ""))
    row, detail = find(table, code), render_param(table, params.get("detail", ""))
    told = f"{code}: {detail}" if detail else code
    if row is None:
        return told
    text = row.text({name: render_param(table, value) for name, value in params.items()})
    return join_sentences(text, f"({told})") if row.shows_code or detail else text


def render_param(table: Table, value: Any) -> Any:
    """A parameter as its sentence shows it."""
    if isinstance(value, list):
        return join_sentences(*(str(render_param(table, one)) for one in value))
    nested = isinstance(value, dict) and "code" in value
    return explain(table, value["code"], value.get("params") or {}) if nested else value
