"""Files that go to the agent, and files that come from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.files.base import ContentFile

from bridge.models import Attachment, Delivery, Message, Route
from bridge.pipeline.inbound import router
from openclaw.stub.answers import make_picture as png
from tests.agent.turns import answers, finished
from tests.support.connecting import RunningConnector
from tests.support.factories import hear, picture, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


def with_file(account: ChannelAccount, kind: str, content: bytes, mime: str) -> Delivery:
    message = hear(account, "look", media=(picture(),))
    item = Attachment.objects.get(message=message)
    item.file.save("", ContentFile(content), save=False)
    Attachment.objects.filter(pk=item.pk).update(file=item.file.name, state="ready", kind=kind, mime=mime, name="a.bin")
    router.route_waiting()
    return message.deliveries.get()


@pytest.mark.parametrize(
    ("kind", "mime", "seen"), [("image", "image/png", "看到 1 张图"), ("file", "application/pdf", "收到文件 a.bin")]
)
def test_files_for_the_agent(
    stub: RunningStub, account: ChannelAccount, mapped: Route, kind: str, mime: str, seen: str
) -> None:
    asked = with_file(account, kind, png(1), mime)
    with RunningConnector():
        assert finished(asked).state == "delivered"
    assert seen in answers(asked)[0]


def test_a_file_that_could_not_be_fetched_is_named(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "look", media=(picture("x", "chart.png"),))
    Attachment.objects.update(state="failed")
    with RunningConnector():
        finished(asked)
    assert stub.record[0]["message"].endswith("[image chart.png: could not be fetched]")


@pytest.mark.parametrize("kind", ["", "=artifact", "=link"])
def test_files_from_the_agent(stub: RunningStub, account: ChannelAccount, mapped: Route, kind: str) -> None:
    asked = turn(account, f"!image{kind}")
    with RunningConnector():
        finished(asked)
    said = Message.objects.get(direction="out")
    item = said.attachments.get()
    assert (said.text, item.kind, item.mime, item.state) == ("给你一张图。", "image", "image/png", "ready")
    assert item.file.read().startswith(b"\x89PNG")
    item.file.close()
