"""Answers that are kept to be read: in parts, in a lane of their own, and who reads on with “1”."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts import capabilities
from bridge.models import Carrier, Conversation, Delivery, Message, Reason, State
from bridge.pipeline.delivery import lanes
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.outbox import CannotSend
from channels_wechat.contract.messages import Content
from channels_wechat.weixin.official_account import OfficialAccount
from tests.replies.passive import LONG, answers_by
from tests.support.factories import FAN, answer, claim, hear, parts, send, shift, turn, work_off

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A platform in a hurry."""
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 30.0)
    monkeypatch.setattr(OfficialAccount, "last_seconds", 0.1)
    capabilities._known.clear()
    yield
    capabilities._known.clear()


def asked(account: ChannelAccount, text: str = "hello", **fields: Any) -> Delivery:
    raw = {"FromUserName": FAN, "ToUserName": "gh_1", "CreateTime": "1"}
    return turn(account, text, FAN, **{"raw": raw, **fields})


# --- what is kept


def test_an_answer_is_kept_in_parts_in_a_lane_of_its_own(account: ChannelAccount) -> None:
    question = asked(account).message
    assert question is not None
    message = answer(question, LONG)
    rows = list(message.deliveries.order_by("part"))
    assert {(one.carrier, one.lane, one.state) for one in rows} == {("http_reply", f"read:{message.pk}", "pending")}
    assert len(rows) == 3
    assert all(len(one.payload["body"]["text"]["content"].encode()) <= 2048 for one in rows)
    assert all(one.due_at - timezone.now() > timedelta(hours=47) for one in rows)
    assert claim() == []  # no worker takes them


def test_what_nobody_read_is_skipped(account: ChannelAccount) -> None:
    question = asked(account).message
    assert question is not None
    message = answer(question, LONG)
    for part in message.deliveries.all():
        shift(part, due_at=-1, queued_at=-lanes.UNREAD_SECONDS - 1)
    work_off()
    assert parts(message) == [("skipped", "unread")] * 3


def test_an_unread_answer_blocks_no_other(account: ChannelAccount) -> None:
    first, second = (asked(account, text).message for text in ("a", "b"))
    assert first
    assert second
    answer(first, "one")
    newer = answer(second, "two").deliveries.get()
    assert claim(Carrier.HTTP_REPLY, only=newer.pk)


def test_files_become_lines_of_the_text(account: ChannelAccount) -> None:
    question = asked(account).message
    assert question is not None
    files = [ContentFile(b"x", name="plan.pdf")]
    message = outbox.send_answer(question, "here", source=Message.Source.AGENT, key="k", files=files)
    (part,) = message.deliveries.all()
    assert part.payload["body"]["text"]["content"] == "here\n\n[plan.pdf，1\xa0字节：此会话无法发送文件]"


def test_an_answer_that_nobody_asked_for_or_can_read_is_dead(account: ChannelAccount) -> None:
    unasked = outbox.send(account, "direct", FAN, Content(text="hi"), source=Message.Source.AGENT)
    assert parts(unasked) == [("dead", "no_reply")]
    in_json = asked(account, raw={"CreateTime": 1}).message  # to which the form of an answer is not known
    assert in_json is not None
    assert parts(answer(in_json)) == [("dead", "no_reply")]


def test_staff_answer_only_an_open_question(account: ChannelAccount) -> None:
    with pytest.raises(CannotSend, match="speaks only in the reply"):
        send(account, peer_id=FAN)
    question = asked(account)
    shift(question, created_at=-lanes.UNREAD_SECONDS - 1)
    assert "speaks only" in outbox.why_not_send(Conversation.objects.get())
    shift(question, created_at=0)
    assert outbox.why_not_send(Conversation.objects.get()) == ""
    with pytest.raises(CannotSend, match="only text"):
        send(account, peer_id=FAN, content=Content(kind="music", data={}))
    message = send(account, "me here", FAN)
    assert (message.reply_to_id, parts(message)) == (question.message_id, [("pending", "")])
    Delivery.objects.filter(pk=question.pk).update(state=State.DELIVERED, finished_at=timezone.now())
    assert "speaks only" in outbox.why_not_send(Conversation.objects.get())
    with pytest.raises(CannotSend):
        send(account, "more", FAN, reply_to=question.message)
    assert Message.objects.filter(direction="out").count() == 1


def test_staff_who_have_taken_over_answer_once(account: ChannelAccount) -> None:
    hear(account, "first", FAN)
    router.route_waiting()
    Conversation.objects.update(mode=Conversation.Mode.HUMAN)
    Delivery.objects.update(state=State.DELIVERED, finished_at=timezone.now())
    asked(account, "second")
    assert send(account, "me", FAN).reply_to is not None
    with pytest.raises(CannotSend):
        send(account, "again", FAN)


# --- "1"


def test_one_reads_on_where_something_is_unread(account: ChannelAccount) -> None:
    question = asked(account).message
    assert question is not None
    answer(question)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    found = asked(account, " 1\n")
    assert (found.state, found.reason, found.payload) == ("skipped", "read_on", {})
    assert asked(account, "1 more").state == "pending"


def test_one_reads_on_while_a_turn_is_under_way(account: ChannelAccount) -> None:
    asked(account)
    assert asked(account, "1", kind="event").reason == Reason.EVENT
    assert asked(account, "1").reason == Reason.READ_ON


def test_one_reads_on_also_in_the_batch_of_its_question(account: ChannelAccount) -> None:
    raw = {"CreateTime": "1"}
    for text in ("hello", "1"):
        hear(account, text, FAN, raw=raw)
    router.route_waiting()
    assert [one.reason for one in Delivery.objects.order_by("id")] == ["", "read_on"]


@pytest.mark.parametrize(
    ("who", "kind"), [("oSomebody-else", "text"), (FAN, "event")], ids=["another's question", "no question"]
)
def test_one_is_a_turn_where_what_came_in_its_batch_is_no_question_of_theirs(
    account: ChannelAccount, who: str, kind: str
) -> None:
    raw = {"CreateTime": "1"}
    hear(account, "hello", who, raw=raw, kind=kind)
    one = hear(account, "1", FAN, raw=raw)
    router.route_waiting()
    assert one.deliveries.get().state == "pending"


def test_one_is_a_turn_where_nothing_is_left(account: ChannelAccount) -> None:
    assert asked(account, "1").state == "pending"


def test_one_is_a_turn_for_an_account_with_messages_of_its_own(account: ChannelAccount) -> None:
    answers_by(account, "messages")
    asked(account)
    assert asked(account, "1").state == "pending"
