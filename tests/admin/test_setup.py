"""What is left to set up, on the page of a new account or gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from accounts.health import Health
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from accounts.models import ChannelAccount

TITLE = "What is left to set up"
pytestmark = pytest.mark.usefixtures("_own_address")


@pytest.fixture
def _own_address(settings: Any) -> None:
    settings.PUBLIC_URL = "https://bridge.example"


def page_of(client: Client, row: Any) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return client.get(reverse(name, args=[row.pk])).content.decode()


def progress_of(client: Client, account: ChannelAccount) -> str:
    return client.get(reverse("admin:accounts_channelaccount_setup", args=[account.pk])).content.decode()


def test_a_new_account_shows_its_address_and_the_steps(boss: Client) -> None:
    account = factories.account()
    account.set_state(Health.NEW)
    page = page_of(boss, account)
    panel = page.partition(TITLE)[2].partition("</section>")[0]
    assert f'<code id="setup-url">https://bridge.example/callbacks/{account.key}</code>' in panel
    assert ">Copy</button>" in panel
    assert ">Test</button>" in panel
    assert f"{reverse('admin:bridge_route_add')}?account={account.pk}" in panel
    for sentence in ("The platform has not called yet.", "The account was not tested yet.", "No message arrived yet."):
        assert sentence in panel


def test_the_progress_follows_what_happens(boss: Client) -> None:
    account = factories.account()
    factories.note_callback(account, "signature", refused=True)
    assert "its last callback was refused: wrong signature (Token)" in progress_of(boss, account)
    factories.note_callback(account, "verified", refused=False)
    account.set_state(Health.OK)
    shown = progress_of(boss, account)
    assert "The platform calls." in shown
    assert "The account works." in shown
    assert "No message arrived yet." in shown
    heard = factories.hear(account)
    factories.route(account)
    shown = progress_of(boss, account)
    assert "The first message arrived." in shown
    assert reverse("admin:bridge_message_change", args=[heard.pk]) in shown
    assert "An agent is mapped." in shown


def test_nothing_is_left_to_set_up_after_the_first_message(boss: Client) -> None:
    account = factories.account()
    factories.hear(account)
    assert TITLE not in page_of(boss, account)


def test_what_staff_sent_is_no_message_that_arrived(boss: Client) -> None:
    account = factories.account()
    factories.send(account)
    assert TITLE in page_of(boss, account)


def test_an_account_that_receives_nothing_has_no_such_steps(boss: Client) -> None:
    robot = factories.robot()
    assert TITLE not in page_of(boss, robot)
    assert boss.get(reverse("admin:accounts_channelaccount_setup", args=[robot.pk])).status_code == 404


@pytest.mark.parametrize(
    ("make", "step"), [(factories.wechaty, "scan the code below"), (factories.app, "this address")]
)
def test_the_first_step_is_that_of_the_kind(boss: Client, make: Callable[[], ChannelAccount], step: str) -> None:
    assert step in page_of(boss, make()).partition(TITLE)[2].partition("</section>")[0]


def test_the_progress_wants_the_right_to_see_accounts(staff: Callable[..., Client]) -> None:
    account = factories.account()
    factories.hear(account)
    client = staff("bridge.view_message")
    assert client.get(reverse("admin:accounts_channelaccount_setup", args=[account.pk])).status_code == 403


def test_whoever_may_only_look_gets_no_button_and_no_link(staff: Callable[..., Client]) -> None:
    account = factories.account()
    client = staff("accounts.view_channelaccount")
    panel = page_of(client, account).partition(TITLE)[2].partition("</section>")[0]
    assert "No message arrived yet." in panel
    assert "<form" not in panel
    assert reverse("admin:bridge_route_add") not in panel
    factories.hear(account)
    assert "/admin/bridge/message/" not in progress_of(client, account)


def test_the_progress_costs_few_queries(boss: Client, django_assert_max_num_queries: Any) -> None:
    account = factories.account()
    progress_of(boss, account)
    with django_assert_max_num_queries(7):
        progress_of(boss, account)


def test_a_gateway_is_to_be_tested_first(boss: Client) -> None:
    gateway = factories.gateway()
    gateway.set_state(Health.NEW)
    panel = page_of(boss, gateway).partition(TITLE)[2].partition("</section>")[0]
    assert reverse("admin:openclaw_gateway_test", args=[gateway.pk]) in panel
    assert f"{reverse('admin:bridge_route_add')}?gateway={gateway.pk}" in panel
    gateway.set_state(Health.OK)
    assert TITLE not in page_of(boss, gateway)


def test_a_mapping_offers_each_gateways_agents_and_each_accounts_chats(boss: Client) -> None:
    gateway = factories.gateway(agents=[{"id": "main", "name": "Main", "model": ""}])
    account = factories.account()
    peer = factories.conversation(account, "group", "wrGroup").peer_id
    page = boss.get(reverse("admin:bridge_route_add")).content.decode()
    assert f'<option value="main" data-owner="{gateway.pk}">' in page
    assert f'<option value="{peer}" data-owner="{account.pk}">' in page
