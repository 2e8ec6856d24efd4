"""The forms of channels and rules: they show what the kind has, keep an address that is left empty, and show a secret once."""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.fields import Sealed, list_unreadable
from bridge.models import AlertChannel, AlertMessage, AlertRule
from tests.api.conftest import calling_as
from tests.channels.harness import recorder
from tests.support import factories
from tests.support.factories import CANARIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
FORM = {"name": "Desk", "language": "en", "max_per_hour": 5, "enabled": "on"}


def change(row: Any) -> str:
    return reverse(f"admin:bridge_{row._meta.model_name}_change", args=[row.pk])


def names_of(client: Client, row: Any) -> set[str]:
    page: Any = client.get(change(row))
    return {name for fieldset in page.context_data["adminform"] for line in fieldset for name in line.fields}


@pytest.mark.parametrize(
    ("kind", "shown"), [("webhook", {"url"}), ("email", {"emails"}), ("robot", {"url", "account"})]
)
def test_a_channel_shows_the_fields_of_its_kind(boss: Client, kind: str, shown: set[str]) -> None:
    channel = factories.alert_channel(kind, url="" if kind == "email" else "http://127.0.0.1:9/x?key=a")
    assert names_of(boss, channel) & {"url", "emails", "account"} == shown


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("failure_rate", {"minutes", "percent", "least_count", "accounts"}),
        ("failure_codes", {"least_count", "codes", "accounts"}),
        ("silence", {"minutes", "accounts", "work_from", "work_until", "weekdays_only"}),
        ("other", {"least_severity"}),
        ("worker_silent", set()),
    ],
)
def test_a_rule_shows_the_fields_of_its_kind(boss: Client, kind: str, shown: set[str]) -> None:
    everywhere = {"kind", "name", "enabled", "reminder_hours"}
    assert names_of(boss, factories.alert_rule(kind)) - everywhere == shown


def test_a_rule_in_the_list_says_which_of_its_channels_tell_nothing(boss: Client) -> None:
    factories.alert_rule("failure_codes", least_count=1)
    factories.alert_channel("webhook", name="Desk")
    factories.alert_channel("email", name="Night", enabled=False)
    page = boss.get(reverse("admin:bridge_alertrule_changelist")).content.decode()
    assert "Desk, Night (disabled)" in page
    assert "at least 1 failed delivery of one cause" in page


def test_an_address_that_is_left_empty_is_kept_and_one_of_another_host_gets_a_secret(boss: Client) -> None:
    with recorder() as server, recorder() as other:
        address = f"{server.url}/{CANARIES['alert address']}"
        channel = factories.alert_channel("webhook", url=address, secret=CANARIES["alert secret"], failures=3)
        boss.post(change(channel), {**FORM, "url": ""})
        channel.refresh_from_db()
        assert (channel.url, channel.secret, channel.name) == (address, CANARIES["alert secret"], "Desk")
        assert channel.failures == 0, "what is changed is tried at once"
        answer = boss.post(change(channel), {**FORM, "url": f"{other.url}/in"})
        channel.refresh_from_db()
        assert channel.url == f"{other.url}/in"
        assert channel.secret != CANARIES["alert secret"]
        assert channel.secret in answer.content.decode()
        assert channel.secret not in boss.get(change(channel)).content.decode()


def test_a_new_channel_writes_in_the_language_of_whoever_adds_it(boss: Client) -> None:
    page: Any = boss.get(reverse("admin:bridge_alertchannel_add"), headers={"accept-language": "zh-CN"})
    assert page.context_data["adminform"].form["language"].value() == "zh-hans"


def test_what_a_form_refuses_changes_nothing(boss: Client) -> None:
    channel = factories.alert_channel()
    for wrong in ({"emails": ""}, {"emails": "nobody"}, {"quiet_from": "22:00"}, {"max_per_hour": 0}):
        answer = boss.post(change(channel), {**FORM, "emails": "a@example.com", **wrong})
        assert answer.status_code == 200, wrong
    channel.refresh_from_db()
    assert (channel.name, AlertChannel.objects.count()) == ("Alerts by email", 1)


