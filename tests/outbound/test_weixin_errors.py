"""What becomes of a delivery when WeChat refuses, is silent or forbids: the simulated platform, and the worker's own functions."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.channels import http, stored_tokens
from accounts.health import Health
from accounts.models import AccessToken, Restriction
from bridge.media import storage
from bridge.models import Attachment, AttachmentState, Contact, Delivery, Reason, State
from bridge.operations.replay import replay
from bridge.security.redaction import MAX_BYTES, redact
from channels_wechat.contract.messages import Content
from channels_wechat.weixin.errors import error_for
from tests.support.factories import FAN, OFFICIAL, due, official, outcomes, row, send, shift, work_off
from tests.support.followers import SEND, Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
RID = "66e2a1b3-1c9d7d2f-0a1b2c3d"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"v" * 20


@pytest.fixture
def town(valkey: Any) -> Iterator[Crowd]:
    with crowd() as people:
        yield people


@pytest.fixture
def platform(town: Crowd) -> SimulatorClient:
    return town.client


@pytest.fixture
def account(town: Crowd) -> ChannelAccount:
    """Verified, with a follower who has just written."""
    account = official(town.client.url, answers="messages")
    town.says(account)
    return account


def asked(platform: SimulatorClient) -> tuple[int, int]:
    """Messages sent, tokens fetched."""
    return len(platform.calls(SEND)), len(platform.calls("stable_token"))


def carried(account: ChannelAccount, **fields: Any) -> Delivery:
    """A message to the follower, and what became of it."""
    delivery = send(account, "你好", FAN, **fields).deliveries.get()
    work_off()
    return row(delivery)


def refuse(platform: SimulatorClient, code: int, words: str, times: int = 1) -> None:
    platform.fault(SEND, "errcode", errcode=code, errmsg=f"{words} rid: {RID}", times=times)


def last_attempt(delivery: Delivery) -> Any:
    found = delivery.attempts.order_by("number").last()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("code", "words", "explained"),
    [
        (45015, "response out of time limit or subscription is canceled", "More than 48 hours have gone by"),
        (45047, "out of response count limit", "WeChat takes no more messages to this user"),
    ],
)
def test_a_closed_window_holds_it_until_they_write(
    town: Crowd, platform: SimulatorClient, account: ChannelAccount, code: int, words: str, explained: str
) -> None:
    refuse(platform, code, words)
    held = carried(account)
    assert (held.state, held.reason, held.tries) == (State.HELD, Reason.WINDOW, 0)
    assert held.error.startswith(explained)
    assert (last_attempt(held).code, asked(platform)) == (str(code), (1, 1))
    work_off()
    assert asked(platform) == (1, 1)

    town.says(account, "noch da")
    work_off()
    assert (row(held).state, town.shown(), asked(platform)) == (State.DELIVERED, ["你好"], (2, 1))


def test_an_account_without_the_right_learns_it_once(platform: SimulatorClient, account: ChannelAccount) -> None:
    platform.official(OFFICIAL, verified=False)
    dead = carried(account)
    assert (dead.state, dead.reason, last_attempt(dead).code) == (State.DEAD, Reason.PERMANENT, "48001")
    assert dead.error.startswith("WeChat does not grant this interface to the account")
    assert (Restriction.objects.get().capability, asked(platform)) == ("custom_send", (1, 1))
    account.refresh_from_db()
    assert account.usable


def test_an_account_that_may_answer_in_the_reply_keeps_the_answer(town: Crowd, platform: SimulatorClient) -> None:
    platform.official(OFFICIAL, verified=False)
    account = official(platform.url)
    question = town.says(account)
    kept = carried(account, reply_to=question)
    assert (kept.state, kept.carrier, kept.tries, asked(platform)) == (State.PENDING, "http_reply", 0, (1, 1))
    assert Restriction.objects.get().capability == "custom_send"


def test_a_dead_token_is_renewed_once(platform: SimulatorClient, account: ChannelAccount) -> None:
    stored_tokens(account).current()
    platform.invalidate_token(official=OFFICIAL)
    delivered = carried(account)
    assert (delivered.state, outcomes(delivered), asked(platform)) == (State.DELIVERED, ["ok"], (2, 2))


def test_a_token_that_is_refused_again_stops_the_account(platform: SimulatorClient, account: ChannelAccount) -> None:
    refuse(platform, 40001, "invalid credential, access_token is invalid or not latest", times=0)
    stored_tokens(account).current()
    waiting = carried(account)
    assert (waiting.state, waiting.tries, last_attempt(waiting).code) == (State.PENDING, 0, "40001")
    assert asked(platform) == (2, 2)
    account.refresh_from_db()
    assert (account.state, "AppSecret" in account.state_reason) == (Health.STOPPED, True)
    carried(account)
    assert asked(platform) == (2, 2)


def test_an_address_that_is_not_allowed_is_named(platform: SimulatorClient, account: ChannelAccount) -> None:
    platform.official(OFFICIAL, ip_whitelist=["203.0.113.7"])
    waiting = carried(account)
    assert (waiting.state, waiting.tries, asked(platform)) == (State.PENDING, 0, (0, 1))
    account.refresh_from_db()
    assert account.state == Health.STOPPED
    for words in (account.state_reason, waiting.error):
        assert "WeChat does not accept calls from this server's IP address" in words
        assert re.search(r"40164: 127\.0\.0\.1 · ", words)
        assert "rid:" in words
    carried(account)
    assert asked(platform) == (0, 1)


def test_who_does_not_follow_is_noted(platform: SimulatorClient, account: ChannelAccount) -> None:
    refuse(platform, 43004, "require subscribe")
    dead = carried(account)
    assert (dead.state, dead.reason, asked(platform)) == (State.DEAD, Reason.GONE, (1, 1))
    assert dead.error.startswith("The user does not follow the account any more")
    assert Contact.objects.get(external_id=FAN).subscribed is False


def test_a_busy_platform_is_not_asked_again_by_itself(
    town: Crowd, platform: SimulatorClient, account: ChannelAccount
) -> None:
    """WeChat has no check for repetitions, and its -1 can come after the deed."""
    refuse(platform, -1, "system error")
    uncertain = carried(account)
    assert (uncertain.state, uncertain.reason, asked(platform)) == (State.UNCERTAIN, Reason.UNKNOWN, (1, 1))
    assert uncertain.error.startswith("WeChat is busy")
    due(uncertain)
    work_off()
    assert (town.shown(), asked(platform), outcomes(uncertain)) == ([], (1, 1), ["unknown"])


@pytest.fixture
def impatient() -> Iterator[None]:
    """The process's way out waits half a second for an answer, not twenty."""
    before, http()._timeout = http()._timeout, (5, 0.5)
    yield
    http()._timeout = before


