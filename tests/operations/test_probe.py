"""A failing account is asked whether it works again, at a sensible pace, and its incident ends by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Incident
from bridge.operations import probe
from bridge.operations.probe import PROBE_SECONDS
from bridge.runtime.worker import tasks
from tests.support.factories import app, bot, ilink, to_send, wechaty, work_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db(transaction=True)


def bot_by_connection() -> ChannelAccount:
    return bot(mode="connection", secret="x")


def let_pass(account: ChannelAccount, minutes: float = 60) -> None:
    """As if so much time had gone by since the account's state was written."""
    earlier = timedelta(minutes=minutes)
    account.refresh_from_db()
    again = account.next_try_at and account.next_try_at - earlier
    rows = ChannelAccount.objects.filter(pk=account.pk)
    rows.update(state_since=account.state_since - earlier, next_try_at=again)


def state_of(account: ChannelAccount) -> str:
    account.refresh_from_db()
    return account.state


def seconds_to_next(account: ChannelAccount) -> float:
    account.refresh_from_db()
    assert account.next_try_at
    return (account.next_try_at - timezone.now()).total_seconds()


def calls(company: SimulatorClient) -> int:
    return len(company.calls("agent/get")) + len(company.calls("gettoken"))


def test_after_one_bad_answer_the_account_works_again_by_itself(company: SimulatorClient) -> None:
    account = app(company.url)
    company.fault("message/send", "html", status=502, times=1)
    to_send(account, "hello")
    work_off()
    assert state_of(account) == Health.FAILING
    let_pass(account, 3)
    tasks.check_health()
    assert Incident.objects.get(cause=f"account:{account.pk}").closed_at is None
    tasks.probe_failing()
    tasks.check_health()
    assert state_of(account) == Health.OK
    assert account.next_try_at is None
    assert Incident.objects.get(cause=f"account:{account.pk}").closed_at


def test_it_is_asked_ever_more_rarely_and_never_in_a_loop(company: SimulatorClient) -> None:
    account = app(company.url)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    tasks.probe_failing()
    assert calls(company) == 0, "the first half minute is left to the messages themselves"
    company.fault("agent/get", "html", status=502, times=100)
    waits = []
    for _time in range(7):
        let_pass(account)
        for _run in range(3):
            tasks.probe_failing()
        waits.append(round(seconds_to_next(account), -1))
    assert len(company.calls("agent/get")) == 7
    assert waits == [*PROBE_SECONDS, *3 * PROBE_SECONDS[-1:]]
    assert account.state == Health.FAILING
    assert "502" in account.state_reason


def test_another_failure_does_not_put_the_next_try_off(company: SimulatorClient) -> None:
    account = app(company.url)
    account.set_state(Health.FAILING, "", {"text": "one reason"})
    let_pass(account, 0.4)
    before = ChannelAccount.objects.get(pk=account.pk).next_try_at
    account.set_state(Health.FAILING, "", {"text": "another reason"})
    assert ChannelAccount.objects.get(pk=account.pk).next_try_at == before


@pytest.mark.parametrize("columns", [{"state": Health.STOPPED}, {"enabled": False}, {"state": Health.NEW}])
def test_nobody_asks_for_an_account_that_staff_or_a_refusal_stopped(
    company: SimulatorClient, columns: dict[str, Any]
) -> None:
    account = app(company.url)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    ChannelAccount.objects.filter(pk=account.pk).update(**columns)
    tasks.probe_failing()
    assert calls(company) == 0


def test_a_refusal_met_by_the_probe_stops_the_account(company: SimulatorClient) -> None:
    account = app(company.url, secret="wrong")
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    tasks.probe_failing()
    assert state_of(account) == Health.STOPPED
    tasks.probe_failing()
    assert len(company.calls("gettoken")) == 1


def test_a_platform_that_asks_to_wait_is_not_asked_before(company: SimulatorClient) -> None:
    account = app(company.url)
    company.fault("gettoken", "html", status=429, times=100)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    tasks.probe_failing()
    assert seconds_to_next(account) > 50
    assert len(company.calls("gettoken")) == 1


