"""One bridge, one browser and one day for all tests here: the tests look at what came of it, in any order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.desk import Desk, chromium
from tests.browser.journey import STEPS, Day
from tests.browser.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage


@pytest.fixture(scope="session")
def empty_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The bridge before the day. Only `told` may ask for it: the day begins with nothing in the database."""
    with running(tmp_path_factory.mktemp("bridge")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Told:
    """The day as it went. outcomes: name of a step → what it raised; a step after that one was not taken."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.outcomes: dict[str, Exception | None] = {}

    def live(self) -> None:
        for step in STEPS:
            try:
                step(self.day)
                assert self.day.desk.complaints == []
            except Exception as error:
                self.outcomes[step.__name__] = error
                return
            self.outcomes[step.__name__] = None


@pytest.fixture(scope="session")
def told(empty_stage: Stage, browser: Browser) -> Iterator[Told]:
    desk = Desk(browser, empty_stage.plan.web)
    found = Told(Day(empty_stage, desk))
    found.live()
    yield found
    desk.close()


@pytest.fixture(scope="session")
def stage(empty_stage: Stage, told: Told) -> Stage:
    """The bridge after the day, for every test that wants it without the day's browser."""
    assert told.outcomes
    return empty_stage


@pytest.fixture
def desk(told: Told) -> Iterator[Desk]:
    """The browser after the day; a test may leave no complaint behind."""
    if failed := [name for name, error in told.outcomes.items() if error]:
        pytest.skip(f"the day ended early: {failed[0]}")
    told.day.desk.complaints.clear()
    yield told.day.desk
    assert told.day.desk.complaints == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots are put: SCREENSHOTS_DIR, or a temporary folder."""
    named = os.environ.get("SCREENSHOTS_DIR")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
