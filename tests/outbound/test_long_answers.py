"""An answer longer than its surface carries: cut with a sentence, or whole as a file; a voice message of more than a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.db import transaction

from bridge.models import Delivery, State
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Content
from tests.support.factories import FAN, answer, app, bot, due, hear, official, row, send, work_off
from tests.support.followers import Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.models import Message
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=CODE"
REST, AS_FILE = "（回答过长，其余部分无法在此显示。）", "（回答过长，全文见随后的文件。）"


@pytest.fixture
def town(valkey: Any) -> Iterator[Crowd]:
    with crowd() as people:
        yield people


def texts(message: Message) -> list[str]:
    bodies = [delivery.payload["body"] for delivery in message.deliveries.order_by("part")]
    return [body[body["msgtype"]].get("content", body["msgtype"]) for body in bodies]


def long(size: int) -> str:
    return "\n\n".join(f"{number}. " + "字" * 300 for number in range(size // 900))


def test_a_bot_says_that_an_answer_was_cut() -> None:
    message = answer(hear(bot(), "q", reply=REPLY, reply_seconds=3600, key="M1"), long(70_000))
    parts = list(message.deliveries.order_by("part"))
    assert [part.state for part in parts] == [State.PENDING] * len(parts)
    assert texts(message)[-1].endswith(REST)
    assert sum(len(text.encode()) for text in texts(message)) > 0.8 * len(parts) * 20_480


def test_an_app_sends_the_whole_of_a_long_answer_as_a_file(company: SimulatorClient) -> None:
    whole = long(300_000)
    message = answer(hear(app(company.url), "q", key="M1"), whole)
    parts = texts(message)
    assert len(parts) <= 21
    assert (parts[-2].endswith(AS_FILE), parts[-1]) == (True, "file")
    item = message.attachments.get()
    with item.file.open() as file:
        assert (item.name, file.read().decode()) == ("answer.txt", whole)
    work_off()
    assert set(message.deliveries.values_list("state", flat=True)) <= {State.DELIVERED, State.PENDING}


def test_the_whole_comes_behind_the_files_of_the_answer() -> None:
    question, file = hear(app(), "q"), ContentFile(b"a,b", name="sums.csv")
    with transaction.atomic():
        message = outbox.send_answer(question, long(300_000), source="agent", key="k", files=[file])
    assert list(message.attachments.order_by("position").values_list("position", "name")) == [
        (0, "sums.csv"),
        (1, "answer.txt"),
    ]


def test_an_official_account_cuts_at_two_windows() -> None:
    message = answer(hear(official(), "q", FAN, key="M1"), long(300_000))
    assert len(texts(message)) == 10
    assert texts(message)[-1].endswith(REST)


@pytest.mark.parametrize("fence", ["```python\n", "~~~\n"])
def test_a_cut_closes_the_fence(fence: str) -> None:
    message = answer(hear(bot(), "q", reply=REPLY, reply_seconds=3600, key="M1"), fence + "x = 1\n" * 20_000)
    last = texts(message)[-1].removesuffix(REST).rstrip()
    assert last.endswith(fence[:3])


def test_what_fits_and_what_staff_write_stays_whole() -> None:
    account = official()
    question = hear(account, "q", FAN, key="M1")
    assert REST not in "".join(texts(answer(question, long(15_000))))
    by_staff = send(account, long(50_000), FAN)
    assert REST not in "".join(texts(by_staff))


def voice(account: Any, who: str) -> Delivery:
    file = ContentFile(b"#!AMR\n" + b"x" * 100, name="long.amr")
    file.content_type = "audio/amr"  # type: ignore[attr-defined]
    return send(account, "", who, files=[file], content=Content()).deliveries.get()


@pytest.mark.parametrize("path", ["message/send", "media/upload"])
def test_a_long_voice_message_goes_as_a_file_where_files_go(company: SimulatorClient, path: str) -> None:
    delivery = voice(app(company.url), "zhangsan")
    company.fault(path, "errcode", errcode=45007, errmsg="playtime out of limit")
    work_off()
    due(delivery)
    work_off()
    after = row(delivery)
    assert (after.state, after.payload["body"]["msgtype"]) == (State.DELIVERED, "file")


def test_a_long_voice_message_is_told_where_no_files_go(town: Crowd) -> None:
    account = official(town.client.url, answers="messages")
    town.says(account)
    delivery = voice(account, FAN)
    town.client.fault("media/upload", "errcode", errcode=45007, errmsg="playtime out of limit")
    work_off()
    due(delivery)
    work_off()
    assert (row(delivery).state, town.shown()) == (State.DELIVERED, ["[语音超过 60 秒，无法发送]"])
