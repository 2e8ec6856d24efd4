"""The switch of the language: it keeps the page, is kept for the person, works by the keyboard, and every page says its language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN
from tests.browser.running import add_admin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage

pytestmark = pytest.mark.heavy
PAGE = f"{ADMIN}/bridge/delivery/?state__exact=dead"


@pytest.fixture
def desks(stage: Stage, browser: Browser) -> Iterator[list[Desk]]:
    """Two browsers that ask for English."""
    found = [Desk(browser, stage.plan.web, locale="en-GB") for _ in range(2)]
    yield found
    complaints = [line for desk in found for line in desk.complaints]
    for desk in found:
        desk.close()
    assert complaints == []


def language_of(desk: Desk) -> str:
    return str(desk.page.evaluate("document.documentElement.lang"))


def choose(desk: Desk, name: str) -> None:
    """By the keyboard alone: the button that opens the menu, Tab to the language, Enter."""
    desk.page.locator("#user-menu-button").focus()
    desk.page.keyboard.press("Enter")
    desk.page.locator("#user-menu").wait_for()
    for _ in range(10):
        desk.page.keyboard.press("Tab")
        if desk.page.evaluate("document.activeElement.textContent.trim()") == name:
            break
    with desk.page.expect_navigation(wait_until="load"):
        desk.page.keyboard.press("Enter")


def test_the_switch_keeps_the_page_and_is_kept_for_the_person(desks: list[Desk], stage: Stage, pictures: Path) -> None:
    here, there = desks
    name = add_admin(stage)
    here.log_in(name, stage.plan.env["ADMIN_PASSWORD"])
    here.go(PAGE)
    assert language_of(here) == "en"
    choose(here, "简体中文")
    assert (here.page.url.removeprefix(here.web), language_of(here)) == (PAGE, "zh-hans")
    here.sees("投递", "死信")
    here.page.locator("#user-menu-button").click()
    chosen = here.page.locator("#user-menu [aria-current=true]")
    assert (chosen.inner_text().strip(), chosen.get_attribute("lang")) == ("简体中文", "zh-hans")
    here.page.keyboard.press("Escape")
    assert here.page.evaluate("document.activeElement.id") == "user-menu-button"
    here.page.locator("#user-menu").wait_for(state="hidden")
    here.page.keyboard.press("Enter")
    photograph(here.page, "language-menu", pictures)
    there.log_in(name, stage.plan.env["ADMIN_PASSWORD"])
    assert language_of(there) == "zh-hans"
    choose(there, "English")
    assert language_of(there) == "en"


def test_the_login_page_speaks_the_browsers_language_until_somebody_chooses(stage: Stage, browser: Browser) -> None:
    desk = Desk(browser, stage.plan.web, locale="zh-CN")
    desk.go(f"{ADMIN}/login/?next={ADMIN}/")
    assert language_of(desk) == "zh-hans"
    desk.sees("密码", "登录")
    desk.page.get_by_role("button", name="English").focus()
    with desk.page.expect_navigation(wait_until="load"):
        desk.page.keyboard.press("Enter")
    assert language_of(desk) == "en"
    assert desk.page.url.endswith(f"/login/?next={ADMIN}/")
    desk.sees("Password")
    assert desk.complaints == []
    desk.close()
