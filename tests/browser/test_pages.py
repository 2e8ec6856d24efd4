"""Every page as a person sees it: wide and narrow, light and dark. No picture may be wider than its screen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN, DEAD_LETTERS, word

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.browser.conftest import Told

pytestmark = pytest.mark.heavy
LISTS = {
    "accounts": "accounts/channelaccount",
    "gateways": "openclaw/gateway",
    "mappings": "bridge/route",
    "conversations": "bridge/conversation",
    "messages": "bridge/message",
    "deliveries": "bridge/delivery",
    "incidents": "bridge/incident",
    "replays": "bridge/replayrun",
    "contacts": "bridge/contact",
    "contact-requests": "bridge/contactrequest",
    "canned-answers": "bridge/cannedanswer",
    "alert-channels": "bridge/alertchannel",
    "alert-rules": "bridge/alertrule",
    "webhooks": "bridge/webhookendpoint",
    "tokens": "knox/authtoken",
    "staff": "auth/user",
    "staff-groups": "auth/group",
    "audit-log": "auditlog/logentry",
}
# name → path below /admin/; {…} stands for the address of something that the day has made
PAGES = {
    "dashboard": "/",
    **{f"list-{name}": f"/{path}/" for name, path in LISTS.items()},
    "list-deliveries-filtered": "/bridge/delivery/?state__exact=skipped",
    "list-nothing-found": "/bridge/message/?q=nothing-says-this",
    "list-searched-in-part": "/bridge/message/?q=谁",
    "list-audit-log-filtered": "/auditlog/logentry/?action=1&q=admin",
    "dead-letters": "/bridge/delivery/dead-letters/",
    "inbox-waiting": "/bridge/conversation/?view=waiting",
    "reports": "/reports/",
    "unknown-codes": "/unknown-codes/",
    "alert-channel-add": "/bridge/alertchannel/add/?kind=robot",
    "alert-rule": "/bridge/alertrule/1/change/",
    "canned-answer-add": "/bridge/cannedanswer/add/",
    "replay-plan": "/bridge/replayrun/add/?state=dead",
    "account-kinds": "/accounts/channelaccount/add/",
    "account-add-bot": "/accounts/channelaccount/add/?kind=wecom_aibot",
    "account-add-app": "/accounts/channelaccount/add/?kind=wecom_app",
    "account-add-risky": "/accounts/channelaccount/add/?kind=wechaty",
    "account-add-by-code": "/accounts/channelaccount/scan/ilink/",
    "account-bot": "{bot}",
    "account-app": "{app}",
    "account-history": "{app}../history/",
    "account-groups": "{app}../groups/",
    "gateway-add": "/openclaw/gateway/add/",
    "gateway": "{gateway}",
    "mapping-add": "/bridge/route/add/",
    "mapping": "{mapping}",
    "mapping-delete": "{mapping}../delete/",
    "which-agent": "/bridge/route/explain/?account=1&peer_kind=group&peer_id=wrUnknown&addressed=on",
    "conversation-group": "{group}",
    "conversation-person": "{person}",
    "conversation-move": "{person}../move/",
    "delivery-replayed": "{dead}",
    "message": "/bridge/message/1/change/",
    "contact": "/bridge/contact/1/change/",
    "webhook-add": "/bridge/webhookendpoint/add/",
    "staff-add": "/auth/user/add/",
    "staff-change": "/auth/user/1/change/",
    "staff-group": "/auth/group/2/change/",
    "audit-entry": "/auditlog/logentry/1/change/",
    "password": "/password_change/",
}


def address_of(told: Told, path: str) -> str:
    """The address of a page of PAGES."""
    found = re.sub(r"^\{([\w ]+)\}", lambda name: told.day.paths[name[1]], path)
    return found if "{" in path else f"{ADMIN}{path}"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits(desk: Desk, told: Told, pictures: Path, name: str) -> None:
    desk.go(address_of(told, PAGES[name]))
    photograph(desk.page, name, pictures)


def test_forms_with_errors_fit(desk: Desk, pictures: Path) -> None:
    for name in ("account-add-app", "gateway-add", "mapping-add", "webhook-add"):
        desk.go(f"{ADMIN}{PAGES[name]}")
        desk.page.locator("form").evaluate_all("forms => forms.forEach((form) => { form.noValidate = true; })")
        desk.press("Save")
        desk.sees("This field is required.")
        photograph(desk.page, f"{name}-wrong", pictures)


@pytest.mark.parametrize("verb", ["Replay…", "Dismiss…"])
def test_the_page_that_asks_first_fits(desk: Desk, pictures: Path, verb: str) -> None:
    """With deliveries that can be replayed and such that cannot."""
    desk.go(f"{ADMIN}/bridge/delivery/")
    desk.page.locator("#action-toggle").check()
    desk.page.locator("select[name=action]").select_option(label=verb)
    desk.press("Run")
    desk.sees("cannot")
    photograph(desk.page, f"confirm-{verb.rstrip('…').lower()}", pictures)


def test_dead_letters_fit(desk: Desk, told: Told, pictures: Path) -> None:
    """Also with something in them: with a badge, causes and the sentence for staff."""
    desk.go(told.day.paths["person"])
    told.day.company.fault("message/send", "errcode", errcode=60111, errmsg="userid not found")
    desk.fill(text="这条消息没有人收到：" + "一二三四五六七八九十" * 12)
    desk.press("Send")
    desk.find(DEAD_LETTERS, "60111")
    photograph(desk.page, "dead-letters-full", pictures)
    desk.page.locator(".result-list a, #result_list a").filter(has_text="这条消息").first.click()
    desk.sees("Attempts")
    photograph(desk.page, "delivery-dead", pictures)
    desk.press("Dismiss…")
    desk.press("Dismiss 1")
    desk.sees("1 delivery is dismissed.")


@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_error_page_fits_and_leads_back(
    browser: Browser, desk: Desk, told: Told, pictures: Path, status: int
) -> None:
    """A wrong form, a page without the right for it, and a page that is not there."""
    if status == 403:
        desk = colleague_without_rights(browser, desk)
    elif status == 400:
        desk.go(told.day.paths["person"])
        desk.page.locator("button[name=mode]").first.evaluate("button => { button.value = 'dancing'; }")
    with desk.expecting(status):
        if status == 400:
            desk.page.locator("button[name=mode]").first.click()
        else:
            desk.page.goto(f"{ADMIN}/bridge/message/" if status == 403 else f"{ADMIN}/nothing/")
        desk.sees("Back to the dashboard")
    photograph(desk.page, f"error-{status}", pictures)
    assert desk.complaints == []


def colleague_without_rights(browser: Browser, boss: Desk) -> Desk:
    name, password = f"colleague-{word(6)}", word(16)
    boss.go(f"{ADMIN}/auth/user/add/")
    boss.fill(username=name, password1=password, password2=password)
    boss.press("Save and continue editing")
    boss.fill(is_staff=True)
    boss.press("Save")
    desk = Desk(browser, boss.web)
    desk.log_in(name, password)
    return desk


def test_a_stranger_sees_the_login_only(browser: Browser, desk: Desk, pictures: Path) -> None:
    stranger = Desk(browser, desk.web)
    stranger.go(f"{ADMIN}/bridge/conversation/")
    assert "/login/" in stranger.page.url
    photograph(stranger.page, "login", pictures)
    stranger.fill(username="admin", password="wrong")
    stranger.press("Log in")
    photograph(stranger.page, "login-wrong", pictures)
    assert stranger.complaints == []
    stranger.close()


def test_the_simulators_chat_page_fits(browser: Browser, desk: Desk, told: Told, pictures: Path) -> None:
    """A member types in the group and sees the answer; the page is the simulator's own."""
    member = Desk(browser, told.day.company.url)
    member.go("/")
    member.sees("市场部 · 周报讨论群")
    photograph(member.page, "simulator-chats", pictures)
    member.page.get_by_role("button", name="市场部 · 周报讨论群").click()
    member.page.get_by_label("Message").fill("辛苦了，再发一次")
    member.page.get_by_role("button", name="Send", exact=True).click()
    member.sees("收到，张三：辛苦了，再发一次")
    photograph(member.page, "simulator-group", pictures)
    assert member.complaints == []
    member.close()
