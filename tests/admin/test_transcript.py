"""What a bubble says of its message, and when the open page puts a new one in its place."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ConnectionGap
from bridge.admin.conversations import transcript
from bridge.models import Attachment, Conversation, Delivery, Message, Reason, Route, State
from bridge.people import entries
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

READER = ("bridge.view_conversation", "bridge.view_message", "bridge.read_content")


def page(client: Client, conversation: Conversation, **query: Any) -> str:
    address = reverse("admin:bridge_conversation_change", args=[conversation.pk])
    return client.get(address, query).content.decode()


def bubble(html: str, message: Any) -> str:
    return html.partition(f'id="m{message.pk}"')[2].partition('data-stamp="')[2].partition("data-stamp")[0]


def stamps(conversation: Conversation) -> dict[str, str]:
    return {one.message.idempotency_key: one.stamp for one in transcript.read_page(conversation, []).bubbles}


CHANGES: dict[str, tuple[str, Callable[[factories.World], Any]]] = {
    "the state": ("MSG3", lambda world: Delivery.objects.filter(state="pending").update(state="held", reason="review")),
    "the reason": ("MSG2", lambda _w: Delivery.objects.filter(state="skipped").update(reason=Reason.PAUSED)),
    "a recall": (
        "ANSWER1",
        lambda world: Delivery.objects.filter(pk=world.delivered.pk).update(recalled_at=timezone.now()),
    ),
    "another part": ("ANSWER1", lambda world: factories.delivery(world.answer, part=1)),
    "a picture": ("MSG1", lambda world: Attachment.objects.filter(pk=world.picture.pk).update(state="failed")),
    "a file": ("MSG1", lambda _w: Attachment.objects.filter(name="lost.pdf").update(state="pending")),
    "a judgment": (
        "ANSWER1",
        lambda world: factories.message(world.group, "accurate", "EVENT9", kind="event", reply_to=world.answer),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_bubble_is_replaced_where_it_looks_different_and_no_other(world: factories.World, what: str) -> None:
    key, change = CHANGES[what]
    before = stamps(world.group)
    change(world)
    after = stamps(world.group)
    assert {name for name in before if before[name] != after[name]} == {key}


STATES = [State.DEAD, State.UNCERTAIN, State.HELD, State.SENDING, State.PENDING, State.SKIPPED, State.DELIVERED]


@pytest.mark.parametrize("number", range(len(STATES) - 1))
def test_of_several_parts_the_worst_is_marked(world: factories.World, number: int) -> None:
    worse, better = STATES[number : number + 2]
    said = factories.message(world.person, "in parts", "PARTS", direction="out", source="agent")
    until = timezone.now()
    for part, state in enumerate((better, worse, State.DELIVERED)):
        lease = {"lease_until": until} if state == State.SENDING else {}
        reason = "" if state in (State.DELIVERED, State.SENDING, State.PENDING) else Reason.REVIEW
        factories.delivery(said, state, reason, part=part, **lease)
    marked = transcript.read_page(world.person, []).bubbles[-1].worst_delivery
    assert marked
    assert (marked.state, marked.part) == (worse, 1)


@pytest.mark.parametrize(("more", "older"), [(-1, False), (0, False), (1, True)])
def test_older_messages_are_offered_where_there_are_some(
    boss: Client, world: factories.World, more: int, older: bool
) -> None:
    talk = factories.conversation(world.app, "lisi")
    for number in range(transcript.PAGE + more):
        factories.message(talk, f"number {number}", f"N{number}")
    read = transcript.read_page(talk, [])
    first = read.bubbles[0].message.pk
    assert read.older == (first if older else None)
    assert (f"?before={first}" in page(boss, talk)) == older


def test_a_page_of_older_messages_takes_no_new_one(boss: Client, world: factories.World) -> None:
    say = f'action="{reverse("admin:bridge_conversation_send", args=[world.person.pk])}"'
    assert say in page(boss, world.person)
    assert say not in page(boss, world.person, before=world.uncertain.message_id)
    assert "Back to the newest" in page(boss, world.person, before=world.uncertain.message_id)


def test_a_reader_is_offered_nothing_to_press(staff: Callable[..., Client], world: factories.World) -> None:
    Conversation.objects.filter(pk=world.group.pk).update(mode="paused")
    factories.delivery(factories.message(world.group, "?", "LATER"), State.SKIPPED, Reason.PAUSED)
    shown = page(staff(*READER), world.group)
    assert "本周的数据怎么样" in shown
    buttons = ("send", "rename", "mode", "new_session")
    offered = [name for name in buttons if reverse(f"admin:bridge_conversation_{name}", args=[world.group.pk]) in shown]
    assert offered == []
    assert reverse("admin:bridge_delivery_confirm") not in shown
    assert reverse("admin:bridge_route_add") not in shown


def test_who_may_pause_and_not_replay_reads_what_came_meanwhile_and_no_more(
    staff: Callable[..., Client], world: factories.World
) -> None:
    factories.delivery(factories.message(world.group, "?", "LATER"), State.SKIPPED, Reason.PAUSED)
    shown = page(staff(*READER, "bridge.pause_conversation"), world.group)
    assert "1 message was stored, and no agent was asked." in shown
    assert reverse("admin:bridge_delivery_confirm") not in shown


@pytest.mark.parametrize("missing", READER)
def test_a_transcript_takes_each_right(staff: Callable[..., Client], world: factories.World, missing: str) -> None:
    client = staff(*(right for right in READER if right != missing))
    assert client.get(reverse("admin:bridge_conversation_transcript", args=[world.group.pk])).status_code == 403
    assert "本周的数据怎么样" not in page(client, world.group)


@pytest.mark.parametrize(
    ("mode", "offered"),
    [
        ("bot", {"Pause", "Take over"}),
        ("paused", {"Resume", "Take over"}),
        ("human", {"Hand back to agent", "Pause", "Take over"}),
    ],
)
def test_who_answers_can_be_changed_to_the_other_two(
    boss: Client, world: factories.World, mode: str, offered: set[str]
) -> None:
    Conversation.objects.filter(pk=world.group.pk).update(mode=mode)
    shown = page(boss, world.group)
    words = {"Pause", "Resume", "Take over", "Hand back to agent"}
    assert {word for word in words if f">{word}</button>" in shown} == offered


@pytest.mark.parametrize("mode", ["paused", "human"])
def test_what_came_meanwhile_is_told_when_the_agent_answers_again(
    boss: Client, world: factories.World, mode: str
) -> None:
    factories.delivery(factories.message(world.group, "?", "LATER"), State.SKIPPED, Reason.PAUSED)
    address = reverse("admin:bridge_conversation_mode", args=[world.group.pk])
    assert "received meanwhile" not in boss.post(address, {"mode": mode}, follow=True).content.decode()
    # Who takes over keeps the question that still waits for its turn.
    told = {"paused": "1 message was received meanwhile", "human": "2 messages were received meanwhile"}[mode]
    assert told in boss.post(address, {"mode": "bot"}, follow=True).content.decode()


def test_the_page_names_the_agent_and_offers_a_mapping_of_its_own(boss: Client, world: factories.World) -> None:
    shown = page(boss, world.group)
    assert ("Map this group" in shown, "The mapping is disabled." in shown) == (False, False)
    Route.objects.update(enabled=False)
    assert "The mapping is disabled." in page(boss, world.group)
    Route.objects.update(enabled=True, peer_id="")
    assert "Map this group" in page(boss, world.group)
    assert "Nobody answers: there is no mapping." not in page(boss, world.group)
    assert "Nobody answers: there is no mapping." in page(boss, world.person)
    assert "Map this person" in page(boss, world.person)


def test_failures_are_named_beside_the_transcript_and_in_the_list(boss: Client, world: factories.World) -> None:
    factories.delivery(factories.message(world.person, "x", "OUT3", direction="out"), State.DEAD, Reason.PERMANENT)
    until = timezone.now()
    factories.delivery(factories.message(world.person, "x", "OUT4", direction="out"), State.SENDING, lease_until=until)
    listed = boss.get(reverse("admin:bridge_conversation_changelist")).content.decode()
    for shown in (page(boss, world.person), listed):
        badges = ("bad", "2 failed"), ("warn", "1 uncertain"), ("info", "1 waiting")
        assert [f'<span class="b-badge b-{tone}">{words}</span>' in shown for tone, words in badges] == [True] * 3


def test_a_question_is_quoted_in_a_group_only(boss: Client, world: factories.World) -> None:
    """Between two people it stands just above."""
    question = factories.message(world.person, "what was asked", "ASKED")
    factories.message(world.person, "the answer", "SAID", direction="out", source="agent", reply_to=question)
    assert "b-quote" in page(boss, world.group)
    assert "b-quote" not in page(boss, world.person)


@pytest.mark.parametrize(("text", "mark"), [("accurate", "👍"), ("inaccurate: too long", "👎"), ("cancelled", "💬")])
def test_a_judgment_has_its_sign(boss: Client, world: factories.World, text: str, mark: str) -> None:
    factories.message(world.group, text, "EVENT9", kind="event", reply_to=world.answer)
    shown = page(boss, world.group).partition('class="b-feedback"')[2]
    assert f"{mark} 张三: {text}" in shown


def test_a_bubble_says_what_becomes_of_its_message(boss: Client, world: factories.World) -> None:
    new = factories.message(world.group, "just now", "NEW", routed_at=None)
    said = factories.message(world.group, "by nobody", "NOBODY", direction="out", source="bridge", sender="")
    factories.delivery(world.answer, part=1)
    shown = page(boss, world.group)
    assert "being routed" in bubble(shown, new)
    assert "being routed" not in bubble(shown, said)
    assert "2 parts" in bubble(shown, world.answer)
    assert "part" not in bubble(shown, world.question)


def test_a_picture_that_is_not_stored_is_a_line(world: factories.World) -> None:
    factories.attachment(world.question, position=3, kind="image", name="lost.png", mime="image/png")
    read = transcript.read_page(world.group, []).bubbles[0]
    assert [item.name for item in read.pictures] == ["chart.png"]
    assert [item.name for item in read.files] == ["报表.html", "lost.pdf", "lost.png"]


def test_a_title_that_staff_gave_goes_before_the_name(boss: Client, world: factories.World) -> None:
    listed = reverse("admin:bridge_conversation_changelist")
    assert ">张三</a>" in boss.get(listed).content.decode()
    Conversation.objects.filter(pk=world.person.pk).update(title="Mr Zhang of Acme")
    shown = boss.get(listed).content.decode()
    assert (">张三</a>" in shown, ">Mr Zhang of Acme</a>" in shown) == (False, True)


def test_what_staff_do_stands_in_the_history(boss: Client, world: factories.World) -> None:
    world.app.revive()
    for name, data in (
        ("send", {"text": "hello"}), ("rename", {"title": "New"}), ("mode", {"mode": "human"}), ("new_session", {}),
    ):  # fmt: skip
        boss.post(reverse(f"admin:bridge_conversation_{name}", args=[world.person.pk]), data)
    history = boss.get(reverse("admin:bridge_conversation_history", args=[world.person.pk])).content.decode()
    told = ("sent a message", "The title is saved.", "You answer now.", "A new session has started:")
    assert [words for words in told if words not in history] == []


def test_files_are_chosen_and_not_typed(boss: Client, world: factories.World) -> None:
    kinds = boss.get(reverse("admin:bridge_conversation_change", args=[world.person.pk])).context["form"]["kind"]
    offered = [kind for kind, _label in kinds.field.choices]
    assert {"", "textcard"} <= set(offered)
    assert {"image", "voice", "video", "file"} & set(offered) == set()


def test_what_was_dealt_with_is_no_mark_any_more(boss: Client, world: factories.World) -> None:
    Delivery.objects.filter(pk__in=[world.dead.pk, world.uncertain.pk]).update(dismissed_at=timezone.now())
    shown = boss.get(reverse("admin:bridge_conversation_changelist")).context["cl"].result_list
    assert {row.pk: row.open_work for row in shown}[world.person.pk] == {"waiting": 0, "dead": 0, "uncertain": 0}


def test_files_that_could_not_be_fetched_cost_no_query_each(
    boss: Client, world: factories.World, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        said = factories.message(world.group, "a file", f"LOST{number}")
        factories.attachment(said, state="failed", code="40007")
    with django_assert_max_num_queries(33):
        assert page(boss, world.group).count("(40007)") == 30


def test_a_gap_in_the_connection_stands_where_messages_may_be_missing(boss: Client, world: factories.World) -> None:
    now = timezone.now()
    rows = list(world.group.messages.order_by("pk"))
    for number, row in enumerate(rows):
        Message.objects.filter(pk=row.pk).update(created_at=now + timedelta(minutes=number))
    for since, until in ((0.1, 0.2), (0.3, 0.9), (len(rows), len(rows) + 1)):
        ConnectionGap.objects.create(
            account=world.bot, since=now + timedelta(minutes=since), until=now + timedelta(minutes=until)
        )
    ConnectionGap.objects.create(account=world.app, since=now, until=now + timedelta(minutes=1))
    short, long, last, _others = ConnectionGap.objects.order_by("pk")
    read = transcript.read_page(world.group, [])
    assert [bubble.gap for bubble in read.bubbles if bubble.gap] == [long]
    assert read.bubbles[1].gap == long
    assert (read.gaps_after, short.until < long.until) == ([last], True)
    assert page(boss, world.group).count("messages of that time may be missing") == 2


def test_an_old_page_shows_its_gap_however_many_came_later(world: factories.World) -> None:
    """The connection broke again and again since."""
    now = timezone.now()
    rows = list(world.group.messages.order_by("pk"))
    for number, row in enumerate(rows):
        Message.objects.filter(pk=row.pk).update(created_at=now + timedelta(minutes=number))
    old = ConnectionGap.objects.create(account=world.bot, since=now, until=now + timedelta(seconds=30))
    later = [now + timedelta(days=1, minutes=number) for number in range(transcript.PAGE + 1)]
    ConnectionGap.objects.bulk_create(ConnectionGap(account=world.bot, since=at, until=at) for at in later)
    assert [bubble.gap for bubble in transcript.read_page(world.group, []).bubbles if bubble.gap] == [old]
    before = transcript.read_page(world.group, [], before=rows[-1].pk)
    assert [bubble.gap for bubble in before.bubbles if bubble.gap] == [old]


def test_what_happened_in_a_group_is_read_as_it_was(boss: Client, world: factories.World) -> None:
    """Joins, leaves, new names, what was taken back, and times without a connection."""
    said = {
        "JOIN": "Ben, Cid joined, invited by Ann.",
        "LEAVE": "Ann removed Cid.",
        "TOPIC": "Ann renamed the group to “产品二组”.",
    }
    rows = {
        key: factories.message(world.group, text, key, kind="event", sender="ann", addressed=False)
        for key, text in said.items()
    }
    taken_back = factories.message(world.group, "oops", "MSG9")
    factories.delivery(taken_back, State.SKIPPED, Reason.RECALLED, recalled_at=timezone.now())
    factories.message(world.group, "A message was taken back.", "RECALL9", kind="event", reply_to=taken_back)
    unknown = factories.message(world.group, "A message was taken back.", "RECALL8", kind="event")
    wordless = factories.message(world.group, "", "EVENT8", kind="event")
    now = timezone.now()
    ConnectionGap.objects.create(account=world.bot, since=now - timedelta(minutes=5), until=now)
    html = page(boss, world.group)
    for key, text in said.items():
        assert f"event: {text}" in bubble(html, rows[key])
    assert "↩ taken back by its sender" in bubble(html, taken_back)
    assert "recalled" in bubble(html, taken_back)
    assert "💬" not in bubble(html, taken_back)
    assert "event: A message was taken back." in bubble(html, unknown)
    assert "event: event" not in bubble(html, wordless)
    assert html.count("messages of that time may be missing") == 1


def test_whatever_stands_between_two_pages_is_on_exactly_one(world: factories.World) -> None:
    """Notes, moves and gaps in the connection: before, within, between and behind the pages."""
    talk = factories.conversation(world.bot, "wrLong", "group")
    now, total = timezone.now(), 2 * transcript.PAGE + 1  # three pages
    for number in range(total):
        said = factories.message(talk, f"number {number}", f"N{number}")
        Message.objects.filter(pk=said.pk).update(created_at=now + timedelta(minutes=number))
    moments = [now + timedelta(minutes=number, seconds=30) for number in range(-1, total)]
    for moment in moments:
        ConnectionGap.objects.create(account=world.bot, since=moment, until=moment)
        entry = entries.add_entry(talk, entries.Kind.NOTE, text=moment.isoformat())
        type(entry).objects.filter(pk=entry.pk).update(created_at=moment)
    moves = [transcript.Move(moment, talk, False) for moment in moments]
    found: dict[str, list[str]] = {"notes": [], "moves": [], "gaps": []}
    before: int | None = None
    while True:
        read = transcript.read_page(talk, moves, before)
        for bubble_ in read.bubbles:
            found["notes"] += [entry.text for entry in bubble_.entries]
            found["moves"] += [move.at.isoformat() for move in bubble_.moves]
            found["gaps"] += [bubble_.gap.until.isoformat()] if bubble_.gap else []
        found["notes"] += [entry.text for entry in read.entries_after]
        found["moves"] += [move.at.isoformat() for move in read.moves_after]
        found["gaps"] += [gap.until.isoformat() for gap in read.gaps_after]
        if read.older is None:
            break
        before = read.older
    expected = [moment.isoformat() for moment in moments]
    assert sorted(found["notes"]) == expected
    assert sorted(found["moves"]) == expected
    assert sorted(found["gaps"]) == expected[1:]  # one before the first message concerns no message here
