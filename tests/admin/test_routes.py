"""Mappings: what the form refuses, and the box that explains."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from bridge.admin.routes import map_url
from bridge.models import Conversation, Reason, Route, State
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_route_{name}", args=args)


@pytest.fixture
def new() -> dict[str, Any]:
    return {
        "account": factories.account("wecom_aibot", name="bot", external_id="mapped").pk,
        "peer_kind": "group",
        "peer_id": "wrX",
        "gateway": factories.connected_gateway(name="Another").pk,
        "agent_id": "main",
        "scope": "conversation",
        "trigger": "all",
        "trigger_words": "",
        "allowed_senders": "",
        "enabled": "on",
        "note": "",
    }


def form_errors(response: Any) -> dict[str, Any]:
    return dict(response.context["adminform"].form.errors.items())


def test_a_mapping_is_added(boss: Client, new: dict[str, Any]) -> None:
    assert boss.post(url("add"), new).status_code == 302
    assert str(Route.objects.get()) == "wrX → main"


def test_the_list_shows_all_of_a_mapping(boss: Client, world: factories.World) -> None:
    Route.objects.update(note="Ask Li before changing it", trigger="prefix", trigger_words="bot\n小助手", enabled=False)
    factories.conversation(world.app, "wrGROUP", "group", title="Of another account")
    [shown] = re.findall(r'id="result_list".*?</table>', boss.get(url("changelist")).content.decode(), re.DOTALL)
    columns = ("周报讨论群", world.bot.name, "main", world.gateway.name, "bot, 小助手", "disabled", "Ask Li before")
    assert [words for words in columns if words not in shown] == []
    assert "Of another account" not in shown


def test_a_group_that_the_kind_cannot_hear_is_refused_with_the_reason(boss: Client, new: dict[str, Any]) -> None:
    response = boss.post(url("add"), {**new, "account": factories.account().pk})
    assert "WeCom self-built app receives no such messages" in form_errors(response)["peer_kind"][0]
    assert "It receives messages from: person." in form_errors(response)["peer_kind"][0]
    assert not Route.objects.exists()


def test_a_group_has_the_title_that_its_own_account_gave_it(boss: Client, new: dict[str, Any]) -> None:
    boss.post(url("add"), new)
    other = factories.account("wecom_aibot", name="another bot", external_id="other")
    factories.conversation(other, "wrX", "group", title="Their name for it")
    assert "Their name for it" not in boss.get(url("changelist")).content.decode()
    Conversation.objects.create(account_id=new["account"], peer_kind="group", peer_id="wrX", title="Our name for it")
    page = boss.get(url("changelist")).content.decode()
    assert ("Our name for it" in page, "Their name for it" in page) == (True, False)


@pytest.mark.parametrize("trigger", ["prefix", "keyword"])
def test_a_trigger_by_word_wants_a_word(boss: Client, new: dict[str, Any], trigger: str) -> None:
    response = boss.post(url("add"), {**new, "trigger": trigger, "trigger_words": " \n "})
    assert list(form_errors(response)) == ["trigger_words"]


def test_a_second_mapping_of_the_same_group_is_refused(boss: Client, new: dict[str, Any]) -> None:
    boss.post(url("add"), new)
    response = boss.post(url("add"), new)
    assert "mapped already" in str(form_errors(response))
    assert Route.objects.count() == 1


def test_an_id_without_its_kind_is_refused(boss: Client, new: dict[str, Any]) -> None:
    response = boss.post(url("add"), {**new, "peer_kind": ""})
    assert "group" in str(form_errors(response))
    assert not Route.objects.exists()


def test_the_form_offers_the_known_agents_and_the_peer_from_the_link(boss: Client, world: factories.World) -> None:
    page = boss.get(map_url(world.bot.pk, "group", "wr新 群")).content.decode()
    assert f'<option value="support" data-owner="{world.gateway.pk}">客服, OpenClaw at home</option>' in page
    assert 'value="wr新 群"' in page
    for name, offered in (("peer_id", "chats"), ("agent_id", "agents")):
        assert f'name="{name}"' in page
        assert page.count(f'list="known-{offered}"') == page.count(f'id="known-{offered}"') == 1


def test_a_new_mapping_points_to_what_nobody_answered(
    boss: Client, world: factories.World, new: dict[str, Any]
) -> None:
    said = factories.message(world.group, "hello?", "UNMAPPED")
    factories.delivery(said, State.SKIPPED, Reason.NO_ROUTE)
    form = {**new, "account": world.bot.pk, "peer_id": "", "gateway": world.gateway.pk}
    page = boss.post(url("add"), form, follow=True).content.decode()
    assert "1 unanswered message can now be replayed:" in page
    assert "state=skipped&amp;reason=no_route" in page


@pytest.mark.parametrize(("whose", "kind", "peer"), [("app", "direct", ""), ("bot", "group", "wrOTHER")])
def test_what_another_account_or_group_heard_is_not_offered(
    boss: Client, world: factories.World, new: dict[str, Any], whose: str, kind: str, peer: str
) -> None:
    factories.delivery(factories.message(world.group, "hello?", "UNMAPPED"), State.SKIPPED, Reason.NO_ROUTE)
    account = getattr(world, whose)
    form = {**new, "account": account.pk, "peer_kind": kind, "peer_id": peer, "gateway": world.gateway.pk}
    page = boss.post(url("add"), form, follow=True).content.decode()
    assert Route.objects.filter(account=account, peer_kind=kind, peer_id=peer).exists()
    assert "can be replayed" not in page


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"peer_id": "wrGROUP", "text": "hi"}, "This agent gets it: main"),
        ({"peer_id": "wrOTHER", "text": "hi"}, "No agent gets it"),
    ],
)
def test_the_box_explains(boss: Client, world: factories.World, asked: dict[str, str], says: str) -> None:
    query = {"account": world.bot.pk, "peer_kind": "group", "sender": "zhangsan", "addressed": "on", **asked}
    page = " ".join(boss.get(url("explain"), query).content.decode().split())
    assert says in page


def test_the_box_says_what_is_missing(boss: Client, world: factories.World) -> None:
    response = boss.get(url("explain"), {"peer_id": "", "account": "x", "peer_kind": "group"})
    assert sorted(response.context["form"].errors) == ["account", "peer_id"]


def test_a_second_mapping_names_and_links_the_first(boss: Client, world: factories.World, new: dict[str, Any]) -> None:
    same = {"account": world.route.account_id, "peer_kind": world.route.peer_kind, "peer_id": world.route.peer_id}
    response = boss.post(url("add"), {**new, **same})
    form = response.context["adminform"].form
    assert dict(form.errors.items()) == {"peer_id": [f"This group or person is mapped already: {world.route}."]}
    assert f'href="{url("change", world.route.pk)}"' in response.content.decode()


def test_an_agent_that_the_gateway_does_not_know_is_warned_of(boss: Client, new: dict[str, Any]) -> None:
    answer = boss.post(url("add"), {**new, "agent_id": "nosuch"}, follow=True)
    assert "has no agent “nosuch”: messages would fail. It has: main, support." in answer.content.decode()
    Route.objects.all().delete()
    assert "has no agent" not in boss.post(url("add"), {**new, "agent_id": "support"}, follow=True).content.decode()
    Route.objects.all().delete()
    Gateway.objects.update(agents=[])
    assert "has no agent" not in boss.post(url("add"), {**new, "agent_id": "nosuch"}, follow=True).content.decode()


def test_chats_that_were_heard_are_offered(boss: Client, world: factories.World, staff: Callable[..., Client]) -> None:
    option = f'<option value="{world.group.peer_id}" data-owner="{world.group.account_id}">'
    assert option in boss.get(url("add")).content.decode()
    assert option not in staff("bridge.add_route").get(url("add")).content.decode()
