"""Reading what people wrote is a right of its own: without it no page, search or file gives any of it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from accounts.models import AccessToken, ChannelAccount
from bridge.models import Attachment, Attempt, Delivery, Incident, Message
from openclaw.models import Gateway
from tests.admin.test_pages import EMPTY_PAGES, object_pages
from tests.support import factories

if TYPE_CHECKING:
    from tests.support.factories import World

CANARY = "金丝雀 canary-in-the-text"


def somebody(role: str) -> Client:
    user = User.objects.create_user(f"a-{role}", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def told(world: World) -> World:
    """The canary is in everything that holds what people wrote."""
    held = {"held": CANARY}
    Message.objects.update(text=CANARY, raw=held, data=held)
    Delivery.objects.update(payload=held, code_params={"text": CANARY})
    Attempt.objects.update(request=held, response=held, code_params={"text": CANARY})
    Attachment.objects.update(name=CANARY, code_params={"text": CANARY})
    Incident.objects.update(
        code="account_down",
        code_params={"name": "A", "because": CANARY},
        alert_errors=[{"code": "", "params": {"text": CANARY}}],
    )
    for model in (ChannelAccount, Gateway):
        model.objects.update(state_params={"text": CANARY})
    AccessToken.objects.update(failure_params={"text": CANARY})
    return world


def pages(world: World) -> list[str]:
    """Every page that may show a message: lists, searches, objects and their history."""
    found = [reverse(f"admin:{name}") for name in EMPTY_PAGES]
    found += [reverse(f"admin:{name}", args=[pk]) for name, pk in object_pages(world).items()]
    found += [reverse("admin:bridge_conversation_change", args=[world.person.pk])]
    found += [reverse("admin:bridge_message_history", args=[world.answer.pk])]
    found += [reverse("admin:bridge_delivery_history", args=[world.dead.pk])]
    return found + [f"{reverse(f'admin:bridge_{name}_changelist')}?q=zhangsan" for name in ("message", "delivery")]


def test_a_viewer_sees_that_something_was_said_but_not_what(told: World) -> None:
    viewer = somebody("Viewers")
    answers = {page: viewer.get(page) for page in pages(told)}
    assert [page for page, answer in answers.items() if "canary-in" in answer.content.decode()] == []
    hidden = reverse("admin:bridge_message_change", args=[told.question.pk])
    assert "Hidden: you may not read messages" in answers[hidden].content.decode()
    listed = answers[reverse("admin:bridge_message_changelist")].content.decode()
    assert f"#{told.question.pk} hidden: you may not read messages" in listed


def test_an_operator_sees_it(told: World) -> None:
    operator = somebody("Operators")
    with_it = [page for page in pages(told) if "canary-in" in operator.get(page).content.decode()]
    wanted = ("message_change", "delivery_change", "conversation_change", "conversation_transcript")
    ids = object_pages(told)
    assert {reverse(f"admin:bridge_{name}", args=[ids[f"bridge_{name}"]]) for name in wanted} <= set(with_it)
    assert reverse("admin:bridge_message_changelist") in with_it


def test_the_page_that_asks_first_hides_it_too(told: World) -> None:
    viewer = somebody("Viewers")
    operator = User.objects.get(username="a-Viewers")
    operator.groups.first().permissions.add(
        *Group.objects.get(name="Operators").permissions.filter(codename="replay_delivery")
    )
    answer = viewer.post(reverse("admin:bridge_delivery_confirm"), {"verb": "replay", "ids": str(told.dead.pk)})
    assert f"#{told.dead.message_id}" in answer.content.decode()
    assert "canary-in" not in answer.content.decode()


def test_files_and_the_running_transcript_are_refused(told: World) -> None:
    viewer = somebody("Viewers")
    for page in (
        reverse("admin:bridge_message_attachment", args=[told.picture.uuid]),
        reverse("admin:bridge_conversation_transcript", args=[told.group.pk]),
    ):
        assert viewer.get(page).status_code == 403


def test_an_incident_is_found_by_nothing_that_may_be_hidden_of_it(told: World) -> None:
    page = reverse("admin:bridge_incident_changelist")
    counts = [
        len(somebody(role).get(page, {"q": "canary-in"}).context["cl"].result_list) for role in ("Viewers", "Operators")
    ]
    assert counts == [0, 0]


@pytest.mark.parametrize("name", ["message", "delivery"])
def test_a_search_tells_nothing_of_the_text_but_finds_ids(world: World, name: str) -> None:
    factories.delivery(factories.message(world.group, CANARY, "KEY-OF-IT"))
    page = reverse(f"admin:bridge_{name}_changelist")
    viewer, operator = somebody("Viewers"), somebody("Operators")
    counts = [
        len(client.get(page, {"q": term}).context["cl"].result_list)
        for client in (viewer, operator)
        for term in ("canary-in-the-text", "KEY-OF-IT")
    ]
    assert counts == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("message", "text__startswith"),
        ("message", "raw__icontains"),
        ("delivery", "payload__icontains"),
        ("delivery", "message__text__startswith"),
        ("conversation", "messages__text__startswith"),
    ],
)
def test_no_field_can_be_felt_for_in_the_address(told: World, name: str, lookup: str) -> None:
    """Django would take any field of the model as a filter."""
    page = reverse(f"admin:bridge_{name}_changelist")
    for role in ("Viewers", "Operators"):
        assert somebody(role).get(page, {lookup: "金"}).status_code == 400
