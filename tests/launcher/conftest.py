"""Fixtures of this room."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.launcher.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    found = Supervisor(io.StringIO())
    yield found
    found.stop()
