"""What staff read of an error of a gateway: the table of explanations, and what is left of the gateway's own words."""

from __future__ import annotations

import json

import pytest
from django.utils.functional import Promise

from channels_wechat.contract.explanations import explain
from channels_wechat.wire.errors import WIRE
from openclaw.errors import EXPLANATIONS, Code, ConnectionFailure, GatewayError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "⚠️ stub/parrot request failed (HTTP 500). This is usually temporary — try again shortly.",
            "⚠️ stub/parrot request failed (HTTP 500).",
        ),
        ("The model is overloaded. Please try again later.", "The model is overloaded."),
        ("Rate limited. Try again in 20 seconds! (HTTP 429)", "Rate limited. (HTTP 429)"),
        ('invalid agent params: unknown agent id "x"', 'invalid agent params: unknown agent id "x"'),
        ("No quota. Retry after the pause; it lasts an hour.", "No quota."),
        ("The model timed out\nRetrying in 5 s\nattempt 3", "The model timed out\nattempt 3"),
        ("Busy: trying again.", "Busy:"),
        ("Please try again.", "Please try again."),
        ("", ""),
    ],
)
def test_the_gateways_advice_to_its_own_readers_is_left_out(said: str, shown: str) -> None:
    error = GatewayError(Code.RUN_FAILED, said)
    assert error.detail == shown
    assert error.copy().detail == shown


def test_every_code_is_explained_in_the_language_of_its_reader() -> None:
    addresses = {code for code in WIRE if code.startswith("address_")}  # why an address is not called
    assert set(EXPLANATIONS) == {*Code, *ConnectionFailure, *addresses}
    for row in EXPLANATIONS.values():
        assert isinstance(row.cause, Promise)
        assert isinstance(row.cure, Promise) or row.cure == ""


@pytest.mark.parametrize("code", list(Code))
def test_a_stored_code_with_its_parameters_is_explained_as_the_error_was(code: Code) -> None:
    row = EXPLANATIONS[code]
    for detail, shown in (
        ("", ""),
        ("100 % full", ": 100 % full"),
        *((each, f": {EXPLANATIONS[each].cause}") for each in ConnectionFailure),
    ):
        error = GatewayError(code, detail, request_id="r-1")
        assert error.sentence == row.text({"command": "openclaw devices approve r-1"})
        assert error.explained == f"{error.sentence} ({code}{shown})"
        stored = json.loads(json.dumps(error.params))
        assert explain(EXPLANATIONS, str(code), stored) == error.explained
        assert error.copy().params == error.params == {**stored, "request_id": "r-1"}


def test_a_code_that_is_no_longer_in_the_table_is_shown_with_its_detail() -> None:
    assert explain(EXPLANATIONS, "of_another_version", {"detail": "why"}) == "of_another_version: why"
    detail = {"detail": {"code": "of_another_version", "params": {}}}
    assert explain(EXPLANATIONS, "unreachable", detail).endswith("(unreachable: of_another_version)")
