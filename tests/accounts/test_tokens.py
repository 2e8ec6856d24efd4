"""Access tokens: one fetch for all, and one refusal for all."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts import tokens
from accounts.channels import stored_tokens
from accounts.fields import sealed
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from accounts.tokens import KEEP_SECONDS, LEASE_SECONDS, MARGIN_SECONDS, WAIT_SECONDS, StoredTokens, ending_soon
from bridge.runtime.worker import tasks
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Token
from channels_wechat.wecom.errors import WECOM
from tests.support import factories
from tests.support.factories import AGENT, OFFICIAL, OFFICIAL_FIELDS, SECRET, app, in_thread, official

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

THREADS = 32


@pytest.fixture
def account(db: None, company: SimulatorClient) -> ChannelAccount:
    return app(company.url)


def requests(company: SimulatorClient) -> int:
    return len(company.calls("gettoken"))


def refusal(account: ChannelAccount) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        stored_tokens(account).current()
    return caught.value


def taken_over(account: ChannelAccount) -> tuple[AccessToken, AccessToken]:
    """The row as the first to fetch has it, who took too long, and as the second one has it."""
    tokens, first = stored_tokens(account), AccessToken.objects.get(account=account)
    assert tokens._acquire(first)
    AccessToken.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    second = AccessToken.objects.get(account=account)
    assert tokens._acquire(second)
    return first, second


def test_fetched_once_and_then_read(company: SimulatorClient, account: ChannelAccount) -> None:
    first = stored_tokens(account).current()
    assert stored_tokens(account).current() == first
    row = AccessToken.objects.get()
    assert (row.value, row.generation, row.owner_until, row.failure) == (first, 1, None, "")
    assert row.valid(MARGIN_SECONDS)
    assert requests(company) == 1


def test_a_refused_one_is_replaced_once(company: SimulatorClient, account: ChannelAccount) -> None:
    tokens = stored_tokens(account)
    first = tokens.current()
    company.invalidate_token(AGENT)
    second = tokens.renew(first)
    assert second != first
    assert tokens.renew(first) == second  # somebody else's late complaint about the old one
    assert requests(company) == 2


def test_the_token_after_a_refused_one_is_used_at_once(company: SimulatorClient, account: ChannelAccount) -> None:
    tokens = stored_tokens(account)
    first = tokens.current()
    assert tokens.current() == first  # now the process keeps it
    company.invalidate_token(AGENT)
    second = tokens.renew(first)
    assert second != first
    assert (tokens.current(), stored_tokens(account).current()) == (second, second)


def test_a_token_that_ends_within_the_time_it_would_be_kept_is_read_each_time(account: ChannelAccount) -> None:
    soon = timezone.now() + timedelta(seconds=KEEP_SECONDS)
    row = factories.access_token(account, value="short", address=account.api_base_url, expires_at=soon)
    assert stored_tokens(account).current() == "short"
    row.value, row.expires_at = "long", soon + timedelta(minutes=1)
    row.save()
    assert stored_tokens(account).current() == "long"
    row.value = "another"
    row.save()
    assert stored_tokens(account).current() == "long"  # kept for two seconds


def test_what_a_process_keeps_is_of_one_account_at_one_address(account: ChannelAccount) -> None:
    soon = timezone.now() + timedelta(hours=1)
    factories.access_token(account, value="here", address=account.api_base_url, expires_at=soon)
    assert stored_tokens(account).current() == "here"
    there = ChannelAccount.objects.get()
    there.api_base_url = f"{account.api_base_url}/there"
    AccessToken.objects.update(value=sealed(AccessToken, "value", account.pk, "there"), address=there.api_base_url)
    assert stored_tokens(there).current() == "there"


def test_a_good_token_of_an_account_that_was_refused_is_not_used(account: ChannelAccount) -> None:
    soon = timezone.now() + timedelta(hours=1)
    given = {"value": "good", "address": account.api_base_url, "expires_at": soon}
    factories.access_token(account, failure_code="40001", failure_params={"detail": "wrong secret"}, **given)
    error = refusal(account)
    assert (error.code, error.action, error.detail) == ("40001", Action.CONFIG, "wrong secret")


def test_a_token_that_another_address_gave_out_meanwhile_is_not_taken(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    row = factories.access_token(account, value="elsewhere", address="http://127.0.0.1:10", generation=4)
    assert stored_tokens(account)._next(3, row) != "elsewhere"
    assert requests(company) == 1


@pytest.mark.parametrize("action", [Action.PERMANENT, Action.UNKNOWN, Action.RETRY, Action.WINDOW])
def test_no_message_ends_by_the_fault_of_a_token(account: ChannelAccount, action: Action) -> None:
    token = factories.access_token(account)
    error = WECOM.error("60020", action, detail="not from here", max_tries=1)
    stored_tokens(account)._failed(token, error)
    assert (error.action, error.max_tries) == (Action.RETRY, None)
    account.refresh_from_db()
    assert (account.state, account.state_reason) == (Health.FAILING, str(error))


@pytest.mark.parametrize(
    ("action", "retry_after", "seconds", "state"),
    [
        (Action.WAIT, 600.0, 600.0, Health.FAILING),
        (Action.WAIT, None, WAIT_SECONDS, Health.FAILING),
        (Action.CONFIG, 600.0, None, Health.STOPPED),
    ],
)
def test_a_failure_is_kept_with_its_moment_and_its_wait(
    account: ChannelAccount, action: Action, retry_after: float | None, seconds: float | None, state: Health
) -> None:
    token = factories.access_token(account)
    error = WECOM.error("45009", action, detail="slow", retry_after=retry_after)
    stored_tokens(account)._failed(token, error)
    row, now = AccessToken.objects.get(), timezone.now()
    assert (row.failure, row.failure_code) == (str(error), "45009")
    assert row.failed_at is not None
    assert abs((row.failed_at - now).total_seconds()) < 60
    wait = row.wait_until and (row.wait_until - row.failed_at).total_seconds()
    assert wait == (seconds if seconds is None else pytest.approx(seconds))
    account.refresh_from_db()
    assert account.state == state


def test_a_lease_is_of_one_account_and_for_one_fetch(account: ChannelAccount) -> None:
    other = official()
    for each in (account, other):
        factories.access_token(each, generation=3, failure_params={"detail": "old"})
    first, stale = AccessToken.objects.get(account=account), AccessToken.objects.get(account=account)
    assert stored_tokens(account)._acquire(first)
    row = AccessToken.objects.get(account=account)
    assert not stored_tokens(account)._acquire(row)
    assert row.owner_until is not None
    assert 5 < (row.owner_until - timezone.now()).total_seconds() <= LEASE_SECONDS
    assert (row.failure_params, AccessToken.objects.get(account=other).owner_until) == ({}, None)
    AccessToken.objects.update(owner_until=timezone.now() - timedelta(seconds=1))  # whoever held it died
    assert not stored_tokens(account)._acquire(stale)  # somebody began since it was read
    row.generation = 2
    assert not stored_tokens(account)._acquire(row)  # somebody finished since it was read
    row.generation = 3
    assert stored_tokens(account)._acquire(row)
    assert row.fence == AccessToken.objects.get(account=account).fence == first.fence + 1


@pytest.mark.parametrize("ended", [Token("value", 7200), WECOM.error("40001", detail="wrong"),
                                   WECOM.error("reset", detail="cut")])  # fmt: skip
def test_the_end_of_a_fetch_says_nothing_of_other_accounts(
    account: ChannelAccount, ended: Token | ChannelError
) -> None:
    other = official()
    soon = timezone.now() + timedelta(hours=1)
    for each in (account, other):
        factories.access_token(each, value="old", failure_code="45009", expires_at=soon, wait_until=soon)
    token = AccessToken.objects.get(account=account)
    if isinstance(ended, Token):
        stored_tokens(account)._store(token, ended)
    else:
        stored_tokens(account)._failed(token, ended)
    row = AccessToken.objects.get(account=other)
    assert (row.value, row.generation, row.failure_code, row.wait_until) == ("old", 0, "45009", soon)
    other.refresh_from_db()
    assert other.state == Health.NEW


def test_who_waits_for_a_fetch_that_does_not_finish_tries_again_later(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LEASE_SECONDS", -4.7)  # so long, and five seconds more
    factories.access_token(account, owner="another", owner_until=timezone.now() + timedelta(minutes=1))
    error = refusal(account)
    assert (error.code, error.action) == ("token_unfinished", Action.RETRY)


def test_who_meets_an_order_to_wait_at_its_end_waits_a_moment(account: ChannelAccount) -> None:
    until = timezone.now() + timedelta(seconds=0.5)
    row = AccessToken(account=account, failure_code="45009", failure_params={"detail": "slow"}, wait_until=until)
    assert tokens._refusal(row).retry_after == 1.0
    row.wait_until = until + timedelta(seconds=100)
    assert tokens._refusal(row).retry_after == pytest.approx(100, abs=50)


def test_a_stored_token_says_when_it_came_and_how_long_it_is_good(account: ChannelAccount) -> None:
    stored_tokens(account)._store(stored_tokens(account)._row(), Token("value", 7200))
    row = AccessToken.objects.get()
    assert row.refreshed_at is not None
    assert row.expires_at is not None
    assert (row.expires_at - row.refreshed_at).total_seconds() == 7200
    assert (row.address, row.generation, row.value) == (account.api_base_url, 1, "value")


def test_one_that_ended_is_replaced(company: SimulatorClient, account: ChannelAccount) -> None:
    stored_tokens(account).current()
    AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    stored_tokens(account).current()
    assert requests(company) == 2


def test_beat_renews_what_ends_soon(company: SimulatorClient, account: ChannelAccount) -> None:
    stored_tokens(account).current()
    assert ending_soon() == []
    tasks.refresh_tokens()
    assert requests(company) == 1
    company.invalidate_token(AGENT)
    AccessToken.objects.update(expires_at=timezone.now() + timedelta(seconds=MARGIN_SECONDS - 1))
    assert ending_soon() == [account]
    tasks.refresh_tokens()
    assert (requests(company), ending_soon()) == (2, [])
    stored_tokens(account).refresh_soon()
    assert requests(company) == 2


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": Health.STOPPED}])
def test_beat_leaves_alone_what_is_off(account: ChannelAccount, columns: dict) -> None:
    factories.access_token(account, value="x", expires_at=timezone.now())
    ChannelAccount.objects.update(**columns)
    assert ending_soon() == []


def test_a_network_fault_is_met_again(company: SimulatorClient, account: ChannelAccount) -> None:
    company.fault("gettoken", "reset")
    assert refusal(account).action == Action.RETRY
    row = AccessToken.objects.get()
    assert (row.failure, row.owner_until) == ("", None)
    account.refresh_from_db()
    assert (account.state, "No answer" in account.state_reason) == (Health.FAILING, False)
    assert stored_tokens(account).current()


@pytest.mark.parametrize("code", [45009, 89506])
def test_an_order_to_wait_is_kept_for_everybody(db: None, company: SimulatorClient, code: int) -> None:
    """A day's limit: not every delivery asks again."""
    company.official(OFFICIAL, secret=OFFICIAL_FIELDS["app_secret"])
    account = official(company.url)
    company.fault("stable_token", "errcode", errcode=code, errmsg="reach max api daily quota limit")
    first, second = refusal(account), refusal(account)
    assert (first.action, second.action, second.code) == (Action.WAIT, Action.WAIT, str(code))
    assert first.retry_after is not None
    assert second.retry_after == pytest.approx(first.retry_after, abs=60)
    assert str(first) == str(second)
    account.refresh_from_db()
    assert (account.state, account.state_reason) == (Health.FAILING, str(first))
    assert len(company.calls("stable_token")) == 1

    AccessToken.objects.update(wait_until=timezone.now() - timedelta(seconds=1))
    assert stored_tokens(account).current()
    row = AccessToken.objects.get()
    assert (row.failure, row.failure_code, row.wait_until, len(company.calls("stable_token"))) == ("", "", None, 2)


