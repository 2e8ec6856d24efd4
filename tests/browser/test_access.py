"""Pages of those who may not see all, of tokens and the audit log, and what is said when nothing more is done."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.launcher.commands import make_python_command
from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN, DEAD_LETTERS, word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage
    from tests.browser.conftest import Told

pytestmark = pytest.mark.heavy
WITHHELD = "Hidden: you may not read messages."
SAID = "您的报表好了，请查收。"
GIVEN = """
INSERT INTO auth_user_user_permissions (user_id, permission_id)
SELECT u.id, p.id FROM auth_user u, auth_permission p WHERE u.username = %s
AND (p.codename LIKE 'view\\_%%' OR p.codename IN ('send_message', 'replay_delivery', 'dismiss_delivery')) RETURNING 1
"""
PEOPLE = """
INSERT INTO bridge_contact (account_id, external_id, name, name_fetched_at, created_at)
SELECT min(a.id), 'crowd-' || n, '群众' || n, now(), now() FROM accounts_channelaccount a, generate_series(1, 5100) n
GROUP BY n RETURNING 1
"""


@pytest.fixture
def blindfolded(browser: Browser, desk: Desk, stage: Stage) -> Iterator[Desk]:
    """The desk of a colleague who sees every page and may read no message."""
    found = colleague(browser, desk, stage)
    yield found
    assert found.complaints == []
    found.close()


def colleague(browser: Browser, boss: Desk, stage: Stage) -> Desk:
    name, password = f"colleague-{word(6)}", word(16)
    boss.go(f"{ADMIN}/auth/user/add/")
    boss.fill(username=name, password1=password, password2=password)
    boss.press("Save and continue editing")
    boss.fill(is_staff=True)
    boss.press("Save")
    assert stage.rows(GIVEN, name)
    desk = Desk(browser, boss.web)
    desk.log_in(name, password)
    return desk


@pytest.mark.parametrize("name", ["person", "dead", "messages", "deliveries", "message", "replay"])
def test_pages_without_the_right_to_read(blindfolded: Desk, told: Told, pictures: Path, name: str) -> None:
    """What was said is on none of them, and the page says why; what became of it stays."""
    lists = {"messages": f"{ADMIN}/bridge/message/", "deliveries": f"{ADMIN}/bridge/delivery/"}
    paths = {**told.day.paths, **lists, "message": f"{ADMIN}/bridge/message/1/change/", "replay": lists["deliveries"]}
    blindfolded.go(paths[name])
    if name == "replay":
        blindfolded.page.locator("#action-toggle").check()
        blindfolded.page.locator("select[name=action]").select_option(label="Replay…")
        blindfolded.press("Run")
    assert SAID not in blindfolded.page.inner_text("body")
    assert "发布计划" not in blindfolded.page.inner_text("body")
    if name not in (*lists, "replay"):
        blindfolded.sees(WITHHELD)
    photograph(blindfolded.page, f"withheld-{name}", pictures)


def test_dead_letters_without_the_right_to_read(blindfolded: Desk, told: Told, desk: Desk, pictures: Path) -> None:
    said = f"这条消息没有人收到 {word(4)}"
    told.day.company.fault("message/send", "errcode", errcode=60111, errmsg="userid not found")
    desk.go(told.day.paths["person"])
    desk.fill(text=said)
    desk.press("Send")
    blindfolded.find(DEAD_LETTERS, "60111")
    assert said not in blindfolded.page.inner_text("body")
    photograph(blindfolded.page, "withheld-dead-letters", pictures)
    desk.find(DEAD_LETTERS, said)
    desk.page.locator("#result_list a, .result-list a").filter(has_text=said).first.click()
    desk.press("Dismiss…")
    desk.press("Dismiss 1")


def test_the_fifth_wrong_password_locks(browser: Browser, desk: Desk, pictures: Path) -> None:
    stranger = Desk(browser, desk.web)
    name = f"nobody-{word(6)}"
    for number in range(4):
        stranger.go(f"{ADMIN}/login/")
        stranger.fill(username=name, password=f"wrong-{number}")
        stranger.press("Log in")
    stranger.fill(username=name, password="wrong-again")
    with stranger.expecting(429):
        stranger.page.get_by_role("button", name="Log in").click()
        stranger.sees("Too many wrong passwords", "for 15 minutes")
    photograph(stranger.page, "locked-out", pictures)
    assert stranger.complaints == []
    stranger.close()


def test_tokens_are_listed_and_taken_back(desk: Desk, stage: Stage, pictures: Path) -> None:
    command = make_python_command("manage.py", "issue_token", "admin", "--days", "30")
    made = subprocess.run(command, env={**os.environ, **stage.plan.env}, capture_output=True, text=True, check=True)
    token = made.stdout.strip()
    desk.secrets.add(token)
    desk.go(f"{ADMIN}/knox/authtoken/")
    desk.sees(token[:10], "good")
    photograph(desk.page, "tokens", pictures)
    desk.page.get_by_role("row").filter(has_text=token[:10]).get_by_role("checkbox").check()
    desk.page.locator("select[name=action]").select_option(label="Delete selected API tokens")
    desk.press("Run")
    desk.sees(token[:10])
    photograph(desk.page, "tokens-delete", pictures)
    desk.press("Yes, I’m sure")
    assert token[:10] not in desk.page.inner_text("body")


def test_what_was_changed_stands_in_the_audit_log(desk: Desk, told: Told, pictures: Path) -> None:
    """With the values before and after, and none of a secret; the deed of a button by its sentence."""
    desk.go(told.day.paths["app"])
    desk.fill(retention_days="3")
    desk.page.locator("form").evaluate_all("forms => forms.forEach((form) => { form.noValidate = true; })")
    desk.press("Save and continue editing")
    desk.sees("greater than or equal to 7")
    photograph(desk.page, "account-app-wrong", pictures)
    desk.fill(retention_days="180", secret=told.day.app.secret)
    desk.press("Save and continue editing")
    desk.go(f"{ADMIN}/auditlog/logentry/")
    desk.page.locator("#result_list a, .result-list a").filter(has_text="Company app").first.click()
    desk.sees("days messages are kept", "180")
    photograph(desk.page, "audit-entry-account", pictures)


def test_the_end_of_a_long_list_says_so(desk: Desk, stage: Stage, pictures: Path) -> None:
    assert len(stage.rows(PEOPLE)) == 5100
    try:
        desk.go(f"{ADMIN}/bridge/contact/?p=2")
        desk.sees("Newer", "Older", "page 2")
        photograph(desk.page, "list-second-page", pictures)
        desk.go(f"{ADMIN}/bridge/contact/?p=100")
        desk.sees("page 100", "Older")
        photograph(desk.page, "list-deepest-page", pictures)
        desk.go(f"{ADMIN}/bridge/contact/?q=群众")
        photograph(desk.page, "list-found-in-part", pictures)
    finally:
        stage.rows("DELETE FROM bridge_contact WHERE starts_with(external_id, 'crowd-') RETURNING 1")


def test_pages_of_an_account_whose_kind_is_gone(desk: Desk, told: Told, stage: Stage, pictures: Path) -> None:
    renamed = "UPDATE accounts_channelaccount SET kind = %s WHERE kind = %s RETURNING id"
    assert stage.rows(renamed, "wecom_fax", "wecom_app")
    try:
        for name in ("app", "person", "dead"):
            desk.go(told.day.paths[name])
            if name == "person":
                desk.sees("This kind of account is no longer supported.")
            photograph(desk.page, f"retired-{name}", pictures)
    finally:
        assert stage.rows(renamed, "wecom_app", "wecom_fax")
