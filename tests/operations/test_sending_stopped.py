"""The switch by which staff stop all sending of an account: nothing leaves, nothing is lost, and nothing overtakes."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts import channels
from accounts.models import ChannelAccount
from bridge.models import Attempt, Delivery, FallbackSender, Incident, Message
from bridge.models import CustomerMessage as CustomerMessageRow
from bridge.operations import dashboard, incidents, sending
from bridge.operations.waiting import explain_waits
from bridge.people import customer_messages
from bridge.pipeline.agent import typing_indicator
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import LostLease, message_of
from bridge.pipeline.outbound import fallbacks
from bridge.pipeline.outbound import sender as sending_thread
from bridge.pipeline.replies.streams import partial_key
from channels_wechat.contract.customer_messages import CustomerMessage
from tests.outbound.platform import calls
from tests.support import factories
from tests.support.away import database_away
from tests.support.callbacks import call, from_bot, opened, poll
from tests.support.factories import (
    GROUP,
    answer,
    app,
    bot,
    claimed,
    in_thread,
    outcomes,
    route,
    row,
    state,
    to_send,
    turn,
    work_off,
)

if TYPE_CHECKING:
    import redis

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db(transaction=True)
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=secret"


def texts(company: SimulatorClient) -> list[str]:
    return [body["text"]["content"] for body in calls(company)]


def forget_cached() -> None:
    """Processes know an account as it was up to two seconds ago."""
    channels._recent.clear()


# --- deliveries -------------------------------------------------------------------------------------------------------------------


def test_what_is_stopped_waits_and_goes_in_its_order(company: SimulatorClient) -> None:
    account = app(company.url)
    assert sending.stop_sending(account)
    assert not sending.stop_sending(account)
    deliveries = [to_send(account, text) for text in ("one", "two", "three")]
    assert work_off() == 0
    assert texts(company) == []
    assert sending.count_waiting(account) == 3
    assert "stopped all sending" in explain_waits(deliveries, may_read=True)[deliveries[0].pk].why
    assert sending.allow_sending(account)
    assert not sending.allow_sending(account)
    assert work_off() == 3
    assert texts(company) == ["one", "two", "three"]
    assert account.sending_stopped_at is None


def test_another_account_goes_on(company: SimulatorClient) -> None:
    stopped, other = app(company.url), app(company.url, columns={"external_id": "other"})
    sending.stop_sending(stopped)
    delivery = to_send(other)
    assert work_off() == 1
    assert state(delivery) == "delivered"


def test_what_was_claimed_just_before_is_not_sent_and_costs_no_try(company: SimulatorClient) -> None:
    account = app(company.url)
    first, second = to_send(account, "one"), to_send(account, "two")
    mine = claimed(first)
    sending.stop_sending(account)
    assert sending_thread.process_delivery(mine)
    after = row(first)
    assert (after.state, after.tries, outcomes(first), after.code) == ("pending", 0, [], "")
    assert texts(company) == []
    sending.allow_sending(account)
    work_off()
    assert texts(company) == ["one", "two"]
    assert state(second) == "delivered"


def test_an_attempt_that_is_open_is_settled_as_the_platform_answers() -> None:
    account = app()
    delivery = to_send(account)
    mine = claimed(delivery)
    attempt = settle.open_attempt(mine, {})
    sending.stop_sending(account)
    assert not settle.put_back_unsent(mine)
    settle.mark_delivered(mine, attempt, remote_id="m1")
    assert state(delivery) == "delivered"


def test_no_attempt_is_opened_once_the_switch_has_returned(company: SimulatorClient) -> None:
    """Four threads claim and send while staff press the button: what began later than its end is not sent."""
    account = app(company.url)
    for number in range(30):
        company.member(f"user{number}", f"User {number}")
    for number in range(120):
        to_send(account, str(number), f"user{number % 30}")
    stop, threads = threading.Event(), []

    def work(holder: str) -> None:
        while not stop.is_set():
            for delivery in claims.claim("worker", holder, 5):
                sending_thread.process_delivery(delivery)

    for number in range(4):
        threads.append(threading.Thread(target=in_thread(lambda name=f"w{number}": work(name))))
        threads[-1].start()
    try:
        factories.eventually(lambda: Attempt.objects.count() > 10)
        sending.stop_sending(account)
        returned = timezone.now()
        open_states = Delivery.objects.filter(state="sending")
        factories.eventually(lambda: not open_states.exists())
        time.sleep(0.3)  # time in which a thread could claim more
        assert not Attempt.objects.filter(started_at__gt=returned).exists()
        sent = Attempt.objects.count()
        assert 10 < sent < 120
        sending.allow_sending(account)
        factories.eventually(lambda: not Delivery.objects.exclude(state="delivered").exists(), seconds=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert Attempt.objects.count() == 120
    by_person: dict[str, list[int]] = {}
    for body in calls(company):
        by_person.setdefault(body["touser"], []).append(int(body["text"]["content"]))
    assert all(numbers == sorted(numbers) for numbers in by_person.values())
    assert sum(map(len, by_person.values())) == 120


def test_questions_are_asked_all_the_same() -> None:
    account = app()
    route(account)
    question = turn(account)
    sending.stop_sending(account)
    assert [mine.pk for mine in factories.claim("connector")] == [question.pk]
    assert settle.open_attempt(row(question), {})


def test_no_fallback_sender_is_used_that_may_not_send() -> None:
    account, other = app(), app(columns={"external_id": "other"})
    delivery = to_send(account)
    talk = message_of(delivery).conversation
    assert talk is not None
    FallbackSender.objects.create(
        conversation=talk, account=other, peer_kind="direct", peer_id="lisi", position=1, on_down=True
    )
    ChannelAccount.objects.filter(pk=account.pk).update(enabled=False)
    sending.stop_sending(other)
    assert fallbacks.take_over_stopped() == 0
    sending.allow_sending(other)
    assert fallbacks.take_over_stopped() == 1


# --- what is no delivery ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(valkey: redis.Redis) -> Delivery:
    """A question to an AI bot, whose answer is fetched by polls."""
    account = bot()
    route(account)
    return turn(account, group=GROUP, reply=REPLY)


def shown(question: Message) -> tuple[str, bool]:
    stream = opened(call(question.account, *poll(question.uuid.hex)).body)["stream"]
    return stream["content"], stream["finish"]


def test_a_stream_says_nothing_and_its_answer_waits(asked: Delivery, valkey: redis.Redis) -> None:
    question = message_of(asked)
    valkey.set(partial_key(question.uuid), "so far")
    assert shown(question) == ("so far", False)
    sending.stop_sending(question.account)
    silent = shown(question)
    assert silent == ("<think></think>", False)
    delivery = answer(question, "the answer").deliveries.get()
    assert shown(question) == silent
    assert (state(delivery), outcomes(delivery)) == ("pending", [])
    sending.allow_sending(question.account)
    assert shown(question) == ("the answer", True)
    assert state(delivery) == "delivered"


def test_a_stream_is_not_ended_with_a_sentence(asked: Delivery) -> None:
    question = message_of(asked)
    Delivery.objects.filter(pk=asked.pk).update(state="dead", reason="permanent", finished_at=timezone.now())
    sending.stop_sending(question.account)
    assert shown(question) == ("<think></think>", False)
    sending.allow_sending(question.account)
    assert shown(question)[1]


def test_nor_while_the_database_is_away(asked: Delivery, valkey: redis.Redis) -> None:
    question = message_of(asked)
    valkey.set(partial_key(question.uuid), "so far")
    sending.stop_sending(question.account)
    forget_cached()
    shown(question)  # the process knows the account as it is now
    with database_away():
        assert shown(question) == ("<think></think>", False)


def test_a_poll_that_claims_at_the_same_moment_opens_no_attempt(
    asked: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staff stop the sending between the claim and the attempt."""
    question = message_of(asked)
    delivery = answer(question, "the answer").deliveries.get()
    real = claims.claim

    def claim_then_stop(*args: Any, **more: Any) -> list[Delivery]:
        taken = real(*args, **more)
        in_a_thread = threading.Thread(target=in_thread(lambda: sending.stop_sending(question.account)))
        in_a_thread.start()
        in_a_thread.join(10)
        return taken

    monkeypatch.setattr(claims, "claim", claim_then_stop)
    assert claims.claim_and_open(delivery, "stream") is None
    assert (state(delivery), outcomes(delivery)) == ("pending", [])


