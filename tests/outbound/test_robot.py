"""A group robot in the pipeline: whoever may speak through it, how fast, and what stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile

from accounts.models import ChannelAccount, Health
from bridge.models import Conversation, Message
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Content
from tests.support.factories import GROUP, ROBOT_KEY, outcomes, robot, row, work_off

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(company: SimulatorClient) -> ChannelAccount:
    company.robot(GROUP, key=ROBOT_KEY, name="通知")
    return robot(company.url)


def say(account: ChannelAccount, text: str = "hallo", **fields: Any) -> Message:
    values: dict[str, Any] = {"source": Message.Source.STAFF, **fields}
    return outbox.send(account, "group", "group", Content(text), **values)


def seen(company: SimulatorClient) -> list[tuple[str, str]]:
    return [(entry["kind"], entry["text"]) for entry in company.transcript(GROUP)]


def png() -> ContentFile[bytes]:
    from openclaw.stub.answers import make_picture

    file = ContentFile(make_picture(1), name="chart.png")
    file.content_type = "image/png"  # type: ignore[attr-defined]
    return file


@pytest.mark.parametrize("source", [Message.Source.STAFF, Message.Source.API, Message.Source.AGENT])
def test_staff_scripts_and_agents_speak_in_its_group(
    company: SimulatorClient, account: ChannelAccount, source: Message.Source
) -> None:
    message = say(account, "hallo", source=source)
    work_off()
    assert seen(company) == [("text", "hallo")]
    assert [outcomes(each) for each in message.deliveries.all()] == [["ok"]]
    assert Conversation.objects.get().title == account.name


def test_a_picture_and_a_file_arrive(company: SimulatorClient, account: ChannelAccount) -> None:
    text = ContentFile(b"a text file", name="a.txt")
    text.content_type = "text/plain"  # type: ignore[attr-defined]
    message = say(account, "", files=[png(), text])
    work_off()
    assert [kind for kind, _text in seen(company)] == ["image", "file"]
    attempts = [attempt.request for delivery in message.deliveries.all() for attempt in delivery.attempts.all()]
    assert "base64" not in str(attempts)
    assert ROBOT_KEY not in str(attempts)


def test_it_writes_to_nobody_else(account: ChannelAccount) -> None:
    for peer in (("group", "wrOther"), ("direct", "zhangsan")):
        with pytest.raises(outbox.CannotSend, match="its own group only"):
            outbox.send(account, *peer, Content("x"), source=Message.Source.STAFF)
    assert not Message.objects.exists()


def test_the_twenty_first_message_of_a_minute_waits(company: SimulatorClient, account: ChannelAccount) -> None:
    messages = [say(account, f"{number}") for number in range(21)]
    work_off()
    assert len(seen(company)) == 20
    states = [message.deliveries.get().state for message in messages]
    assert states == ["delivered"] * 20 + ["pending"]
    assert len(company.calls("webhook/send")) == 20, "the platform is not asked for what it would refuse"


@pytest.mark.parametrize("code", [93000, 93004, 93008])
def test_a_robot_that_was_removed_stops_its_account_and_keeps_the_message(
    company: SimulatorClient, account: ChannelAccount, code: int
) -> None:
    company.fault("webhook/send", "errcode", errcode=code)
    message = say(account)
    work_off()
    account.refresh_from_db()
    assert (account.state, str(code) in account.state_reason) == (Health.STOPPED, True)
    assert row(message.deliveries.get()).state == "pending"
    account.revive()
    work_off()
    assert seen(company) == [("text", "hallo")]
