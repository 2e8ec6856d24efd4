"""How long the connector waits before it opens a connection again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.connector import held
from bridge.connector.held import compute_backoff

if TYPE_CHECKING:
    import pytest


def test_backoff_grows_to_thirty_seconds_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "BACKOFF_SECONDS", 1.0)  # as in operation
    waits = [[compute_backoff(attempt) for _ in range(50)] for attempt in range(1, 13)]
    assert all(1.0 <= wait <= 30.0 for row in waits for wait in row)
    assert max(waits[0]) < min(waits[3])
    assert min(waits[11]) > 20.0
    assert len(set(waits[5])) > 1
