"""Another account sends what a conversation's own account cannot: for which failures, by whom, and that nothing is sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Conversation, Delivery, FallbackSender, Message, Reason, State
from bridge.operations import replay
from bridge.pipeline.outbound import fallbacks, outbox
from channels_wechat.contract.messages import Content
from tests.support.factories import GROUP, ROBOT_KEY, app, bot, outcomes, robot, row, send, work_off

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
CASES = ("on_quota", "on_window", "on_refusal", "on_down")
SEND = "message/send"
CARD = Content(kind="textcard", data={"title": "t", "description": "d", "url": "https://example.com/"})


@pytest.fixture
def sender(company: SimulatorClient) -> ChannelAccount:
    """A robot of the group."""
    company.robot(GROUP, key=ROBOT_KEY, name="通知")
    return robot(company.url)


def fall_back(conversation: Conversation | None, to: ChannelAccount, *cases: str, **columns: Any) -> FallbackSender:
    """cases: those in which it sends; without any, all."""
    position = FallbackSender.objects.filter(conversation=conversation).count()
    values = {name: not cases or name in cases for name in CASES}
    new = FallbackSender(conversation=conversation, account=to, position=position, **values, **columns)
    new.full_clean()
    new.save()
    return new


def seen(company: SimulatorClient) -> list[tuple[str, str]]:
    return [(entry["via"], entry["text"]) for entry in company.transcript(GROUP) if entry["via"] != "member"]


def test_what_a_bot_has_no_way_to_say_a_robot_says(company: SimulatorClient, sender: ChannelAccount) -> None:
    """The agent speaks first, and by callback URL the bot only answers."""
    own = bot(company.url)
    said = outbox.send(own, "group", GROUP, Content("before"), source=Message.Source.AGENT)
    assert said.deliveries.get().state == State.DEAD
    fall_back(said.conversation, sender)
    said = outbox.send(own, "group", GROUP, Content("the report"), source=Message.Source.AGENT)
    assert work_off() == 2
    delivery = said.deliveries.get()
    stand_in = said.stand_ins.get()
    assert (delivery.state, delivery.reason, delivery.code) == (State.SKIPPED, Reason.OTHER_SENDER, "other_sender")
    assert sender.name in delivery.error
    assert "until the person writes again" in delivery.error
    assert (stand_in.account, stand_in.source, stand_in.deliveries.get().state) == (sender, "agent", State.DELIVERED)
    assert [text for _via, text in seen(company)] == ["the report"]


def test_the_twenty_first_message_of_a_minute_goes_by_the_next_robot(
    company: SimulatorClient, sender: ChannelAccount
) -> None:
    company.robot(GROUP, key="second-key", name="通知二")
    second = robot(company.url, robot_key="second-key")
    messages = [outbox.send(sender, "group", "group", Content("0"), source="staff")]
    fall_back(messages[0].conversation, second, "on_quota")
    messages += [outbox.send(sender, "group", "group", Content(f"{number}"), source="staff") for number in range(1, 25)]
    work_off()
    assert [text for _via, text in seen(company)] == [f"{number}" for number in range(25)]
    states = [message.deliveries.get().state for message in messages]
    assert states == [State.DELIVERED] * 20 + [State.SKIPPED] * 5
    assert Message.objects.filter(account=second).count() == 5


@pytest.mark.parametrize(("errcode", "case"), [(60020, "on_down"), (45009, "on_quota"), (40003, ""), (45002, "")])
def test_only_the_failures_that_were_chosen_change_the_sender(
    company: SimulatorClient, sender: ChannelAccount, errcode: int, case: str
) -> None:
    own = app(company.url)
    first = send(own, "first")
    work_off()
    fall_back(first.conversation, sender, *([case] if case else []))
    company.fault(SEND, "errcode", errcode=errcode)
    message = send(own, "hello")
    work_off()
    assert [text for _via, text in seen(company)] == (["hello"] if case else [])
    assert outcomes(message.deliveries.get()) == ["error"]


def test_a_case_that_was_not_chosen_changes_nothing(company: SimulatorClient, sender: ChannelAccount) -> None:
    own = app(company.url)
    fall_back(send(own, "first").conversation, sender, "on_quota", "on_window", "on_refusal")
    work_off()
    company.fault(SEND, "errcode", errcode=60020)
    message = send(own, "hello")
    work_off()
    assert (message.deliveries.get().state, seen(company)) == (State.PENDING, [])


@pytest.mark.parametrize("fault", ["timeout_after", "reset_after", "html_after"])
def test_what_may_have_arrived_keeps_its_sender(
    company: SimulatorClient, sender: ChannelAccount, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = app(company.url)
    fall_back(send(own, "first").conversation, sender)
    work_off()
    company.fault(SEND, fault)
    message = send(own, "hello")
    work_off()
    delivery = message.deliveries.get()
    assert outcomes(delivery) == ["unknown"]
    ChannelAccount.objects.filter(pk=own.pk).update(state=Health.STOPPED)
    assert fallbacks.take_over_stopped() == 0
    assert not fallbacks.send_instead(row(delivery), fallbacks.Class.DOWN)
    assert seen(company) == []


def test_what_waits_for_a_stopped_account_changes_its_sender_with_all_its_parts(
    company: SimulatorClient, sender: ChannelAccount
) -> None:
    own = app(company.url)
    other = send(own, "to somebody without a fallback", "lisi")
    message = send(own, "部分 " * 1500)
    fall_back(message.conversation, sender, "on_down")
    assert message.deliveries.count() > 1
    ChannelAccount.objects.filter(pk=own.pk).update(state=Health.STOPPED)
    assert fallbacks.take_over_stopped() == 1
    assert fallbacks.take_over_stopped() == 0
    work_off()
    assert set(message.deliveries.values_list("state", "reason")) == {(State.SKIPPED, Reason.OTHER_SENDER)}
    assert "".join(text for _via, text in seen(company)).count("部分") == 1500
    assert other.deliveries.get().state == State.PENDING


def test_the_next_one_sends_where_the_first_cannot(company: SimulatorClient, sender: ChannelAccount) -> None:
    """The first is disabled, the second fails itself, the third sends."""
    own = app(company.url)
    company.robot(GROUP, key="second-key", name="通知二")
    off = robot(company.url, {"enabled": False}, robot_key="off-key")
    gone = robot(company.url, robot_key="no-such-key")
    last = robot(company.url, robot_key="second-key")
    talk = send(own, "first").conversation
    work_off()
    for each in (off, gone, last):
        fall_back(talk, each)
    company.fault(SEND, "errcode", errcode=60020)
    message = send(own, "hello")
    work_off()
    assert [stand_in.account for stand_in in message.stand_ins.order_by("pk")] == [gone, last]
    assert [text for _via, text in seen(company)] == ["hello"]


def test_where_nobody_can_send_the_first_failure_stands(company: SimulatorClient, sender: ChannelAccount) -> None:
    own = app(company.url)
    fall_back(send(own, "first").conversation, sender)
    work_off()
    ChannelAccount.objects.filter(pk=sender.pk).update(state=Health.STOPPED)
    company.fault(SEND, "errcode", errcode=60020)
    message = send(own, "hello")
    work_off()
    delivery = message.deliveries.get()
    assert (delivery.state, delivery.code, Message.objects.filter(instead_of=message).exists()) == (
        State.PENDING,
        "60020",
        False,
    )


def test_files_go_along(company: SimulatorClient, sender: ChannelAccount) -> None:
    own = app(company.url)
    fall_back(send(own, "first").conversation, sender)
    work_off()
    company.fault(SEND, "errcode", errcode=60020)
    file = ContentFile(b"a text file", name="a.txt")
    file.content_type = "text/plain"  # type: ignore[attr-defined]
    send(own, "see this", files=[file])
    work_off()
    assert [entry["kind"] for entry in company.transcript(GROUP)] == ["text", "file"]


def test_what_another_account_sent_is_replayed_only_by_who_says_that_it_may_arrive_twice(
    company: SimulatorClient, sender: ChannelAccount
) -> None:
    own = app(company.url)
    fall_back(send(own, "first").conversation, sender)
    work_off()
    company.fault(SEND, "errcode", errcode=60020)
    delivery = send(own, "hello").deliveries.get()
    work_off()
    assert replay.find_possible_repeats([row(delivery)]) == {delivery.pk}
    assert "twice" in replay.replay([delivery.pk]).refused[0][1]
    dead = {"state": State.DEAD, "reason": Reason.PERMANENT, "finished_at": timezone.now()}
    Delivery.objects.filter(message__instead_of=delivery.message).update(**dead)
    assert replay.replay([delivery.pk]).count == 1


def test_a_file_that_is_gone_stops_neither_the_clock_nor_others(
    company: SimulatorClient, sender: ChannelAccount
) -> None:
    own = app(company.url)
    file = ContentFile(b"a text file", name="a.txt")
    file.content_type = "text/plain"  # type: ignore[attr-defined]
    lost, other = send(own, "with a file", files=[file]), send(own, "without")
    fall_back(lost.conversation, sender, "on_down")
    default_storage.delete(lost.attachments.get().file.name)
    ChannelAccount.objects.filter(pk=own.pk).update(state=Health.STOPPED)
    assert fallbacks.take_over_stopped() == 1
    assert (row(lost.deliveries.get(part=0)).state, other.stand_ins.count()) == (State.PENDING, 1)


def test_what_nobody_can_send_keeps_nothing_else_waiting(
    company: SimulatorClient, sender: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robot cannot carry a card of the app, and a stopped sender is not asked at all."""
    monkeypatch.setattr(fallbacks, "BATCH", 2)
    own, down = app(company.url), robot(company.url, {"state": Health.STOPPED}, robot_key="down-key")
    fall_back(send(own, "nobody", "lisi").conversation, down)
    cards = [send(own, peer_id="wangwu", content=CARD) for _ in range(2)]
    fall_back(cards[0].conversation, sender)
    message = send(own, "hello")
    fall_back(message.conversation, sender)
    ChannelAccount.objects.filter(pk=own.pk).update(state=Health.STOPPED)
    assert [fallbacks.take_over_stopped() for _ in range(2)] == [0, 1]
    assert message.stand_ins.count() == 1


def test_what_could_never_send_is_refused(sender: ChannelAccount) -> None:
    own = app()
    talk = send(own, "first").conversation
    for columns, field in (
        ({"account": own, "peer_kind": "direct", "peer_id": "ZhangSan"}, "account"),
        ({"account": own, "peer_kind": "direct", "peer_id": " "}, "peer_id"),
    ):
        with pytest.raises(ValidationError) as refused:
            FallbackSender(conversation=talk, position=0, **columns).full_clean()
        assert field in refused.value.message_dict
    fall_back(talk, sender)
    with pytest.raises(ValidationError, match="already"):
        fall_back(talk, sender)
