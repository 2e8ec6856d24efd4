"""Who answers a conversation: by name, by the person's word, by the agent; and its way back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ChannelAccount
from bridge.admin.conversations.inbox import select_waiting
from bridge.models import Conversation, ConversationEntry, Delivery, Message, State
from bridge.operations import handing_back, replay, unanswered
from bridge.operations.handing_back import Ask
from bridge.operations.problems import chats
from bridge.people import entries
from bridge.pipeline.agent import takeover
from bridge.pipeline.agent.turn import find_call_for_staff, store_answer
from bridge.pipeline.inbound.commands import asks_for_staff
from tests.support.factories import (
    app,
    claimed,
    conversation,
    delivery,
    endpoint,
    hear,
    message,
    route,
    row,
    send,
    state,
    turn,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
MANY, LONG = 250, 2000


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", first_name="Ann", is_staff=True)


def talk_of(delivery: Delivery) -> Conversation:
    return Conversation.objects.get(messages=delivery.message_id)


def told(conversation: Conversation) -> list[tuple[str, str, str]]:
    rows = ConversationEntry.objects.filter(conversation=conversation).order_by("id")
    return list(rows.values_list("kind", "by_name", "text"))


def test_a_colleague_takes_over_by_name_and_the_open_question_is_theirs(ann: User) -> None:
    route(account := app())
    waiting = turn(account, "where is my order?")
    takeover.take_over(talk_of(waiting), ann)
    talk = talk_of(waiting)
    assert (talk.mode, talk.assignee, talk.waiting_count) == ("human", ann, 1)
    assert (state(waiting), row(waiting).reason) == ("skipped", "human")
    asked = waiting.message
    assert asked is not None
    assert talk.waiting_since == asked.created_at
    assert told(talk) == [("taken", "Ann", "")]


def test_a_colleagues_conversation_is_not_taken_but_can_be_assigned(ann: User) -> None:
    route(account := app())
    talk, bob = talk_of(turn(account)), User.objects.create_user("bob", is_staff=True)
    takeover.take_over(talk, ann)
    with pytest.raises(takeover.TakenAlready) as refused:
        takeover.take_over(talk, bob)
    assert refused.value.name == "Ann"
    takeover.assign(talk, bob, bob)
    talk.refresh_from_db()
    assert talk.assignee == bob
    assert told(talk) == [("taken", "Ann", ""), ("assigned", "bob", "bob")]


def test_questions_wait_for_staff_until_staff_answer(ann: User) -> None:
    route(account := app())
    talk = talk_of(turn(account, "one"))
    takeover.take_over(talk, ann)
    for text in ("two", "three"):
        assert (turn(account, text).state, Delivery.objects.latest("id").reason) == ("skipped", "human")
    talk.refresh_from_db()
    assert talk.waiting_count == 3
    send(account, "here it is")
    talk.refresh_from_db()
    assert (talk.waiting_since, talk.waiting_count) == (None, 0)


def test_a_chat_without_a_mapping_waits_and_no_longer_when_an_agent_is_asked() -> None:
    account = app()
    talk = talk_of(turn(account, "anybody?"))
    assert (talk.mode, talk.waiting_count) == ("bot", 1)
    first = talk.waiting_since
    turn(account, "hello?")
    talk.refresh_from_db()
    assert (talk.waiting_count, talk.waiting_since) == (2, first)
    route(account)
    assert turn(account, "now?").state == "pending"
    talk.refresh_from_db()
    assert (talk.waiting_since, talk.waiting_count) == (None, 0)


def test_what_is_no_question_does_not_wait() -> None:
    account = app()
    talk = talk_of(turn(account, "entered", kind="event"))
    assert (talk.waiting_since, talk.waiting_count) == (None, 0)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("转人工", True),
        (" 转 人工。", True),
        ("@小助手\u2005转人工", True),
        ("AGENT please", True),
        ("ａｇｅｎｔ ｐｌｅａｓｅ！", True),
        ("不要转人工", False),
        ("怎么转人工？", False),
        ("", False),
        ("。", False),
    ],
)
def test_the_word_for_staff_is_the_whole_message(text: str, asks: bool) -> None:
    assert asks_for_staff(text, "转人工\n\nagent please") is asks
    assert not asks_for_staff(text, "")


def test_a_person_calls_for_staff_and_is_told_so() -> None:
    account = app()
    route(account, handover_words="转人工")
    endpoint(events=["conversation.handed_over"])
    called = turn(account, "转人工")
    talk = talk_of(called)
    assert (called.state, called.reason) == ("skipped", "human")
    assert (talk.mode, talk.assignee, talk.waiting_count) == ("human", None, 1)
    assert told(talk) == [("called", "", "")]
    assert Message.objects.get(direction="out").text == account.sentence("handed_over")
    event = Delivery.objects.get(target="webhook").payload["body"]
    assert (event["type"], event["data"]["by"]) == ("conversation.handed_over", "person")
    assert turn(account, "转人工").reason == "human"
    assert told(talk) == [("called", "", "")]


def test_without_the_right_an_agent_hands_nothing_over() -> None:
    route(account := app())
    asked = turn(account, "hello")
    assert find_call_for_staff(asked, "Wait.\n[[handover: angry]]") is None


def test_an_agent_hands_over_with_its_reason() -> None:
    account = app()
    route(account, allow_handover=True)
    asked = turn(account, "I want my money back")
    assert "[[handover: why]]" in asked.payload["extra_system_prompt"]
    why = find_call_for_staff(asked, "Wait.\n[[handover: wants a refund]]")
    assert why == "wants a refund"
    running, later = claimed(asked), turn(account, "hello?")
    store_answer(running, "A colleague will help you.", [], why)
    talk = talk_of(asked)
    assert (talk.mode, talk.assignee) == ("human", None)
    assert told(talk) == [("handed_over", "", "wants a refund")]
    assert (state(later), row(later).reason) == ("skipped", "human")
    assert asked.message is not None
    assert (talk.waiting_count, talk.waiting_since) == (2, asked.message.created_at)
    # It came while the agent wrote, which does not answer it.
    assert unanswered.find_unanswered(talk) == [later.pk]
    assert handing_back.hand_back(talk, None, Ask.ALL).asked == 1
    assert state(later) == "pending"


def test_what_came_while_the_agent_wrote_is_offered_also_after_a_pause(ann: User) -> None:
    route(account := app())
    running = claimed(turn(account, "one"))
    takeover.pause(talk_of(running), ann)
    later = turn(account, "two")
    store_answer(running, "An answer to one.", [])
    talk = talk_of(running)
    assert unanswered.find_unanswered(talk) == [later.pk]
    assert [(chat.messages, chat.first) for chat in chats.list_for_staff()] == [(1, talk.waiting_since)]
    handing_back.hand_back(talk, ann, Ask.LAST)
    assert state(later) == "pending"
    store_answer(row(later), "An answer to two.", [])
    assert unanswered.find_unanswered(talk) == []


def test_an_answer_of_staff_counts_though_the_agents_late_one_is_stored_behind_it(ann: User) -> None:
    route(account := app())
    running = claimed(turn(account, "one"))
    takeover.pause(talk_of(running), ann)
    turn(account, "two")
    send(account, "Here is what you asked for.")
    store_answer(running, "An answer to one.", [])
    assert unanswered.find_unanswered(talk_of(running)) == []
    assert chats.list_for_staff() == []


def rows_read(statement: str) -> int:
    """Return how many rows PostgreSQL reads for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}")
        lines = [line for (line,) in cursor.fetchall()]
    scans = [re.search(r"Scan.*actual rows=([\d.]+) loops=(\d+)", line) for line in lines]
    removed = [re.search(r"Rows Removed by .*: (\d+)", line) for line in lines]
    return sum(int(float(one[1]) * int(one[2])) for one in scans if one) + sum(int(one[1]) for one in removed if one)


