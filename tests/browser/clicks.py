"""A walk of staff through the pages that counts what they press."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from django.db import connection
from django.test import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from bridge.models import Incident
    from tests.browser.desk import Desk

T = TypeVar("T")
# Language of the pages → that of the browser.
LANGUAGES = {"en": "en-GB", "zh-hans": "zh-CN"}


def start_session(user: User) -> str:
    """Return the key of a new session: no test of what follows a login presses its buttons."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def use_session(desk: Desk, key: str) -> None:
    desk.page.context.add_cookies([{"name": "sessionid", "value": key, "url": desk.web}])


def elsewhere(make: Callable[[], T]) -> T:
    """Run it in a thread: the one of the test has the browser's event loop, in which Django refuses queries."""

    def run() -> T:
        try:
            return make()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


class Walk:
    """Begins at the first page. clicks: links, buttons and boxes that were pressed; what is typed into a form is not counted."""

    def __init__(self, desk: Desk, incident: Incident) -> None:
        self.desk, self.clicks = desk, 0
        link = f"a[href$='/bridge/incident/{incident.pk}/change/']"
        self.title, self.mend = f"#attention {link}", f"#attention li:has({link}) .b-button"
        desk.go("/admin/")

    def press(self, selector: str) -> None:
        """Press the first that can be seen, which leads to another page."""
        with self.desk.page.expect_navigation(wait_until="load"):
            self.desk.page.locator(selector).locator("visible=true").first.click()
        self.clicks += 1
        self.desk.look()

    def press_row(self) -> None:
        """Press the button that mends it, in its row of the first page."""
        self.press(self.mend)

    def tick(self, selector: str) -> None:
        self.desk.page.locator(selector).check()
        self.clicks += 1

    def plan_and_run(self, also: str = "") -> None:
        """Make the plan of the filter that is filled in, and run it. also: what is chosen beside what is chosen already."""
        self.press("form.b-form button.b-primary")
        if also:
            self.tick(f"[name=outlook][value={also}]")
        self.press("form[action$='/run/'] .b-primary")

    def elsewhere(self, make: Callable[[], T]) -> T:
        return elsewhere(make)
