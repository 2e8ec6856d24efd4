"""Texts that go together where a reply window has fewer uses left than there are parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from accounts.models import ReplyWindow
from bridge.models import Delivery, FallbackSender, Message, Reason
from bridge.operations import replay
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Content
from tests.outbound.reply_windows import DELIVERED, HELD, left, png, say
from tests.support.factories import (
    FAN,
    MINI,
    USER,
    answer,
    mini,
    official,
    parts,
    robot,
    row,
    send,
    shift,
    state,
    to_send,
    work_off,
)
from tests.support.followers import SEND, Crowd

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
MERGED = ("skipped", Reason.MERGED)


@pytest.fixture
def account(people: Crowd) -> ChannelAccount:
    return official(people.client.url)


def test_more_parts_than_uses_become_fewer_messages(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    texts = [f"{number}" * 300 for number in range(8)]
    waiting = say(account, *texts)
    work_off()
    assert [(row(d).state, row(d).reason) for d in waiting] == [DELIVERED, *[MERGED] * 3, *[DELIVERED] * 4]
    assert people.shown() == ["\n\n".join(texts[:4]), *texts[4:]]
    assert [row(d).error for d in waiting[1:4]] == [f"It is part of delivery #{waiting[0].pk}."] * 3
    assert (left(account), people.refusals()) == (0, {})


def test_what_others_were_merged_into_keeps_its_sender(people: Crowd, account: ChannelAccount) -> None:
    """Another account would say the first text alone."""
    people.says(account)
    waiting = say(account, *(f"{number}" * 300 for number in range(8)))
    values = {"account": robot(), "peer_kind": "group", "peer_id": "group", "position": 0}
    FallbackSender.objects.create(conversation=waiting[0].message.conversation, **values)
    people.client.fault(SEND, "errcode", errcode=45047)
    work_off()
    assert [(row(d).state, row(d).reason) for d in waiting[:2]] == [HELD, MERGED]
    assert Message.objects.filter(instead_of=waiting[0].message).count() == 0


def test_parts_of_one_text_are_joined_as_they_were_cut(people: Crowd, account: ChannelAccount) -> None:
    question = people.says(account)
    ReplyWindow.objects.update(left=3)
    text = "\n\n".join(str(number) * 1300 for number in range(2)) + "\n\n" + "x" * 1300
    before, message = to_send(account, "b", FAN), answer(question, text)
    assert len(parts(message)) == 3
    work_off()
    assert parts(before.message) + parts(message) == [DELIVERED, MERGED, DELIVERED, DELIVERED]
    assert people.shown() == ["b\n\n" + "0" * 1300 + "\n\n", "1" * 1300 + "\n\n", "x" * 1300]


def test_the_label_of_an_ai_stays(people: Crowd, account: ChannelAccount) -> None:
    question = people.says(account)
    ReplyWindow.objects.update(left=1)
    to_send(account, "from staff", FAN)
    outbox.send(account, "direct", FAN, Content("from the agent", ai=True), source="agent", reply_to=question)
    work_off()
    (entry,) = people.client.sent_to(FAN)
    assert (entry["text"], entry["data"]["ai"]) == ("from staff\n\nfrom the agent", True)


def test_a_file_stands_between_two_texts(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    ReplyWindow.objects.update(left=2)
    before, after = to_send(account, "before", FAN), send(account, "with it", FAN, files=[png()])
    last = to_send(account, "last", FAN)
    work_off()
    assert [*parts(before.message), *parts(after), *parts(last.message)] == [DELIVERED, MERGED, DELIVERED, HELD]
    assert [entry["kind"] for entry in people.client.sent_to(FAN)] == ["text", "image"]
    people.says(account)
    work_off()
    assert people.shown()[-1] == "last"


def test_a_special_message_is_never_joined(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    ReplyWindow.objects.update(left=1)
    menu = {"head_content": "满意吗", "list": [{"id": "1", "content": "满意"}]}
    first, second = to_send(account, "", FAN, content=Content(kind="msgmenu", data=menu)), to_send(account, "b", FAN)
    work_off()
    assert parts(first.message) + parts(second.message) == [DELIVERED, HELD]


def test_nothing_is_joined_while_enough_is_left(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    say(account, *"12345")
    work_off()
    assert people.shown() == list("12345")


@pytest.mark.parametrize("reviewed", [False, True])
def test_what_the_content_check_has_still_to_see_or_a_person_let_go_is_not_joined(
    people: Crowd, reviewed: bool
) -> None:
    account = mini(people.client.url, {"moderation_scope": "" if reviewed else "out"})
    people.does(account, lambda: people.client.say("在吗", mini=MINI, from_=USER))
    ReplyWindow.objects.update(left=1)
    first, second = (to_send(account, text, USER) for text in "12")
    if reviewed:
        shift(second, reviewed_at=0)
    work_off()
    assert parts(first.message) + parts(second.message) == [DELIVERED, HELD]


def test_what_may_arrive_twice_keeps_its_mark_in_the_message_that_takes_it_in(
    people: Crowd, account: ChannelAccount
) -> None:
    people.says(account)
    ReplyWindow.objects.update(left=1)
    head, absorbed = say(account, "one", "two")
    shift(absorbed, possibly_twice=True)
    work_off()
    assert parts(head.message) + parts(absorbed.message) == [DELIVERED, MERGED]
    assert (row(head).possibly_twice, head.attempts.get().possibly_twice) == (True, True)


def test_a_replay_says_all_that_went_together(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    ReplyWindow.objects.update(left=1)
    head, absorbed = say(account, "one", "two")
    people.client.fault(SEND, "errcode", errcode=45002)
    work_off()
    assert parts(head.message) + parts(absorbed.message) == [("dead", Reason.PERMANENT), MERGED]
    assert "another delivery" in replay.why_not_replay(row(absorbed))
    assert replay.replay([head.pk]).count == 1
    work_off()
    assert (state(head), people.shown()) == ("delivered", ["one\n\ntwo"])
    assert row(head).fingerprint == Delivery.fingerprint_of(row(head).payload)
    sent = json.loads(people.client.calls(SEND)[-1]["body"])
    assert sent["text"]["content"] == "one\n\ntwo"