def test_where_staff_never_wrote_a_hand_over_reads_few_messages_of_a_long_conversation() -> None:
    """Else it walks through all of it, while other answers wait for the same commit."""
    account = app()
    route(account, allow_handover=True)
    columns = {"account": account, "peer_kind": "direct", "direction": "out"}
    for sender, source in (("zhangsan", "api"), ("lisi", "staff")):
        columns |= {"conversation": conversation(account, sender), "peer_id": sender, "source": source}
        Message.objects.bulk_create(Message(idempotency_key=str(number), **columns) for number in range(LONG))
    running = claimed(turn(account, "I want my money back"))
    connection.cursor().execute("ANALYZE bridge_message, bridge_delivery, bridge_conversation")
    with CaptureQueriesContext(connection) as made:
        store_answer(running, "A colleague will help you.", [], "wants a refund")
    assert talk_of(running).waiting_count == 1
    said = [query["sql"] or "" for query in made]
    looks = [sql for sql in said if sql.startswith("SELECT") and '"bridge_message"' in sql]
    assert looks
    assert sum(map(rows_read, looks)) < LONG / 20


@pytest.mark.parametrize("mode", ["bot", "paused"])
def test_what_an_agent_hands_over_waits_for_staff_until_they_answer(ann: User, mode: str) -> None:
    """The person was told that a colleague answers, so the inbox, its badge and the incident say so, and webhooks are told."""
    account = app()
    route(account, allow_handover=True)
    endpoint(events=["conversation.handed_over"])
    running = claimed(asked := turn(account, "I want my money back"))
    if mode == "paused":
        takeover.pause(talk_of(asked), ann)
    store_answer(running, "A colleague will help you.", [], "wants a refund")
    assert talk_of(asked).mode == ("human" if mode == "bot" else "paused")
    assert told(talk_of(asked))[-1] == ("handed_over", "", "wants a refund")
    assert Delivery.objects.get(target="webhook").payload["body"]["data"]["by"] == "agent"
    assert [chat.pk for chat in select_waiting()] == [talk_of(asked).pk]
    assert [(chat.conversation_id, chat.messages) for chat in chats.list_for_staff()] == [(talk_of(asked).pk, 1)]
    send(account, "Here it is.")
    assert not select_waiting().exists()
    assert chats.list_for_staff() == []


