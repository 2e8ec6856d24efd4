"""What staff read of a gateway's own words."""

from __future__ import annotations

import pytest

from openclaw.errors import Code, GatewayError


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
    assert error.fresh().detail == shown
