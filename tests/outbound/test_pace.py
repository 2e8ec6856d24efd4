"""Pauses, quiet hours and stopped sending: what waits for them, for how long, and that it neither fails nor counts meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest
from django.conf import settings
from django.utils import timezone

from accounts import limits, pacing
from accounts.channels import build_channel
from accounts.models import ChannelAccount
from bridge.models import Delivery, State
from bridge.operations.waiting import explain_waits
from bridge.pipeline.delivery.types import Fail, GateOutcome, Postpone
from bridge.pipeline.outbound import gates, sender
from channels_wechat import KINDS
from channels_wechat.contract.capabilities import Paced
from channels_wechat.contract.messages import Limit, Pace, Payload, Receipt
from tests.support.factories import account, app, at_once, claim, claimed, row, shift, to_send
from tests.support.fake_connection import FAKE, FakeCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from channels_wechat.contract.messages import Content, Outgoing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


class Slow(Paced):
    """A kind whose paces, quiet hours and sent messages the tests hold."""

    kind, label, Credentials, explanations = "slow", "Slow", FakeCredentials, FAKE
    receives_from = frozenset({"direct", "group"})
    limits = (Limit("day", 1000, 86400, "account", "a day"),)
    paces: ClassVar[tuple[Pace | None, Pace | None]] = (None, None)
    quiet: ClassVar[datetime | None] = None
    ended: ClassVar[datetime | None] = None
    sent: ClassVar[list[str]] = []

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["name"])

    def render(self, content: Content) -> list[Payload]:
        return [Payload({"text": content.text})]

    def send(self, outgoing: Outgoing) -> Receipt:
        self.sent.append(outgoing.payload.body["text"])
        return Receipt()

    def quiet_until(self, now: datetime) -> datetime | None:
        return self.quiet

    def last_quiet_end(self, now: datetime) -> datetime | None:
        return self.ended


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChannelAccount]:
    monkeypatch.setitem(KINDS, "slow", f"{__name__}.Slow")
    yield account("slow", {"name": "shop"})
    Slow.paces, Slow.quiet, Slow.ended = (None, None), None, None
    Slow.sent.clear()


def ask(delivery: Delivery) -> GateOutcome | None:
    return gates.wait_for_pace(gates.SendContext(delivery))


def test_a_pause_begins_with_each_message_of_the_account(slow: ChannelAccount) -> None:
    Slow.paces = (Pace(40, 50), None)
    assert ask(to_send(slow, peer_id="ann")) is None
    waits = ask(to_send(slow, peer_id="bob"))
    assert isinstance(waits, Postpone)
    assert waits.cause.code == "pace"
    assert 30 < waits.seconds <= 50


def test_a_pause_between_messages_to_one_person_holds_up_nobody_else(slow: ChannelAccount) -> None:
    Slow.paces = (None, Pace(40, 50))
    assert ask(to_send(slow, peer_id="ann")) is None
    assert ask(to_send(slow, peer_id="bob")) is None
    assert isinstance(ask(to_send(slow, peer_id="ann")), Postpone)


def test_who_asks_in_vain_does_not_lengthen_the_pause(slow: ChannelAccount) -> None:
    Slow.paces = (Pace(40, 40), None)
    delivery = to_send(slow)
    assert ask(delivery) is None
    waits = [ask(delivery) for _time in range(5)]
    seconds = [each.seconds for each in waits if isinstance(each, Postpone)]
    assert seconds == sorted(seconds, reverse=True)
    assert len(seconds) == 5


def test_of_many_at_once_one_goes(slow: ChannelAccount) -> None:
    Slow.paces = (Pace(60, 60), Pace(60, 60))
    channel = build_channel(slow)
    assert isinstance(channel, Paced)
    assert sorted(at_once(*[lambda: pacing.take_turn(channel, "ann") > 0] * 8)) == [False] + [True] * 7


def test_pauses_differ(slow: ChannelAccount) -> None:
    Slow.paces = (None, Pace(10, 1000))
    channel = build_channel(slow)
    assert isinstance(channel, Paced)
    for person in "abcdefgh":
        pacing.take_turn(channel, person)
    assert len({round(pacing.take_turn(channel, person)) for person in "abcdefgh"}) > 1


def test_what_waits_for_its_pause_counts_against_no_limit(slow: ChannelAccount) -> None:
    Slow.paces = (Pace(60, 60), None)
    for person in ("ann", "bob", "eve"):
        sender.process_delivery(claimed(to_send(slow, peer_id=person)))
    assert Slow.sent == ["hello"]
    [(_limit, left)] = limits.list_remaining(build_channel(slow).limits, str(slow.key))
    assert left == 999


def test_in_quiet_hours_nothing_goes_until_they_end(slow: ChannelAccount) -> None:
    Slow.quiet = timezone.localtime() + timedelta(hours=7)
    delivery = to_send(slow)
    sender.process_delivery(claimed(delivery))
    waiting = row(delivery)
    assert (waiting.state, waiting.tries, waiting.code) == (State.PENDING, 0, "quiet_hours")
    assert timedelta(hours=6) < waiting.due_at - timezone.now() <= timedelta(hours=7)
    assert not Slow.sent


@pytest.mark.parametrize(
    ("ended", "is_sent"), [(timedelta(hours=-1), True), (timedelta(days=-1), False), (None, False)]
)
def test_the_night_does_not_make_an_answer_too_old(
    slow: ChannelAccount, ended: timedelta | None, is_sent: bool
) -> None:
    Slow.ended = timezone.localtime() + ended if ended else None
    delivery = to_send(slow)
    shift(delivery, queued_at=-settings.MAX_AGE_ANSWER - 3600)
    outcome = gates.refuse_expired(gates.SendContext(row(delivery)))
    assert outcome is None if is_sent else isinstance(outcome, Fail)


def test_a_kind_without_a_pace_is_not_asked() -> None:
    assert ask(to_send(app())) is None


# --- sending that staff have stopped


def test_what_staff_have_stopped_waits_and_says_why(slow: ChannelAccount) -> None:
    delivery, other = to_send(slow), to_send(app())
    ChannelAccount.objects.filter(pk=slow.pk).update(sending_stopped_at=timezone.now())
    assert [each.pk for each in claim()] == [other.pk]
    [wait] = explain_waits([row(delivery)], may_read=True).values()
    assert (wait.on, wait.id) == ("account", slow.pk)
    assert "stopped all sending" in wait.why
    ChannelAccount.objects.update(sending_stopped_at=None)
    assert [each.pk for each in claim(holder="another")] == [delivery.pk]