def test_what_an_agent_handed_over_goes_back_by_time_only_when_the_person_writes_again() -> None:
    account = app(columns={"staff_minutes": 10})
    route(account, allow_handover=True)
    asked = turn(account, "I want my money back")
    store_answer(claimed(asked), "A colleague will help you.", [], "wants a refund")
    Conversation.objects.update(staff_active_at=timezone.now() - timedelta(minutes=11))
    assert handing_back.hand_back_idle() == 0
    assert select_waiting().exists()
    again = turn(account, "hello?")
    assert handing_back.hand_back_idle() == 1
    assert (talk_of(asked).mode, state(again)) == ("bot", "pending")


def test_a_colleague_who_is_silent_does_not_keep_a_chat_that_had_no_mapping(ann: User) -> None:
    """Its question waits as what an agent handed over does, but nobody was told that a colleague answers."""
    account = app(columns={"staff_minutes": 10})
    asked = turn(account, "anybody?")
    takeover.take_over(talk_of(asked), ann)
    route(account)
    Conversation.objects.update(staff_active_at=timezone.now() - timedelta(minutes=11))
    assert handing_back.hand_back_idle() == 1
    assert talk_of(asked).mode == "bot"


def test_chats_that_stay_with_staff_do_not_stand_before_those_that_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing_back, "MOST_IDLE", 1)
    account = app(columns={"staff_minutes": 10})
    route(account, allow_handover=True)
    handed_over = []
    for minutes, sender in ((13, "lisi"), (12, "zhangsan")):
        handed_over.append(asked := turn(account, "I want my money back", sender=sender))
        store_answer(claimed(asked), "A colleague will help you.", [], "wants a refund")
        active = timezone.now() - timedelta(minutes=minutes)
        Conversation.objects.filter(pk=talk_of(asked).pk).update(staff_active_at=active)
    assert handing_back.hand_back_idle() == 0
    turn(account, "hello?", sender="lisi")
    assert handing_back.hand_back_idle() == 1
    assert [talk_of(asked).mode for asked in handed_over] == ["bot", "human"]


