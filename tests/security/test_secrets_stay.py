"""A stored secret goes only to the scheme, host and port it was entered for (A3), and an address is one (P8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.channels import build_channel, stored_tokens
from accounts.fields import sealed
from accounts.models import AccessToken, ChannelAccount
from bridge.connector import leases
from bridge.models import WebhookEndpoint
from openclaw.device import Device
from openclaw.models import Gateway
from openclaw.turns import AgentInfo
from tests.support import factories

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

JSON = {"content_type": "application/json"}
HERE = "http://127.0.0.1:9"
ELSEWHERE = ["http://127.0.0.1:10", "http://127.0.0.2:9", "https://127.0.0.1:9", "https://evil.example"]
SAME = ["http://127.0.0.1:9/proxy", "http://127.0.0.1:9/"]
KINDS = {"app": "secret", "official": "app_secret", "mini": "app_secret"}


@pytest.fixture(autouse=True)
def _settings(db: None, settings: Any) -> None:
    settings.API_RATE = 1_000_000
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.0/8:*"]


@pytest.fixture
def admin() -> Client:
    """An Admin who is no superuser."""
    user = User.objects.create_user("admin", is_staff=True)
    user.groups.add(Group.objects.get(name="Admins"))
    client = Client()
    client.force_login(user)
    return client


def form_of(account: ChannelAccount, **changed: str) -> dict[str, Any]:
    """What the browser posts for a page that was not touched, but for `changed`."""
    secrets = build_channel(account).Credentials.secrets
    shown = {name: value or "" for name, value in account.credentials.items() if name not in secrets}
    own = {"name": account.name, "enabled": "on", "retention_days": "90", "api_base_url": account.api_base_url}
    return {**own, **shown, **changed}


def page(row: Any) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [*ELSEWHERE, ""])
def test_an_accounts_secret_does_not_follow_another_address(admin: Client, kind: str, address: str) -> None:
    account: ChannelAccount = getattr(factories, kind)(HERE)
    api = f"/api/v1/accounts/{account.pk}/"
    answer = admin.patch(api, {"api_base_url": address}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [f"credentials.{KINDS[kind]}"])
    assert admin.put(api, {"api_base_url": address}, **JSON).status_code in (400, 405)
    assert "enter this again" in admin.post(page(account), form_of(account, api_base_url=address)).content.decode()
    account.refresh_from_db()
    assert account.api_base_url == HERE


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_secret_an_account_moves(admin: Client, kind: str) -> None:
    account: ChannelAccount = getattr(factories, kind)(HERE)
    given = {"api_base_url": ELSEWHERE[0], "credentials": {KINDS[kind]: "typed-again"}}
    assert admin.patch(f"/api/v1/accounts/{account.pk}/", given, **JSON).status_code == 200
    account.refresh_from_db()
    assert (account.api_base_url, account.credentials[KINDS[kind]]) == (ELSEWHERE[0], "typed-again")
    answer = admin.post(page(account), form_of(account, api_base_url=HERE, **{KINDS[kind]: "and-again"}))
    assert answer.status_code == 302, answer.content
    account.refresh_from_db()
    assert (account.api_base_url, account.credentials[KINDS[kind]]) == (HERE, "and-again")


@pytest.mark.parametrize("address", SAME)
def test_another_path_of_the_same_host_asks_for_nothing(admin: Client, address: str) -> None:
    account, gateway = factories.app(HERE), factories.gateway(HERE)
    assert admin.patch(f"/api/v1/accounts/{account.pk}/", {"api_base_url": address}, **JSON).status_code == 200
    assert admin.patch(f"/api/v1/gateways/{gateway.pk}/", {"base_url": address}, **JSON).status_code == 200


def test_an_access_token_goes_only_to_the_address_that_gave_it_out(company: SimulatorClient) -> None:
    """Also where the change is not heard of yet: each reader compares the address with its own."""
    account = factories.app(company.url)
    soon = timezone.now() + timedelta(hours=1)
    factories.access_token(account, value="of-the-old-host", address=HERE, generation=3, expires_at=soon)
    assert stored_tokens(account).current() != "of-the-old-host"
    old = ChannelAccount.objects.get(pk=account.pk)
    old.api_base_url = "http://127.0.0.1:10"
    assert not stored_tokens(old)._good(AccessToken.objects.get(account=account))


def test_saving_another_address_forgets_the_access_token(admin: Client) -> None:
    account = factories.app(HERE)
    factories.access_token(account, value="of-the-old-host", address=HERE, generation=1)
    given = {"api_base_url": ELSEWHERE[0], "credentials": {"secret": "typed-again"}}
    assert admin.patch(f"/api/v1/accounts/{account.pk}/", given, **JSON).status_code == 200
    assert AccessToken.objects.get().value == ""


def gateway_form(gateway: Gateway, **changed: str) -> dict[str, str]:
    own = {"name": gateway.name, "enabled": "on", "base_url": gateway.base_url, "token": "", "transport": "ws"}
    return {**own, "timeout_seconds": "60", "max_in_flight": "2", **changed}


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_gateways_token_does_not_follow_another_address(admin: Client, address: str) -> None:
    gateway = factories.gateway(HERE, "the-token", device_token="device", device_key=Device.generate().pem)  # noqa: S106
    answer = admin.patch(f"/api/v1/gateways/{gateway.pk}/", {"base_url": address}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["token"])
    said = admin.post(page(gateway), gateway_form(gateway, base_url=address)).content.decode()
    assert "enter this again" in said
    gateway.refresh_from_db()
    assert (gateway.base_url, gateway.token, gateway.device_token) == (HERE, "the-token", "device")


@pytest.mark.parametrize("way", ["form", "api"])
def test_a_moved_gateway_forgets_its_device(admin: Client, way: str) -> None:
    gateway = factories.gateway(HERE, "the-token", device_token="device", device_key=Device.generate().pem)  # noqa: S106
    changed = {"base_url": ELSEWHERE[0], "token": "typed-again"}
    if way == "form":
        assert admin.post(page(gateway), gateway_form(gateway, **changed)).status_code == 302
    else:
        assert admin.patch(f"/api/v1/gateways/{gateway.pk}/", changed, **JSON).status_code == 200
    gateway = Gateway.objects.get()
    assert (gateway.base_url, gateway.token) == (ELSEWHERE[0], "typed-again")
    assert (gateway.device_key, gateway.device_token) == ("", "")


def test_what_an_old_connection_learns_is_not_kept_for_the_new_address() -> None:
    factories.gateway(HERE)
    (row,) = leases.acquire("connector")
    Gateway.objects.update(base_url=ELSEWHERE[0])
    leases.store_hello(row, "1", "boot", [AgentInfo("main")], "of-the-old-gateway")
    assert (Gateway.objects.get().device_token, Gateway.objects.get().boot_id) == ("", "")


@pytest.mark.parametrize("way", ["form", "api"])
def test_a_webhook_signs_for_another_host_with_another_secret(admin: Client, way: str) -> None:
    endpoint = factories.endpoint(f"{HERE}/hook")
    endpoint.rotate(timedelta(hours=5))
    before, changed = endpoint.secret, f"{ELSEWHERE[0]}/hook"
    if way == "form":
        given = {"name": "n", "enabled": "on", "url": changed, "events": ["account.state"], "account": ""}
        shown = admin.post(page(endpoint), given).content.decode()
    else:
        shown = admin.patch(f"/api/v1/webhooks/{endpoint.pk}/", {"url": changed}, **JSON).json()["secret"]
    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.secret in shown
    assert endpoint.secret != before
    assert (endpoint.previous_secret, endpoint.previous_until) == ("", None)


def test_another_path_of_a_webhook_keeps_its_secret(admin: Client) -> None:
    endpoint = factories.endpoint(f"{HERE}/hook")
    answer = admin.patch(f"/api/v1/webhooks/{endpoint.pk}/", {"url": f"{HERE}/other?x=1"}, **JSON)
    assert (answer.status_code, answer.json()["secret"]) == (200, None)
    assert WebhookEndpoint.objects.get().secret == endpoint.secret


BAD = [
    "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://127.0.0.1:", "http://127.0.0.1:-1", "http://127.0.0.1:1e3",
    "http://127.0.0.1:١٢٣", "http://127.0.0.1 .example/", "http://a b/", "http://user@127.0.0.1/", "http://u:p@127.0.0.1/",
    "https://example.com/#part", "https://bücher.example/", "https://example.com./", "https://.example.com/", "https://a..b/",
    "https://-a.example/", "http://2130706433/", "http://0x7f.1/", "http://[::1", "https://[::1%25eth0]/", "https:///path",
    "https://example.com\\@evil.example/", "ftp://example.com/", "javascript:alert(1)", "//x",
    "http://169.254.169.254/", "http://[fe80::1]/", "http://100.100.100.200/", "https://10.0.0.1/", "http://93.184.216.34/",
]  # fmt: skip


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused_everywhere(admin: Client, address: str) -> None:
    account, gateway, endpoint = factories.app(HERE), factories.gateway(HERE), factories.endpoint(HERE)
    for path, given, name in (
        (f"/api/v1/accounts/{account.pk}/", {"api_base_url": address, "credentials": {"secret": "s"}}, "api_base_url"),
        (f"/api/v1/gateways/{gateway.pk}/", {"base_url": address, "token": "t"}, "base_url"),
        (f"/api/v1/webhooks/{endpoint.pk}/", {"url": address}, "url"),
    ):
        answer = admin.patch(path, given, **JSON)
        assert (answer.status_code, list(answer.json()["details"])) == (400, [name]), (path, answer.content)
    for row, form in (
        (account, form_of(account, api_base_url=address, secret="s")),  # noqa: S106
        (gateway, gateway_form(gateway, base_url=address, token="t")),  # noqa: S106
        (endpoint, {"name": "n", "url": address, "events": ["account.state"]}),
    ):
        assert admin.post(page(row), form).status_code == 200, row
    assert (ChannelAccount.objects.get().api_base_url, Gateway.objects.get().base_url) == (HERE, HERE)
    assert WebhookEndpoint.objects.get().url == HERE


@pytest.mark.parametrize("address", ["http://example.com", "https://192.168.1.1", "http://nowhere.invalid"])
def test_a_public_host_wants_https_and_a_private_one_the_list(admin: Client, address: str) -> None:
    gateway = factories.gateway(HERE)
    answer = admin.patch(f"/api/v1/gateways/{gateway.pk}/", {"base_url": address, "token": "t"}, **JSON)
    assert answer.status_code == 400
    assert "ALLOWED_PRIVATE_HOSTS" in str(answer.json())


@pytest.mark.parametrize("address", ["\u200bhttp://127.0.0.1:9/x", " http://127.0.0.1:9/x\ufeff\n"])
def test_an_address_is_cleaned_of_what_has_no_width(admin: Client, address: str) -> None:
    gateway, endpoint = factories.gateway(HERE), factories.endpoint(HERE)
    assert admin.patch(f"/api/v1/webhooks/{endpoint.pk}/", {"url": address}, **JSON).status_code == 200
    assert WebhookEndpoint.objects.get().url == f"{HERE}/x"
    assert admin.patch(f"/api/v1/gateways/{gateway.pk}/", {"base_url": address}, **JSON).status_code in (200, 400)
    assert Gateway.objects.get().base_url in (HERE, f"{HERE}/x")


@pytest.mark.parametrize(
    ("token", "kept"),
    [("\u200btok-en\n", "tok-en"), (" tok-en\ufeff", "tok-en"), ("“tok”", ""), ("to ken", ""), ("ｔok", "")],
)
def test_a_gateways_token_is_cleaned_or_refused(admin: Client, token: str, kept: str) -> None:
    gateway = factories.gateway(HERE, "before")
    path = f"/api/v1/gateways/{gateway.pk}/"
    assert admin.patch(path, {"token": token}, **JSON).status_code == (200 if kept else 400)
    assert Gateway.objects.get().token == (kept or "before")
    Gateway.objects.update(token=sealed(Gateway, "token", gateway.key, "before"))
    assert admin.post(page(gateway), gateway_form(gateway, token=token)).status_code == (302 if kept else 200)
    assert Gateway.objects.get().token == (kept or "before")
