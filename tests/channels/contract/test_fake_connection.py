"""The contract serves a kind that receives over a long connection instead of callbacks, and answers over the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.media import storage
from bridge.models import Message, Reason, State
from bridge.pipeline.inbound import router
from channels_wechat import KINDS
from tests.support.factories import account, answer, due, gateway, outcomes, route, row, work_off
from tests.support.fake_connection import KIND, FakeChat, connected, fake_platform, receive_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount
    from tests.support.fake_connection import FakePlatform

pytestmark = pytest.mark.django_db


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with fake_platform() as running:
        yield running


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> ChannelAccount:
    """Everything said to it is a turn."""
    monkeypatch.setitem(KINDS, KIND, f"{FakeChat.__module__}.FakeChat")
    made = account(KIND, {"name": "shop"})
    route(made, gateway())
    return made


def test_a_message_that_comes_twice_is_stored_once(chat: ChannelAccount, platform: FakePlatform) -> None:
    """The platform never saw the acknowledgement, so it says the same over the next connection."""
    platform.say("m1", "hello", room={"id": "r1", "title": "Sales"})
    platform.loses.add("acknowledge")
    with connected(chat, platform) as connection:
        (first,) = receive_waiting(chat, connection, 1)
        assert connection.messages.get(timeout=20) is None
    with connected(chat, platform) as connection:
        assert receive_waiting(chat, connection, 1) == [None]
    assert router.route_waiting() == 1
    message = Message.objects.get()
    assert (message.pk, message.text, message.sender, message.idempotency_key) == (first, "hello", "ann", "m1")
    assert message.conversation is not None
    assert (message.conversation.peer_id, message.conversation.title) == ("r1", "Sales")
    assert message.deliveries.get().state == State.PENDING


def test_what_the_account_says_itself_is_no_turn(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.say("m1", "on my phone", own=True, room={"id": "r1"})
    platform.say("m2", "hello", room={"id": "r1"})
    with connected(chat, platform) as connection:
        own, other = receive_waiting(chat, connection, 2)
    router.route_waiting()
    found = {each.pk: each.deliveries.get() for each in Message.objects.all()}
    assert (found[own].state, found[own].reason, found[other].state) == (State.SKIPPED, Reason.OWN, State.PENDING)


def test_an_answer_is_said_once_under_its_own_key(chat: ChannelAccount, platform: FakePlatform) -> None:
    """The connection breaks after the platform carried it out: the next attempt has the same key, and nobody reads it twice."""
    platform.say("m1", "hello", room={"id": "r1"})
    platform.loses.add("send")
    with connected(chat, platform) as connection:
        receive_waiting(chat, connection, 1)
        router.route_waiting()
        delivery = answer(Message.objects.get(), "hello Ann").deliveries.get()
        assert work_off() == 1
    assert (row(delivery).state, outcomes(delivery)) == (State.PENDING, ["unknown"])
    due(delivery)
    with connected(chat, platform):
        assert work_off() == 1
    delivery = row(delivery)
    assert (delivery.state, delivery.remote_id, outcomes(delivery)) == (State.DELIVERED, "sent-0", ["unknown", "ok"])
    assert platform.sent == {delivery.platform_key: {"to": "r1", "text": "hello Ann"}}
    assert [frame["key"] for frame in platform.requests if frame["type"] == "send"] == [delivery.platform_key] * 2


def test_each_file_of_a_message_is_fetched_with_its_own_key(chat: ChannelAccount, platform: FakePlatform) -> None:
    platform.say("m1", files=[platform.file("one.txt", b"the first"), platform.file("two.txt", b"the second")])
    with connected(chat, platform) as connection:
        receive_waiting(chat, connection, 1)
        for claimed in storage.claim_files(10):
            storage.fetch_file(claimed)
    files = Message.objects.get().attachments.all()
    assert [(file.name, storage.read_attachment(file.pk).content) for file in files] == [
        ("one.txt", b"the first"),
        ("two.txt", b"the second"),
    ]
    assert {(file.state, file.key) for file in files} == {("ready", "")}