@pytest.mark.usefixtures("impatient")
def test_no_answer_in_time_is_uncertain_and_never_repeated(
    town: Crowd, platform: SimulatorClient, account: ChannelAccount
) -> None:
    """WeChat has no check for repetitions: the message may have arrived, and here it has."""
    platform.fault(SEND, "timeout_after", seconds=2)
    uncertain = carried(account)
    assert (uncertain.state, uncertain.reason) == (State.UNCERTAIN, Reason.UNKNOWN)
    assert (last_attempt(uncertain).code, outcomes(uncertain)) == ("timeout", ["unknown"])
    shift(uncertain, due_at=-1)
    work_off()
    assert (town.shown(), asked(platform)) == (["你好"], (1, 1))


def test_the_days_limit_of_tokens_is_met_once(platform: SimulatorClient, account: ChannelAccount) -> None:
    platform.fault("stable_token", "errcode", errcode=45009, errmsg="reach max api daily quota limit", times=0)
    first, second = carried(account), carried(account)
    assert {(one.state, one.tries) for one in (first, second)} == {(State.PENDING, 0)}
    assert first.due_at > timezone.now()
    shift(first, due_at=-1)
    work_off()
    assert asked(platform) == (0, 1)
    platform.clear_faults()
    AccessToken.objects.update(wait_until=timezone.now())
    due(first, second)
    work_off()
    assert {row(one).state for one in (first, second)} == {State.DELIVERED}
    assert asked(platform) == (2, 2)


