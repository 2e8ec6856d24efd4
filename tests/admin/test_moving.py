"""The page that moves a conversation to another account, the links between both, and the same by REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from bridge.models import Conversation, Message, Route
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def old() -> Conversation:
    account = factories.own_connection(columns={"name": "Personal"})
    factories.route(account, peer_kind="group", peer_id="room-7", agent_id="support")
    talk = factories.conversation(account, "room-7", "group", title="Support")
    factories.message(talk, "before the move", "M1")
    return talk


@pytest.fixture
def bot() -> ChannelAccount:
    return factories.bot()


def url(talk: Conversation, name: str = "move") -> str:
    return reverse(f"admin:bridge_conversation_{name}", args=[talk.pk])


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def post(client: Client, talk: Conversation, account: ChannelAccount, **fields: Any) -> Any:
    return client.post(url(talk), {"account": account.pk, **fields})


def errors(answer: Any) -> dict[str, list[str]]:
    return {name: list(found) for name, found in answer.context["form"].errors.items()}


def test_accounts_that_hear_no_groups_are_named_with_the_reason(
    boss: Client, old: Conversation, bot: ChannelAccount
) -> None:
    app = factories.app()
    shown = page(boss, url(old))
    assert f'href="?account={bot.pk}"' in shown
    assert f'href="?account={app.pk}"' not in shown
    assert "receives no such messages" in shown
    assert "receives no such messages" in page(boss, f"{url(old)}?account={app.pk}")


def test_the_page_says_what_happens_before_it_does(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    factories.turn(old.account, sender="ann", group="room-7")
    newest = factories.conversation(bot, "wrNewest", "group", title="New group")
    factories.conversation(bot, "zhangsan")  # a person
    shown = page(boss, f"{url(old)}?account={bot.pk}")
    assert "agent support, with its rules" in shown
    assert "1 delivery waits here" in shown
    assert f'<option value="{newest.pk}">New group (wrNewest)</option>' in shown
    assert "zhangsan" not in shown
    assert "allowed_senders" not in shown


def test_it_moves_into_a_conversation_of_the_list(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    new = factories.conversation(bot, "wrNew", "group")
    answer = post(boss, old, bot, target=new.pk, farewell="We have moved.")
    assert (answer.status_code, answer["Location"]) == (302, url(new, "change"))
    old.refresh_from_db()
    assert (old.moved_to, old.mode) == (new, "paused")
    assert Message.objects.get(direction="out").text == "We have moved."
    told = [str(message) for message in get_messages(answer.wsgi_request)]
    assert told == ["It goes on here now. The old conversation is paused."]


def test_both_pages_and_transcripts_link_to_each_other(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    post(boss, old, bot, peer_id="wrNew")
    new = Conversation.objects.get(peer_id="wrNew")
    factories.message(old, "after the move", "M2")
    factories.message(new, "hello there", "M3")
    shown = page(boss, url(old, "change"))
    assert "This conversation has moved. It goes on in" in shown
    assert shown.count(f'href="{url(new, "change")}"') == 2
    assert shown.index("before the move") < shown.index("From here on it goes on in") < shown.index("after the move")
    assert "Move this group to another account" not in shown
    shown = page(boss, url(new, "change"))
    assert "It was before in" in shown
    assert shown.count(f'href="{url(old, "change")}"') == 2
    assert shown.index("Before, it was in") < shown.index("hello there")
    assert "Move this group to another account" in shown
    assert "Before, it was in" in page(boss, url(new, "transcript"))


def test_it_moves_back(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    post(boss, old, bot, peer_id="wrNew")
    new = Conversation.objects.get(peer_id="wrNew")
    assert post(boss, new, old.account, target=old.pk).status_code == 302
    old.refresh_from_db()
    assert (old.moved_to, old.mode, Route.objects.get().account) == (None, "bot", old.account)


@pytest.mark.parametrize("given", [{}, {"target": "both", "peer_id": "wrOther"}])
def test_one_of_the_two_is_chosen(boss: Client, old: Conversation, bot: ChannelAccount, given: dict[str, str]) -> None:
    new = factories.conversation(bot, "wrNew", "group")
    answer = post(boss, old, bot, **{name: new.pk if value == "both" else value for name, value in given.items()})
    assert errors(answer) == {"target": ["Choose a conversation, or enter an ID: one of the two."]}
    assert not Conversation.objects.exclude(moved_to=None).exists()


def test_what_is_refused_stands_at_its_field(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    factories.route(bot, peer_kind="group", peer_id="wrNew")
    assert list(errors(post(boss, old, bot, peer_id="wrNew"))) == ["replaces_mapping"]
    assert list(errors(post(boss, old, old.account, peer_id="room-7"))) == ["peer_id"]
    Route.objects.filter(account=old.account).update(allowed_senders="ann")
    assert list(errors(post(boss, old, bot, peer_id="wrNew", replaces_mapping="on"))) == ["allowed_senders"]
    assert post(boss, old, bot, peer_id="wrNew", replaces_mapping="on", everybody="on").status_code == 302


def test_what_has_moved_has_no_page_to_move_it(boss: Client, old: Conversation, bot: ChannelAccount) -> None:
    post(boss, old, bot, peer_id="wrNew")
    answer = boss.get(url(old))
    assert (answer.status_code, answer["Location"]) == (302, url(old, "change"))


@pytest.mark.parametrize("missing", ["bridge.change_route", "bridge.change_conversation", "bridge.pause_conversation"])
def test_each_right_is_needed(
    staff: Callable[..., Client], old: Conversation, bot: ChannelAccount, missing: str
) -> None:
    rights = {
        "bridge.view_conversation",
        "bridge.change_route",
        "bridge.change_conversation",
        "bridge.pause_conversation",
    }
    client = staff(*(rights - {missing}))
    assert (client.get(url(old)).status_code, post(client, old, bot, peer_id="wrNew").status_code) == (403, 403)
    assert "Move this group" not in page(client, url(old, "change"))
    old.refresh_from_db()
    assert old.moved_to is None


def test_who_may_not_send_leaves_no_sentence(
    staff: Callable[..., Client], old: Conversation, bot: ChannelAccount
) -> None:
    rights = (
        "bridge.view_conversation",
        "bridge.change_route",
        "bridge.change_conversation",
        "bridge.pause_conversation",
    )
    client = staff(*rights)
    assert "farewell" not in page(client, f"{url(old)}?account={bot.pk}")
    assert post(client, old, bot, peer_id="wrNew", farewell="bye").status_code == 302
    assert not Message.objects.filter(direction="out").exists()
