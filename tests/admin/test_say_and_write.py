"""Saying more than text, and to somebody who never wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse

from bridge.models import Conversation, Delivery, Message
from bridge.people import peers
from tests.support.factories import app, bot

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
CARD = '{"title": "周报", "description": "周五前交", "url": "https://example.com/weekly"}'


def say(client: Client, conversation: Conversation, **data: str):
    return client.post(reverse("admin:bridge_conversation_send", args=[conversation.pk]), data)


def test_staff_send_a_message_of_another_type(admin_client: Client) -> None:
    conversation = peers.get_conversation(app(), "direct", "zhangsan")
    response = say(admin_client, conversation, text="", kind="textcard", details=CARD)
    assert response.status_code == 302
    payload = Delivery.objects.get().payload["body"]
    assert (payload["msgtype"], payload["textcard"]["title"]) == ("textcard", "周报")


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("textcard", "{", "valid JSON"),
        ("textcard", "[1]", "Enter the message as a JSON object"),
        ("textcard", '{"title": "only"}', "description"),
        ("spell", CARD, "Select a valid choice"),
    ],
)
def test_what_cannot_be_sent_is_said_and_stored_nowhere(admin_client: Client, kind: str, data: str, words: str) -> None:
    conversation = peers.get_conversation(app(), "direct", "zhangsan")
    response = say(admin_client, conversation, text="", kind=kind, details=data)
    assert response.status_code == 200
    assert words in response.content.decode()
    assert not Message.objects.exists()


def test_a_conversation_with_somebody_who_never_wrote(admin_client: Client) -> None:
    account = app()
    page = admin_client.get(reverse("admin:accounts_channelaccount_change", args=[account.pk])).content.decode()
    assert 'name="peer_id"' in page

    url = reverse("admin:accounts_channelaccount_write", args=[account.pk])
    response = admin_client.post(url, {"peer_id": " party:2 "})

    conversation = Conversation.objects.get()
    assert (conversation.peer_kind, conversation.peer_id) == ("direct", "party:2")
    assert response["Location"] == reverse("admin:bridge_conversation_change", args=[conversation.pk])
    assert admin_client.post(url, {"peer_id": "  "}).status_code == 400


def test_a_bot_that_speaks_only_in_answer_offers_nobody_to_write_to(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:accounts_channelaccount_change", args=[bot().pk])).content.decode()
    assert 'name="peer_id"' not in page


@pytest.mark.parametrize(("peer", "number"), [("zhangsan|lisi", "2"), ("@all", "all")])
def test_a_message_to_several_is_confirmed_with_their_number(admin_client: Client, peer: str, number: str) -> None:
    conversation = peers.get_conversation(app(), "direct", peer)
    for wrong in ({}, {"people": ""}, {"people": "1"}, {"people": "3"}):
        assert say(admin_client, conversation, text="hello", **wrong).status_code == 200
    assert not Message.objects.exists()
    assert say(admin_client, conversation, text="hello", people=number).status_code == 302
    assert Message.objects.get().peer_id == peer


def test_nobody_confirms_who_may_not_write_to_several(client: Client) -> None:
    operator = User.objects.create_user("operator", is_staff=True)
    operator.groups.add(Group.objects.get(name="Operators"))
    client.force_login(operator)
    several = peers.get_conversation(app(), "direct", "zhangsan|lisi")
    assert say(client, several, text="hello", people="2").status_code == 403
    assert not Message.objects.exists()
    one = peers.get_conversation(several.account, "direct", "zhangsan")
    assert say(client, one, text="hello").status_code == 302
