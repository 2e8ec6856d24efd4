"""Every code of the platforms' documents has an explanation of its own: cause, cure, and where the cure is done."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from channels_wechat import KINDS, channel_class
from channels_wechat.contract.explanations import UNLISTED, explain
from openclaw.errors import EXPLANATIONS, Code
from openclaw.reading import read_error

LISTS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("platform_codes.toml").read_text("utf-8"))
OF_KINDS = {kind: channel_class(kind).explanations for kind in KINDS}
NUMBERED = [
    (kind, str(code))
    for name, each in LISTS.items()
    if name != "openclaw"
    for kind in each["tables"]
    for code in each["codes"]
]
# A mistake of ours in a call: whichever part it is, staff can only report it.
OURS = {"40002", "40033", "41001", "41002", "41004", "41005", "41006", "43002", "44002", "45067"}


# Words of ours whose cause says all that can be said, or where nothing needs to be done.
WORDS = {
    "call_unknown",
    "call_refused",
    "message_too_large",
    "puppet_cannot",
    "not_delivered",
    "timeout",
    "connection_lost",
    "service_busy",
}


@pytest.mark.parametrize(("kind", "code"), NUMBERED)
def test_a_documented_code_has_a_cause_and_a_cure(kind: str, code: str) -> None:
    row = OF_KINDS[kind][code]
    assert str(row.cause)
    assert str(row.cure) or code in WORDS
    assert row != OF_KINDS[kind].get(UNLISTED)


@pytest.mark.parametrize("name", LISTS)
def test_every_list_names_its_source(name: str) -> None:
    assert len(LISTS[name]["source"]) > 10
    assert LISTS[name]["codes"]


@pytest.mark.parametrize("kind", sorted({kind for kind, _code in NUMBERED}))
def test_no_explanation_stands_for_codes_that_have_nothing_to_do_with_each_other(kind: str) -> None:
    causes = Counter(str(OF_KINDS[kind][code].cause) for of, code in set(NUMBERED) if of == kind and code not in OURS)
    assert {cause: count for cause, count in causes.items() if count > 6} == {}


@pytest.mark.parametrize("code", LISTS["openclaw"]["codes"])
def test_a_code_of_the_gateway_is_known(code: str) -> None:
    error = read_error({"code": "INVALID_REQUEST", "message": "", "details": {"code": code}})
    if code in ("INVALID_REQUEST", "UNAVAILABLE", "FORBIDDEN"):
        error = read_error({"code": code, "message": ""})
    assert (error.code is Code.INVALID_REQUEST) == (code in ("INVALID_REQUEST", "CONTROL_UI_ORIGIN_NOT_ALLOWED"))
    assert str(EXPLANATIONS[error.code].cause)


@pytest.mark.parametrize("kind", [kind for kind, table in OF_KINDS.items() if UNLISTED in table])
def test_an_unknown_code_says_so_and_shows_the_platforms_words(kind: str) -> None:
    told = explain(OF_KINDS[kind], "987654", {"detail": "brand new"})
    assert "not known" in told or "does not know" in told
    assert told.endswith("(987654: brand new)")