def test_a_platform_that_asks_for_an_hour_is_given_it(company: SimulatorClient) -> None:
    account = app(company.url)
    company.fault("agent/get", "errcode", errcode=45009, errmsg="api freq out of hour limit", times=100)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    tasks.probe_failing()
    assert seconds_to_next(account) > 3500


def test_of_two_workers_that_look_at_one_moment_one_asks() -> None:
    account = app()
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    one, other = (ChannelAccount.objects.get(pk=account.pk) for _worker in range(2))
    assert [probe._claim_probe(one), probe._claim_probe(other)] == [True, False]


@pytest.mark.parametrize("columns", [{"state": Health.STOPPED}, {"state": Health.OK}, {"enabled": False}])
def test_what_changed_since_the_look_is_not_asked(columns: dict[str, Any]) -> None:
    account = app()
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account)
    seen = ChannelAccount.objects.get(pk=account.pk)
    ChannelAccount.objects.filter(pk=account.pk).update(**columns)
    assert not probe._claim_probe(seen)
    account.refresh_from_db()
    assert (account.probes, account.next_try_at) == (0, seen.next_try_at)


def test_a_short_wait_that_a_platform_asks_for_brings_no_try_forward(company: SimulatorClient) -> None:
    account = app(company.url)
    company.fault("gettoken", "html", status=429, times=100)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    ChannelAccount.objects.filter(pk=account.pk).update(probes=len(PROBE_SECONDS))
    let_pass(account)
    tasks.probe_failing()
    assert seconds_to_next(account) > PROBE_SECONDS[-1] - 60


def test_a_bot_that_nobody_can_ask_works_again_after_five_quiet_minutes(company: SimulatorClient) -> None:
    account = bot(company.url)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    for _failure in range(2):
        let_pass(account, 4)
        tasks.probe_failing()
        assert state_of(account) == Health.FAILING
        account.set_state(Health.FAILING, "", {"text": "a reason"})
    let_pass(account, 4)
    tasks.probe_failing()
    assert state_of(account) == Health.FAILING, "it failed four minutes ago"
    let_pass(account, 2)
    tasks.probe_failing()
    assert state_of(account) == Health.OK


@pytest.mark.parametrize("make", [wechaty, ilink, bot_by_connection])
def test_of_an_account_with_a_connection_its_holder_says_whether_it_works(make: Callable[[], ChannelAccount]) -> None:
    account = make()
    account.set_state(Health.FAILING, "connect", {"detail": "no network"})
    for _hour in range(3):
        let_pass(account)
        assert probe.probe_failing() == 0
    assert state_of(account) == Health.FAILING


def test_the_clock_asks(company: SimulatorClient) -> None:
    assert "bridge.runtime.worker.tasks.probe_failing" in {
        entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()
    }


def test_pages_say_when_the_next_try_is(company: SimulatorClient, admin_user: User) -> None:
    account = app(company.url)
    account.set_state(Health.FAILING, "", {"text": "a reason"})
    ChannelAccount.objects.filter(pk=account.pk).update(next_try_at=timezone.now() + timedelta(minutes=4, seconds=30))
    client = Client()
    client.force_login(admin_user)
    start_page, accounts = reverse("dashboard_part", args=["sides"]), "/admin/accounts/channelaccount/"
    for page in (start_page, accounts, f"{accounts}{account.pk}/change/"):
        text = client.get(page).content.decode()
        assert "next attempt" in text, page
        assert "in 4" in text, page


def test_who_waits_longest_is_asked_first(company: SimulatorClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MAX_PROBES", 1)
    first, second = app(company.url), app(company.url, agent_id=1000003)
    for account, minutes in ((first, 10), (second, 60)):
        account.set_state(Health.FAILING, "", {"text": "a reason"})
        let_pass(account, minutes)
    before = {row.pk: ChannelAccount.objects.get(pk=row.pk).probes for row in (first, second)}
    tasks.probe_failing()
    state_of(first), state_of(second)
    assert (first.state, first.probes) == (Health.FAILING, before[first.pk])
    assert second.next_try_at is None or second.probes > before[second.pk]
