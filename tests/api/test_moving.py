"""`POST /conversations/{id}/move/`: a script moves a conversation to another account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission

from bridge.models import Conversation, Message, Route
from tests.api.conftest import calling_as, user_with
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client


@pytest.fixture
def old() -> Conversation:
    account = factories.own_connection()
    factories.route(account, agent_id="support")
    return factories.conversation(account, "room-7", "group", title="Support")


def move(client: Client, talk: Conversation, **body: Any) -> Any:
    address = f"/api/v1/conversations/{talk.pk}/move/"
    return client.post(address, {"peer_id": "wrNew", **body}, content_type="application/json")


def test_it_moves_and_the_answer_says_where_and_what_was_left(boss: Client, old: Conversation) -> None:
    bot = factories.bot()
    answer = move(boss, old, account=bot.pk, farewell="We have moved.")
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["conversation"]["account"], told["conversation"]["peer"]) == (bot.pk, {"kind": "group", "id": "wrNew"})
    assert (told["conversation"]["title"], len(told["notes"])) == ("Support", 1)
    before = boss.get(f"/api/v1/conversations/{old.pk}/").json()
    assert (before["mode"], before["moved_to"], bool(before["moved_at"])) == (
        "paused",
        told["conversation"]["id"],
        True,
    )
    assert Message.objects.get(direction="out").text == "We have moved."


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"peer_id": "wrMapped"}, 422, "move_replaces_mapping"),
        ({"account": "robot"}, 422, "move_account"),
        ({"account": "own", "peer_id": "room-7"}, 422, "move_peer_id"),
        ({"account": 999999}, 400, "invalid"),
        ({"account": None}, 400, "invalid"),
        ({"peer_id": ""}, 400, "invalid"),
        ({"mode": "bot"}, 400, "invalid"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(
    boss: Client, old: Conversation, body: dict[str, Any], status: int, code: str
) -> None:
    bot, robot = factories.bot(), factories.robot()
    factories.route(bot, peer_kind="group", peer_id="wrMapped")
    ids = {"robot": robot.pk, "own": old.account_id}
    given = {"account": bot.pk, **{name: ids.get(value, value) for name, value in body.items()}}
    answer = move(boss, old, **given)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    old.refresh_from_db()
    assert (old.moved_to, Route.objects.count()) == (None, 2)


def test_the_right_to_change_mappings_alone_is_not_enough(old: Conversation) -> None:
    user = user_with("nobody")
    user.user_permissions.add(Permission.objects.get(codename="change_route"))
    assert move(calling_as(user), old, account=factories.bot().pk).status_code == 403
    old.refresh_from_db()
    assert old.moved_to is None