@pytest.mark.parametrize(("kind", "column"), [("robot", "url"), ("webhook", "url"), ("webhook", "secret")])
def test_a_channel_whose_secrets_no_key_opens_is_listed_disabled_and_mended(
    boss: Client, kind: str, column: str
) -> None:
    with recorder() as server:
        channel = factories.alert_channel(kind, url=f"{server.url}/cgi-bin/webhook/send?key=a")
        AlertChannel.objects.update(**{column: Sealed("v2.00000000.AAAA")})
        listed = boss.get(reverse("admin:bridge_alertchannel_changelist"))
        assert ("cannot be read" in listed.content.decode()) == (column == "url")
        assert AlertChannel.objects.get().shown_target  # as the API answers it
        assert boss.get(change(channel)).status_code == 200
        boss.post(reverse("admin:bridge_alertchannel_switch", args=[channel.pk]))
        assert not AlertChannel.objects.get().enabled
        if column == "url":
            refused = boss.post(change(channel), {**FORM, "url": ""})
            assert "enter the address" in refused.content.decode().lower()
        boss.post(change(channel), {**FORM, "url": f"{server.url}/cgi-bin/webhook/send?key=b"})
        channel = AlertChannel.objects.get()
        assert (channel.url[-5:], channel.enabled, list_unreadable(channel)) == ("key=b", True, [])
        assert bool(channel.secret) == (kind == "webhook")


@pytest.mark.parametrize(
    ("make", "column"), [(factories.app, "credentials"), (factories.gateway, "token"), (factories.endpoint, "url")]
)
def test_a_page_whose_secrets_no_key_opens_says_so(boss: Client, make: Callable[[], Any], column: str) -> None:
    row = make()
    type(row).objects.update(**{column: Sealed("v2.00000000.AAAA")})
    boss.raise_request_exception = False
    name = row._meta.label_lower.replace(".", "_")
    answer = boss.get(reverse(f"admin:{name}_change", args=[row.pk]))
    assert answer.status_code == 200 or "No key of FIELD_KEYS opens what is stored" in answer.content.decode()


def delete(client: Client, row: Any) -> str:
    """Press and confirm *Delete*, and return the page."""
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
    return client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}, follow=True).content.decode()


def test_a_channel_that_is_to_be_deleted_counts_what_it_sent_and_names_none_of_it(boss: Client) -> None:
    channel = factories.alert_channel(name="Partner")
    result = {"state": "sent", "finished_at": timezone.now()}
    sent = AlertMessage(channel=channel, target="boss", title="Account Acme is down", text="x", **result)
    AlertMessage.objects.bulk_create([sent] + [copy(sent) for _number in range(20)])
    page = boss.get(reverse("admin:bridge_alertchannel_delete", args=[channel.pk])).content.decode()
    assert "Alert messages: 21" in " ".join(re.sub("<[^>]*>", "", page).split())
    assert "Acme is down" not in page
    delete(boss, channel)
    assert not AlertMessage.objects.exists()


def test_a_rule_that_a_channel_is_limited_to_is_not_deleted(boss: Client) -> None:
    first, second = factories.alert_rule("account_down"), factories.alert_rule("quota")
    channel = factories.alert_channel(name="Partner")
    channel.rules.add(first)
    assert "Alert channel Partner: it tells by no other rule" in delete(boss, first)
    assert set(channel.rules.all()) == {first}
    channel.rules.add(second)
    both = {"action": "delete_selected", "_selected_action": [first.pk, second.pk], "post": "yes"}
    refused = boss.post(reverse("admin:bridge_alertrule_changelist"), both)
    assert "Alert channel Partner: it tells by no other rule" in refused.content.decode()
    delete(boss, first)
    assert set(channel.rules.all()) == {second}
    assert "it tells by no other rule" in delete(boss, second)
    channel.delete()
    delete(boss, second)
    assert not AlertRule.objects.filter(pk__in=[first.pk, second.pk]).exists()


def test_an_account_that_a_rule_is_limited_to_is_not_deleted(boss: Client, admin_user: User) -> None:
    mine, other = factories.app(), factories.app(agent_id=7)
    rule = factories.alert_rule("account_down", name="Ours")
    rule.accounts.add(mine)
    assert "Alert rule Ours: it is about nothing else" in delete(boss, mine)
    scripts = calling_as(admin_user)
    answer = scripts.delete(f"/api/v1/accounts/{mine.pk}/")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert set(rule.accounts.all()) == {mine}
    rule.accounts.add(other)
    assert scripts.delete(f"/api/v1/accounts/{mine.pk}/").status_code == 204
    assert "it is about nothing else" in delete(boss, other)
    assert set(rule.accounts.all()) == {other}
