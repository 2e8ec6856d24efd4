"""WeCom's ids of people are the same in any case, everywhere; chat ids and OpenIDs are not."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.person_ids import match_person
from bridge.models import Contact, Conversation, Message, Route, State
from bridge.pipeline.inbound import router
from bridge.pipeline.routing import rules
from bridge.ui import search
from channels_wechat.wecom.person_ids import person_id
from tests.inbound.inputs import of_member
from tests.inbound.test_no_event_lost import callback, push
from tests.support.callbacks import call
from tests.support.factories import FAN, GROUP, app, bot, gateway, hear, official, route, send, turn

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
ENCRYPTED = "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA"


@pytest.mark.parametrize(
    ("given", "stored"),
    [("WangWu", "wangwu"), ("wangwu", "wangwu"), ("A|b|C", "a|b|c"), ("@all", "@all"), ("party:1|2", "party:1|2"), ("", ""),
     (ENCRYPTED, ENCRYPTED), (f"{ENCRYPTED}|WangWu", f"{ENCRYPTED}|wangwu"), ("WongKarWai", "wongkarwai"),
     ("wm" + "A-_9" * 5, "wm" + "A-_9" * 5), ("wo" + "A" * 19, "wo" + "a" * 19), ("wx" + "A" * 30, "wx" + "a" * 30)],
)  # fmt: skip
def test_an_id_has_one_form(given: str, stored: str) -> None:
    assert person_id(given) == stored


def of(sender: str, number: int) -> str:
    return of_member(f"<Content>hi</Content>").replace("zhangsan", sender).replace(">7<", f">{number}<")  # noqa: F541


def test_a_mapping_is_stored_without_what_nobody_sees() -> None:
    mapping = Route(account=app(), gateway=gateway(), agent_id="main", peer_kind="direct", peer_id="Wang\u200bWu\ufeff")
    mapping.full_clean()
    assert mapping.peer_id == "wangwu"


def test_a_mapping_holds_for_a_person_in_any_case() -> None:
    account = app()
    route(account, peer_kind="direct", peer_id="WangWu", agent_id="theirs")
    route(account, agent_id="everyone")
    for number, sender in enumerate(("WangWu", "wangwu", "WANGWU"), 1):
        assert call(account, *callback("wecom_app", of(sender, number))).status == 200
    router.route_waiting()
    agents = {message.deliveries.get().payload["agent_id"] for message in Message.objects.all()}
    assert agents == {"theirs"}
    assert (Conversation.objects.get().peer_id, Contact.objects.get().external_id) == ("wangwu", "wangwu")
    assert rules.explain(account, "direct", "WANGwu", "WANGwu", "hi", True).route.agent_id == "theirs"  # type: ignore[union-attr]


def test_what_is_sent_to_a_person_in_any_case_is_one_conversation() -> None:
    account = app()
    hear(account, sender="wangwu")
    router.route_waiting()
    for peer in ("WangWu", "WANGWU", "wangwu"):
        send(account, peer_id=peer)
    assert Conversation.objects.get().messages.count() == 4


def test_a_second_mapping_in_another_case_is_refused() -> None:
    account = app()
    route(account, peer_kind="direct", peer_id="wangwu")
    second = Route(account=account, gateway=gateway(), peer_kind="direct", peer_id="WangWu", agent_id="b")
    with pytest.raises(ValidationError):
        second.full_clean()


@pytest.mark.parametrize(
    ("make", "sender", "allowed", "state"),
    [
        (app, "wangwu", "WangWu", State.PENDING),
        (bot, "wangwu", "WANGWU", State.PENDING),
        (official, FAN, FAN, State.PENDING),
        (official, FAN, FAN.lower(), State.SKIPPED),
    ],
)
def test_allowed_senders(make: Any, sender: str, allowed: str, state: str) -> None:
    account = make()
    route(account, allowed_senders=allowed)
    assert turn(account, sender=sender).state == state


def test_ids_of_chats_and_openids_keep_their_case() -> None:
    account, followed = bot(), official()
    route(account, peer_kind="group", peer_id=GROUP.lower())
    assert turn(account, group=GROUP).state == State.SKIPPED
    assert (
        call(followed, *callback("official_account", push("<Content>a</Content><MsgId>1</MsgId>", kind="text"))).status
        == 200
    )
    assert (
        call(
            followed,
            *callback("official_account", push("<Content/><MsgId>2</MsgId>", sender=FAN.lower(), kind="text")),
        ).status
        == 200
    )
    router.route_waiting()
    assert set(Conversation.objects.filter(account=followed).values_list("peer_id", flat=True)) == {FAN, FAN.lower()}


def test_a_search_finds_a_person_in_any_case() -> None:
    account, followed = app(), official()
    mine, theirs = hear(account, "hello", "wangwu"), hear(followed, "hello", FAN)
    router.route_waiting()
    rows = Message.objects.all()
    assert search.messages(rows, "WangWu").ids == [mine.pk]
    assert search.messages(rows, FAN).ids == [theirs.pk]
    assert search.messages(rows, FAN.upper()).ids == []


def test_rows_of_an_id_are_found_as_it_is_and_in_another_case_only_where_that_does_not_count() -> None:
    followed = official()
    member, follower, lower = hear(app(), "a", "wangwu"), hear(followed, "b", FAN), hear(followed, "c", FAN.lower())

    def found(value: str) -> list[int]:
        return list(Message.objects.filter(match_person("sender", value)).order_by("pk").values_list("pk", flat=True))

    assert (found("WangWu"), found("wangwu")) == ([member.pk], [member.pk])
    assert (found(FAN), found(FAN.lower()), found(FAN.upper())) == ([follower.pk], [lower.pk], [])
