"""The whole pipe on loopback: the simulated platform calls the real web application, the worker's functions and a connector answer."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.media import storage
from bridge.models import Attachment, Delivery, Message, Reason, Route, State
from bridge.pipeline.inbound import pulling, router
from bridge.pipeline.outbound import outbox, sender
from channels_wechat.contract.messages import Content
from openclaw.stub.answers import make_picture as png
from tests.support.callbacks import web_server
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    AGENT,
    BOT,
    CUSTOMER,
    GROUP,
    KF,
    app,
    bot,
    claim,
    eventually,
    gateway,
    in_thread,
    kf,
    parts,
    route,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db(transaction=True)
CARD = {
    "card_type": "button_interaction",
    "main_title": {"title": "确认发布?"},
    "task_id": "deploy-1",
    "button_list": [{"text": "是", "style": 1, "key": "yes"}],
}


@contextmanager
def worker() -> Iterator[None]:
    """What the worker's tasks do, in one thread, until the block ends."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            for row in pulling.claim_due(5):
                pulling.pull_account(row)
            for item in storage.claim_files(5):
                storage.fetch_file(item)
            router.route_waiting()
            for delivery in claim(holder="worker", limit=5):
                sender.process_delivery(delivery)
            stopping.wait(0.03)

    thread = threading.Thread(target=in_thread(work), name="worker")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)


@pytest.fixture
def home(stub: RunningStub) -> Any:
    return gateway(stub.base_url)


@pytest.fixture
def group(company: SimulatorClient, home: Any) -> Iterator[ChannelAccount]:
    """The bot, mapped in its group, with everything running."""
    account = bot(company.url, corp_id="")
    route(account, home, agent_id="support")
    yield from _running(company, account, "bots", aibotid=BOT)


@pytest.fixture
def direct(company: SimulatorClient, home: Any) -> Iterator[ChannelAccount]:
    """The app, mapped to everyone who writes to it, with everything running."""
    account = app(company.url)
    route(account, home)
    yield from _running(company, account, "apps", agentid=AGENT)


@pytest.fixture
def service(company: SimulatorClient, home: Any) -> Iterator[ChannelAccount]:
    """Customer service, mapped to everyone who writes to it, whose notices come to the app's own account."""
    company.kf_account(KF, AGENT, name="售后", servicers=["wangwu"])
    company.kf_customer(CUSTOMER, "小红")
    route(kf(company.url), home)
    yield from _running(company, app(company.url), "apps", agentid=AGENT)


def _running(company: SimulatorClient, account: ChannelAccount, kind: str, **which: Any) -> Iterator[ChannelAccount]:
    with web_server() as url, worker(), RunningConnector():
        company.post(kind, callback_url=f"{url}/callbacks/{account.key}", **which)
        yield account
        settled(company)


def settled(company: SimulatorClient) -> None:
    """Nothing is under way, and the platform has nothing to complain of."""
    eventually(lambda: not Delivery.objects.filter(state__in=(State.PENDING, State.SENDING)).exists())
    assert company.record()["violations"] == []


def ask(company: SimulatorClient, text: str, **fields: Any) -> dict[str, Any]:
    return company.say(text, bot=BOT, from_="zhangsan", chat=GROUP, **fields)


def write(company: SimulatorClient, text: str = "", **fields: Any) -> dict[str, Any]:
    return company.say(text, app=AGENT, from_="lisi", **fields)


def shown(company: SimulatorClient, count: int = 1) -> list[dict[str, Any]]:
    """What the app has said to 李四."""
    chat = f"app:{AGENT}:lisi"

    def entries() -> list[dict[str, Any]]:
        found = [entry for entry in company.transcript(chat) if entry["via"] != "member"]
        return found if len(found) >= count else []

    return eventually(entries)


# --- a group --------------------------------------------------------------------------------------------------------------------


