"""Accounts that somebody logs in with a phone: the live login, a scan step by step, requests, and the switch that stops sending."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.simulator import SimulatorClient
from tests.browser.camera import photograph
from tests.browser.desk import Desk
from tests.browser.journey import ADMIN, word
from tests.channels.harness import Reply, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.acceptance.stage import Stage
    from tests.channels.harness import Recorder

pytestmark = pytest.mark.heavy
ME, FRIEND = "wxid_browser_me", "wxid_browser_friend"
ACCOUNTS, REQUESTS = f"{ADMIN}/accounts/channelaccount/", f"{ADMIN}/bridge/contactrequest/"
POLLS = re.compile(r"/login/$|/scan/[a-z]+/state/$")


@pytest.fixture
def boss(stage: Stage, browser: Browser) -> Iterator[Desk]:
    desk = Desk(browser, stage.plan.web)
    desk.log_in("admin", stage.plan.env["ADMIN_PASSWORD"])
    yield desk
    complaints = [
        text for text in desk.complaints if not (text.startswith("failed: ") and POLLS.search(text.split()[1]))
    ]
    desk.close()
    assert complaints == []


@pytest.fixture
def company(stage: Stage) -> SimulatorClient:
    return SimulatorClient(stage.plan.env["DEMO_SIMULATOR_URL"])


def enable(desk: Desk) -> None:
    """A risky account asks first."""
    desk.page.once("dialog", lambda dialog: dialog.accept())
    desk.press("Enable")


def test_a_login_from_the_code_to_the_logout(boss: Desk, company: SimulatorClient, pictures: Path) -> None:
    token = f"insecure_{word(20)}"
    service = company.wechaty(ME, token, name="小桥", logged_in=False)
    company.wechaty_contact(FRIEND, "小明")
    boss.go(f"{ACCOUNTS}add/")
    boss.sees("Risk of a ban:")
    photograph(boss.page, "phone-kinds", pictures)
    boss.go(f"{ACCOUNTS}add/?kind=wechaty")
    assert not boss.page.locator("[name=enabled]").is_checked()
    photograph(boss.page, "phone-add", pictures)
    boss.secrets.add(token)
    boss.fill(name="Phone of the office", token=token, endpoint=service["endpoint"], knows_risk=True)
    boss.page.locator("[name=tls]").select_option("off")
    boss.press("Save")
    page = boss.page.url.removeprefix(boss.web)
    boss.sees("The account is disabled.")
    photograph(boss.page, "phone-disabled", pictures)
    enable(boss)
    boss.sees("may ban this account while it is enabled", "Scan this code with WeChat.")
    assert boss.page.locator("#login svg").is_visible()
    assert "needs a login" in boss.page.locator("#connection").inner_text()
    assert company.puppet(ME)["code"] not in boss.page.content()
    photograph(boss.page, "phone-code", pictures)
    company.use_phone(ME, "scan")
    boss.sees("confirm the login on the phone now")
    assert not boss.page.locator("#login svg").is_visible()
    photograph(boss.page, "phone-scanned", pictures)
    company.use_phone(ME, "confirm")
    boss.sees(f"Logged in as 小桥 ({ME}).", "Log out…", "working")
    photograph(boss.page, "phone-logged-in", pictures)
    stop_and_allow(boss, page, pictures)
    decide_requests(boss, page, company, pictures)
    boss.go(page)
    boss.follow("Log out…")
    boss.sees("receives nothing and sends nothing")
    photograph(boss.page, "phone-log-out", pictures)
    boss.press("Log out")
    boss.sees("Logged out.", "Scan this code with WeChat.")
    boss.press("Disable")


def stop_and_allow(desk: Desk, page: str, pictures: Path) -> None:
    desk.press("Stop all sending")
    desk.sees("All sending is stopped since", "0 deliveries wait for it", "sending stopped")
    photograph(desk.page, "sending-stopped", pictures)
    for name, path in (("sending-stopped-list", ACCOUNTS), ("sending-stopped-dashboard", f"{ADMIN}/")):
        desk.go(path)
        desk.sees("sending stopped")
        photograph(desk.page, name, pictures)
    desk.go(page)
    desk.press("Allow sending again")
    desk.sees("Sending is allowed again.", "Stop all sending")


def decide_requests(desk: Desk, page: str, company: SimulatorClient, pictures: Path) -> None:
    company.invite(ME, FRIEND, "产品讨论 · 周末徒步与读书会（第二群）", [FRIEND])
    company.ask_friendship(ME, FRIEND, "你好，我是市场部的小明，想请你们的助手帮忙看一下周报。")
    desk.find(REQUESTS, "产品讨论")
    desk.find(REQUESTS, "市场部的小明")
    photograph(desk.page, "requests-list", pictures)
    desk.go(page)
    photograph(desk.page, "requests-on-account", pictures)
    desk.press("Accept")
    desk.sees("Accepted.")
    desk.press("Dismiss")
    desk.sees("Whoever asked is told nothing.", "None is open.")
    desk.go(REQUESTS)
    desk.page.locator(".result-list a, #result_list a").filter(has_text="invitation to a group").first.click()
    desk.sees("decided", "admin")
    photograph(desk.page, "request-decided", pictures)


def says(**answer: Any) -> Reply:
    return Reply(json.dumps({"ret": 0, **answer}).encode())


def show_code(platform: Recorder) -> None:
    code = word(20)
    platform.will(says(qrcode=code, qrcode_img_content=f"https://liteapp.weixin.qq.com/q/{code}?bot_type=3"))


def test_a_scan_says_each_of_its_steps(boss: Desk, pictures: Path) -> None:
    with recorder() as platform:
        boss.go(f"{ACCOUNTS}scan/ilink/")
        boss.fill(name=f"Ann's assistant {word(4)}", api_base_url=platform.url)
        photograph(boss.page, "scan-form", pictures)
        show_code(platform)
        boss.press("Show the code")
        boss.sees("scans the code with their own WeChat")
        photograph(boss.page, "scan-code", pictures)
        platform.will(says(status="scaned"))
        boss.sees("The code is scanned: confirm on the phone.")
        photograph(boss.page, "scan-scanned", pictures)
        platform.will(says(status="need_verifycode"))
        boss.sees("The phone shows a number: type it here.")
        boss.page.get_by_label("Number on the phone").fill("42")
        photograph(boss.page, "scan-number", pictures)
        boss.page.get_by_role("button", name="Send").click()
        boss.page.wait_for_timeout(4000)
        assert [one.query["verify_code"] for one in platform.requests if "verify_code" in one.query] == ["42"]
        platform.will(says(status="expired"))
        boss.page.get_by_role("button", name="New code").wait_for()
        assert not boss.page.locator("#scan svg").is_visible()
        photograph(boss.page, "scan-expired", pictures)
        show_code(platform)
        boss.press("New code")
        boss.sees("scans the code with their own WeChat")
        secret = word(30)
        boss.secrets.add(secret)
        platform.will(
            says(
                status="confirmed",
                bot_token=secret,
                ilink_bot_id="b1@im.bot",
                ilink_user_id="ann@im.wechat",
                baseurl="",
            )
        )
        boss.page.wait_for_url(re.compile(r"/channelaccount/\d+/change/$"))
        boss.sees("Log in again", "Add another person")
        photograph(boss.page, "scan-added", pictures)
        boss.press("Disable")
