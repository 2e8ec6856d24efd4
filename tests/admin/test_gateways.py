"""Gateways: the form, Test against the stand-in, the device key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts.health import Health
from openclaw.device import Device
from openclaw.errors import Code, GatewayError
from openclaw.models import Gateway
from openclaw.stub import RunningStub
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

NEW = {
    "name": "Home",
    "enabled": "on",
    "base_url": "http://127.0.0.1:18789/",
    "token": "a-token",
    "transport": "ws",
    "timeout_seconds": "1800",
    "max_in_flight": "8",
}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:openclaw_gateway_{name}", args=args)


def test_a_gateway_is_added(boss: Client) -> None:
    assert boss.post(url("add"), NEW).status_code == 302
    gateway = Gateway.objects.get()
    assert (gateway.base_url, gateway.token) == ("http://127.0.0.1:18789", "a-token")


def test_a_blank_token_keeps_the_stored_one_and_saving_revives(boss: Client) -> None:
    gateway = factories.connected_gateway(state=Health.STOPPED, state_code="bad_token", state_params={"text": "no"})
    boss.post(url("change", gateway.pk), {**NEW, "token": ""})
    gateway.refresh_from_db()
    assert gateway.token == factories.CANARIES["gateway token"]
    assert (gateway.state, gateway.state_code) == (Health.NEW, "")
    assert gateway.device_token == factories.CANARIES["device token"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("base_url", "ftp://host"),
        ("base_url", "http://user:pw@host"),
        ("base_url", "nonsense"),
        ("timeout_seconds", "0"),
        ("max_in_flight", "0"),
        ("transport", "pigeon"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(boss: Client, field: str, value: str) -> None:
    response = boss.post(url("add"), {**NEW, field: value})
    assert list(response.context["adminform"].form.errors) == [field]
    assert not Gateway.objects.exists()


def test_test_finds_version_and_agents(boss: Client) -> None:
    with RunningStub() as stub:
        gateway = factories.connected_gateway(
            base_url=stub.base_url, token=stub.token, device_key="", agents=[], version=""
        )
        response = boss.post(url("test", gateway.pk))
    gateway.refresh_from_db()
    assert gateway.state == Health.OK
    assert [sorted(agent) for agent in gateway.agents] == [["id", "model", "name"]] * 2
    assert [agent["id"] for agent in gateway.agents] == ["main", "support"]
    assert gateway.version
    assert gateway.version in str(next(iter(get_messages(response.wsgi_request))))


def test_test_with_a_wrong_token_names_cause_and_cure(boss: Client) -> None:
    with RunningStub() as stub:
        gateway = factories.connected_gateway(base_url=stub.base_url, token="wrong", device_key="")
        boss.post(url("test", gateway.pk))
    gateway.refresh_from_db()
    assert (gateway.state, gateway.state_code) == (Health.STOPPED, Code.BAD_TOKEN)
    assert str(GatewayError(Code.BAD_TOKEN).sentence) in gateway.state_reason
    assert gateway.state_code in boss.get(url("change", gateway.pk)).content.decode()


def test_a_device_key_is_made_and_only_its_id_is_shown(boss: Client) -> None:
    gateway = factories.connected_gateway(device_key="")
    boss.post(url("make_key", gateway.pk))
    gateway.refresh_from_db()
    assert gateway.device_key.startswith("-----BEGIN PRIVATE KEY-----")
    assert gateway.device_token == ""
    page = boss.get(url("change", gateway.pk)).content.decode()
    assert "PRIVATE KEY" not in page
    assert "openclaw devices approve" in page


@pytest.mark.parametrize("name", ["test", "make_key", "switch"])
def test_a_button_wants_the_right(staff: Callable[..., Client], name: str) -> None:
    gateway = factories.connected_gateway(device_key="")
    assert staff("openclaw.view_gateway").post(url(name, gateway.pk)).status_code == 403
    gateway.refresh_from_db()
    assert (gateway.enabled, gateway.device_key, gateway.state) == (True, "", Health.OK)


@pytest.mark.parametrize("address", ["", "ws://127.0.0.1:1", "nonsense", "http://"])
def test_a_wrong_address_has_one_message(boss: Client, address: str) -> None:
    response = boss.post(url("add"), {**NEW, "base_url": address})
    assert len(response.context["adminform"].form.errors["base_url"]) == 1
    assert not Gateway.objects.exists()


def test_a_second_gateway_with_the_same_address_is_named(boss: Client) -> None:
    first = factories.connected_gateway(name="First")
    page = boss.post(url("add"), NEW, follow=True).content.decode()
    assert f'Another gateway has the same address: <a href="{url("change", first.pk)}">First</a>' in page


def test_saving_leads_to_the_test(boss: Client) -> None:
    response = boss.post(url("add"), NEW, follow=True)
    assert response.redirect_chain == [(url("change", Gateway.objects.get().pk), 302)]
    assert ">Test</button>" in response.content.decode()
    assert '<h2 class="b-title">Add: OpenClaw gateway</h2>' in boss.get(url("add")).content.decode()


def test_the_command_that_lets_the_bridge_in_is_shown(boss: Client) -> None:
    error = GatewayError(Code.PAIRING_REQUIRED, "device unknown", request_id="req-1")
    gateway = factories.gateway("First")
    gateway.device_key = Device.generate().pem
    gateway.save()
    gateway.set_state(Health.STOPPED, str(error.code), error.params)
    page = boss.get(url("change", gateway.pk)).content.decode()
    assert "openclaw devices approve req-1" in page
    assert "(pairing_required: device unknown)" in page
