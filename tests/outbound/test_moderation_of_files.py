"""The content check of files: the verdict comes later, in a callback of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from bridge.models import Attachment, Carrier, Delivery, Reason
from bridge.operations import replay
from bridge.pipeline.inbound import router as inbound
from bridge.pipeline.outbound import moderation
from bridge.runtime.worker import tasks
from channels_wechat.contract.messages import Verdict
from tests.outbound.moderation import MEDIA, asked, checks, said, why
from tests.support.callbacks import web_server
from tests.support.factories import (
    KEY,
    MINI,
    SECRET,
    TOKEN,
    USER,
    app,
    bot,
    claim,
    eventually,
    hear,
    in_thread,
    mini,
    picture,
    route,
    row,
    shift,
    state,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
SHOWN = {"MsgType": "image", "PicUrl": "https://mmbiz.qpic.cn/picture"}


@pytest.fixture
def account(wechat: SimulatorClient) -> ChannelAccount:
    account = mini(wechat.url, columns={"moderation_scope": "both"})
    route(account)
    return account


def pictured(account: ChannelAccount, **raw: Any) -> Delivery:
    return asked(account, "", kind="image", media=(picture(),), raw={**SHOWN, **raw})


def verdict(account: ChannelAccount, suggest: Any, trace: str = "") -> None:
    found = Verdict(trace or Attachment.objects.get().check_trace, suggest, 20002)
    hear(account, "wxa_media_check", USER, kind="event", verdict=found)
    inbound.route_waiting()


def test_where_no_verdict_comes_a_person_decides(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account)
    assert moderation.hold_if_flagged(question)
    tasks.sweep()
    assert why(question) == ("held", Reason.CHECKING)
    shift(question, due_at=-1)
    tasks.sweep()
    assert why(question) == ("held", Reason.REVIEW)
    assert "30 minutes" in row(question).error


def test_a_picture_waits_for_its_verdict(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account)
    assert moderation.hold_if_flagged(question)
    (call,) = checks(wechat, MEDIA)
    assert (call["media_url"], call["media_type"], call["openid"]) == (SHOWN["PicUrl"], 2, USER)
    assert why(question) == ("held", Reason.CHECKING)
    assert Attachment.objects.get().check_trace in row(question).error
    verdict(account, "pass")
    assert why(question) == ("pending", "")
    (again,) = [each for each in claim(Carrier.CONNECTOR) if each.pk == question.pk]
    assert not moderation.hold_if_flagged(again)
    assert len(checks(wechat, MEDIA)) == 1


def test_a_picture_that_it_objects_to_is_held_for_a_person(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account)
    moderation.hold_if_flagged(question)
    verdict(account, "pass", "somebody else's")
    assert why(question) == ("held", Reason.CHECKING)
    verdict(account, "risky")
    assert why(question) == ("held", Reason.REVIEW)
    assert "pornography (20002)" in row(question).error
    verdict(account, "pass")
    assert why(question) == ("held", Reason.REVIEW)


def test_a_verdict_counts_for_files_of_its_own_account_only(account: ChannelAccount) -> None:
    """Whoever runs another account here could let anything go."""
    question = pictured(account)
    assert moderation.hold_if_flagged(question)
    trace = Attachment.objects.get().check_trace
    said = {"trace_id": trace, "suggest": "pass", "label": 100}
    moderation.apply_verdict(app().pk, said)
    assert (why(question), Attachment.objects.get().verdict) == (("held", Reason.CHECKING), "")
    moderation.apply_verdict(account.pk, said)
    assert (state(question), Attachment.objects.get().verdict) == ("pending", "pass")


@pytest.mark.parametrize(("suggest", "after"), [("pass", ("pending", "")), ("risky", ("held", Reason.REVIEW))])
def test_a_verdict_decides_about_its_own_message_only(
    wechat: SimulatorClient, account: ChannelAccount, suggest: str, after: tuple[str, str]
) -> None:
    judged = pictured(account)
    assert moderation.hold_if_flagged(judged)
    other = pictured(account)
    assert moderation.hold_if_flagged(other)
    verdict(account, suggest, Attachment.objects.get(message=judged.message_id).check_trace)
    assert (why(judged), why(other)) == (after, ("held", Reason.CHECKING))


@pytest.mark.parametrize("suggest", ["pass", "risky", ""])
def test_what_was_dismissed_before_its_verdict_stays_dismissed(
    wechat: SimulatorClient, account: ChannelAccount, suggest: str
) -> None:
    question = pictured(account)
    assert moderation.hold_if_flagged(question)
    assert replay.dismiss([question.pk]) == 1
    before = row(question)
    if suggest:
        verdict(account, suggest)
    shift(question, due_at=-1)
    assert moderation.give_up_checks() == 0
    assert why(question) == ("skipped", Reason.CHECKING)
    assert row(question).error == before.error


def test_a_verdict_that_never_comes_is_a_persons_matter(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account)
    moderation.hold_if_flagged(question)
    assert moderation.give_up_checks() == 0
    shift(question, due_at=-1)
    assert moderation.give_up_checks() == 1
    assert why(question) == ("held", Reason.REVIEW)
    assert "30 minutes" in row(question).error
    verdict(account, "pass")
    assert why(question) == ("held", Reason.REVIEW)


def test_what_is_held_for_another_reason_waits_for_no_verdict(account: ChannelAccount) -> None:
    waiting = said(account, "好的")
    shift(waiting, state="held", reason=Reason.WINDOW, due_at=-1)
    assert moderation.give_up_checks() == 0
    assert why(waiting) == ("held", Reason.WINDOW)


def test_a_file_without_a_public_address_is_held(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account, PicUrl="")
    assert moderation.hold_if_flagged(question)
    assert why(question) == ("held", Reason.REVIEW)
    assert "public address" in row(question).error


def test_a_person_need_not_wait_for_a_verdict(wechat: SimulatorClient, account: ChannelAccount) -> None:
    question = pictured(account)
    moderation.hold_if_flagged(question)
    assert replay.release([question.pk]).count == 1
    verdict(account, "risky")
    assert why(question) == ("pending", "")


@pytest.mark.django_db(transaction=True)
def test_a_verdict_may_be_quicker_than_we_are(wechat: SimulatorClient, account: ChannelAccount) -> None:
    """The event is stored while our own call is under way, by the simulated platform's real callback."""
    with web_server() as web:
        wechat.mini(MINI, secret=SECRET, token=TOKEN, aes_key=KEY, callback_url=f"{web}/callbacks/{account.key}")
        over = threading.Event()

        def route_all_the_time() -> None:
            while not over.is_set():
                inbound.route_waiting()

        router = threading.Thread(target=in_thread(route_all_the_time))
        router.start()
        try:
            for _ in range(5):
                question = pictured(account)
                assert moderation.hold_if_flagged(question)
                eventually(lambda: state(question) == "pending")  # noqa: B023
                shift(question, state="delivered", finished_at=0)
        finally:
            over.set()
            router.join(10)


