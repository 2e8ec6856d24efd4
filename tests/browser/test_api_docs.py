"""The API's page in a real browser: readable and usable under our strict policy, with nothing from another host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage

pytestmark = pytest.mark.heavy


def test_the_page_describes_the_api_and_tries_it_out(stage: Stage, browser: Browser, pictures: Path) -> None:
    desk = Desk(browser, stage.plan.web)
    try:
        desk.log_in("admin", stage.plan.env["ADMIN_PASSWORD"])
        answer = desk.page.goto("/api/v1/docs/", wait_until="load")
        assert answer
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        desk.page.get_by_text("Today's figures and the open work").wait_for()
        photograph(desk.page, "api-docs", pictures)
        desk.page.locator("#operations-stats-stats_retrieve .opblock-summary-control").click()
        desk.page.get_by_role("button", name="Try it out").click()
        desk.page.get_by_role("button", name="Execute").click()
        desk.page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
        assert desk.complaints == []
    finally:
        desk.close()
