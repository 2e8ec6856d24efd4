"""Whoever leaves while something is under way: what can be stopped is stopped, what cannot be is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.media import storage
from bridge.models import Attachment, Attempt, Conversation, Delivery, Reason, State, Target
from bridge.operations import erasure
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Failure
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import MediaItem, Upload
from tests.operations.erasure import leave, stored_files
from tests.operations.talk import account_with_a_talk
from tests.support.factories import FAN, claim, claimed, hear, official, picture, route, row, send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> ChannelAccount:
    return account_with_a_talk()


def test_what_was_still_to_be_said_is_skipped(account: ChannelAccount) -> None:
    waiting = send(account, "later", FAN).deliveries.get()
    held = send(account, "much later", FAN).deliveries.get()
    Delivery.objects.filter(pk=held.pk).update(state=State.HELD, reason=Reason.WINDOW)
    other = send(account, "for another", "oOther").deliveries.get()
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    ended = Delivery.objects.exclude(pk=other.pk).exclude(message__kind="event")
    assert set(ended.values_list("state", "reason")) == {(State.SKIPPED, Reason.GONE)}
    assert {waiting.pk, held.pk} <= set(ended.values_list("pk", flat=True))
    assert (row(other).state, row(other).payload["body"]["text"]["content"]) == (State.PENDING, "for another")


def test_an_answer_that_waits_to_be_read_is_skipped_too() -> None:
    account = official(answers="passive")
    route(account)
    question = turn(account, "geheimes Wort", FAN, raw={"CreateTime": "1"}).message
    assert question is not None
    kept = outbox.send_answer(question, "Antwort darauf", source="agent", key="1").deliveries.get()
    assert row(kept).lane.startswith("read:")
    leave(account)
    router.route_waiting()
    assert erasure.erase_people() == 1
    assert (row(kept).state, row(kept).reason, row(kept).payload) == (State.SKIPPED, Reason.GONE, {"erased": True})


def test_what_is_on_its_way_is_waited_for(account: ChannelAccount) -> None:
    on_its_way = claimed(Delivery.objects.filter(target=Target.CHANNEL).earliest("pk"))
    attempt = settle.open_attempt(on_its_way, {"said": "geheimes Wort"})
    leave(account)
    router.route_waiting()
    assert erasure.erase_people() == 0
    assert Conversation.objects.get().title == ""
    assert Attempt.objects.get().request != {}
    settle.mark_delivered(on_its_way, attempt, response={"said": "Antwort darauf"})
    assert erasure.erase_people() == 1
    assert (row(on_its_way).state, Attempt.objects.get().response) == (State.DELIVERED, {})


def test_a_webhook_that_is_being_called_is_waited_for(account: ChannelAccount) -> None:
    (call,) = claim("webhook")  # type: ignore[arg-type]
    leave(account)
    router.route_waiting()
    assert (erasure.erase_people(), "geheimes Wort" in str(row(call).payload)) == (0, True)
    settle.fail(call, None, Failure(Action.PERMANENT, Cause("410", {"detail": "gone"})))
    assert (erasure.erase_people(), row(call).payload) == (1, {"erased": True})


def test_a_file_that_waits_to_be_fetched_is_not() -> None:
    account = official()
    hear(account, "", FAN, kind="image", media=(MediaItem("image", "M1", fallback="https://a.cn/b", key="k"),))
    leave(account)
    router.route_waiting()
    assert erasure.erase_people() == 1
    item = Attachment.objects.get()
    assert (item.state, item.source, item.fallback, item.key, storage.claim_files(1)) == ("failed", "", "", "", [])


def test_an_agent_that_is_at_it_is_stopped(account: ChannelAccount) -> None:
    under_way = claimed(Delivery.objects.get(target=Target.AGENT))
    leave(account)
    router.route_waiting()
    assert row(under_way).stopped_at


def test_a_file_that_is_being_fetched_is_waited_for() -> None:
    account = official()
    hear(account, "", FAN, kind="image", media=(picture(),))
    (item,) = storage.claim_files(1)
    leave(account)
    router.route_waiting()
    assert erasure.erase_people() == 0
    storage.store_file(item, Upload("image", "a.png", "image/png", b"late"))
    assert erasure.erase_people() == 1
    assert stored_files() == []


def test_what_is_fetched_after_the_erasure_is_not_kept() -> None:
    """Whoever fetches it held it longer than the lease, so that the erasure did not wait."""
    account = official()
    hear(account, "", FAN, kind="image", media=(picture(),))
    (item,) = storage.claim_files(1)
    leave(account)
    router.route_waiting()
    Attachment.objects.update(owner_until=timezone.now())
    assert erasure.erase_people() == 1
    storage.store_file(item, Upload("image", "a.png", "image/png", b"late"))
    assert (Attachment.objects.get().state, stored_files()) == ("failed", [])
