"""Fixtures of this room."""

from __future__ import annotations

import pytest

from channels_wechat.wire.http import Http
from tests.channels.harness import recorder
from tests.channels.wire.sessions import LOCAL


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def http() -> Http:
    return Http(LOCAL, timeout=(2, 5))
