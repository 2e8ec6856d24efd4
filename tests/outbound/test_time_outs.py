"""Calls to the platform without an answer: never sent twice where it could be read twice, and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.models import Reason
from bridge.pipeline.delivery import claims
from channels_wechat.contract.messages import Content
from tests.outbound.platform import SEND, checked, png, seen
from tests.support.factories import AGENT, app, due, outcomes, row, send, shift, state, to_send, work_off

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(company: SimulatorClient) -> ChannelAccount:
    return app(company.url)


def test_a_lost_answer_is_asked_again_and_the_platform_swallows_it(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    delivery = to_send(account)
    company.fault(SEND, "reset_after")
    work_off()
    assert (state(delivery), outcomes(delivery)) == ("pending", ["unknown"])
    due(delivery)
    work_off()
    assert (state(delivery), outcomes(delivery), seen(company)) == ("delivered", ["unknown", "ok"], ["hello"])
    assert company.record()["counters"]["duplicates"] == 1


def test_after_a_lost_answer_a_file_keeps_its_id_so_that_the_repetition_is_known(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    delivery = send(account, "", files=[png()], content=Content()).deliveries.get()
    company.fault(SEND, "reset_after")
    work_off()
    due(delivery)
    work_off()
    assert (state(delivery), outcomes(delivery)) == ("delivered", ["unknown", "ok"])
    assert len(company.calls("media/upload")) == len(company.transcript(f"app:{AGENT}:zhangsan")) == 1


def test_a_request_that_never_arrived_is_asked_again(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    company.fault(SEND, "reset")
    work_off()
    due(delivery)
    work_off()
    assert (state(delivery), seen(company)) == ("delivered", ["hello"])


def test_the_same_words_twice_are_heard_twice(company: SimulatorClient, account: ChannelAccount) -> None:
    for _twice in range(2):
        to_send(account, "好的")
        work_off()
    assert seen(company) == ["好的", "好的"]
    assert checked(company) == [True, False]


def test_then_a_lost_answer_is_uncertain_and_never_sent_again_by_itself(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    to_send(account, "好的")
    work_off()
    second = to_send(account, "好的")
    company.fault(SEND, "reset_after")
    work_off()
    assert (row(second).state, row(second).reason, outcomes(second)) == ("uncertain", Reason.UNKNOWN, ["unknown"])
    due(second)
    assert work_off() == 0
    assert seen(company) == ["好的", "好的"]


def test_the_same_words_after_a_lost_try_are_heard_too(company: SimulatorClient, account: ChannelAccount) -> None:
    """The first may have arrived whatever became of its row since: the check would swallow the second."""
    first = to_send(account, "好的")
    company.fault(SEND, "reset_after")
    work_off()
    shift(first, state="dead", reason=Reason.TRIES_SPENT, finished_at=0)
    to_send(account, "好的")
    work_off()
    assert seen(company) == ["好的", "好的"]


def test_the_same_words_after_a_refusal_are_checked(company: SimulatorClient, account: ChannelAccount) -> None:
    """What the platform refused it did not hear."""
    first = to_send(account, "好的")
    company.fault(SEND, "errcode", errcode=40035)
    work_off()
    assert state(first) == "dead"
    to_send(account, "好的")
    work_off()
    assert checked(company)[1:] == [True]


def test_the_same_words_to_another_are_checked(company: SimulatorClient, account: ChannelAccount) -> None:
    for who in ("zhangsan", "lisi"):
        to_send(account, "好的", who)
    work_off()
    assert checked(company) == [True, True]


def test_after_the_window_a_repetition_is_not_safe_any_more(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    company.fault(SEND, "reset_after", times=2)
    work_off()
    assert state(delivery) == "pending"
    shift(delivery, due_at=-1, dedup_until=-1)
    work_off()
    assert (state(delivery), outcomes(delivery)) == ("uncertain", ["unknown"])
    assert checked(company) == [True]


def test_a_lost_process_is_repeated_within_the_window(company: SimulatorClient, account: ChannelAccount) -> None:
    """Killed after the request left: the sweep gives it out again, and the platform swallows it."""
    delivery = to_send(account)
    company.fault(SEND, "reset_after")
    work_off()
    shift(delivery, state="sending", lease_until=-1, holder="killed")
    delivery.attempts.update(finished_at=None, outcome="")
    assert claims.sweep() == 1
    assert outcomes(delivery) == ["interrupted"]
    work_off()
    assert (state(delivery), seen(company)) == ("delivered", ["hello"])


def test_groups_have_no_such_check(company: SimulatorClient, account: ChannelAccount) -> None:
    company.group("appgroup", "Made by the app", members=["zhangsan", "lisi"], owner="zhangsan", creator=AGENT)
    delivery = to_send(account, "hi", "appgroup", peer_kind="group")
    company.fault("appchat/send", "reset_after")
    work_off()
    assert (state(delivery), row(delivery).reason) == ("uncertain", Reason.UNKNOWN)
