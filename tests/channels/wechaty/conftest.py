"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_puppet import fake_puppet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_puppet import FakePuppet


@pytest.fixture
def puppet() -> Iterator[FakePuppet]:
    with fake_puppet() as service:
        yield service
        assert service.calls["Stop"] == 0
