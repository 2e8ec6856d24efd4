"""A webhook from its first form to the day its receiver is gone; its secret is on one page only."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.browser.camera import photograph
from tests.browser.journey import ADMIN
from tests.channels.harness import Reply, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.desk import Desk
    from tests.channels.harness import Recorder

pytestmark = pytest.mark.heavy
IN_ADDRESS = "a-secret-of-the-ticket-desk"
_numbers = itertools.count(1)


@pytest.fixture
def receiver() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


def added(desk: Desk, receiver: Recorder) -> str:
    """A new webhook, the page with its secret open. Returns its name."""
    name = f"工单系统 · ticket desk {next(_numbers)}"
    desk.go(f"{ADMIN}/bridge/webhookendpoint/add/")
    desk.fill(name=name, url=f"{receiver.url}/in/{IN_ADDRESS}")
    for event in ("message.received", "delivery.dead", "account.state"):
        desk.page.locator(f"input[name=events][value='{event}']").check()
    desk.press("Save")
    return name


def done(desk: Desk) -> str:
    """Leave the page with the secret; from now on it may be nowhere."""
    desk.secrets |= {desk.page.locator("#secret").inner_text(), IN_ADDRESS}
    desk.follow("Done")
    return desk.page.url.removeprefix(desk.web)


def test_the_secret_is_shown_once_and_again_when_rotated(desk: Desk, receiver: Recorder, pictures: Path) -> None:
    added(desk, receiver)
    desk.sees("Copy the secret now", "whsec_")
    photograph(desk.page, "webhook-secret", pictures)
    path = done(desk)
    desk.sees("enabled", "No event sent yet.", receiver.url)
    photograph(desk.page, "webhook-new", pictures)

    desk.page.once("dialog", lambda dialog: dialog.accept())
    desk.press("Rotate secret…")
    desk.sees("Copy the secret now", "whsec_")
    done(desk)
    desk.sees("The previous secret also signs until")
    desk.go(f"{path}../history/")
    desk.sees("Secret rotated.")
    photograph(desk.page, "webhook-history", pictures)


def test_a_test_event_arrives_and_a_receiver_that_is_gone_is_switched_off(
    desk: Desk, receiver: Recorder, pictures: Path
) -> None:
    name = added(desk, receiver)
    path = done(desk)
    receiver.will(Reply(b"", status=204), Reply(b"", status=410))
    desk.press("Send a test event")
    delivered = desk.page.url.removeprefix(desk.web)
    desk.find(delivered, "delivered")
    photograph(desk.page, "webhook-delivery", pictures)
    desk.go(path)
    desk.press("Send a test event")
    dead = desk.page.url.removeprefix(desk.web)
    desk.find(dead, "The webhook is gone")
    photograph(desk.page, "webhook-delivery-dead", pictures)
    desk.go(path)
    desk.sees("disabled", "The webhook is gone", "While it is disabled, no new events are queued")
    photograph(desk.page, "webhook-off", pictures)
    desk.go(f"{ADMIN}/bridge/webhookendpoint/")
    desk.sees(name, "disabled")
    photograph(desk.page, "list-webhooks-off", pictures)
    desk.go(dead)
    desk.press("Dismiss…")
    desk.press("Dismiss 1")
    desk.sees("1 delivery is dismissed.")


def test_an_address_that_is_none_is_refused_in_words(desk: Desk, pictures: Path) -> None:
    desk.go(f"{ADMIN}/bridge/webhookendpoint/add/")
    desk.page.locator("form").evaluate_all("forms => forms.forEach((form) => { form.noValidate = true; })")
    desk.fill(name="Nowhere", url="ticket desk")
    desk.press("Save")
    desk.sees("This field is required.", "not allowed in one")
    photograph(desk.page, "webhook-add-wrong-address", pictures)
