"""What the way to a platform's WebSocket answers in its place."""

from __future__ import annotations

import pytest

from channels_wechat.contract.explanations import Action
from channels_wechat.wire.request_socket import _error_for_status


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (200, "html", Action.RETRY),
        (302, "http_302", Action.CONFIG),
        (403, "http_403", Action.CONFIG),
        (429, "http_429", Action.WAIT),
        (503, "http_503", Action.RETRY),
    ],
)
def test_whatever_refuses_the_upgrade_has_a_code_and_is_never_uncertain(status: int, code: str, action: Action) -> None:
    error = _error_for_status(status)
    assert (error.code, error.action) == (code, action)
    assert error.text