def test_a_group_message_is_answered_by_stream(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    said = ask(company, "帮我看看 !slow=1 !tokens=12", copies=3)
    answer = company.wait_answer(said)
    assert answer["text"] == " ".join(f"w{number}" for number in range(12))
    assert answer["data"]["updates"] > 1  # it grew before it was finished
    assert Message.objects.filter(direction="in").count() == 1
    (run,) = stub.record
    assert ("zhangsan: 帮我看看 !slow=1 !tokens=12\n" in run["message"], run["count"]) == (True, 1)
    settled = Delivery.objects.filter(target="channel", carrier="http_reply", state="delivered")
    assert eventually(settled.first)  # a moment after the frame was sent


def frames(company: SimulatorClient, said: dict[str, Any]) -> list[str]:
    """Every text that the bubble of an answer showed, in order. A text stands there for a third of a second at least."""
    seen = [""]

    def finished() -> bool:
        for entry in company.answers(said):
            if entry["text"] != seen[-1]:
                seen.append(entry["text"])
            return not entry["streaming"]
        return False

    eventually(finished, 30)
    return seen


def test_a_growing_answer_shows_nothing_that_its_readers_may_not_see(
    company: SimulatorClient, group: ChannelAccount
) -> None:
    """What the agent says to itself, while it is still open too, a mention of everybody, and addresses behind words."""
    marks = "<@all> 到 [银行](https://evil.example/x) 和 <a href='https://evil.example/y'>店</a> 了"
    words = f"开头 {marks} <think> canary one two </think> 末尾 完"
    said = ask(company, f"!slow=3 !say={words}")
    seen = frames(company, said)
    assert not [text for text in seen if any(each in text for each in ("canary", "<think> ", "@all", "](", "<a"))]
    assert [text for text in seen if "店" in text and "末尾" not in text]  # something was shown while it thought
    assert seen[-1] == "开头 all 到 银行 (https://evil.example/x) 和 店 (https://evil.example/y) 了  末尾 完"


def test_a_late_answer_comes_by_the_address(company: SimulatorClient, group: ChannelAccount) -> None:
    """The platform gave the stream up; the answer is ready later, and no poll fetches it."""
    company.settings(stream_seconds=0.3)
    said = ask(company, "!slow=1 !say=late but here")
    delivery = eventually(lambda: Delivery.objects.filter(target="channel").first())
    assert delivery.carrier == "http_reply"
    Delivery.objects.filter(pk=delivery.pk).update(due_at=delivery.created_at)  # twenty seconds later
    eventually(lambda: Delivery.objects.get(pk=delivery.pk).state == "delivered")
    assert Delivery.objects.get(pk=delivery.pk).carrier == "worker"
    texts = [entry["text"] for entry in company.transcript(said["chat"]) if entry["via"] != "member"]
    assert texts[-1] == "late but here"


def test_too_long_for_every_way(company: SimulatorClient, group: ChannelAccount) -> None:
    said = ask(company, "!tokens=12000")
    message = eventually(lambda: Message.objects.filter(direction="out").first())
    eventually(lambda: not message.deliveries.filter(state__in=("pending", "sending")).exists())
    found = parts(message)
    assert found == [("delivered", ""), ("delivered", "")]
    last = message.deliveries.get(part=1).payload["body"]["markdown"]["content"]
    assert last.endswith("（回答过长，其余部分无法在此显示。）")
    assert message.text.endswith("w11999")  # all of it, for staff
    answer = company.wait_answer(said)
    assert len(answer["text"].encode()) <= 20_480


def test_a_card_is_pressed_and_the_press_is_a_turn(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    """Staff are faster than the agent: their card ends the stream, the agent's words follow by the address."""
    said = ask(company, "!slow=1.5 !say=done")
    eventually(lambda: stub.record)
    outbox.send(group, "group", GROUP, Content(kind="template_card", data=CARD), source=Message.Source.STAFF)
    card = company.wait_answer(said)
    assert card["data"]["card"]["task_id"] == "deploy-1"
    company.click(card["seq"], "lisi", "yes")
    eventually(lambda: len(stub.record) == 2)
    assert stub.record[1]["message"].splitlines()[0].endswith("⟧ lisi: Card deploy-1: yes")
    eventually(lambda: len([entry for entry in company.transcript(GROUP) if entry["via"] != "member"]) == 3)


def test_feedback_is_kept_with_the_answer(company: SimulatorClient, group: ChannelAccount) -> None:
    said = ask(company, "!say=forty-two")
    answer = company.wait_answer(said)
    fields = {"id": answer["data"]["feedback_id"], "type": 2, "content": "wrong", "inaccurate_reason_list": [2]}
    company.event("feedback_event", bot=BOT, from_="lisi", chat=GROUP, fields=fields)
    event = eventually(lambda: Message.objects.filter(kind="event", routed_at__isnull=False).first())
    assert event.text == "feedback: inaccurate (incomplete): wrong"
    assert event.reply_to == Message.objects.get(text="forty-two")
    assert event.deliveries.get().reason == Reason.EVENT


def test_an_unmapped_group_is_told_so_and_answered_once_mapped(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    from bridge.operations.replay import replay

    mapped = Route.objects.get()
    Route.objects.filter(pk=mapped.pk).update(peer_kind="direct")
    said = ask(company, "anybody?")
    assert company.wait_answer(said)["text"] == "本会话尚未接入智能助手。"
    Route.objects.filter(pk=mapped.pk).update(peer_kind="")
    assert replay([Delivery.objects.get().pk]).count == 1
    delivery = eventually(lambda: Delivery.objects.filter(target="channel").first())
    Delivery.objects.filter(pk=delivery.pk).update(due_at=delivery.created_at)
    eventually(lambda: company.transcript(said["chat"])[-1]["text"] == "收到，zhangsan：anybody?")


def test_pictures_both_ways(company: SimulatorClient, stub: RunningStub, group: ChannelAccount) -> None:
    items = [
        {"kind": "text", "text": "what is this? !image"},
        {"kind": "image", "data": _base64(png(3)), "name": "a.png"},
    ]
    said = company.say("", bot=BOT, from_="zhangsan", chat=GROUP, kind="mixed", items=items)
    answer = company.wait_answer(said)
    assert answer["text"] == "给你一张图。"
    assert len(answer["data"]["images"]) == 1
    heard = Attachment.objects.get(message__direction="in")
    with heard.file.open("rb") as file:
        assert file.read() == png(3)
    assert heard.state == "ready"


# --- one to one -----------------------------------------------------------------------------------------------------------------


def test_one_to_one(company: SimulatorClient, stub: RunningStub, direct: ChannelAccount) -> None:
    write(company, "你好", copies=3)
    assert [entry["text"] for entry in shown(company)] == ["收到：你好"]
    assert [run["count"] for run in stub.record] == [1]


def test_a_long_answer_comes_in_parts_and_in_order(company: SimulatorClient, direct: ChannelAccount) -> None:
    write(company, "!tokens=1200")
    message = eventually(lambda: Message.objects.filter(direction="out").first())
    entries = shown(company, message.deliveries.count())
    assert len(entries) > 2
    assert " ".join(entry["text"].strip() for entry in entries).split() == [f"w{number}" for number in range(1200)]
    assert all(len(entry["text"].encode()) <= 2048 for entry in entries)


def test_files_both_ways(company: SimulatorClient, stub: RunningStub, direct: ChannelAccount) -> None:
    write(company, kind="image", data=png(3), name="a.png")
    (answer,) = shown(company)
    assert "看到 1 张图" in answer["text"]
    write(company, "!image")
    assert [entry["kind"] for entry in shown(company, 3)][1:] == ["text", "image"]


def test_many_messages_at_once_are_answered_in_order(
    company: SimulatorClient, stub: RunningStub, direct: ChannelAccount
) -> None:
    company.say_many([{"app": AGENT, "from": "lisi", "text": f"!say={number}"} for number in range(10)])
    assert [entry["text"] for entry in shown(company, 10)] == [str(number) for number in range(10)]
    assert len(stub.record) == 10


def test_a_command(company: SimulatorClient, direct: ChannelAccount) -> None:
    write(company, "/new")
    assert [entry["text"] for entry in shown(company)] == ["已开始新的会话。"]


def ask_as(company: SimulatorClient, who: str, text: str) -> dict[str, Any]:
    return company.say(text, bot=BOT, from_=who, chat=GROUP)


def test_new_in_a_group_begins_one_member_s_memory_anew(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    Route.objects.update(scope=Route.Scope.SENDER)
    for who, text in (
        ("zhangsan", "!say=1"),
        ("lisi", "!say=2"),
        ("zhangsan", "/new"),
        ("zhangsan", "!say=3"),
        ("lisi", "!say=4"),
    ):
        answer = company.wait_answer(ask_as(company, who, text))
        assert answer["text"] == (group.sentence("new_session") if text == "/new" else text[-1:])
    mine, theirs, renewed, same = (run["session_key"] for run in stub.record)
    assert theirs == same
    assert len({mine, theirs, renewed}) == 3


def test_new_does_not_empty_a_memory_that_all_share(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    Route.objects.update(scope=Route.Scope.SHARED)
    texts = [company.wait_answer(ask_as(company, "zhangsan", text))["text"] for text in ("!say=1", "/new", "!say=2")]
    assert texts == ["1", group.sentence("new_session_shared"), "2"]
    Route.objects.update(commands_for_all=True)
    texts = [company.wait_answer(ask_as(company, "lisi", text))["text"] for text in ("/new", "!say=3")]
    assert texts == [group.sentence("new_session"), "3"]
    first, second, third = (run["session_key"] for run in stub.record)
    assert first == second != third


def test_stop_of_another_member_breaks_nothing_off(
    company: SimulatorClient, stub: RunningStub, group: ChannelAccount
) -> None:
    asked = ask_as(company, "lisi", "!slow=3 !tokens=4")
    eventually(lambda: stub.record)
    refused = company.wait_answer(ask_as(company, "zhangsan", "/stop"))
    assert refused["text"] == group.sentence("stop_not_yours")
    assert company.wait_answer(asked)["text"] == "w0 w1 w2 w3"


# --- customer service -----------------------------------------------------------------------------------------------------------


def said_to_customer(company: SimulatorClient, count: int = 1) -> list[dict[str, Any]]:
    def entries() -> list[dict[str, Any]]:
        found = [entry for entry in company.transcript(f"kf:{KF}:{CUSTOMER}") if entry["via"].startswith("kf/")]
        return found if len(found) >= count else []

    return eventually(entries)


def test_a_customer_of_ordinary_wechat_is_answered(
    company: SimulatorClient, stub: RunningStub, service: ChannelAccount
) -> None:
    """Each notice comes to the app's address, the messages are fetched for the account of customer service."""
    for text in ("你好", "还在吗"):
        company.say(text, kf=KF, from_=CUSTOMER)
    assert [entry["text"] for entry in said_to_customer(company, 2)] == ["收到：你好", "收到：还在吗"]
    assert [run["count"] for run in stub.record] == [1, 1]
    assert company.kf_session(KF, CUSTOMER)["left"] == 3


def test_the_address_is_verified(company: SimulatorClient, direct: ChannelAccount) -> None:
    assert company.verify(app=AGENT)["ok"] is True


def test_no_failure_text_of_the_gateway_reaches_anybody(
    company: SimulatorClient, stub: RunningStub, direct: ChannelAccount
) -> None:
    write(company, "!fail=401")
    dead = eventually(lambda: Delivery.objects.filter(state="dead").first())
    assert dead.target == "agent"
    said = Message.objects.filter(direction="out").values_list("source", "text")
    assert list(said) == [("bridge", direct.sentence("failed"))], "a sentence of ours, and nothing of the gateway's"


def _base64(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode()