# -- the number by which WeChat's support finds a call


def test_the_rid_is_kept_with_the_attempt(platform: SimulatorClient, account: ChannelAccount) -> None:
    refuse(platform, 45002, "content size out of limit " + "很长" * 300)
    dead = carried(account)
    attempt = last_attempt(dead)
    assert (dead.state, attempt.response["rid"]) == (State.DEAD, RID)
    assert attempt.error.endswith(f"rid: {RID})")
    assert dead.error == attempt.error


def test_the_rid_is_not_cut_off() -> None:
    error = error_for({"errcode": 40003, "errmsg": "x" * 2 * MAX_BYTES + f" rid: {RID}"}, 40003)
    assert RID in redact(error.response)["cut"]
    assert f"rid: {RID}" in str(error)


# -- media


def picture_for(account: ChannelAccount) -> Delivery:
    file = ContentFile(PNG, "a.png")
    file.content_type = "image/png"  # type: ignore[attr-defined]
    return send(account, "", FAN, content=Content(), files=[file]).deliveries.get()


def uploads(platform: SimulatorClient) -> int:
    return len(platform.calls("media/upload"))


def seen(platform: SimulatorClient) -> list[str]:
    return [entry["kind"] for entry in platform.sent_to(FAN)]


@pytest.mark.usefixtures("impatient")
def test_an_uploaded_file_is_good_for_three_days(platform: SimulatorClient, account: ChannelAccount) -> None:
    picture = picture_for(account)
    platform.fault(SEND, "timeout_before", seconds=2, times=2)
    work_off()
    assert (row(picture).state, uploads(platform)) == (State.UNCERTAIN, 1)
    assert replay([picture.pk], twice=True).count == 1
    work_off()
    assert (row(picture).state, uploads(platform)) == (State.UNCERTAIN, 1)

    three_days = timedelta(days=3)
    platform.advance(three_days.total_seconds())
    tokens = stored_tokens(account)
    tokens.renew(tokens.current())
    platform.say("noch da", official=OFFICIAL, from_=FAN)
    Attachment.objects.update(handle_at=timezone.now() - three_days)
    assert replay([picture.pk], twice=True).count == 1
    work_off()
    assert (row(picture).state, uploads(platform), seen(platform)) == (State.DELIVERED, 2, ["image"])


def test_a_file_that_wechat_lost_is_uploaded_anew(platform: SimulatorClient, account: ChannelAccount) -> None:
    refuse(platform, 40007, "invalid media_id")
    picture = picture_for(account)
    work_off()
    assert (row(picture).state, uploads(platform)) == (State.PENDING, 1)
    due(picture)
    work_off()
    assert (row(picture).state, uploads(platform), seen(platform)) == (State.DELIVERED, 2, ["image"])
    assert asked(platform) == (2, 1)


def test_a_video_is_fetched_from_where_wechat_says(
    town: Crowd, platform: SimulatorClient, account: ChannelAccount
) -> None:
    """media/get answers with an address, not with the video."""
    sends = partial(platform.say, official=OFFICIAL, from_=FAN, kind="video", data=MP4, name="a.mp4")
    message = town.does(account, sends)
    for item in storage.claim_files(5):
        storage.fetch_file(item)
    fetched = message.attachments.get()
    assert (fetched.state, fetched.kind, fetched.mime) == (AttachmentState.READY, "video", "video/mp4")
    with fetched.file.open("rb") as file:
        assert file.read() == MP4
