"""A person of the staff at a browser: goes to pages, fills in forms, presses buttons; and what the browser complained about."""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from playwright.sync_api import TimeoutError, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, WebError

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WAIT_MS = 60_000
# A page asks for news all the time; leaving it breaks such a request off, which is no failure.
POLLS = re.compile(r"/transcript/$|/setup/$|/admin/part/|/incident/attention/$|/live/$|/sim/(chat/|directory)")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, in which no name but 127.0.0.1 can be resolved."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Desk:
    """`go` and `press` wait for the new page and look whether a secret is in it."""

    def __init__(self, browser: Browser, web: str, **options: object) -> None:
        self.web, self.secrets = web, set[str]()
        self.complaints: list[str] = []
        self._status = 200
        context = browser.new_context(base_url=web, viewport={"width": 1280, "height": 800}, **options)  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)
        self.page: Page = context.new_page()

    def close(self) -> None:
        self.page.context.close()

    # --- acting -----------------------------------------------------------------------------------------------------------

    def go(self, path: str, status: int = 200) -> None:
        self._status = status
        answer = self.page.goto(path, wait_until="load")
        assert answer
        assert answer.status == status, f"{path}: {answer.status}"
        self.page.wait_for_function("() => !document.querySelector('[data-at-once]')")
        self.look()

    @contextlib.contextmanager
    def expecting(self, status: int) -> Iterator[None]:
        """What happens here is answered with this HTTP status, and that is no reason to complain."""
        self._status = status
        yield
        self.look()

    def log_in(self, name: str, password: str, button: str = "Log in") -> None:
        self.go("/admin/login/?next=/admin/")
        self.fill(username=name, password=password)
        self.press(button)

    def fill(self, **fields: str | bool) -> None:
        """By the name of each field: a text, the label of a choice, or whether a box is ticked."""
        for name, value in fields.items():
            field = self.page.locator(f"#content-main [name={name}], form [name={name}]").first
            if isinstance(value, bool):
                field.set_checked(value)
            elif field.evaluate("element => element.tagName") == "SELECT":
                field.select_option(label=value)
            else:
                field.fill(value)

    def press(self, name: str, role: Literal["button", "link"] = "button") -> None:
        """Press the first that is called so and leads to another page. The name of an icon may follow its own."""
        called = re.compile(rf"^\s*{re.escape(name)}(\s+[a-z_]+)?\s*$")
        self._status = 200
        with self.page.expect_navigation(wait_until="load"):
            self.page.get_by_role(role, name=called).first.click()
        self.look()

    def follow(self, name: str) -> None:
        self.press(name, "link")

    # --- looking ----------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        html = self.page.content()
        leaked = [secret[:4] for secret in self.secrets if secret in html]
        assert leaked == [], f"secrets in {self.page.url}: {leaked}…"

    def sees(self, *texts: str) -> None:
        """Each text can be read on the page, now or soon."""
        for text in texts:
            try:
                self.page.wait_for_function("text => document.body?.innerText.includes(text)", arg=text)
            except TimeoutError as late:
                raise AssertionError(f"{text!r} is not on {self.page.url}:\n{self.page.inner_text('body')}") from late

    def find(self, path: str, text: str) -> None:
        """Open a list again and again until it holds the text."""
        for _try in range(60):
            self.go(path)
            if text in self.page.inner_text("body"):
                return
            self.page.wait_for_timeout(500)
        raise AssertionError(f"{path} never showed {text!r}:\n{self.page.inner_text('body')}")

    # --- listening --------------------------------------------------------------------------------------------------------

    def _console(self, message: ConsoleMessage) -> None:
        expected = self._status >= 400 and f"status of {self._status}" in message.text
        if message.type in ("error", "warning") and not expected:
            self._complain(f"{message.type}: {message.text}")

    def _error(self, error: WebError) -> None:
        self._complain(f"uncaught: {error.error}")

    def _failed(self, request: Request) -> None:
        broken_off = request.failure == "net::ERR_ABORTED" and POLLS.search(urlsplit(request.url).path)
        if not broken_off:
            self._complain(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status != self._status:
            self._complain(f"{response.status}: {response.url}")
        if urlsplit(response.url).hostname not in ("127.0.0.1", None):
            self._complain(f"left this machine: {response.url}")

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{text} (on {self.page.url})")
