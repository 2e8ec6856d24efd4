"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.callbacks import web_server
from tests.support.factories import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture
def web() -> Iterator[str]:
    with web_server() as url:
        yield url


@pytest.fixture
def _without_csrf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger gets a token by loading the page once."""
    monkeypatch.setattr("django.middleware.csrf.CsrfViewMiddleware.process_view", lambda *_: None)
