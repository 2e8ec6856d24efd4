"""Every page in Chinese after a day of messages: it fits, has no serious fault for axe, and says its language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN
from tests.browser.running import add_admin
from tests.browser.test_accessible import faults_of_schemes
from tests.browser.test_pages import PAGES, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage
    from tests.browser.conftest import Told

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def reader(browser: Browser, told: Told, stage: Stage) -> Iterator[Desk]:
    """Somebody with every right, at a browser in Chinese."""
    told.skip_unless_whole()
    found = Desk(browser, told.day.desk.web, locale="zh-CN")
    found.log_in(add_admin(stage), told.day.env["ADMIN_PASSWORD"], "登录")
    yield found
    found.close()


def look(reader: Desk, name: str, pictures: Path) -> None:
    assert reader.page.evaluate("document.documentElement.lang") == "zh-hans"
    found = faults_of_schemes(reader.page)
    photograph(reader.page, f"zh-{name}", pictures)
    complaints, reader.complaints = reader.complaints, []
    assert (found, complaints) == ([], [])


@pytest.mark.parametrize("name", PAGES)
def test_a_chinese_page_fits_and_has_no_serious_fault(reader: Desk, told: Told, pictures: Path, name: str) -> None:
    reader.go(address_of(told, PAGES[name]))
    look(reader, name, pictures)


def test_a_replay_is_planned_and_run_in_chinese(reader: Desk, pictures: Path) -> None:
    """Of what the rules skipped: nobody gets anything by it but the agent of that chat."""
    reader.go(f"{ADMIN}/bridge/replayrun/add/?state=skipped")
    reader.press("生成计划")
    reader.sees("重放后的结果")
    look(reader, "replay-planned", pictures)


def test_a_form_with_errors_fits_in_chinese(reader: Desk, pictures: Path) -> None:
    for name in ("account-add-app", "gateway-add", "mapping-add", "webhook-add", "alert-channel-add"):
        reader.go(f"{ADMIN}{PAGES[name]}")
        reader.page.locator("form").evaluate_all("forms => forms.forEach((form) => { form.noValidate = true; })")
        reader.press("保存")
        look(reader, f"{name}-wrong", pictures)


def test_taking_over_and_handing_back_in_chinese(reader: Desk, told: Told, pictures: Path) -> None:
    reader.go(told.day.paths["person"])
    reader.press("接管")
    reader.sees("现在由您回复。")
    look(reader, "conversation-taken-over", pictures)
    reader.press("转回智能体")
    reader.sees("智能体恢复回答")


def test_the_login_in_chinese(browser: Browser, reader: Desk, pictures: Path) -> None:
    stranger = Desk(browser, reader.web, locale="zh-CN")
    stranger.go(f"{ADMIN}/login/")
    look(stranger, "login", pictures)
    stranger.fill(username="admin", password="wrong")
    stranger.press("登录")
    look(stranger, "login-wrong", pictures)
    stranger.close()