def test_who_must_wait_for_the_next_token_still_has_this_one(company: SimulatorClient, account: ChannelAccount) -> None:
    value = stored_tokens(account).current()
    soon = timezone.now() + timedelta(seconds=MARGIN_SECONDS - 1)
    AccessToken.objects.update(expires_at=soon)
    company.fault("gettoken", "errcode", errcode=45009)
    tasks.refresh_tokens()
    tasks.refresh_tokens()
    stored_tokens(account).refresh_soon()
    assert AccessToken.objects.get().waits()
    assert (stored_tokens(account).current(), requests(company)) == (value, 2)
    account.revive()
    stored_tokens(account).refresh_soon()
    assert requests(company) == 3


def test_a_network_fault_after_an_order_to_wait_is_no_refusal(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    past = timezone.now() - timedelta(seconds=1)
    factories.access_token(account, failure_code="45009", wait_until=past)
    company.fault("gettoken", "reset")
    assert refusal(account).action == Action.RETRY
    assert stored_tokens(account).current()


def test_beat_bears_a_fault(company: SimulatorClient, account: ChannelAccount) -> None:
    factories.access_token(account, value="x", expires_at=timezone.now())
    company.fault("gettoken", "reset")
    tasks.refresh_tokens()
    assert AccessToken.objects.get().generation == 0


def test_a_refusal_stops_the_account_for_everybody(company: SimulatorClient, account: ChannelAccount) -> None:
    company.app(AGENT, secret="another")
    first, second = refusal(account), refusal(account)
    assert first.action == second.action == Action.CONFIG
    assert first.code == second.code == "40001"
    assert str(first) == str(second)
    account.refresh_from_db()
    assert (account.state, account.state_reason) == (Health.STOPPED, str(first))
    assert requests(company) == 1
    company.app(AGENT, secret=SECRET)
    assert refusal(account)  # nobody asks until staff act
    account.revive()
    account.refresh_from_db()
    assert account.state == Health.NEW
    assert stored_tokens(account).current()
    assert requests(company) == 2


def test_what_staff_corrected_is_not_refused_once_more(company: SimulatorClient, account: ChannelAccount) -> None:
    """A process that keeps the account with the wrong secret asks after the correction."""
    right = account.credentials
    enter(account, {**right, "secret": "wrong"})
    kept = ChannelAccount.objects.get(pk=account.pk)
    refusal(kept)
    assert ChannelAccount.objects.get().state == Health.STOPPED
    enter(account, right)
    assert stored_tokens(kept).current()
    assert not kept.set_state(Health.STOPPED, "40001")
    assert ChannelAccount.objects.get().state == Health.NEW


def test_a_refusal_that_comes_after_the_correction_is_forgotten(account: ChannelAccount) -> None:
    right = account.credentials
    enter(account, {**right, "secret": "wrong"})
    kept = ChannelAccount.objects.get(pk=account.pk)

    def refuse() -> Token:
        enter(account, right)  # while the platform answers
        raise WECOM.error("40001")

    with pytest.raises(ChannelError):
        StoredTokens(kept, refuse).current()
    assert ChannelAccount.objects.get().state == Health.NEW
    assert stored_tokens(ChannelAccount.objects.get()).current()


def enter(account: ChannelAccount, credentials: dict[str, Any]) -> None:
    """As the account's page does it."""
    account.credentials = credentials
    account.save()
    account.revive()


def test_somebody_who_died_while_fetching_blocks_for_the_lease_only(account: ChannelAccount) -> None:
    factories.access_token(account, owner="dead", owner_until=timezone.now() + timedelta(seconds=0.3))
    assert stored_tokens(account).current()


@pytest.mark.parametrize(
    "ended",
    ["value", WECOM.error("40001", detail="wrong"), WECOM.error("45009", detail="slow"),
     WECOM.error("reset", detail="cut")],
)  # fmt: skip
@pytest.mark.parametrize("ends_first", [False, True])
def test_a_fetch_that_ends_late_leaves_the_newer_token(
    account: ChannelAccount, ended: str | ChannelError, ends_first: bool
) -> None:
    """Generation 1 was leased, forgotten and fetched by somebody else: generation 2 stays, whatever the late one met, and when."""
    tokens = stored_tokens(account)

    def end(row: AccessToken) -> None:
        if isinstance(ended, ChannelError):
            tokens._failed(row, ended)
        else:
            assert tokens._store(row, Token("late", 7200)) == "late"

    factories.access_token(account, generation=1)
    late, newer = taken_over(account)
    if ends_first:
        end(late)
        assert AccessToken.objects.get().fence == newer.fence
    tokens._store(newer, Token("newer", 7200))
    if not ends_first:
        end(late)
    row = AccessToken.objects.get()
    assert (row.value, row.generation, row.failure, row.failure_code, row.owner_until) == ("newer", 2, "", "", None)


@pytest.mark.django_db(transaction=True)
def test_a_token_that_ended_at_once_holds_nobody_up(company: SimulatorClient) -> None:
    """The platform gives out the same token until its end: with no second left, those who waited take it as it is."""
    account = app(company.url)
    factories.access_token(account, owner="another", owner_until=timezone.now() + timedelta(seconds=60))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(in_thread(stored_tokens(account).current))
        time.sleep(0.2)
        AccessToken.objects.update(
            address=account.api_base_url,
            value=sealed(AccessToken, "value", account.pk, "short"),
            generation=1,
            expires_at=timezone.now(),
            owner_until=None,
        )
        assert waiting.result(10) == "short"
    assert requests(company) == 0


@pytest.mark.django_db(transaction=True)
def test_many_threads_one_fetch(company: SimulatorClient) -> None:
    account = app(company.url)
    together = threading.Barrier(THREADS)

    def current() -> str:
        together.wait(20)
        return stored_tokens(ChannelAccount.objects.get()).current()

    def renew() -> str:
        together.wait(20)
        return stored_tokens(ChannelAccount.objects.get()).renew(first)

    with ThreadPoolExecutor(THREADS) as pool:
        (first,) = {done.result(30) for done in [pool.submit(in_thread(current)) for _thread in range(THREADS)]}
        assert requests(company) == 1
        company.invalidate_token(AGENT)
        (second,) = {done.result(30) for done in [pool.submit(in_thread(renew)) for _thread in range(THREADS)]}
    assert second != first
    assert requests(company) == 2
    assert AccessToken.objects.get(account=account).generation == 2


@pytest.mark.django_db(transaction=True)
def test_many_threads_one_refusal(company: SimulatorClient) -> None:
    account = app(company.url)
    company.app(AGENT, secret="another")
    together = threading.Barrier(THREADS)

    def current() -> tuple[str, str]:
        together.wait(20)
        try:
            stored_tokens(ChannelAccount.objects.get()).current()
        except ChannelError as error:
            return error.code, error.action
        return "", ""

    with ThreadPoolExecutor(THREADS) as pool:
        found = {done.result(30) for done in [pool.submit(in_thread(current)) for _thread in range(THREADS)]}
    assert found == {("40001", Action.CONFIG)}
    assert requests(company) == 1
    account.refresh_from_db()
    assert account.state == Health.STOPPED
