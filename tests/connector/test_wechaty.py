"""A personal account by Wechaty, from a message in WeChat to its answer there, through a real connector and a puppet service over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounts.models import ChannelAccount, Connection
from bridge.models import Delivery, Message, State
from bridge.pipeline.inbound import router
from tests.support.connecting import RunningConnector
from tests.support.factories import account, answer, eventually, gateway, route, row
from tests.support.fake_puppet import ALICE, BOT, ROOM, FakePuppet, fake_puppet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def puppet() -> Iterator[FakePuppet]:
    with fake_puppet() as running:
        yield running


@pytest.fixture
def phone(puppet: FakePuppet, settings: Any) -> ChannelAccount:
    """Its messages are turns of a gateway that takes none, so that a test answers them itself."""
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    made = account("wechaty", {"endpoint": puppet.address}, language="en")
    route(made, gateway(enabled=False))
    return made


def state_of(account: ChannelAccount) -> str:
    return "".join(Connection.objects.filter(account=account).values_list("state", flat=True))


@pytest.fixture
def connector(phone: ChannelAccount) -> Iterator[RunningConnector]:
    with RunningConnector() as running:
        eventually(lambda: state_of(phone) == "connected")
        yield running


def heard(count: int = 1) -> Message:
    """The newest message, when so many are stored, routed."""
    eventually(lambda: Message.objects.filter(direction="in").count() == count)
    router.route_waiting()
    return Message.objects.filter(direction="in").latest("pk")


def settled(delivery: Delivery) -> Delivery:
    eventually(lambda: row(delivery).state not in (State.PENDING, State.SENDING), seconds=40)
    return row(delivery)


def delivered(message: Message) -> list[Delivery]:
    found = [settled(delivery) for delivery in message.deliveries.order_by("part")]
    assert [delivery.state for delivery in found] == [State.DELIVERED] * len(found), [d.code for d in found]
    return found


@pytest.mark.usefixtures("connector")
def test_a_question_in_a_group_is_answered_there(phone: ChannelAccount, puppet: FakePuppet) -> None:
    puppet.say("@LabBot\u2005你好", mention_ids=[BOT])
    question = heard()
    assert (question.text, question.sender, question.peer_kind, question.peer_id, question.addressed) == (
        "你好",
        ALICE,
        "group",
        ROOM,
        True,
    )
    assert question.conversation is not None
    assert question.conversation.title == "Lab room"
    (delivery,) = delivered(answer(question, "**hello** @Alice"))
    (sent,) = puppet.sent
    assert (sent.to, sent.text, sent.mentions, sent.id) == (ROOM, "hello @Alice\u2005", [ALICE], delivery.remote_id)
