"""Every page by axe-core, in both colour schemes, and by the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN, CORP, Keys, word
from tests.browser.test_pages import PAGES, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.acceptance.stage import Stage
    from tests.browser.conftest import Told

pytestmark = pytest.mark.heavy
# Beside what axe calls serious: what it calls moderate, but a reader without eyes meets on every page.
ALSO = frozenset(
    {"region", "landmark-one-main", "landmark-unique", "landmark-no-duplicate-main", "page-has-heading-one"}
)
# Pages of rows that a day of messages makes.
OF_A_DAY = frozenset({"which-agent", "message", "contact", "audit-entry"})
WITH_MORE_AFTER_A_DAY = frozenset(
    {
        "dashboard",
        "list-conversations",
        "list-messages",
        "list-deliveries",
        "list-incidents",
        "list-audit-log",
        "reports",
    }
)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """Return what is seriously wrong on the page that is open: rule, and the first places."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]})
    bad = [
        each for each in found.response["violations"] if each["impact"] in ("serious", "critical") or each["id"] in ALSO
    ]
    return [f"{each['id']}: {_places(each['nodes'])}" for each in bad]


def _places(nodes: list[dict[str, Any]]) -> str:
    return " | ".join(f"{node['html'][:160]} ({node['target'][0]})" for node in nodes[:3])


def faults_of_schemes(page: Page) -> list[str]:
    found = []
    for dark in (False, True):
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        page.wait_for_function("() => document.getAnimations().every((one) => one.playState !== 'running')")
        found += [f"{'dark' if dark else 'light'}: {fault}" for fault in faults(page)]
    return found


@pytest.fixture
def desk(stage: Stage, browser: Browser) -> Iterator[Desk]:
    found = Desk(browser, stage.plan.web)
    found.log_in("admin", stage.plan.env["ADMIN_PASSWORD"])
    yield found
    complaints = found.complaints
    found.close()
    assert complaints == []


def add_account(desk: Desk) -> str:
    """Add an app by its form, and return the path of its page."""
    keys = Keys.new()
    desk.go(f"{ADMIN}/accounts/channelaccount/add/?kind=wecom_app")
    desk.fill(name=f"App {word(6)}", corp_id=CORP, agent_id=str(1000100 + int.from_bytes(word(2).encode()) % 100_000))
    desk.fill(secret=keys.secret or word(43), token=keys.token, encoding_aes_key=keys.aes_key)
    desk.press("Save")
    return urlsplit(desk.page.url).path


def add_gateway(desk: Desk, stage: Stage) -> str:
    desk.go(f"{ADMIN}/openclaw/gateway/add/")
    desk.fill(name=f"Gateway {word(6)}", base_url=stage.plan.env["DEMO_GATEWAY_URL"], token="not-the-token")
    desk.press("Save")
    return urlsplit(desk.page.url).path


def test_no_page_has_a_serious_fault(desk: Desk, stage: Stage, pictures: Path) -> None:
    """Pages that need no day of messages; what is left to set up stands on one of them."""
    addresses = {name: f"{ADMIN}{path}" for name, path in PAGES.items() if "{" not in path and name not in OF_A_DAY}
    made = {"account-new": add_account(desk), "gateway-new": add_gateway(desk, stage)}
    wrong = {}
    for name, address in {**addresses, **made}.items():
        desk.go(address)
        if name == "account-new":
            desk.sees("What is left to set up")
            photograph(desk.page, name, pictures)
        if found := faults_of_schemes(desk.page):
            wrong[name] = found
    assert not wrong, "\n".join(f"{name}: {fault}" for name, found in wrong.items() for fault in found)


def test_no_page_of_a_day_has_a_serious_fault(told: Told, desk: Desk) -> None:
    """Pages with messages on them: the inbox, conversations, deliveries, incidents, reports, replays."""
    told.skip_unless_whole()
    wrong = {}
    for name, path in PAGES.items():
        if "{" in path or name in OF_A_DAY or name in WITH_MORE_AFTER_A_DAY:
            desk.go(address_of(told, path))
            if found := faults_of_schemes(desk.page):
                wrong[name] = found
    assert not wrong, "\n".join(f"{name}: {fault}" for name, found in wrong.items() for fault in found)


