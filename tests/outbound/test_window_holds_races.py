"""Real threads on PostgreSQL: a person's deed is routed at the very moment at which something is held for want of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts import reply_windows
from bridge.models import Reason
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import window_holds
from channels_wechat.contract.messages import Window
from tests.support.factories import FAN, at_once, claimed, hear, official, parts, row, send, to_send, work_off
from tests.support.followers import SEND, Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 8


@pytest.fixture
def people(valkey: redis.Redis) -> Iterator[Crowd]:
    with crowd() as found:
        yield found


@pytest.fixture
def account(people: Crowd) -> ChannelAccount:
    return official(people.client.url)


def heard(people: Crowd, account: ChannelAccount, who: str) -> None:
    """They wrote; not routed."""
    people.client.say("在吗", official=account.external_id, from_=who)
    people.heard(account)


def test_nothing_stays_held_when_a_window_opens_meanwhile(people: Crowd, account: ChannelAccount) -> None:
    for number in range(ROUNDS):
        who = f"oPerson-{number}"
        people.client.person(account.external_id, "小红", who)
        deliveries = [to_send(account, text, who) for text in "12"]
        heard(people, account, who)
        at_once(lambda: work_off("one"), router.route_waiting, lambda: work_off("another"))
        work_off()
        assert [row(d).state for d in deliveries] == ["delivered"] * 2
        assert people.shown(who) == ["1", "2"]
    assert not [refused for refused in people.refusals() if refused.startswith(SEND)]


def test_two_who_hold_and_release_never_strand_a_message(account: ChannelAccount) -> None:
    for _round in range(ROUNDS):
        mine = claimed(to_send(account, "hello", FAN))
        hear(account, sender=FAN, window=Window(5, 60))
        at_once(lambda mine=mine: window_holds.hold_for_window(mine), router.route_waiting)  # type: ignore[misc]
        assert (parts(mine.message), reply_windows.count_remaining(account.pk, FAN)) == ([("pending", "")], 5)
        type(mine).objects.all().update(state="skipped", reason=Reason.STOPPED, finished_at=mine.created_at)
        account.windows.all().delete()


def test_workers_share_what_is_left(people: Crowd, account: ChannelAccount) -> None:
    """Each person's messages wait in one lane, so two workers never speak to one person at once; here both have much to do."""
    crowd_of = [f"oPerson-{number}" for number in range(4)]
    messages = []
    for who in crowd_of:
        people.client.person(account.external_id, "小红", who)
        heard(people, account, who)
        messages.append(send(account, "\n\n".join(str(number) * 1900 for number in range(7)), who))
    while router.route_waiting():
        pass
    at_once(*(lambda name=name: work_off(name) for name in "abc"))  # type: ignore[misc]
    work_off()
    for who, message in zip(crowd_of, messages, strict=True):
        assert parts(message) == [("delivered", "")] * 5 + [("held", Reason.WINDOW)] * 2
        assert [text[0] for text in people.shown(who)] == list("01234")
    assert not [refused for refused in people.refusals() if refused.startswith(SEND)]
