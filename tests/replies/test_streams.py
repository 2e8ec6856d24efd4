"""Polls of an AI bot's stream: the text so far, one final frame, and the hand-over to the reply address."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.channels import build_channel
from bridge.models import Carrier, Conversation, Delivery, Message, Reason, State
from bridge.operations import replay
from bridge.pipeline.agent import takeover
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure, message_of
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies import stream_options, streams
from bridge.pipeline.replies.streams import partial_key
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import Content
from openclaw.stub.answers import make_picture
from tests.support import factories
from tests.support.callbacks import call, opened, poll
from tests.support.factories import (
    GROUP,
    answer,
    bot,
    claim,
    claimed,
    due,
    hear,
    outcomes,
    route,
    row,
    shift,
    state,
    turn,
)

if TYPE_CHECKING:
    import redis

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=secret"


@pytest.fixture
def account() -> ChannelAccount:
    return bot()


@pytest.fixture
def asked(account: ChannelAccount) -> Delivery:
    """A question on its way to an agent."""
    route(account)
    return turn(account, group=GROUP, reply=REPLY)


def polled(question: Message) -> dict[str, Any]:
    reply = call(question.account, *poll(question.uuid.hex))
    assert reply.status == 200
    frame = opened(reply.body)
    assert frame["stream"]["id"] == question.uuid.hex
    return frame


def shown(question: Message) -> tuple[str, bool]:
    stream = polled(question)["stream"]
    return stream["content"], stream["finish"]


def age(question: Message, seconds: float) -> None:
    Message.objects.filter(pk=question.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


THINKING = ("<think></think>", False)


# --- while the agent thinks -------------------------------------------------------------------------------------------------------


def test_the_text_so_far(asked: Delivery, valkey: redis.Redis) -> None:
    assert shown(asked.message) == THINKING
    valkey.set(partial_key(asked.message.uuid), "so far")
    assert shown(asked.message) == ("so far", False)


def test_before_it_is_routed(account: ChannelAccount) -> None:
    assert shown(hear(account, group=GROUP)) == THINKING


def test_a_stream_nobody_knows_is_closed(account: ChannelAccount) -> None:
    stream = opened(call(account, *poll("0" * 32)).body)["stream"]
    assert (stream["content"], stream["finish"]) == ("", True)


def test_a_stream_of_another_account_is_not_shown(asked: Delivery) -> None:
    answer(asked.message, "for you only")
    other = bot(bot_id="OTHER")
    from tests.support.callbacks import from_bot

    reply = call(other, *from_bot(aibotid="OTHER", msgtype="stream", stream={"id": asked.message.uuid.hex}))
    assert opened(reply.body)["stream"]["content"] == ""


# --- the answer -------------------------------------------------------------------------------------------------------------------


def test_a_poll_fetches_the_answer_and_the_next_one_gets_the_same(asked: Delivery, valkey: redis.Redis) -> None:
    delivery = answer(asked.message, "the **answer**").deliveries.get()
    valkey.set(partial_key(asked.message.uuid), "the ans")
    frames = [polled(asked.message) for _time in range(3)]
    assert frames[0]["stream"] == {"id": asked.message.uuid.hex, "finish": True, "content": "the **answer**"}
    assert frames[0] == frames[1] == frames[2]
    after = row(delivery)
    assert (after.state, after.carrier, after.tries, outcomes(delivery)) == ("delivered", "http_reply", 1, ["ok"])
    assert after.attempts.get().request["via"] == "stream"


# --- a final frame whose way to the platform was cut off --------------------------------------------------------------------------


def unsent(question: Message) -> None:
    """A poll whose answer is made, and whose process is lost before it is sent."""
    channel: Any = build_channel(question.account)
    given = streams.answer_poll(question.account, channel, {"timestamp": "1", "nonce": "n"}, question.uuid.hex)
    assert given.part


def test_a_final_frame_that_was_not_sent_is_no_delivery(asked: Delivery) -> None:
    """The platform asks again for six minutes only: afterwards nobody knows whether its reader saw the end."""
    said = answer(message_of(asked), "forty-two").deliveries.get()
    unsent(message_of(asked))
    assert (state(said), outcomes(said)) == ("sending", [""])
    shift(said, lease_until=-1)
    claims.sweep()
    assert (state(said), row(said).reason, outcomes(said)) == ("uncertain", Reason.UNKNOWN, ["interrupted"])


@pytest.mark.parametrize("swept", [False, True])
def test_the_poll_that_comes_again_gets_it_and_settles_it(asked: Delivery, swept: bool) -> None:
    question = message_of(asked)
    said = answer(question, "forty-two").deliveries.get()
    unsent(question)
    if swept:
        shift(said, lease_until=-1)
        claims.sweep()
    assert shown(question) == ("forty-two", True)
    assert (state(said), outcomes(said)) == ("delivered", ["ok"])
    assert shown(question) == ("forty-two", True)
    assert outcomes(said) == ["ok"]


def test_the_newest_attempt_of_what_was_replayed_is_settled(asked: Delivery) -> None:
    question = message_of(asked)
    said = answer(question, "forty-two").deliveries.get()
    unsent(question)
    shift(said, lease_until=-1)
    claims.sweep()
    replay.replay([said.pk], twice=True)
    assert shown(question) == ("forty-two", True)
    assert (state(said), outcomes(said)) == ("delivered", ["interrupted", "ok"])


def test_what_was_replayed_by_the_address_is_not_confirmed(asked: Delivery) -> None:
    question = message_of(asked)
    said = answer(question, "forty-two").deliveries.get()
    unsent(question)
    shift(said, lease_until=-1)
    claims.sweep()
    age(question, 400)  # its stream is over
    replay.replay([said.pk], twice=True)
    assert (state(said), row(said).carrier) == ("pending", "worker")
    settle.confirm_sent(said.pk)
    assert state(said) == "pending"


def test_the_same_final_frame_also_after_a_second_message_by_the_address(asked: Delivery) -> None:
    answer(asked.message, "first")
    first = polled(asked.message)
    second = answer(asked.message, "second").deliveries.get()
    assert second.carrier == "worker"
    assert polled(asked.message) == first


def test_pictures_and_cards_come_with_the_last_frame(asked: Delivery) -> None:
    file = ContentFile(make_picture(1), name="a.png")
    file.content_type = "image/png"
    outbox.send_answer(asked.message, "look", source=Message.Source.AGENT, key="k", files=[file])
    frame = polled(asked.message)
    assert frame["stream"]["content"] == "look"
    assert len(frame["stream"]["msg_item"]) == 1
    assert polled(asked.message) == frame


def test_an_answer_behind_another_one_waits_for_its_turn(account: ChannelAccount, asked: Delivery) -> None:
    later = turn(account, group=GROUP, reply=REPLY, sender="lisi")
    first, second = answer(asked.message, "1"), answer(later.message, "2")
    assert shown(later.message) == THINKING
    assert shown(asked.message) == ("1", True)
    assert shown(later.message) == ("2", True)
    assert [d.state for d in (first.deliveries.get(), second.deliveries.get())] == ["delivered"] * 2


# --- hand-over to the address -------------------------------------------------------------------------------------------------------


def test_for_twenty_seconds_the_answer_is_the_streams(asked: Delivery) -> None:
    delivery = answer(asked.message).deliveries.get()
    shift(delivery, due_at=1)
    assert claim() == []
    due(delivery)
    (mine,) = claim()
    assert (mine.pk, mine.carrier) == (delivery.pk, "worker")


def test_what_the_worker_took_is_not_shown_by_the_stream_too(asked: Delivery) -> None:
    delivery = answer(asked.message, "forty-two").deliveries.get()
    due(delivery)
    mine = claimed(delivery) if delivery.carrier == "worker" else claim()[0]
    text, finish = shown(asked.message)
    assert ("forty-two" in text, finish) == (False, True)
    settle.mark_delivered(mine, settle.open_attempt(mine, {}))
    assert "forty-two" not in shown(asked.message)[0]
    assert outcomes(delivery) == ["ok"]


def test_a_late_answer_follows_and_the_stream_says_so(asked: Delivery, valkey: redis.Redis) -> None:
    valkey.set(partial_key(asked.message.uuid), "half of it")
    age(asked.message, 339)
    assert shown(asked.message) == ("half of it", False)
    age(asked.message, 341)
    text, finish = shown(asked.message)
    assert (text, finish) == ("half of it\n\n处理时间较长，结果会稍后发送给您。", True)
    asked.message.refresh_from_db()
    assert answer(asked.message).deliveries.get().carrier == "worker"


def test_the_second_part_follows_by_the_address(asked: Delivery) -> None:
    message = answer(asked.message, "字" * 13_000)
    text, finish = shown(asked.message)
    assert (len(text.encode()) <= 20_480, finish) == (True, True)
    second = message.deliveries.get(part=1)
    assert [d.pk for d in claim()] == [second.pk]


# --- endings without an answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "本会话尚未接入智能助手。"), ({"unmapped": "此群未开通"}, "此群未开通")],
)
def test_skipped(fields: dict[str, str], expected: str) -> None:
    question = turn(bot(columns={"sentences": fields}), group=GROUP).message
    assert shown(question) == (expected, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "抱歉，处理时出了问题，请稍后再试。"), ({"failed": "出错了"}, "出错了")],
)
def test_failed(fields: dict[str, str], expected: str) -> None:
    account = bot(columns={"sentences": fields})
    route(account)
    asked = turn(account, group=GROUP)
    settle.fail(
        mine := claimed(asked),
        settle.open_attempt(mine, {}),
        Failure(Action.PERMANENT, Cause("x", {"detail": "the gateway's own words"})),
    )
    assert shown(asked.message) == (expected, True)


@pytest.mark.parametrize(
    ("state", "reason", "ending"),
    [
        (State.DEAD, Reason.PERMANENT, "half\n\n抱歉，处理时出了问题，请稍后再试。"),
        (State.DELIVERED, Reason.NO_ANSWER, "half"),
        (State.SKIPPED, Reason.STOPPED, "half"),
    ],
)
def test_what_was_shown_before_the_end_stays(
    asked: Delivery, valkey: redis.Redis, state: str, reason: str, ending: str
) -> None:
    valkey.set(partial_key(asked.message.uuid), "half")
    shift(asked, state=state, reason=reason, finished_at=0)
    assert shown(asked.message) == (ending, True)


def test_silent_and_stopped(asked: Delivery) -> None:
    mine = claimed(asked)
    settle.mark_delivered(mine, settle.open_attempt(mine, {}), reason=Reason.NO_ANSWER)
    assert shown(asked.message) == ("已收到。", True)
    shift(asked, state=State.SKIPPED, reason=Reason.STOPPED)
    assert shown(asked.message) == ("已停止。", True)


def test_a_command_is_answered_in_its_own_stream(account: ChannelAccount, asked: Delivery) -> None:
    command = turn(account, "/new", group=GROUP, reply=REPLY)
    assert shown(command.message) == ("已开始新的会话。", True)


def test_only_the_answer_itself_is_dead(asked: Delivery) -> None:
    """The agent answered, and nothing could carry it: the stream ends instead of turning for ever."""
    mine = claimed(asked)
    settle.mark_delivered(mine, settle.open_attempt(mine, {}))
    delivery = answer(asked.message).deliveries.get()
    shift(delivery, state="dead", reason=Reason.CONTENT, finished_at=0)
    assert shown(asked.message)[1] is True


def test_a_stopped_account_keeps_the_answer(asked: Delivery) -> None:
    delivery = answer(asked.message).deliveries.get()
    type(asked.account).objects.update(state="stopped")
    assert shown(asked.message) == THINKING
    assert state(delivery) == "pending"


def test_after_a_stream_that_ended_without_an_answer_a_late_one_goes_by_the_address_at_once(
    account: ChannelAccount, valkey: redis.Redis
) -> None:
    skipped = turn(account, group=GROUP, reply=REPLY)  # nobody is mapped
    question = skipped.message
    assert (skipped.state, shown(question)[1]) == ("skipped", True)

    late = answer(question, "late").deliveries.get()
    assert (late.carrier, late.due_at <= timezone.now()) == ("worker", True)

    # Without Valkey's memory it would first wait for a poll.
    valkey.flushall()
    Message.objects.filter(pk=late.message_id).delete()
    assert answer(question, "later").deliveries.get().carrier == "http_reply"


def test_while_staff_answer_the_stream_stays_open_for_them(account: ChannelAccount, valkey: redis.Redis) -> None:
    """Without what the agent goes on writing: its answer is not sent either."""
    route(account)
    factories.conversation(account, GROUP, "group", mode="human")
    question = turn(account, group=GROUP, reply=REPLY).message
    assert shown(question) == THINKING
    valkey.set(partial_key(question.uuid), "what the agent had written")
    assert shown(question) == THINKING

    outbox.send(account, "group", GROUP, Content(text="by hand"), source="staff")
    assert shown(question) == ("by hand", True)


def test_a_text_that_staff_took_over_stays_hidden_where_they_pause_it(asked: Delivery, valkey: redis.Redis) -> None:
    talk, ann = Conversation.objects.get(), User.objects.create_user("ann", is_staff=True)
    factories.claimed(asked)
    valkey.set(partial_key(asked.message.uuid), "what the agent had written")
    takeover.pause(talk, ann)
    assert shown(asked.message)[0] == "what the agent had written"  # its answer is sent all the same
    takeover.take_over(talk, ann)
    takeover.pause(talk, ann)
    assert "agent had written" not in shown(asked.message)[0]


def test_the_end_that_a_platform_no_longer_waits_for_is_no_delivery(
    asked: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = answer(asked.message, "forty-two").deliveries.get()
    monkeypatch.setattr("bridge.runtime.web.http.LISTEN_SECONDS", 0.0)  # it is listened to from the beginning
    assert call(asked.account, *poll(asked.message.uuid.hex), gone=True).body == b""
    assert (state(said), outcomes(said)) == ("sending", [""])
    assert shown(asked.message) == ("forty-two", True)
    assert state(said) == "delivered"


def test_a_picture_that_is_gone_costs_only_itself(asked: Delivery) -> None:
    file = ContentFile(make_picture(1), "a.png")
    file.content_type = "image/png"  # type: ignore[attr-defined]
    delivery = outbox.send_answer(asked.message, "look", source="agent", key="look", files=[file]).deliveries.get()
    assert len(polled(asked.message)["stream"]["msg_item"]) == 1
    delivery.message.attachments.all().delete()
    stream = polled(asked.message)["stream"]
    assert (stream["content"], stream["finish"], "msg_item" in stream) == ("look", True, False)


@pytest.mark.parametrize(
    ("used", "left"), [("sending", False), ("delivered", False), ("uncertain", False), ("dead", True)]
)
def test_an_address_is_used_once(used: str, left: bool) -> None:
    account = bot()
    route(account)
    question = turn(account, reply="https://reply/?x").message
    part = answer(question).deliveries.get()
    times: dict[str, Any] = {"lease_until": 30} if used == "sending" else {"finished_at": 0}
    shift(part, carrier=Carrier.WORKER, state=used, reason=Reason.UNKNOWN, **times)
    assert stream_options.has_response_url(question) is left


@pytest.mark.parametrize(
    ("carrier", "used", "left"),
    [
        (Carrier.HTTP_REPLY, "pending", False),
        (Carrier.HTTP_REPLY, "delivered", False),
        (Carrier.HTTP_REPLY, "dead", True),
        (Carrier.WORKER, "delivered", True),
    ],
)
def test_a_stream_carries_one_answer(carrier: Carrier, used: str, left: bool) -> None:
    account = bot()
    route(account)
    question = turn(account, reply="https://reply/?x").message
    part = answer(question).deliveries.get()
    times: dict[str, Any] = {} if used == "pending" else {"finished_at": 0}
    shift(part, carrier=carrier, state=used, reason=Reason.PERMANENT if used == "dead" else "", **times)
    assert stream_options.has_stream(build_channel(account), question) is left  # type: ignore[arg-type]
    assert stream_options.has_stream(build_channel(account), question, besides=part.pk)  # type: ignore[arg-type]