def test_a_callback_is_stored_and_answered_without_words(valkey: redis.Redis) -> None:
    account = bot(columns={"sentences": {"welcome": "hello there"}})
    enters = from_bot(msgtype="event", event={"eventtype": "enter_chat"}, **{"from": {"userid": "zhangsan"}})
    asks = from_bot(msgtype="text", text={"content": "hi"}, **{"from": {"userid": "zhangsan"}})
    sending.stop_sending(account)
    forget_cached()
    for request in (enters, asks):
        reply = call(account, *request)
        assert (reply.status, reply.body) == (200, b"")
    assert Message.objects.filter(direction="in").count() == 2
    assert not Message.objects.filter(direction="out").exists()
    sending.allow_sending(account)
    forget_cached()
    later = from_bot(msgtype="event", event={"eventtype": "enter_chat"}, msgid="m9", **{"from": {"userid": "lisi"}})
    assert opened(call(account, *later).body)["text"]["content"] == "hello there"


def test_no_sign_of_typing(company: SimulatorClient) -> None:
    from channels_wechat.simulator import RunningSimulator

    with RunningSimulator() as simulator:
        wechat = simulator.client
        wechat.mini(factories.MINI, secret=factories.SECRET, token=factories.TOKEN, aes_key=factories.KEY)
        wechat.person(factories.MINI, "小明", factories.USER)
        wechat.say("hi", mini=factories.MINI, from_=factories.USER)
        account = factories.mini(wechat.url)
        route(account)
        question = message_of(turn(account, "x", factories.USER))
        sending.stop_sending(account)
        forget_cached()
        typing_indicator._show_once(question)
        assert wechat.calls("message/custom/typing") == []
        sending.allow_sending(account)
        forget_cached()
        typing_indicator._show_once(question)
        assert len(wechat.calls("message/custom/typing")) == 1


