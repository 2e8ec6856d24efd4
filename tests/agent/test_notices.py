"""Whoever gets no answer reads why, in one sentence: where no agent is mapped, and where a turn failed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message, Reason
from bridge.operations import replay
from bridge.pipeline.agent.turn import fail_turn
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.support.factories import (
    FAN,
    NEVER_THE_SAME_DAY,
    app,
    bot,
    claimed,
    gateway,
    official,
    route,
    send,
    state,
    turn,
    work_off,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
PERMANENT = Failure(Action.PERMANENT, Cause("run_failed", {"detail": "the model did not answer"}))


def said(account: ChannelAccount) -> list[str]:
    return list(Message.objects.filter(account=account, source="bridge").order_by("pk").values_list("text", flat=True))


def failed(account: ChannelAccount, failure: Failure = PERMANENT, **fields: object) -> Delivery:
    asked = turn(account, **fields)
    fail_turn(claimed(asked), None, failure)
    return asked


def test_who_writes_where_no_agent_is_mapped_is_told_once_a_day(company: SimulatorClient) -> None:
    account = app(company.url)
    route(account, gateway(), peer_kind="group", peer_id="wrGroup")
    assert turn(account, "one").reason == Reason.NO_ROUTE
    turn(account, "two")
    turn(account, "three", "lisi")
    assert said(account) == ["本会话尚未接入智能助手。"] * 2
    work_off()
    for person in ("zhangsan", "lisi"):
        assert [entry["text"] for entry in company.transcript(f"app:1000002:{person}")] == ["本会话尚未接入智能助手。"]


def test_on_another_day_they_are_told_again() -> None:
    account = app()
    route(account, gateway(), peer_kind="group", peer_id="wrGroup")
    for zone in NEVER_THE_SAME_DAY:
        with timezone.override(zone):
            turn(account, zone)
    assert said(account) == [account.sentence("unmapped")] * 2


def test_in_the_words_of_staff_and_in_the_accounts_language() -> None:
    home = gateway()
    account = app(columns={"language": "en"})
    route(account, home, peer_kind="direct", peer_id="somebody else")
    turn(account)
    assert said(account) == ["No agent answers in this chat yet."]
    own = official(columns={"sentences": {"unmapped": "请拨打前台电话。"}}, answers="messages")
    route(own, home, peer_kind="direct", peer_id="somebody else")
    turn(own, "hello", FAN)
    assert said(own) == ["请拨打前台电话。"]


@pytest.mark.parametrize("mode", ["human", "paused"])
def test_nothing_is_said_into_a_conversation_that_staff_have(mode: str) -> None:
    account = app()
    route(account, gateway(), peer_kind="group", peer_id="wrGroup")
    send(account)
    Conversation.objects.update(mode=mode)
    turn(account)
    assert said(account) == []


def test_nothing_is_said_to_groups_about_events_or_where_a_callback_says_it() -> None:
    account, robot, passive = app(), bot(), official(answers="passive")
    for each in (account, robot, passive):
        route(each, gateway(), peer_kind="direct", peer_id="somebody else")
    turn(account, group="wrGroup")
    turn(account, kind="event")
    turn(account, kind="action")
    turn(robot)
    turn(passive, "hello", FAN)
    assert not Message.objects.filter(direction="out").exists()


def test_an_account_without_any_mapping_leaves_the_answers_to_staff_and_scripts() -> None:
    """Whatever is mapped of other accounts."""
    account = app()
    route(official(), gateway())
    assert turn(account).reason == Reason.NO_ROUTE
    assert said(account) == []


def test_other_reasons_for_silence_stay_silent() -> None:
    account = app()
    route(account, gateway(), enabled=False)
    assert turn(account).reason == Reason.ROUTE_DISABLED
    assert said(account) == []


def test_a_turn_that_failed_for_good_is_owned_up_to_once(company: SimulatorClient) -> None:
    account = app(company.url)
    route(account, gateway())
    asked = failed(account)
    assert state(asked) == "dead"
    assert said(account) == ["抱歉，处理时出了问题，请稍后再试。"]
    work_off()
    assert [entry["text"] for entry in company.transcript("app:1000002:zhangsan")] == said(account)
    assert replay.replay([asked.pk]).count == 1
    fail_turn(claimed(asked), None, PERMANENT)
    assert len(said(account)) == 1
    failed(account, text="another question")
    assert len(said(account)) == 2


def test_a_turn_that_is_tried_again_says_nothing() -> None:
    account = app()
    route(account, gateway())
    asked = failed(account, Failure(Action.RETRY, Cause("unreachable", {"detail": "no connection"})))
    assert state(asked) == "pending"
    assert said(account) == []


def test_a_turn_of_a_group_or_of_a_bot_that_failed_says_nothing() -> None:
    account, robot = app(), bot()
    home = gateway()
    route(account, home)
    route(robot, home)
    failed(account, group="wrGroup")
    failed(robot, reply="https://qyapi.weixin.qq.com/response")
    assert not Message.objects.filter(source="bridge").exists()
