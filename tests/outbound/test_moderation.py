"""The content check of a Mini Program, against the simulated WeChat: what passes goes on, everything else waits for a person."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount, Restriction
from bridge.models import Attachment, Carrier, Reason
from bridge.operations import replay
from bridge.pipeline.delivery.retry_policy import MAX_TRIES
from bridge.pipeline.outbound import moderation
from tests.outbound.moderation import OPEN, SEND, TEXT, asked, checks, said, why
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    USER,
    app,
    claim,
    due,
    eventually,
    gateway,
    mini,
    outcomes,
    parts,
    route,
    row,
    send,
    shift,
    state,
    turn,
    work_off,
)

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(wechat: SimulatorClient) -> ChannelAccount:
    account = mini(wechat.url, columns={"moderation_scope": "both"})
    route(account)
    return account


# --- texts ------------------------------------------------------------------------------------------------------------------


def test_what_a_person_writes_is_checked_in_their_name(wechat: SimulatorClient, account: ChannelAccount) -> None:
    assert not moderation.hold_if_flagged(asked(account, "你好"))
    (call,) = checks(wechat)
    assert (call["openid"], call["content"]) == (USER, "你好")


@pytest.mark.parametrize(
    ("text", "words"), [("我们去赌吧", "risky: crime (20006)"), ("骂你", "look at this: something else (21000)")]
)
def test_what_it_objects_to_is_held_with_the_reason(
    wechat: SimulatorClient, account: ChannelAccount, text: str, words: str
) -> None:
    question = asked(account, text)
    assert moderation.hold_if_flagged(question)
    assert why(question) == ("held", Reason.REVIEW)
    assert words in row(question).error
    assert re.search(r"Number of the check: [0-9a-f-]{8,}$", row(question).error)
    assert (row(question).tries, outcomes(question)) == (0, [])


def test_where_wechat_does_not_check_nothing_is_let_through(wechat: SimulatorClient, account: ChannelAccount) -> None:
    wechat.advance(3 * 3600)
    question = asked(account)
    assert moderation.hold_if_flagged(question)
    assert why(question) == ("held", Reason.REVIEW)
    assert "61010" in row(question).error


def test_an_account_without_the_right_is_not_asked_again_and_again(
    wechat: SimulatorClient, account: ChannelAccount
) -> None:
    wechat.fault(TEXT, "errcode", errcode=48001)
    first = asked(account)
    assert moderation.hold_if_flagged(first)
    second = asked(account)
    assert moderation.hold_if_flagged(second)
    assert [why(first), why(second)] == [("held", Reason.REVIEW)] * 2
    assert len(checks(wechat)) == 1
    assert Restriction.objects.get(account=account).capability == "moderation"
    assert "does not grant" in row(second).error


@pytest.mark.parametrize(("code", "most"), [(-1, MAX_TRIES), (40007, 2)])
def test_a_busy_platform_is_asked_again_before_a_person_is(
    wechat: SimulatorClient, account: ChannelAccount, code: int, most: int
) -> None:
    wechat.fault(TEXT, "errcode", errcode=code, times=2)  # nothing is sent by a check: it is tried like any call
    question = asked(account)
    assert moderation.hold_if_flagged(question)
    assert (why(question), row(question).tries) == (("pending", ""), 1)
    assert row(question).due_at > timezone.now()
    shift(question, due_at=0, tries=most - 1)
    (again,) = claim(Carrier.CONNECTOR)
    assert moderation.hold_if_flagged(again)
    assert why(question) == ("held", Reason.REVIEW)


def test_a_network_fault_is_an_ordinary_retry(wechat: SimulatorClient, account: ChannelAccount) -> None:
    ChannelAccount.objects.update(api_base_url="http://127.0.0.1:9")
    question = asked(account)
    for tries in range(1, 4):
        assert moderation.hold_if_flagged(question)
        assert (why(question), row(question).tries) == (("pending", ""), tries)
        due(question)
        (question,) = claim(Carrier.CONNECTOR)


@pytest.mark.parametrize(
    ("code", "expected"), [(45011, ("pending", "")), (45009, ("held", Reason.REVIEW))], ids=["minute", "day"]
)
def test_a_minutes_limit_is_waited_for_and_a_days_is_a_persons_matter(
    wechat: SimulatorClient, account: ChannelAccount, code: int, expected: tuple[str, str]
) -> None:
    wechat.fault(TEXT, "errcode", errcode=code)
    question = asked(account)
    assert moderation.hold_if_flagged(question)
    assert (why(question), row(question).tries) == (expected, 0)


def test_a_refused_secret_stops_the_account_and_the_question_waits(
    wechat: SimulatorClient, account: ChannelAccount
) -> None:
    wechat.fault(TEXT, "errcode", errcode=40164)
    question = asked(account)
    assert moderation.hold_if_flagged(question)
    account.refresh_from_db()
    assert account.state == Health.STOPPED
    assert why(question) == ("pending", "")
    assert row(question).due_at > timezone.now() + timedelta(seconds=30)


def test_other_accounts_pay_nothing(account: ChannelAccount, django_assert_num_queries: Any) -> None:
    other = app()
    route(other)
    question = turn(other)
    (claimed,) = [each for each in claim(Carrier.CONNECTOR) if each.pk == question.pk]
    with django_assert_num_queries(0):
        assert not moderation.hold_if_flagged(claimed)


@pytest.mark.parametrize(("chosen", "calls"), [("in", 1), ("out", 0), ("", 0)])
def test_only_what_was_chosen_is_checked(
    wechat: SimulatorClient, account: ChannelAccount, chosen: str, calls: int
) -> None:
    ChannelAccount.objects.update(moderation_scope=chosen)
    moderation.hold_if_flagged(asked(account))
    assert len(checks(wechat)) == calls


# --- answers ----------------------------------------------------------------------------------------------------------------


def test_an_answer_is_checked_once_and_whole(wechat: SimulatorClient, account: ChannelAccount) -> None:
    text = "\n\n".join(f"{number}: " + "字" * 600 for number in range(3))
    first = said(account, text)
    wechat.fault(SEND, "errcode", errcode=45011, times=1)
    work_off()
    assert (state(first), outcomes(first)) == ("pending", ["error"])
    due(first)
    work_off()
    assert {each for each, _reason in parts(first.message)} == {"delivered"}
    assert [call["content"] for call in checks(wechat)] == [text]


def test_a_refused_answer_waits_with_its_parts_until_it_is_released(
    wechat: SimulatorClient, account: ChannelAccount
) -> None:
    first = said(account, "赌" + "字" * 900)
    work_off()
    assert parts(first.message) == [("held", Reason.REVIEW), ("held", Reason.PART_BEFORE)]
    assert wechat.sent_to(USER) == []
    assert replay.release([first.pk]).count == 1
    assert row(first).reviewed_at
    work_off()
    assert parts(first.message) == [("delivered", "")] * 2
    assert len(checks(wechat)) == 1


def test_a_dismissed_answer_is_never_sent(wechat: SimulatorClient, account: ChannelAccount) -> None:
    first = said(account, "赌" + "字" * 900)
    work_off()
    boss = User.objects.create_user("boss")
    assert replay.dismiss([first.pk], boss) == 1
    assert parts(first.message) == [("skipped", Reason.REVIEW), ("skipped", Reason.PART_BEFORE)]
    work_off()
    assert wechat.sent_to(USER) == []
    assert (bool(row(first).dismissed_at), row(first).dismissed_by) == (True, boss)


def test_what_was_dismissed_and_is_replayed_is_checked_anew(wechat: SimulatorClient, account: ChannelAccount) -> None:
    first = said(account, "赌")
    work_off()
    replay.dismiss([first.pk])
    assert replay.replay([first.pk]).count == 1
    work_off()
    assert why(first) == ("held", Reason.REVIEW)


def test_a_later_part_does_not_slip_through_by_itself(wechat: SimulatorClient, account: ChannelAccount) -> None:
    first = said(account, "赌" + "字" * 900)
    work_off()
    replay.dismiss([first.pk])
    later = first.message.deliveries.get(part=1)
    assert replay.replay([later.pk]).count == 1
    work_off()
    assert why(later) == ("held", Reason.REVIEW)


def test_a_file_of_the_agent_waits_for_a_person(wechat: SimulatorClient, account: ChannelAccount) -> None:
    """WeChat fetches what it checks, and our files stand at no address that it could reach."""
    first = said(account, "好的")
    Attachment.objects.create(message=first.message, kind="image", name="a.png", file="a.png", state="ready")
    work_off()
    assert why(first) == ("held", Reason.REVIEW)
    assert "public address" in row(first).error
    assert wechat.sent_to(USER) == []
    assert replay.release([first.pk]).count == 1
    work_off()
    assert why(first) == ("delivered", "")


def test_the_words_of_staff_are_not_checked(wechat: SimulatorClient, account: ChannelAccount) -> None:
    turn(account, "你好", USER, window=OPEN)
    delivery = send(account, "赌", USER).deliveries.get()
    work_off()
    assert (state(delivery), checks(wechat)) == ("delivered", [])


# --- with the connector -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_agent_never_hears_what_is_refused(wechat: SimulatorClient, stub: RunningStub) -> None:
    account = mini(wechat.url, columns={"moderation_scope": "in"})
    route(account, gateway(stub.base_url))
    refused, fine = turn(account, "去赌", USER), turn(account, "你好", USER)
    with RunningConnector():
        eventually(lambda: state(fine) == "delivered")
        assert why(refused) == ("held", Reason.REVIEW)
        assert [run["message"] for run in stub.record] == ["你好"]
        replay.release([refused.pk])
        eventually(lambda: state(refused) == "delivered")
    assert len(checks(wechat)) == 2
