"""What we know of an account, and who may change it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import channels, person_ids
from accounts.channels import build_channel, cached_by_key, cached_by_keys
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount, cleaned_credentials, kind_choices
from channels_wechat import channel_class
from channels_wechat.contract.sentences import SENTENCES
from channels_wechat.unregistered import UnregisteredKind
from tests.support import factories
from tests.support.factories import APP_FIELDS, NOWHERE, SECRET, app, bot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    """Ids of rows come again in another test."""
    for known in (channels._recent, channels._enabled):
        known.clear()
    yield
    for known in (channels._recent, channels._enabled):
        known.clear()


def test_a_state_is_written_when_it_differs() -> None:
    account = app()
    assert account.set_state(Health.OK)
    since = account.state_since
    assert not account.set_state(Health.OK)
    account.refresh_from_db()
    assert account.state_since == since
    assert account.set_state(Health.FAILING, "", {"text": "busy"})
    assert (account.state, account.state_reason) == (Health.FAILING, "busy")
    since = account.state_since
    assert account.set_state(Health.FAILING, "-1", {"text": "another reason"})
    assert (account.state_code, account.state_since) == ("-1", since), "it has failed since then"
    account.refresh_from_db()
    assert (account.state_code, account.state_reason, account.state_since) == ("-1", "another reason", since)
    assert (account.next_try_at is None, app(agent_id=1000003).next_try_at) == (False, None)
    assert account.set_state(Health.OK)
    assert (account.next_try_at, account.probes, account.state_since > since) == (None, 0, True)


def test_only_staff_lead_out_of_stopped() -> None:
    account = app()
    factories.access_token(account, failure_code="40001", generation=3)
    account.set_state(Health.STOPPED, "", {"text": "wrong secret"})
    for state in (Health.OK, Health.FAILING, Health.NEW):
        assert not account.set_state(state)
    assert (account.state, account.usable) == (Health.STOPPED, False)
    account.revive()
    assert (account.state, account.state_reason, account.usable) == (Health.NEW, "", True)
    assert AccessToken.objects.get().failure == ""


def test_revive_leaves_the_others_alone() -> None:
    account, other = app(), bot()
    account.set_state(Health.OK)
    other.set_state(Health.STOPPED, "", {"text": "wrong secret"})
    account.revive()
    other.refresh_from_db()
    assert (account.state, other.state) == (Health.OK, Health.STOPPED)


@pytest.mark.parametrize(("address", "value"), [(NOWHERE, "stored"), ("http://127.0.0.1:10", "")])
def test_revive_has_the_token_fetched_anew_and_forgets_that_of_another_address(address: str, value: str) -> None:
    account, other = app(), bot()
    soon = timezone.now() + timedelta(hours=1)
    for each in (account, other):
        held = {"owner": "another", "owner_until": soon, "wait_until": soon}
        factories.access_token(each, value="stored", address=address, expires_at=soon, **held)
    account.revive()
    row = AccessToken.objects.get(account=account)
    assert (row.value, row.valid(), row.owner, row.owner_until, row.wait_until) == (value, False, "", None, None)
    assert AccessToken.objects.get(account=other).valid()


@pytest.mark.parametrize(
    ("columns", "usable"),
    [({}, True), ({"enabled": False}, False), ({"state": Health.FAILING}, True), ({"state": Health.STOPPED}, False)],
)
def test_only_what_is_on_and_not_stopped_is_usable(columns: dict[str, Any], usable: bool) -> None:
    assert app(columns=columns).usable is usable


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("gateway_share", 1, 100), ("turns_per_minute", 1, 1000), ("retention_days", 7, 36500)],
)
def test_a_number_lies_between_its_ends(name: str, least: int, most: int) -> None:
    account = app()
    for value, is_right in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        setattr(account, name, value)
        if is_right:
            account.clean_fields()
            continue
        with pytest.raises(ValidationError) as caught:
            account.clean_fields()
        assert list(caught.value.message_dict) == [name]


@pytest.mark.parametrize(("days", "kept"), [(90, 90), (0, None)])
def test_a_new_account_keeps_messages_for_as_long_as_the_setting_says(
    settings: SettingsWrapper, days: int, kept: int | None
) -> None:
    settings.RETENTION_DAYS = days
    assert ChannelAccount().retention_days == kept


@pytest.mark.parametrize(
    ("seconds", "failure", "valid", "refused", "waits"),
    [
        (60, "", True, False, False),
        (None, "", True, False, False),
        (None, "wrong secret", True, True, False),
        (60, "wait", True, False, True),
        (-60, "wait", True, False, False),
    ],
)
def test_what_a_failure_and_its_wait_say_of_a_token(
    seconds: float | None, failure: str, valid: bool, refused: bool, waits: bool
) -> None:
    until = None if seconds is None else timezone.now() + timedelta(seconds=seconds)
    ends = timezone.now() + timedelta(seconds=100)
    token = AccessToken(account=app(), value="x", expires_at=ends, failure_code=failure, wait_until=until)
    assert (token.valid(), token.refused, token.waits()) == (valid, refused, waits)
    assert (token.valid(90), token.valid(110)) == (True, False)
    assert not AccessToken(value="", expires_at=ends).valid()
    assert not AccessToken(value="x").valid()


def test_credentials_are_checked() -> None:
    assert cleaned_credentials("wecom_app", APP_FIELDS)["agent_id"] == 1000002
    with pytest.raises(ValidationError) as caught:
        cleaned_credentials("wecom_app", {**APP_FIELDS, "encoding_aes_key": "short", "token": ""})
    assert set(caught.value.message_dict) == {"encoding_aes_key", "token"}


def test_kinds() -> None:
    assert [kind for kind, _label in kind_choices()] == [
        "wecom_app",
        "wecom_aibot",
        "wecom_robot",
        "wecom_kf",
        "official_account",
        "mini_program",
        "wechaty",
        "webhook_account",
        "ilink",
    ]
    account = app()
    assert str(account) == "Acme app"
    assert str(account.get_kind_display()) == "WeCom self-built app"
    account.kind = "gone"
    assert account.get_kind_display() == "gone"
    assert isinstance(build_channel(account), UnregisteredKind)
    with pytest.raises(KeyError):
        channel_class("gone")


def test_a_channel_speaks_as_its_account() -> None:
    account = app(columns={"language": "en", "sentences": {"failed": "it broke"}})
    identity = build_channel(account).identity
    assert (identity.key, identity.external_id) == (str(account.key), account.external_id)
    assert (identity.credentials, identity.api_base_url) == (account.credentials, NOWHERE)
    stopped = account.sentence("stopped")
    assert (identity.sentences.get("failed"), identity.sentences.get("stopped")) == ("it broke", stopped)
    assert stopped == SENTENCES["stopped"].en
    assert build_channel(bot()).identity.sentences.get("stopped") == SENTENCES["stopped"].zh != stopped


@pytest.mark.parametrize(
    ("kind", "peer_kind", "stored", "is_any_case"),
    [
        ("wecom_app", "direct", "wangwu", True),
        ("wecom_app", "group", "WangWu", True),
        ("wecom_aibot", "direct", "wangwu", True),
        ("official_account", "direct", "WangWu", False),
        ("mini_program", "direct", "WangWu", False),
        ("gone", "direct", "WangWu", False),
    ],
)
def test_only_wecoms_ids_of_people_are_the_same_in_any_case(
    kind: str, peer_kind: str, stored: str, is_any_case: bool
) -> None:
    account = ChannelAccount(kind=kind)
    assert person_ids.person_id(account, peer_kind, "WangWu") == stored
    assert person_ids.is_any_case(account) is is_any_case
    assert set(person_ids.any_case_kinds()) == {"wecom_app", "wecom_aibot"}


def test_by_key() -> None:
    account = app()
    found, channel = cached_by_key(account.key)
    assert (found, channel.identity.external_id) == (account, account.external_id)
    assert cached_by_key(account.key)[1] is channel  # kept for two seconds
    with pytest.raises(ChannelAccount.DoesNotExist):
        cached_by_key(uuid4())
    assert SECRET not in repr(channel.identity)


def test_what_was_read_lately_is_good_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    account = app()
    assert channels.cached_without_query(account.key) is None
    found = cached_by_key(account.key)
    assert channels.cached_without_query(account.key) == found
    assert cached_by_key(account.key) == found
    ChannelAccount.objects.update(enabled=False)
    assert cached_by_key(account.key) == found
    monkeypatch.setattr(channels.time, "monotonic", lambda: float("inf"))  # two seconds later
    assert channels.cached_without_query(account.key) is None
    with pytest.raises(ChannelAccount.DoesNotExist):
        cached_by_key(account.key)
    assert channels.last_known(account.key) == found


def test_an_account_that_is_off_has_no_address_and_is_still_that_of_its_rows() -> None:
    account, off = app(), bot(columns={"enabled": False})
    with pytest.raises(ChannelAccount.DoesNotExist):
        cached_by_key(off.key)
    assert list(cached_by_keys([account.key, off.key, uuid4()])) == [account.key]
    assert (list(cached_by_keys([account.key])), cached_by_keys([off.key])) == ([account.key], {})
    assert channels.cached_by_id(off.pk)[0] == off


def test_only_accounts_that_are_on_are_remembered_and_read_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account, off = app(), bot(columns={"enabled": False})
    monkeypatch.setattr(channels, "_enabled_at", -channels.ENABLED_SECONDS)
    channels.remember_enabled()
    assert set(channels._enabled) == {account.key}
    assert (channels.last_known(account.key) or [None])[0] == account
    assert channels.last_known(off.key) is None
    ChannelAccount.objects.filter(pk=off.pk).update(enabled=True)
    channels.remember_enabled()
    assert set(channels._enabled) == {account.key}
    monkeypatch.setattr(channels, "_enabled_at", channels._enabled_at - channels.ENABLED_SECONDS)
    channels.remember_enabled()
    assert set(channels._enabled) == {account.key, off.key}
