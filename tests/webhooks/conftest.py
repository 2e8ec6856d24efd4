"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.channels.harness import recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.channels.harness import Recorder


@pytest.fixture
def receiver(settings) -> Iterator[Recorder]:
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.1:*"]
    with recorder() as server:
        yield server
