"""The palette (Ctrl+K): what it finds, for whom, and what that costs."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from bridge.admin import palette
from bridge.models import Delivery, Message
from bridge.ui import palette as rows
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

LINK = re.compile(r'<a [^>]*href="([^"]+)" data-title="([^"]*)" data-description="([^"]*)"')


def found(client: Client, term: str) -> dict[str, str]:
    """Address → title."""
    answer = client.get("/admin/search/", {"s": term, "extended": "1"})
    assert answer.status_code == 200
    return {html.unescape(link): html.unescape(title) for link, title, _about in LINK.findall(answer.content.decode())}


def page(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def test_pages_and_actions_are_found_by_a_part_of_their_name(boss: Client) -> None:
    assert page("bridge_delivery_dead_letters") in found(boss, "dead let")
    assert found(boss, "add a MAPP") == {page("bridge_route_add"): "Add a mapping"}


def test_people_and_groups_are_found_by_two_chinese_characters_and_by_id(boss: Client) -> None:
    account = factories.account()
    group = factories.conversation(account, "wrGroupOfSales", "group", title="华东销售群")
    person = factories.contact(account, "wangwu", name="老王五")
    assert found(boss, "销售") == {page("bridge_conversation_change", group.pk): "华东销售群"}
    assert found(boss, "王五") == {page("bridge_contact_change", person.pk): "老王五"}
    assert page("bridge_conversation_change", group.pk) in found(boss, "GroupOf")
    assert page("bridge_contact_change", person.pk) in found(boss, "wangw")


def test_accounts_gateways_and_mappings_are_found_by_name(boss: Client) -> None:
    account = factories.account(name="Front desk")
    gateway = factories.gateway(name="Front gateway")
    route = factories.route(account, gateway, agent_id="front-agent")
    assert set(found(boss, "front")) == {
        page("accounts_channelaccount_change", account.pk),
        page("openclaw_gateway_change", gateway.pk),
        page("bridge_route_change", route.pk),
    }


def test_numbers_ids_and_codes_lead_to_messages_and_deliveries(boss: Client, world: factories.World) -> None:
    question = page("bridge_message_change", world.question.pk)
    assert question in found(boss, f"#{world.question.pk}")
    assert question in found(boss, world.question.idempotency_key)
    platform_id = "7041234567890123"  # WeChat's ids are numbers
    Message.objects.filter(pk=world.question.pk).update(idempotency_key=platform_id)
    assert question in found(boss, platform_id)
    Delivery.objects.filter(pk=world.dead.pk).update(remote_id="RemoteId-Aa", code="81013")
    assert page("bridge_delivery_change", world.dead.pk) in found(boss, f"#{world.dead.pk}")
    assert page("bridge_delivery_change", world.dead.pk) in found(boss, "RemoteId-Aa")
    assert found(boss, "remoteid-aa") == {}  # an id of a platform is not the same in small letters
    assert f"{page('bridge_delivery_changelist')}?code=81013" in found(boss, "81013")


def test_nobody_finds_what_they_may_not_open(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("bridge.view_contact")
    contact = factories.contact(world.app, "mapped-person", name="Mapped person")
    factories.conversation(world.app, "mapped-group", "group", title="Mapped group")
    assert found(client, "mapped") == {page("bridge_contact_change", contact.pk): "Mapped person"}
    for term in (f"#{world.question.pk}", f"#{world.dead.pk}", "add a", "dead letters", world.app.name):
        assert found(client, term) == {}, term


def test_what_a_message_says_is_in_no_answer(boss: Client, world: factories.World) -> None:
    answer = boss.get("/admin/search/", {"s": f"#{world.question.pk}"}).content.decode()
    assert page("bridge_message_change", world.question.pk) in answer
    assert world.question.text
    assert world.question.text not in answer


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    answer = client.get("/admin/search/", {"s": "a"})
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("term", ["", " ", "\x00", "#99999999999999999999", "%", "_", "'", "a" * 5000, "😀", "<b>"])
def test_an_odd_term_finds_nothing_and_breaks_nothing(boss: Client, term: str) -> None:
    factories.build_world()
    answer = boss.get("/admin/search/", {"s": term, "page": "x"})
    assert answer.status_code == 200
    assert "<b>" not in answer.content.decode()


@pytest.mark.parametrize("term", ["front", "销售", "#21", "81013"])
def test_the_rows_cost_two_queries(world: factories.World, django_assert_max_num_queries: Any, term: str) -> None:
    with django_assert_max_num_queries(2):
        rows.find_rows(term, lambda _permission: True)


def test_an_answer_costs_few_queries(boss: Client, world: factories.World, django_assert_max_num_queries: Any) -> None:
    """Two for the rows, and two for the session and its user."""
    with django_assert_max_num_queries(5):
        found(boss, "front")


@pytest.mark.parametrize("action", palette.ACTIONS, ids=lambda each: each.name)
def test_each_action_is_found_with_the_rights_that_it_names(staff: Callable[..., Client], action: Any) -> None:
    """The rights exist, and they open the page."""
    client = staff(*action.permissions)
    assert found(client, str(action.title)) == {page(action.name): str(action.title)}
    assert client.get(page(action.name)).status_code == 200
