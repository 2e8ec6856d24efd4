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
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Told:
    """The day as it went. outcomes: name of a step → what it raised; a step after that one was not taken."""

    def __init__(self, stage: Stage, desk: Desk) -> None:
        self.stage, self.day = stage, Day(stage, desk)
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

    def skip_unless_whole(self) -> None:
        """Skip the test that asks, where the day ended early: what it would look at is not there, and test_day fails for that step."""
        if failed := [name for name, error in self.outcomes.items() if error]:
            pytest.skip(f"the day ended early: {failed[0]}")


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Told]:
    """The day, lived as soon as the bridge runs: nothing can be in the database before it."""
    with running(tmp_path_factory.mktemp("bridge")) as stage:
        desk = Desk(browser, stage.plan.web)
        found = Told(stage, desk)
        found.live()
        yield found
        desk.close()


@pytest.fixture(scope="session")
def stage(told: Told) -> Stage:
    """The bridge after the day, for a test that brings a browser of its own."""
    return told.stage


@pytest.fixture
def desk(told: Told) -> Iterator[Desk]:
    """The browser after the day; a test may leave no complaint behind."""
    told.skip_unless_whole()
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