def test_what_staff_answered_before_the_agent_handed_over_waits_for_nobody() -> None:
    account = app()
    route(account, allow_handover=True)
    asked = turn(account, "I want my money back")
    running = claimed(asked)
    send(account, "You have it.")
    store_answer(running, "A colleague will help you.", [], "wants a refund")
    assert (talk_of(asked).mode, talk_of(asked).waiting_count) == ("human", 0)


def test_a_question_that_is_dismissed_waits_no_more(ann: User) -> None:
    route(account := app())
    first = turn(account, "one")
    takeover.take_over(talk_of(first), ann)
    second = turn(account, "two")
    replay.dismiss([first.pk], ann)
    assert second.message is not None
    since = second.message.created_at
    assert (talk_of(first).waiting_count, talk_of(first).waiting_since) == (1, since)
    assert [chat.first for chat in chats.list_for_staff()] == [since]
    assert replay.dismiss([first.pk, second.pk], ann) == 1
    assert (talk_of(first).waiting_count, talk_of(first).waiting_since) == (0, None)
    assert chats.list_for_staff() == []


def test_what_an_agent_handed_over_waits_since_then_also_when_a_later_question_is_dismissed(ann: User) -> None:
    account = app()
    route(account, allow_handover=True)
    asked = turn(account, "I want my money back")
    store_answer(claimed(asked), "A colleague will help you.", [], "wants a refund")
    since = talk_of(asked).waiting_since
    later = [turn(account, text) for text in ("hello?", "buy cheap watches", "anybody?")]
    for each, count in zip(later, (3, 2, 1), strict=True):
        replay.dismiss([each.pk], ann)
        assert (talk_of(asked).waiting_count, talk_of(asked).waiting_since) == (count, since)


def test_of_many_questions_the_last_one_is_the_last_and_all_are_all(ann: User) -> None:
    """More than one page of a list holds."""
    account = app()
    talk = conversation(account, mode="human", assignee=ann)
    asked = [delivery(message(talk, str(n), f"Q{n}"), State.SKIPPED, "human") for n in range(MANY)]
    assert unanswered.find_unanswered(talk, 1) == [asked[-1].pk]
    route(account)
    assert handing_back.hand_back(talk, ann, Ask.ALL).asked == MANY
    queued = Delivery.objects.filter(target="agent", state="pending").order_by("seq")
    assert [each.pk for each in queued] == [each.pk for each in asked]


@pytest.mark.parametrize(("ask", "count"), [(Ask.NONE, 0), (Ask.LAST, 1), (Ask.ALL, 3)])
def test_handing_back_asks_the_agent_what_was_chosen_in_its_order(ann: User, ask: Ask, count: int) -> None:
    route(account := app())
    first = turn(account, "one")
    takeover.take_over(talk_of(first), ann)
    asked = [first, turn(account, "two"), turn(account, "three")]
    done = handing_back.hand_back(talk_of(first), ann, ask)
    talk = talk_of(first)
    assert (talk.mode, talk.assignee, talk.waiting_since) == ("bot", None, None)
    assert (done.asked, done.refused) == (count, [])
    wanted = asked[len(asked) - count :]
    queued = Delivery.objects.filter(target="agent", state="pending").order_by("seq")
    assert [each.pk for each in queued] == [each.pk for each in wanted]
    assert told(talk)[-1] == ("handed_back", "Ann", "")


