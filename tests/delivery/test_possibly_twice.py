"""What may have been carried out is never sent again silently: uncertain, or marked "possibly twice" where a person asked for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.models import Reason, State
from bridge.operations import replay
from bridge.pipeline.delivery import claims, settle
from channels_wechat.contract.messages import Content
from tests.support.factories import FAN, app, claimed, due, official, outcomes, row, send, shift, to_send, work_off
from tests.support.followers import SEND, Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
# What the platform answers after it showed the message: a code, a page of a proxy, nothing, a code nobody knows.
AFTER_THE_DEED: list[dict[str, Any]] = [
    {"kind": "errcode_after", "errcode": -1, "errmsg": "system error"},
    {"kind": "errcode_after", "errcode": 987654, "errmsg": "brand new"},
    {"kind": "html_after", "status": 200},
    {"kind": "html_after", "status": 408},
    {"kind": "html_after", "status": 500},
    {"kind": "html_after", "status": 502},
    {"kind": "html_after", "status": 503},
    {"kind": "reset_after"},
]


@pytest.fixture
def town(valkey: Any) -> Iterator[Crowd]:
    with crowd() as people:
        yield people


@pytest.fixture
def account(town: Crowd) -> ChannelAccount:
    account = official(town.client.url, answers="messages")
    town.says(account)
    return account


@pytest.mark.parametrize("fault", AFTER_THE_DEED, ids=str)
def test_an_official_account_says_it_once_and_asks(town: Crowd, account: ChannelAccount, fault: dict[str, Any]) -> None:
    delivery = to_send(account, "hello", FAN)
    town.client.fault(SEND, **fault)
    for _round in range(3):
        work_off()
        due(delivery)
    assert (row(delivery).state, row(delivery).reason) == (State.UNCERTAIN, Reason.UNKNOWN)
    assert (town.shown(), outcomes(delivery), row(delivery).possibly_twice) == (["hello"], ["unknown"], False)


@pytest.mark.parametrize("fault", AFTER_THE_DEED, ids=str)
def test_a_group_of_wecom_sees_it_once_too(company: SimulatorClient, fault: dict[str, Any]) -> None:
    """appchat/send has no check for repetitions."""
    company.group("appgroup", "Made", members=["zhangsan", "lisi"], owner="zhangsan", creator=1000002)
    delivery = to_send(app(company.url), "hi", "appgroup", peer_kind="group")
    company.fault("appchat/send", **fault)
    for _round in range(3):
        work_off()
        due(delivery)
    assert (row(delivery).state, len(company.calls("appchat/send"))) == (State.UNCERTAIN, 1)


@pytest.mark.parametrize("fault", AFTER_THE_DEED, ids=str)
def test_a_member_sees_it_once_because_wecom_swallows_the_repetition(
    company: SimulatorClient, fault: dict[str, Any]
) -> None:
    delivery = to_send(app(company.url))
    company.fault("message/send", **fault)
    for _round in range(2):
        work_off()
        due(delivery)
    assert row(delivery).state == State.DELIVERED
    assert company.record()["counters"]["duplicates"] == 1


def test_what_was_refused_after_an_unproven_attempt_is_uncertain(company: SimulatorClient) -> None:
    delivery = to_send(app(company.url))
    company.fault("message/send", "reset_after")
    work_off()
    company.fault("message/send", "errcode", errcode=40003)
    due(delivery)
    work_off()
    assert (row(delivery).state, outcomes(delivery)) == (State.UNCERTAIN, ["unknown", "error"])


def test_what_was_refused_after_an_interrupted_attempt_is_uncertain(company: SimulatorClient) -> None:
    delivery = to_send(app(company.url))
    mine = claimed(delivery)
    settle.open_attempt(mine, {}, dedup_until=timezone.now() + timedelta(minutes=1))
    shift(mine, lease_until=-1)  # its worker was killed
    claims.sweep()
    company.fault("message/send", "errcode", errcode=40003)
    due(delivery)
    work_off()
    assert (row(delivery).state, outcomes(delivery)) == (State.UNCERTAIN, ["interrupted", "error"])


def test_what_became_too_old_after_an_unproven_attempt_is_uncertain(company: SimulatorClient) -> None:
    delivery = to_send(app(company.url))
    company.fault("message/send", "reset_after")
    work_off()
    shift(delivery, due_at=-1, queued_at=-1_000_000)
    work_off()
    assert row(delivery).state == State.UNCERTAIN


def test_many_are_replayed_without_those_that_may_have_arrived(town: Crowd, account: ChannelAccount) -> None:
    arrived, refused = to_send(account, "hello", FAN), to_send(account, "again", FAN)
    town.client.fault(SEND, "errcode_after", errcode=-1)
    work_off()
    shift(arrived, state="dead", reason=Reason.TRIES_SPENT)  # as an older version left it
    shift(refused, state="dead", reason=Reason.PERMANENT, finished_at=0)

    result = replay.replay([arrived.pk, refused.pk])

    assert [(pk, "may have arrived" in why) for pk, why in result.refused] == [(arrived.pk, True)]
    assert result.count == 1


def test_sent_again_by_a_person_it_is_marked(town: Crowd, account: ChannelAccount) -> None:
    delivery = to_send(account, "hello", FAN)
    town.client.fault(SEND, "errcode_after", errcode=-1)
    work_off()
    assert replay.replay([delivery.pk], twice=True).count == 1
    work_off()
    after = row(delivery)
    assert (after.state, after.possibly_twice, town.shown()) == (State.DELIVERED, True, ["hello", "hello"])
    marks = list(after.attempts.order_by("number").values_list("possibly_twice", flat=True))
    assert marks == [False, True]


def test_the_api_shows_the_mark_and_asks_for_it(admin_client: Client, town: Crowd, account: ChannelAccount) -> None:
    delivery = to_send(account, "hello", FAN)
    town.client.fault(SEND, "errcode_after", errcode=-1)
    work_off()
    url, wanted = "/api/v1/deliveries/", {"filter": {"state": "uncertain"}}

    def post(body: dict[str, Any]) -> dict[str, Any]:
        return dict(admin_client.post(f"{url}replay/", body, content_type="application/json").json())

    assert [post({**wanted, "dry_run": dry})["count"] for dry in (True, False)] == [0, 0]
    assert post({**wanted, "possibly_twice": True})["count"] == 1
    work_off()
    shown = admin_client.get(f"{url}{delivery.pk}/").json()
    assert (shown["possibly_twice"], [a["possibly_twice"] for a in shown["attempts"]]) == (True, [False, True])


# --- calls before the send: nothing was sent ------------------------------------------------------------------------------------


def fresh(account: ChannelAccount) -> ChannelAccount:
    AccessToken.objects.all().delete()
    from accounts import tokens

    tokens._kept.clear()
    account.refresh_from_db()
    return account


@pytest.mark.parametrize("code", [987654, -1, 40003, 40035])
def test_a_token_that_wecom_does_not_give_costs_no_message(company: SimulatorClient, code: int) -> None:
    account = fresh(app(company.url))
    delivery = to_send(account)
    company.fault("gettoken", "errcode", errcode=code, errmsg="brand new")
    work_off()
    account.refresh_from_db()
    assert (row(delivery).state, account.state) == (State.PENDING, Health.FAILING)
    assert str(code) in account.state_reason
    due(delivery)
    work_off()
    account.refresh_from_db()
    assert (row(delivery).state, account.state, len(company.calls("message/send"))) == (State.DELIVERED, Health.OK, 1)


def test_a_token_refused_for_a_while_costs_no_message(town: Crowd, account: ChannelAccount) -> None:
    fresh(account)
    delivery = to_send(account, "hello", FAN)
    town.client.fault("stable_token", "errcode", errcode=987654, errmsg="brand new", times=5)
    for _round in range(5):
        work_off()
        assert row(delivery).state == State.PENDING
        due(delivery)
    work_off()
    assert (row(delivery).state, town.shown()) == (State.DELIVERED, ["hello"])


@pytest.mark.parametrize("code", [987654, -1])
def test_an_upload_with_an_unknown_answer_is_tried_again(town: Crowd, account: ChannelAccount, code: int) -> None:
    from tests.outbound.reply_windows import png

    delivery = send(account, "", FAN, files=[png()], content=Content()).deliveries.get()
    town.client.fault("media/upload", "errcode", errcode=code)
    work_off()
    account.refresh_from_db()
    assert (row(delivery).state, outcomes(delivery), account.state) == (State.PENDING, [], Health.FAILING)
    due(delivery)
    work_off()
    assert row(delivery).state == State.DELIVERED
