"""Real threads on PostgreSQL: two colleagues at once, and messages that come while a conversation is handed back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from bridge.models import Attempt, Conversation, ConversationEntry, Delivery, Message
from bridge.operations import handing_back, replay
from bridge.operations.handing_back import Ask
from bridge.people import peers
from bridge.pipeline.agent import takeover
from bridge.pipeline.agent.turn import store_answer
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Success
from bridge.pipeline.inbound import router
from tests.support.factories import app, at_once, claimed, hear, in_thread, route, turn, wait_for_a_waiter

pytestmark = pytest.mark.django_db(transaction=True)
COLLEAGUES, MESSAGES, ROUNDS = 6, 20, 16


def test_of_colleagues_who_take_over_at_once_one_gets_it() -> None:
    route(account := app())
    turn(account, "hello")
    talk = Conversation.objects.get()
    people = [User.objects.create_user(f"colleague{number}", is_staff=True) for number in range(COLLEAGUES)]
    refused: list[str] = []

    def take(user: User) -> None:
        try:
            takeover.take_over(Conversation.objects.get(pk=talk.pk), user)
        except takeover.TakenAlready as taken:
            refused.append(taken.name)

    at_once(*[lambda user=user: take(user) for user in people])
    talk.refresh_from_db()
    assert talk.assignee in people
    assert refused == [str(talk.assignee)] * (COLLEAGUES - 1)
    assert ConversationEntry.objects.filter(kind="taken").count() == 1


def test_a_message_at_the_moment_of_the_hand_back_is_asked_once_and_behind_the_older_ones() -> None:
    """Whether the router was before the hand back or behind it: the agent is asked all of them, each once, in their order."""
    route(account := app())
    colleague = User.objects.create_user("ann", is_staff=True)
    turn(account, "0")
    talk = Conversation.objects.get()
    takeover.take_over(talk, colleague)
    for number in range(1, 4):
        turn(account, str(number))

    def write() -> None:
        for number in range(4, MESSAGES):
            hear(account, str(number))
            router.route_waiting()

    at_once(write, lambda: handing_back.hand_back(talk, colleague, Ask.ALL))
    while router.route_waiting():
        pass
    asked = Delivery.objects.filter(target="agent").order_by("seq")
    assert [(row.message and row.message.text, row.state) for row in asked] == [
        (str(number), "pending") for number in range(MESSAGES)
    ]
    talk.refresh_from_db()
    assert (talk.mode, talk.waiting_since, talk.waiting_count) == ("bot", None, 0)


def test_an_answer_at_the_moment_of_a_takeover_is_sent_before_it_or_not_at_all() -> None:
    """The agent's own words may hand over too, under the same locks: nobody waits for the other for ever."""
    route(account := app(), allow_handover=True)
    colleague = User.objects.create_user("ann", is_staff=True)
    for number in range(ROUNDS):
        asked = turn(account, f"question {number}", sender=f"person{number}")
        talk = Conversation.objects.get(messages=asked.message_id)
        running = claimed(asked)
        attempt = settle.open_attempt(running, {"ask": str(asked.pk)})
        call = "wants a person" if number % 2 else None

        def answer(running: Delivery = running, attempt: Attempt = attempt, call: str | None = call) -> None:
            success = Success(running, attempt, then=lambda: store_answer(running, "late", [], call))
            settle.mark_all_delivered([success])

        at_once(answer, lambda talk=talk: takeover.take_over(talk, colleague))
        asked.refresh_from_db()
        talk.refresh_from_db()
        answered = Message.objects.filter(conversation=talk, direction="out").count()
        assert (talk.mode, talk.assignee) == ("human", colleague)
        # What the agent handed over waits for staff, though its sentence was sent.
        assert (asked.state, asked.reason, answered, talk.waiting_count) in (
            ("delivered", "", 1, 1 if call else 0),
            ("skipped", "human", 0, 1),
        )


def test_what_is_dismissed_at_the_moment_of_a_batch_waits_for_its_locks() -> None:
    """The router writes to the conversations of a batch in any order, because it has locked their peers: so does who dismisses."""
    account = app()
    asked = [turn(account, "hello?", sender=sender) for sender in ("lisi", "zhangsan")]
    first, second = Conversation.objects.order_by("pk")
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            peers.lock_peers(*[(account.pk, talk.peer_kind, talk.peer_id) for talk in (first, second)])
            Conversation.objects.filter(pk=second.pk).update(last_inbound_at=timezone.now())
            dismissed = pool.submit(in_thread(lambda: replay.dismiss([each.pk for each in asked])))
            wait_for_a_waiter()
            Conversation.objects.filter(pk=first.pk).update(last_inbound_at=timezone.now())
        assert dismissed.result(60) == 2
    assert not Conversation.objects.exclude(waiting_since=None).exists()


def test_a_question_that_two_dismiss_at_once_is_counted_once() -> None:
    account = app()
    asked = [turn(account, str(number)) for number in range(3)]
    at_once(*[lambda: replay.dismiss([asked[0].pk])] * COLLEAGUES)
    assert Conversation.objects.get().waiting_count == 2


def test_handed_back_by_hand_and_by_time_at_once_the_agent_is_asked_once() -> None:
    route(account := app())
    colleague = User.objects.create_user("ann", is_staff=True)
    asked = turn(account, "hello?")
    account.staff_minutes = 1
    account.save(update_fields=["staff_minutes"])
    talk = Conversation.objects.get()
    takeover.take_over(talk, colleague)
    Conversation.objects.update(staff_active_at="2020-01-01T00:00:00Z")
    by_hand = lambda: handing_back.hand_back(Conversation.objects.get(), colleague, Ask.LAST)  # noqa: E731
    at_once(by_hand, handing_back.hand_back_idle, by_hand)
    asked.refresh_from_db()
    assert (asked.state, asked.replays) == ("pending", 1)
    assert ConversationEntry.objects.filter(kind="handed_back").count() == 1
