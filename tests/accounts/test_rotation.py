"""Changing the key of FIELD_KEYS: nothing is lost, nobody notices, and what cannot be done is named."""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from psycopg import sql

from accounts import rotation
from accounts.channels import cached_by_key
from accounts.fields import key_ids, sealed
from accounts.models import AccessToken, ChannelAccount
from bridge.models import Message
from openclaw.models import Gateway
from tests.support import factories
from tests.support.factories import SECRET, app, bot, gateway, hear, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import SettingsWrapper

OLD, NEW, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
LATE_WRITES = 100
OLD_ID, NEW_ID, OTHER_ID = key_ids([OLD, NEW, OTHER])


@pytest.fixture(autouse=True)
def _old_key(settings: SettingsWrapper) -> None:
    settings.FIELD_KEYS = [OLD]


def rotate(*arguments: str) -> str:
    out = StringIO()
    call_command("rotate_keys", *arguments, stdout=out, stderr=out, skip_checks=True)
    return out.getvalue()


def under() -> dict[str, int]:
    """Key id → values."""
    return dict(sum((column.counts() for column in rotation.list_columns()), rotation.Counter()))


def stored(table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM {} ORDER BY id").format(sql.Identifier(column), sql.Identifier(table)))
        return [row[0] for row in cursor.fetchall()]


def a_world() -> None:
    """Each encrypted field with a value, and one that is empty."""
    account = app()
    factories.access_token(account, value="canary-token")
    gateway(device_key="PEM", device_token="device")
    hear(account, reply="https://reply/canary")
    hear(account)


def test_every_encrypted_field_is_found() -> None:
    assert {column.context for column in rotation.list_columns()} == {
        "accounts.channelaccount.credentials",
        "accounts.accesstoken.value",
        "accounts.connection.knock_token",
        "accounts.connection.login_code",
        "openclaw.gateway.token",
        "openclaw.gateway.device_key",
        "openclaw.gateway.device_token",
        "bridge.message.reply_address",
        "bridge.attachment.key",
        "bridge.webhookendpoint.url",
        "bridge.webhookendpoint.secret",
        "bridge.webhookendpoint.previous_secret",
        "bridge.alertchannel.url",
        "bridge.alertchannel.secret",
    }


@pytest.mark.django_db
def test_everything_is_written_anew_and_reads_as_before(settings: SettingsWrapper) -> None:
    a_world()
    settings.FIELD_KEYS = [NEW, OLD]
    said = rotate()
    assert "accounts.channelaccount.credentials: 1 written anew" in said
    assert "bridge.message.reply_address: 1 written anew" in said
    assert f"key 1 ({NEW_ID}): 6 values" in said
    assert f"key 2 ({OLD_ID}): 0 values" in said
    assert "may be removed" in said
    settings.FIELD_KEYS = [NEW]
    assert ChannelAccount.objects.get().credentials["secret"] == SECRET
    assert AccessToken.objects.get().value == "canary-token"
    found = Gateway.objects.get()
    assert (found.token, found.device_key, found.device_token) == ("stub-token", "PEM", "device")
    assert sorted(each.reply_address for each in Message.objects.all()) == ["", "https://reply/canary"]


@pytest.mark.django_db
def test_a_second_run_has_nothing_to_do(settings: SettingsWrapper) -> None:
    a_world()
    settings.FIELD_KEYS = [NEW, OLD]
    rotate()
    before = stored("accounts_channelaccount", "credentials")
    assert "credentials: 0 written anew" in rotate()
    assert stored("accounts_channelaccount", "credentials") == before


@pytest.mark.django_db
def test_it_goes_on_where_it_was_broken_off(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    account = app()
    for number in range(7):
        hear(account, reply=f"https://reply/{number}")
    monkeypatch.setattr(rotation, "BATCH", 2)
    settings.FIELD_KEYS = [NEW, OLD]
    column = next(c for c in rotation.list_columns() if c.context == "bridge.message.reply_address")
    first = next(column._batches())
    column._swap([(pk, old, column._again(old, row)) for pk, old, row in first])
    assert (column.counts()[NEW_ID], column.counts()[OLD_ID]) == (2, 5)
    assert "reply_address: 5 written anew" in rotate()
    assert {each.reply_address for each in Message.objects.all()} == {f"https://reply/{n}" for n in range(7)}


@pytest.mark.django_db
def test_the_check_changes_nothing_and_says_what_is_left(settings: SettingsWrapper) -> None:
    a_world()
    before = stored("bridge_message", "reply_address")
    settings.FIELD_KEYS = [NEW, OLD]
    out = StringIO()
    with pytest.raises(CommandError, match="6 values are under older keys"):
        call_command("rotate_keys", "--check", stdout=out, skip_checks=True)
    assert f"key 2 ({OLD_ID}): 6 values" in out.getvalue()
    assert stored("bridge_message", "reply_address") == before


@pytest.mark.django_db
def test_a_missing_key_is_named_and_nothing_is_changed(settings: SettingsWrapper) -> None:
    a_world()
    settings.FIELD_KEYS = [OTHER]
    gateway()
    before = under()
    settings.FIELD_KEYS = [NEW, OTHER]
    with pytest.raises(CommandError, match=f"(?s)Nothing was changed.*{OLD_ID}.*channelaccount.credentials: 1"):
        rotate()
    assert under() == before == {OLD_ID: 6, OTHER_ID: 1}


@pytest.mark.django_db
def test_every_missing_key_is_named_with_every_place_of_it(settings: SettingsWrapper) -> None:
    a_world()
    settings.FIELD_KEYS = [OTHER]
    gateway()
    hear(app_two(), reply="https://reply/other")
    settings.FIELD_KEYS = [NEW]
    found = rotation.find_unknown_keys()
    assert {key: set(places.split(", ")) for key, places in found.items()} == {
        OLD_ID: {
            "accounts.channelaccount.credentials: 1",
            "accounts.accesstoken.value: 1",
            *(f"openclaw.gateway.{name}: 1" for name in ("token", "device_key", "device_token")),
            "bridge.message.reply_address: 1",
        },
        OTHER_ID: {
            "accounts.channelaccount.credentials: 1",
            "openclaw.gateway.token: 1",
            "bridge.message.reply_address: 1",
        },
    }
    settings.FIELD_KEYS = [NEW, OLD, OTHER]
    assert rotation.find_unknown_keys() == {}


@pytest.mark.django_db
def test_a_damaged_value_is_named_and_stops_nobody_else(settings: SettingsWrapper) -> None:
    a_world()
    broken = hear(app_two(), reply="https://reply/broken")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE bridge_message SET reply_address = %s WHERE id = %s", [f"v1.{OLD_ID}.{'A' * 60}", broken.pk]
        )
    settings.FIELD_KEYS = [NEW, OLD]
    out = StringIO()
    with pytest.raises(CommandError, match="1 values are damaged"):
        call_command("rotate_keys", stdout=out, stderr=out, skip_checks=True)
    assert f"bridge.message.reply_address: damaged, in the rows {broken.pk}" in out.getvalue()
    assert under() == {NEW_ID: 7, OLD_ID: 1}


def app_two() -> ChannelAccount:
    return app(agent_id=1000003)


@pytest.mark.django_db(transaction=True)
def test_a_value_written_meanwhile_stays(settings: SettingsWrapper) -> None:
    token = factories.access_token(app(), value="first")
    settings.FIELD_KEYS = [NEW, OLD]
    column = next(c for c in rotation.list_columns() if c.context == "accounts.accesstoken.value")
    ((pk, old, row),) = next(column._batches())
    AccessToken.objects.filter(pk=token.pk).update(value=sealed(AccessToken, "value", row, "second"))
    assert column._swap([(pk, old, column._again(old, row))]) == 0
    assert AccessToken.objects.get().value == "second"


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_is_passed_over_and_named(settings: SettingsWrapper) -> None:
    held = app()
    bot()
    settings.FIELD_KEYS = [NEW, OLD]
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        ChannelAccount.objects.select_for_update().get(pk=held.pk)
        said = pool.submit(in_thread(lambda: pytest.raises(CommandError, rotate))).result(30)
    assert "1 values are under older keys" in str(said.value)
    assert under() == {NEW_ID: 1, OLD_ID: 1}
    assert "credentials: 1 written anew" in rotate()


@pytest.mark.django_db(transaction=True)
def test_under_load_no_call_fails_and_no_write_is_lost(
    settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token refreshes, saves of accounts, leases over all gateways and callbacks that read, while the key changes.

    The first tokens are still written under the old key, as by a process that is restarted last.
    """
    accounts = [app(agent_id=1000100 + number) for number in range(6)]
    tokens = [factories.access_token(account, value="0") for account in accounts]
    gateways = [gateway() for _number in range(6)]
    for number in range(400):
        hear(accounts[number % 6], reply=f"https://reply/{number}")
    by_old = [{t.pk: sealed(AccessToken, "value", t.account_id, str(n)) for t in tokens} for n in range(LATE_WRITES)]
    settings.FIELD_KEYS = [NEW, OLD]
    monkeypatch.setattr(rotation, "BATCH", 20)
    over = threading.Event()
    written: dict[str, int] = {}

    def refresh() -> None:
        for number in until(over, at_least=LATE_WRITES):
            for token in tokens:
                now = sealed(AccessToken, "value", token.account_id, str(number))
                value = by_old[number][token.pk] if number < LATE_WRITES else now
                assert AccessToken.objects.get(pk=token.pk).value == str(number - 1), "the last write was lost"
                AccessToken.objects.filter(pk=token.pk).update(value=value, generation=number)
                written[f"token {token.pk}"] = number

    def configure() -> None:
        for number in until(over):
            for account in accounts[:3]:
                fresh = ChannelAccount.objects.get(pk=account.pk)
                fresh.credentials = {**fresh.credentials, "secret": f"secret {number}"}
                fresh.save(update_fields=["credentials", "updated_at"])
                written[f"account {account.pk}"] = number

    def lease() -> None:
        for number in until(over):
            Gateway.objects.update(version=f"version {number}")

    def hold_all() -> None:
        for _number in until(over):
            with transaction.atomic():
                list(ChannelAccount.objects.order_by("-id").select_for_update())

    def call_back() -> None:
        for _number in until(over):
            for account in accounts:
                assert cached_by_key(account.key)[0].credentials["corp_id"]
                assert AccessToken.objects.get(account=account).value
                assert next(iter(Message.objects.filter(account=account)[:1])).reply_address

    jobs: list[Callable[[], None]] = [refresh, configure, lease, hold_all, call_back, call_back]
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(in_thread(job)) for job in jobs]
        try:
            rotate_until_done()
        finally:
            over.set()
        for job in running:
            job.result(30)
    assert set(under()) == {NEW_ID}
    settings.FIELD_KEYS = [NEW]
    for token in tokens:
        assert AccessToken.objects.get(pk=token.pk).value == str(written[f"token {token.pk}"])
    for account in accounts[:3]:
        secret = ChannelAccount.objects.get(pk=account.pk).credentials["secret"]
        assert secret == f"secret {written[f'account {account.pk}']}"
    assert [each.token for each in Gateway.objects.all()] == ["stub-token"] * len(gateways)
    assert {each.reply_address for each in Message.objects.all()} == {f"https://reply/{n}" for n in range(400)}


def until(over: threading.Event, at_least: int = 1) -> Iterator[int]:
    """1, 2, 3 … with a breath between, until it is over."""
    number = 0
    while number < at_least or not over.is_set():
        number += 1
        yield number
        time.sleep(0.001)


def rotate_until_done() -> None:
    """As staff would: where somebody held a row just then, again."""
    for _time in range(200):
        try:
            rotate()
        except CommandError:
            continue
        return
    raise AssertionError("rows stayed under the old key")