def test_a_message_is_not_let_go_after_the_first_verdict_of_several(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("A"), picture("B")))
    inbound.route_waiting()
    question = message.deliveries.get()
    for item in message.attachments.all():
        Attachment.objects.filter(pk=item.pk).update(check_trace=f"trace-{item.position}")
    shift(question, state="held", reason=Reason.CHECKING)
    moderation.apply_verdict(account.pk, {"trace_id": "trace-0", "suggest": "pass", "label": 100})
    assert (state(question), row(question).reason) == ("held", Reason.CHECKING)
    moderation.apply_verdict(account.pk, {"trace_id": "trace-1", "suggest": "pass", "label": 100})
    assert state(question) == "pending"


def test_a_verdict_of_another_account_is_none(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("A"),))
    Attachment.objects.update(check_trace="trace")
    moderation.apply_verdict(bot().pk, {"trace_id": "trace", "suggest": "risky", "label": 1})
    assert message.attachments.get().verdict == ""


def test_a_second_verdict_on_a_file_changes_nothing(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("A"),))
    Attachment.objects.update(check_trace="trace")
    for suggest in ("risky", "pass"):
        moderation.apply_verdict(account.pk, {"trace_id": "trace", "suggest": suggest, "label": 1})
    assert message.attachments.get().verdict == "risky"