def test_no_member_is_asked_to_send_anything(company: SimulatorClient) -> None:
    account = app(company.url)
    sending.stop_sending(account)
    wanted = CustomerMessage("direct", "zhangsan", ("wmX",), "hello")
    with pytest.raises(customer_messages.CannotCreate, match="stopped all sending"):
        customer_messages.create(account, wanted, client="staff:1", key="k")
    assert not CustomerMessageRow.objects.exists()
    assert company.calls("externalcontact/add_msg_template") == []


# --- what staff are told ----------------------------------------------------------------------------------------------------------


def test_what_waits_for_staff_is_no_incident_and_is_counted() -> None:
    account = app()
    to_send(account)
    Delivery.objects.update(due_at=timezone.now() - timedelta(hours=1))
    incidents.update_incidents()
    assert Incident.objects.filter(cause="stuck", closed_at=None).exists()
    sending.stop_sending(account)
    incidents.update_incidents()
    assert not Incident.objects.filter(cause="stuck", closed_at=None).exists()
    to_send_by, _to_ask = dashboard.read_backlogs()
    assert {pk: backlog.total for pk, backlog in to_send_by.items()} == {account.pk: 1}


def test_a_lost_lease_is_still_one() -> None:
    delivery = to_send(app())
    mine = claimed(delivery)
    Delivery.objects.filter(pk=delivery.pk).update(holder="another")
    with pytest.raises(LostLease):
        settle.open_attempt(mine, {})
    assert not settle.put_back_unsent(mine)
