"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.channels.harness import Recorder, recorder
from tests.channels.wecom.app import connected

if TYPE_CHECKING:
    from channels_wechat.wecom.app.channel import WeComApp


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def app(platform: Recorder) -> WeComApp:
    return connected(platform)