def test_of_too_many_questions_the_newest_are_asked_and_the_others_are_counted(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_back, "MOST_ASKED", 3)
    account = app()
    talk = conversation(account, mode="human", assignee=ann)
    asked = [delivery(message(talk, str(n), f"Q{n}"), State.SKIPPED, "human") for n in range(5)]
    route(account)
    done = handing_back.hand_back(talk, ann, Ask.ALL)
    assert (done.asked, done.left_out) == (3, 2)
    queued = Delivery.objects.filter(target="agent", state="pending").order_by("seq")
    assert [each.pk for each in queued] == [each.pk for each in asked[2:]]


def test_an_agents_answer_to_a_replayed_question_ends_the_wait(ann: User) -> None:
    account = app()
    asked = turn(account, "anybody?")
    route(account)
    Delivery.objects.filter(pk=asked.pk).update(replays=1)
    store_answer(row(asked), "Yes.", [])
    assert talk_of(asked).waiting_since is None


@pytest.fixture
def idle(ann: User) -> Callable[..., Delivery]:
    def make(**columns: object) -> Delivery:
        account = app()
        route(account)
        ChannelAccount.objects.filter(pk=account.pk).update(staff_minutes=10)
        asked = turn(account, "hello?")
        takeover.take_over(talk_of(asked), ann)
        long_ago = {"staff_active_at": timezone.now() - timedelta(minutes=11)}
        Conversation.objects.filter(pk=talk_of(asked).pk).update(**(long_ago | columns))
        return asked

    return make


def test_after_its_time_the_agent_answers_again_and_is_asked_the_last_question(idle: Callable[..., Delivery]) -> None:
    asked = idle()
    assert handing_back.hand_back_idle() == 1
    talk = talk_of(asked)
    assert (talk.mode, state(asked)) == ("bot", "pending")
    assert told(talk)[-1] == ("handed_back", "", "")
    assert handing_back.hand_back_idle() == 0


@pytest.mark.parametrize(
    "columns",
    [{"staff_active_at": timezone.now() + timedelta(minutes=1)}, {"mode": "paused"}, {"servicer": "wangwu"}],
    ids=["staff wrote", "paused", "in the platform's client"],
)
def test_nothing_is_handed_back_by_time_where_it_should_not(
    idle: Callable[..., Delivery], columns: dict[str, object]
) -> None:
    asked = idle(**columns)
    assert handing_back.hand_back_idle() == 0
    assert state(asked) == "skipped"


def test_a_message_of_staff_begins_the_time_anew(idle: Callable[..., Delivery]) -> None:
    asked = idle()
    assert asked.account is not None
    send(asked.account, "one moment")
    assert handing_back.hand_back_idle() == 0


def test_a_servicer_of_the_platform_is_not_pushed_aside(idle: Callable[..., Delivery], ann: User) -> None:
    asked = idle(servicer="wangwu")
    with pytest.raises(takeover.AnsweredElsewhere):
        handing_back.hand_back(talk_of(asked), ann, Ask.ALL)
    assert talk_of(asked).mode == "human"


def test_a_new_session_leaves_a_line(ann: User) -> None:
    account = app()
    route(account)
    turn(account, "/new")
    talk = Conversation.objects.get()
    assert [kind for kind, _by, _text in told(talk)] == ["new_session"]


def test_a_note_is_stored_and_nothing_is_sent(ann: User) -> None:
    talk = Conversation.objects.get(pk=hear_routed().pk)
    entries.add_entry(talk, entries.Kind.NOTE, ann, "calls back on Monday")
    assert told(talk) == [("note", "Ann", "calls back on Monday")]
    assert not Delivery.objects.exclude(target="agent").exists()


def hear_routed() -> Conversation:
    return talk_of(turn(app(), "hello"))


def test_hearing_without_routing_changes_no_conversation() -> None:
    hear(app())
    assert not Conversation.objects.exists()
