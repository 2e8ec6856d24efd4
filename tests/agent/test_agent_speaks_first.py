"""Messages of an agent that nobody asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.connector.gateways import send_proactive
from bridge.models import Attempt, Carrier, Delivery, Message, Route
from bridge.pipeline.delivery import claims, settle
from openclaw.turns import Answer, ProactiveReply
from tests.agent.turns import finished, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import eventually, gateway, outcomes, route, shift, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.models import Gateway
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


def test_what_an_agent_says_unasked_reaches_its_conversation(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    with RunningConnector():
        asked = turn(account)
        finished(asked)
        stub.say(asked.payload["session_key"], "by the way")
        said = eventually(lambda: Message.objects.filter(text="by the way").first())
        stub.say("agent:main:wechat:direct:0000", "for nobody")
        stub.say("agent:main:main", "not ours")
        time.sleep(0.3)
    assert (said.peer_id, said.reply_to, said.deliveries.get().state) == ("zhangsan", None, "pending")
    assert Message.objects.filter(direction="out").count() == 2


def test_an_acceptance_that_is_repeated_is_no_end_of_the_run(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.version, stub.faults.accepts_again = "2026.8.2", 3
    with RunningConnector():
        asked = turn(account)
        done = finished(asked)
    assert (done.state, outcomes(asked), ran(stub)) == ("delivered", ["ok"], [(f"{asked.pk}.0", 1)])


def test_runs_whose_ids_are_too_long_to_be_stored_are_told_apart(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    Delivery.objects.filter(pk=asked.pk).update(state="delivered", finished_at=timezone.now())
    for end in "ab":
        send_proactive(
            mapped.gateway, ProactiveReply(asked.payload["session_key"], "r" * 5000 + end, Answer(f"said {end}"))
        )
    assert set(Message.objects.filter(direction="out").values_list("text", flat=True)) == {"said a", "said b"}


def test_a_gateway_speaks_only_where_it_was_asked_itself(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    shift(asked, state="delivered", finished_at=0)
    reply = ProactiveReply(asked.payload["session_key"], "a run of its own", Answer("by the way"))
    send_proactive(gateway(), reply)
    assert not Message.objects.filter(direction="out").exists()
    send_proactive(mapped.gateway, reply)
    assert Message.objects.get(direction="out").text == "by the way"


def test_unasked_words_may_do_what_the_newest_turn_may(account: ChannelAccount, mapped: Route) -> None:
    before, now = turn(account), turn(account)
    for asked, allowed in ((before, ["links"]), (now, [])):
        shift(asked, state="delivered", finished_at=0, payload={**asked.payload, "allowed": allowed})
    linked = Answer("[press here](https://example.com/x)")
    send_proactive(mapped.gateway, ProactiveReply(now.payload["session_key"], "a", linked))
    assert Message.objects.get(direction="out").text == "press here (https://example.com/x)"


def test_runs_of_two_gateways_may_have_one_id(account: ChannelAccount, mapped: Route) -> None:
    other = route(account, gateway(), peer_kind="direct", peer_id="lisi")
    for mine, who in ((mapped, "zhangsan"), (other, "lisi")):
        asked = turn(account, sender=who)
        shift(asked, state="delivered", finished_at=0)
        send_proactive(mine.gateway, ProactiveReply(asked.payload["session_key"], "run-1", Answer("by the way")))
    assert set(Message.objects.filter(direction="out").values_list("peer_id", flat=True)) == {"zhangsan", "lisi"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("好的 NO_REPLY", "好的"),
        ("<think>why</think>[[reply_to_current]] 好的", "好的"),
        ("no_reply", None),
        ("**NO_REPLY**", None),
        ("HEARTBEAT_OK", None),
        ("<think>nothing to add</think>NO_REPLY.", None),
    ],
)
def test_only_what_is_for_readers_is_sent(
    stub: RunningStub, account: ChannelAccount, mapped: Route, said: str, shown: str | None
) -> None:
    with RunningConnector():
        asked = turn(account, f"!say={said}")
        finished(asked)
        first = Message.objects.filter(direction="out").first()
        stub.say(asked.payload["session_key"], said)
        stub.say(asked.payload["session_key"], "the end")
        eventually(lambda: Message.objects.filter(text="the end").first())
    texts = set(Message.objects.filter(direction="out").values_list("text", flat=True))
    assert (first.text if first else None, texts) == (shown, {shown, "the end"} - {None})


def test_what_is_said_to_everybody_is_said_to_nobody(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    route(account, home, scope="shared")
    with RunningConnector():
        asked = turn(account)
        finished(asked)
        stub.say(asked.payload["session_key"], "whose is this?")
        time.sleep(0.3)
    assert Message.objects.filter(direction="out").count() == 1


def test_while_a_turn_is_in_doubt_an_unasked_message_may_be_its_answer(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    attempt = settle.open_attempt(claims.claim(Carrier.CONNECTOR, "lost", 1)[0], {"ask": "1.0"})
    reply = ProactiveReply(asked.payload["session_key"], "resumed", Answer("the answer"))
    shift(asked, lease_until=-60)
    claims.sweep()
    assert Attempt.objects.get(pk=attempt.pk).outcome == "interrupted"

    send_proactive(mapped.gateway, reply)
    assert [mine.pk for mine in claims.claim(Carrier.CONNECTOR, "me", 1)] == [asked.pk]  # to look up what became of it
    send_proactive(mapped.gateway, reply)
    assert not Message.objects.filter(direction="out").exists()

    shift(asked, state="delivered", finished_at=0, lease_until=None)
    send_proactive(mapped.gateway, reply)
    assert Message.objects.get(direction="out").text == "the answer"