def test_the_login_has_no_serious_fault(browser: Browser, stage: Stage) -> None:
    stranger = Desk(browser, stage.plan.web)
    stranger.go(f"{ADMIN}/login/")
    assert faults_of_schemes(stranger.page) == []
    stranger.close()


def test_the_first_tab_leads_past_the_menu(desk: Desk) -> None:
    desk.go(f"{ADMIN}/bridge/delivery/")
    desk.page.keyboard.press("Tab")
    assert desk.page.evaluate("document.activeElement.className") == "b-skip"
    desk.page.keyboard.press("Enter")
    assert desk.page.evaluate("document.activeElement.id") == "main-content"
    desk.page.keyboard.press("Tab")
    assert desk.page.evaluate("document.activeElement.closest('main') !== null")


def test_a_form_for_a_new_row_begins_in_its_first_field(desk: Desk) -> None:
    for path in ("openclaw/gateway/add/", "accounts/channelaccount/add/?kind=wecom_app"):
        desk.go(f"{ADMIN}/{path}")
        assert desk.page.evaluate("document.activeElement.name") == "name"


def test_icons_are_silent_and_controls_have_names(desk: Desk) -> None:
    desk.go(f"{ADMIN}/bridge/delivery/")
    spoken = desk.page.locator(".material-symbols-outlined").evaluate_all(
        "all => all.filter((icon) => icon.ariaHidden !== 'true' && !icon.ariaLabel).map((icon) => icon.outerHTML)"
    )
    assert spoken == []


def test_keys_move_in_a_list_and_open_a_row(desk: Desk, pictures: Path) -> None:
    add_account(desk)
    add_account(desk)
    desk.go(f"{ADMIN}/accounts/channelaccount/")
    links = desk.page.locator("#result_list tr.data-row").evaluate_all(
        "rows => rows.map((row) => row.querySelector('th a[href], td a[href]').getAttribute('href'))"
    )
    here = lambda: desk.page.evaluate("document.activeElement.getAttribute('href')")  # noqa: E731
    for key, number in (("j", 0), ("j", 1), ("k", 0), ("k", 0), ("j", 1)):
        desk.page.keyboard.press(key)
        assert here() == links[number]
    photograph(desk.page, "list-row-by-keys", pictures)
    with desk.page.expect_navigation():
        desk.page.keyboard.press("Enter")
    assert urlsplit(desk.page.url).path == urlsplit(links[1]).path


def test_no_key_acts_while_somebody_types(desk: Desk, pictures: Path) -> None:
    desk.go(f"{ADMIN}/accounts/channelaccount/")
    desk.page.keyboard.press("/")
    assert desk.page.evaluate("document.activeElement.id") == "searchbar"
    desk.page.keyboard.type("jk?/")
    assert desk.page.locator("#searchbar").input_value() == "jk?/"
    assert not desk.page.locator("#keys").is_visible()
    desk.page.locator("#searchbar").blur()
    desk.page.keyboard.press("?")
    assert desk.page.locator("#keys").is_visible()
    photograph(desk.page, "keys", pictures)
    assert faults(desk.page) == []
    desk.page.keyboard.press("Escape")
    assert not desk.page.locator("#keys").is_visible()


def test_the_palette_leads_to_what_was_typed(desk: Desk, pictures: Path) -> None:
    path = add_account(desk)
    name = desk.page.locator("#id_name").input_value()
    desk.go(f"{ADMIN}/")
    desk.page.keyboard.press("Control+k")
    desk.page.locator("#search-input-command").press_sequentially(name)
    desk.page.locator("#command-results-list a", has_text=name).first.wait_for()
    photograph(desk.page, "palette", pictures)
    desk.page.locator("#search-input-command").press("ArrowDown")
    with desk.page.expect_navigation():
        desk.page.locator("#search-input-command").press("Enter")
    assert urlsplit(desk.page.url).path == path
