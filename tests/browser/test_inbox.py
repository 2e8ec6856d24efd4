"""The composer of a conversation: Ctrl+Enter, canned answers and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.journey import ADMIN

if TYPE_CHECKING:
    from tests.browser.conftest import Told
    from tests.browser.desk import Desk

pytestmark = pytest.mark.heavy
ANSWER, NOTE = "退款一般在三个工作日内到账。", "客户急，周一前答复"


def test_a_canned_answer_is_inserted_and_sent_by_the_keyboard(told: Told, desk: Desk) -> None:
    desk.go(f"{ADMIN}/bridge/cannedanswer/add/")
    desk.fill(shortcut="退款", text=ANSWER)
    desk.press("Save")
    desk.go(told.day.paths["person"])
    area = desk.page.locator(".b-send textarea[name=text]")
    area.fill("您好，/退款")
    area.press("Space")
    assert area.input_value() == "您好，/退款 "  # a slash within a word is none of ours
    area.fill("您好！ /退款")
    area.press("Space")
    assert area.input_value() == f"您好！ {ANSWER}"
    with desk.page.expect_navigation(wait_until="load"):
        area.press("Control+Enter")
    desk.sees(f"您好！ {ANSWER}")
    assert "admin" in desk.page.inner_text("#bubbles li.b-out:last-of-type")


def test_a_key_that_is_held_down_and_a_double_click_send_once(told: Told, desk: Desk) -> None:
    desk.go(told.day.paths["person"])
    sent: list[str] = []
    desk.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    for number, act in enumerate((_hold_down, _double_click)):
        desk.page.locator(".b-send textarea[name=text]").fill(f"只发一次 {number}")
        with desk.page.expect_navigation(wait_until="load"):
            desk.page.evaluate(act)
        desk.sees(f"只发一次 {number}")
    assert [url.rsplit("/", 2)[1] for url in sent] == ["send", "send"]
    assert desk.page.locator("#bubbles li.b-out", has_text="只发一次").count() == 2


_hold_down = """() => { const area = document.querySelector(".b-send textarea[name=text]");
  for (const repeat of [false, true, true]) area.dispatchEvent(
    new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, repeat, bubbles: true, cancelable: true })); }"""
_double_click = (
    """() => { const button = document.querySelector(".b-send .b-primary"); button.click(); button.click(); }"""
)


def test_a_note_is_seen_by_staff_and_never_sent(told: Told, desk: Desk) -> None:
    desk.go(told.day.paths["person"])
    desk.page.get_by_text("Write a note among staff").click()
    area = desk.page.locator("#note-text")
    area.fill(NOTE)
    with desk.page.expect_navigation(wait_until="load"):
        area.press("Control+Enter")
    desk.sees(NOTE, "Note among staff")
    assert desk.page.locator("#bubbles .b-memo").count() == 1
    desk.go(f"{ADMIN}/bridge/message/")
    assert NOTE not in desk.page.inner_text("#content-main")


def test_taken_over_and_handed_back(told: Told, desk: Desk) -> None:
    desk.go(told.day.paths["person"])
    desk.press("Take over")
    desk.sees("admin took the conversation over.")
    desk.press("Hand back to agent")
    desk.sees("admin handed it back to the agent.")
