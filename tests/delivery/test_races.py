"""Real threads on PostgreSQL: what must happen once happens once, whoever is first."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from accounts.models import Connection
from bridge.media import storage
from bridge.models import Carrier, Conversation, Delivery, Message, Reason
from bridge.operations.replay import dismiss, release, replay
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import LostLease
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies.streams import answer_poll
from channels_wechat.contract.messages import Content
from openclaw.models import Gateway
from tests.support import factories
from tests.support.factories import (
    GROUP,
    answer,
    app,
    at_once,
    bot,
    claim,
    claimed,
    hear,
    in_thread,
    outcomes,
    picture,
    route,
    row,
    said,
    shift,
    state,
    to_send,
    turn,
    wait_for_a_waiter,
)

THREADS = 8

pytestmark = pytest.mark.django_db(transaction=True)


def test_claimers_never_take_the_same_nor_two_of_a_lane() -> None:
    account = app()
    for number, person in itertools.product(range(4), range(10)):
        to_send(account, str(number), f"user{person}")
    sent: dict[str, list[str]] = {}
    lock, doubled = threading.Lock(), []

    def worker(name: str) -> None:
        while Delivery.objects.exclude(state="delivered").exists():
            for mine in claim(holder=name, limit=3):
                on_the_way = Delivery.objects.filter(lane=mine.lane, state="sending").count()
                with lock:
                    sent.setdefault(mine.lane, []).append(mine.payload["body"]["text"]["content"])
                    doubled.extend([mine.lane] if on_the_way != 1 else [])
                settle.mark_delivered(mine, settle.open_attempt(mine, {}))

    at_once(*[lambda name=f"worker{number}": worker(name) for number in range(THREADS)])
    assert doubled == []
    assert len(sent) == 10
    assert all(order == ["0", "1", "2", "3"] for order in sent.values())
    assert set(Delivery.objects.values_list("tries", flat=True)) == {1}


def test_a_message_received_many_times_is_one_row() -> None:
    account, one = app(), said(media=(picture(),))
    stored = at_once(*[lambda: factories.receive(account, one)] * THREADS)
    assert len([pk for pk in stored if pk]) == 1
    assert Message.objects.get().attachments.count() == 1


def test_routers_route_each_message_once_and_in_order() -> None:
    account = app()
    route(account)
    for number, person in itertools.product(range(5), range(4)):
        hear(account, str(number), f"user{person}")
    at_once(*[router.route_waiting] * 4)
    assert Message.objects.filter(routed_at=None).count() == 0
    assert Conversation.objects.count() == 4
    for talk in Conversation.objects.all():
        rows = Delivery.objects.filter(lane=f"in:{talk.pk}").order_by("seq").select_related("message")
        assert [row.message.text for row in rows] == ["0", "1", "2", "3", "4"]


def test_messages_that_come_while_others_are_routed_keep_their_order() -> None:
    account = app()
    route(account)
    done = threading.Event()

    def speak() -> None:
        for number in range(30):
            hear(account, str(number))
        done.set()

    def listen() -> None:
        while not done.is_set() or router.has_unrouted():
            router.route_waiting()

    at_once(speak, listen, listen)
    rows = Delivery.objects.order_by("seq").select_related("message")
    assert [row.message.text for row in rows] == [str(number) for number in range(30)]


@pytest.mark.parametrize("people", [["zhangsan"], ["zhangsan", "lisi", "wangwu"]])
def test_sent_many_times_with_one_key_is_one_message(people: list[str]) -> None:
    account = app()

    def send(person: str) -> Message:
        return outbox.send(account, "direct", person, Content(text="x"), source="api", client="script", key="k")

    jobs = [lambda person=person: send(person) for person, _time in itertools.product(people, range(4))]
    assert len({message.pk for message in at_once(*jobs)}) == 1
    assert Delivery.objects.count() == 1


def test_replayed_by_many_is_queued_once() -> None:
    delivery = to_send(app())
    shift(delivery, state="dead", reason=Reason.PERMANENT, finished_at=0)
    results = at_once(*[lambda: replay([delivery.pk])] * THREADS)
    assert sum(result.count for result in results) == 1
    assert (row(delivery).replays, row(delivery).run_number, state(delivery)) == (1, 1, "pending")


def test_a_late_proof_and_a_replay_never_send_it_twice() -> None:
    account = app()
    for _round in range(10):
        mine = claimed(to_send(account), "slow")
        attempt = settle.open_attempt(mine, {})
        shift(mine, lease_until=-1)
        claims.sweep()
        assert state(mine) == "uncertain"

        def prove(mine: Delivery = mine, attempt: object = attempt) -> bool:
            try:
                settle.mark_delivered(mine, attempt)  # type: ignore[arg-type]
            except LostLease:
                return False
            return True

        proved, result = at_once(prove, lambda pk=mine.pk: replay([pk]))
        assert (state(mine), bool(result.count)) == (("delivered", False) if proved else ("pending", True))  # type: ignore[union-attr]
        Delivery.objects.update(state="delivered", finished_at=mine.created_at, lease_until=None)


def test_sweepers_take_back_each_once() -> None:
    account = app()
    for number in range(20):
        mine = claimed(to_send(account, peer_id=f"user{number}"))
        settle.open_attempt(mine, {})
        shift(mine, lease_until=-1)
    assert sum(at_once(*[claims.sweep] * 4)) == 20
    assert set(Delivery.objects.values_list("state", flat=True)) == {"uncertain"}


def test_a_turn_that_ends_while_it_is_stopped_has_ended() -> None:
    account = app()
    route(account)
    talk = turn(account).message.conversation_id
    [mine] = claim(Carrier.CONNECTOR)
    attempt = settle.open_attempt(mine, {})
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        settle.mark_delivered(mine, attempt)
        stopping = pool.submit(in_thread(lambda: stop_turns(unfinished_turns(talk))))
        wait_for_a_waiter()
    assert stopping.result(20) == 0
    assert (state(mine), row(mine).stopped_at) == ("delivered", None)


def test_a_poll_and_the_worker_never_both_answer() -> None:
    account = bot()
    route(account)
    from accounts.channels import build_channel

    channel, query = build_channel(account), {"timestamp": "1", "nonce": "n"}
    for number in range(10):
        question = turn(account, group=f"{GROUP}{number}", reply="https://reply/?x").message
        delivery = answer(question, "forty-two").deliveries.get()
        shift(delivery, due_at=-1)

        def poll(question: Message = question) -> object:
            return answer_poll(account, channel, query, question.uuid.hex)  # type: ignore[arg-type]

        _one, _two, taken = at_once(poll, poll, lambda: claim(Carrier.WORKER))
        after = row(delivery)
        assert (after.state, after.carrier) == ("sending", "worker" if taken else "http_reply")
        assert outcomes(delivery) == ([] if taken else [""])


def test_files_are_fetched_once() -> None:
    account = app()
    for _message in range(10):
        hear(account, media=(picture(), picture("M2")))
    taken = at_once(*[lambda: storage.claim_files(7)] * 4)
    keys = [item.pk for items in taken for item in items]
    assert len(keys) == len(set(keys)) == 20


def test_connectors_lease_a_gateway_once() -> None:
    from bridge.connector import leases
    from tests.support.factories import gateway

    for _gateway in range(5):
        gateway()
    owned = at_once(*[lambda name=f"connector{number}": leases.acquire(name) for number in range(4)])
    taken = sorted(row.gateway_id for rows in owned for row in rows)
    assert taken == sorted(Gateway.objects.values_list("pk", flat=True))
    assert set(Connection.objects.values_list("fence", flat=True)) == {1}


def to_review() -> Delivery:
    delivery = to_send(app())
    Delivery.objects.filter(pk=delivery.pk).update(state="held", reason=Reason.REVIEW)
    return delivery


def test_a_release_that_comes_after_a_dismissal_sends_nothing() -> None:
    delivery = to_review()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert dismiss([delivery.pk]) == 1
            second = pool.submit(in_thread(lambda: release([delivery.pk])))
            wait_for_a_waiter()
        refused = second.result(30)
    assert (refused.count, [pk for pk, _why in refused.refused]) == (0, [delivery.pk])
    assert (state(delivery), row(delivery).reason) == ("skipped", Reason.REVIEW)


def test_a_dismissal_that_comes_after_a_release_changes_nothing() -> None:
    delivery = to_review()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert release([delivery.pk]).count == 1
            second = pool.submit(in_thread(lambda: dismiss([delivery.pk])))
            wait_for_a_waiter()
        assert second.result(30) == 0
    assert (state(delivery), row(delivery).dismissed_at) == ("pending", None)
