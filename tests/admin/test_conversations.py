"""The transcript, and what staff do in a conversation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from bridge.admin.conversations import composer, pages, transcript
from bridge.models import Conversation, Delivery, FallbackSender, Message
from bridge.operations import handing_back, replay
from bridge.operations.unanswered import find_skip_reasons, find_unanswered
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_conversation_{name}", args=args)


def test_a_transcript_is_in_order_with_feedback_at_the_answer(world: factories.World) -> None:
    read = transcript.read_page(world.group, [])
    assert [bubble.message.idempotency_key for bubble in read.bubbles] == ["MSG1", "ANSWER1", "MSG2", "EVENT2", "MSG3"]
    assert [event.text for event in read.bubbles[1].feedback] == ["👍"]
    assert [item.name for item in read.bubbles[0].pictures] == ["chart.png"]
    assert [item.name for item in read.bubbles[0].files] == ["报表.html", "lost.pdf"]
    assert [bubble.is_aside for bubble in read.bubbles] == [False, False, False, True, False]
    assert read.older is None


def test_older_messages_are_on_further_pages(boss: Client, world: factories.World) -> None:
    for number in range(transcript.PAGE):
        factories.message(world.group, f"number {number}", f"N{number}")
    first = transcript.read_page(world.group, [])
    assert len(first.bubbles) == transcript.PAGE
    assert first.older == first.bubbles[0].message.pk
    page = boss.get(url("change", world.group.pk), {"before": first.older}).content.decode()
    assert "本周的数据怎么样" in page
    assert "number 0" not in page
    assert "data-refresh" not in page


def test_text_of_strangers_is_escaped(boss: Client, world: factories.World) -> None:
    page = boss.get(url("change", world.person.pk)).content.decode()
    assert "&lt;b&gt;请查收&lt;/b&gt;" in page


def test_names_stand_in_for_ids(boss: Client, world: factories.World) -> None:
    assert "张三" in boss.get(url("change", world.group.pk)).content.decode()
    assert "张三" in boss.get(url("changelist")).content.decode()


def test_a_conversation_is_found_by_the_name_of_the_person(boss: Client, world: factories.World) -> None:
    found = boss.get(url("changelist"), {"q": "张"}).context["cl"].result_list
    assert [row.pk for row in found] == [world.person.pk]


def test_the_list_marks_what_waits_and_what_failed(boss: Client, world: factories.World) -> None:
    found = {row.pk: row.open_work for row in boss.get(url("changelist")).context["cl"].result_list}
    assert found == {
        world.group.pk: {"waiting": 1, "dead": 0, "uncertain": 0},
        world.person.pk: {"waiting": 0, "dead": 1, "uncertain": 1},
    }


def test_staff_send_text_and_files(boss: Client) -> None:
    person = factories.conversation(factories.account(), "zhangsan")
    upload = SimpleUploadedFile("plan.txt", b"first this, then that")
    response = boss.post(url("send", person.pk), {"text": "Here is the plan", "uploads": [upload]})
    assert response.status_code == 302
    sent = Message.objects.get()
    assert (sent.source, sent.direction, sent.text) == ("staff", "out", "Here is the plan")
    assert sent.client == f"staff:{User.objects.get(username='admin').pk}"
    with sent.attachments.get().file.open() as stored:
        assert stored.read() == b"first this, then that"
    assert Delivery.objects.filter(message=sent, state="pending").count() == 2


def page_key(page: str) -> str:
    [key] = re.findall(r'name="key" value="([0-9a-f]{32})"', page)
    return str(key)


def test_what_a_page_sends_twice_is_one_message_and_one_line_in_the_audit_log(boss: Client) -> None:
    person = factories.conversation(factories.account(), "zhangsan")
    page = boss.get(url("change", person.pk)).content.decode()
    said = {"text": "Here is the plan", "key": page_key(page)}
    for _time in range(2):
        upload = SimpleUploadedFile("plan.txt", b"first this, then that")
        assert boss.post(url("send", person.pk), {**said, "uploads": [upload]}).status_code == 302
    assert Message.objects.get().text == "Here is the plan"
    assert LogEntry.objects.filter(additional_data__action="sent a message").count() == 1
    # Other words, or another file, from a page that the browser kept; and the same words from the page as it is now.
    boss.post(url("send", person.pk), {**said, "text": "No, this one"})
    boss.post(url("send", person.pk), {**said, "uploads": [SimpleUploadedFile("plan.txt", b"first that, then this")]})
    boss.post(
        url("send", person.pk),
        {"text": "No, this one", "key": page_key(boss.get(url("change", person.pk)).content.decode())},
    )
    assert Message.objects.count() == 4
    assert page_key(page) != page_key(boss.get(url("change", person.pk)).content.decode())


@pytest.mark.django_db(transaction=True)
def test_what_a_page_sends_twice_at_once_is_one_message(admin_user: User) -> None:
    person = factories.conversation(factories.account(), "zhangsan")

    def send() -> None:
        client = Client()
        client.force_login(admin_user)
        assert client.post(url("send", person.pk), {"text": "once", "key": "k" * 32}).status_code == 302

    factories.at_once(*[send] * 4)
    assert Message.objects.count() == 1
    assert LogEntry.objects.filter(additional_data__action="sent a message").count() == 1


def test_a_note_that_comes_twice_is_one(boss: Client) -> None:
    person = factories.conversation(factories.account(), "zhangsan")
    for text in ("call back", "call back", "call back today"):
        boss.post(url("note", person.pk), {"text": text})
    assert list(person.entries.order_by("id").values_list("text", flat=True)) == ["call back", "call back today"]
    person.entries.update(created_at=timezone.now() - composer.SAME_NOTE)
    boss.post(url("note", person.pk), {"text": "call back"})
    assert person.entries.count() == 3


def test_nothing_to_send_is_said_at_the_form(boss: Client, world: factories.World) -> None:
    before = Message.objects.count()
    response = boss.post(url("send", world.person.pk), {"text": "  "})
    assert "Write something" in response.content.decode()
    assert Message.objects.count() == before


def test_a_surface_that_only_answers_says_why_it_cannot_send(boss: Client) -> None:
    group = factories.conversation(factories.account("wecom_aibot", name="bot"), "wr1", "group")
    page = boss.get(url("change", group.pk)).content.decode()
    assert 'id="cannot-send"' in page
    assert "<fieldset disabled" in page
    response = boss.post(url("send", group.pk), {"text": "hello"})
    assert response.status_code == 200
    assert response.context["form"].non_field_errors()
    assert not Message.objects.exists()


@pytest.mark.parametrize("mode", ["paused", "human", "bot"])
def test_the_mode_is_changed(boss: Client, world: factories.World, mode: str) -> None:
    boss.post(url("mode", world.group.pk), {"mode": mode})
    world.group.refresh_from_db()
    assert world.group.mode == mode


@pytest.mark.parametrize(
    ("button", "fields", "field", "value"),
    [
        ("mode", ["mode", "assignee_id", "staff_active_at"], "mode", "paused"),
        ("rename", ["title"], "title", "新标题"),
    ],
)
def test_a_change_writes_its_fields_and_leaves_the_others_to_who_writes_them(
    boss: Client, world: factories.World, button: str, fields: list[str], field: str, value: str
) -> None:
    with CaptureQueriesContext(connection) as queries:
        boss.post(url(button, world.group.pk), {field: value})
    written = [query["sql"] for query in queries if query["sql"].startswith('UPDATE "bridge_conversation"')]
    assert [re.findall(r'"(\w+)" = ', sql.partition(" WHERE ")[0]) for sql in written] == [fields]


def test_an_unknown_mode_changes_nothing(boss: Client, world: factories.World) -> None:
    assert boss.post(url("mode", world.group.pk), {"mode": "dance"}).status_code == 400
    world.group.refresh_from_db()
    assert world.group.mode == "bot"


def test_title_and_session(boss: Client, world: factories.World) -> None:
    boss.post(url("rename", world.group.pk), {"title": "新标题"})
    boss.post(url("new_session", world.group.pk))
    world.group.refresh_from_db()
    assert (world.group.title, world.group.session_epoch) == ("新标题", 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [("send", {"text": "x"}), ("mode", {"mode": "paused"}), ("rename", {"title": "x"}), ("new_session", {})],
)
def test_a_button_wants_the_right(
    staff: Callable[..., Client], world: factories.World, name: str, data: dict[str, str]
) -> None:
    before = Message.objects.count()
    client = staff("bridge.view_conversation", "bridge.view_message")
    assert client.post(url(name, world.person.pk), data).status_code == 403
    world.person.refresh_from_db()
    assert (world.person.mode, world.person.title, world.person.session_epoch) == ("bot", "", 0)
    assert Message.objects.count() == before


def test_who_may_not_read_messages_reads_none(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("bridge.view_conversation")
    assert "本周" not in client.get(url("change", world.group.pk)).content.decode()
    assert client.get(url("transcript", world.group.pk)).status_code == 403


def test_a_write_without_the_csrf_token_is_refused(world: factories.World, admin_user: Any) -> None:
    from django.test import Client as Browser

    client = Browser(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(url("mode", world.group.pk), {"mode": "paused"}).status_code == 403
    world.group.refresh_from_db()
    assert world.group.mode == "bot"


def questions(conversation: Conversation, count: int, reason: str = "paused") -> list[Delivery]:
    """So many messages that no agent was asked about."""
    said = [factories.message(conversation, f"question {n}", f"{reason}-{n}") for n in range(count)]
    return [factories.delivery(message, "skipped", reason) for message in said]


def test_resume_offers_what_came_meanwhile(boss: Client, world: factories.World) -> None:
    Conversation.objects.filter(pk=world.group.pk).update(mode="paused")
    asked = questions(world.group, 3)
    page = boss.get(url("change", world.group.pk)).content.decode()
    assert "3 messages were stored, and no agent was asked. When you hand back to the agent" in page
    assert 'name="ask"' not in page
    page = boss.post(url("mode", world.group.pk), {"mode": "bot"}).content.decode()
    assert "3 messages were received meanwhile" in page
    boss.post(url("mode", world.group.pk), {"mode": "bot", "ask": "all"})
    rows = Delivery.objects.filter(pk__in=[row.pk for row in asked]).order_by("seq")
    assert [(row.pk, row.state) for row in rows] == [(row.pk, "pending") for row in asked]
    assert "no agent was asked" not in boss.get(url("change", world.group.pk)).content.decode()


def test_of_too_many_the_newest_are_offered_and_how_many_are_left_out_is_said(
    boss: Client, world: factories.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (handing_back, pages):
        monkeypatch.setattr(module, "MOST_ASKED", 2)
    Conversation.objects.filter(pk=world.group.pk).update(mode="paused")
    questions(world.group, 5)
    page = boss.post(url("mode", world.group.pk), {"mode": "bot"}).content.decode()
    assert "5 messages were received meanwhile" in page
    assert "Ask the newest 2, in their order" in page
    page = boss.post(url("mode", world.group.pk), {"mode": "bot", "ask": "all"}, follow=True).content.decode()
    assert "3 older messages are left out: the agent is asked the newest 2 at most." in page


def test_what_staff_dealt_with_is_not_offered(boss: Client, world: factories.World) -> None:
    asked = questions(world.group, 2)
    replay.dismiss([asked[0].pk])
    assert find_unanswered(world.group) == [asked[1].pk]


@pytest.mark.parametrize(
    ("source", "answered"), [("staff", True), ("agent", True), ("api", False), ("bridge", False), ("schedule", False)]
)
def test_what_staff_or_an_agent_answered_meanwhile_is_not_offered(
    boss: Client, world: factories.World, source: str, answered: bool
) -> None:
    """A notice of a script, or a sentence of the bridge, answers no question."""
    asked = questions(world.group, 2, "human")
    factories.message(world.group, "said", "SAID", direction="out", source=source)
    assert find_unanswered(world.group) == ([] if answered else [each.pk for each in asked])
    page = boss.get(url("change", world.group.pk)).content.decode()
    assert ("no agent was asked" in page) == (not answered)
    later = questions(world.group, 1, "paused")
    assert find_unanswered(world.group)[-1] == later[0].pk


@pytest.mark.parametrize(
    ("reason", "offered"), [("paused", 1), ("human", 1), ("not_addressed", 0), ("no_route", 0), ("event", 0)]
)
def test_only_what_was_paused_or_left_to_staff_is_offered(world: factories.World, reason: str, offered: int) -> None:
    questions(world.group, 1, reason)
    questions(world.person, 1, "paused")
    assert len(find_unanswered(world.group)) == offered


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no_route", "no mapping"),
        ("route_disabled", "mapping disabled"),
        ("paused", "not answered: paused"),
        ("human", "for staff"),
    ],
)
def test_the_list_marks_a_chat_that_nobody_answers(boss: Client, reason: str, words: str) -> None:
    talk = factories.conversation(factories.account(), "zhangsan")
    questions(talk, 1, reason)
    assert f'<span class="b-badge b-warn">{words}</span>' in boss.get(url("changelist")).content.decode()
    factories.delivery(factories.message(talk, "later", "LATER"), "delivered")
    assert f">{words}</span>" not in boss.get(url("changelist")).content.decode()


def test_an_event_after_the_question_does_not_hide_that_nobody_answered_it(boss: Client) -> None:
    talk = factories.conversation(factories.account(), "zhangsan")
    questions(talk, 1, "no_route")
    factories.delivery(factories.message(talk, "entered", "EVENT", kind="event"), "skipped", "event")
    assert find_skip_reasons([talk]) == {talk.pk: "no_route"}


def test_fallback_senders_are_added_in_order_and_removed(boss: Client, world: factories.World) -> None:
    page = url("add_fallback", world.group.pk)
    robot = factories.robot()
    chosen = {"on_quota": "on", "on_down": "on"}
    boss.post(page, {"account": robot.pk, **chosen})
    boss.post(page, {"account": world.app.pk, "peer_kind": "direct", "peer_id": "ZhangSan", **chosen})
    rows = FallbackSender.objects.filter(conversation=world.group).order_by("position")
    assert [(row.account, row.peer_id, row.on_quota, row.on_window) for row in rows] == [
        (robot, "group", True, False),
        (world.app, "zhangsan", True, False),
    ]
    assert robot.name in boss.get(url("change", world.group.pk)).content.decode()
    boss.post(url("remove_fallback", world.group.pk), {"fallback": rows[0].pk})
    assert [row.account for row in rows.all()] == [world.app]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "required"),
        ({"account": "app", "peer_kind": "direct"}, "Say to which group or person"),
        ({"account": "bot", "peer_kind": "group", "peer_id": "wrGROUP", "on_down": "on"}, "the conversation itself"),
        ({"account": "app", "peer_kind": "direct", "peer_id": "lisi"}, "at least one case"),
        ({"account": "app", "peer_kind": "direct", "peer_id": "lisi|wangwu", "on_down": "on"}, "2 people"),
    ],
)
def test_a_wrong_fallback_sender_is_refused_in_words(
    boss: Client, world: factories.World, given: dict[str, Any], why: str
) -> None:
    accounts = {"app": world.app.pk, "bot": world.bot.pk}
    posted = {**given, **({"account": accounts[given["account"]]} if "account" in given else {})}
    refused = boss.post(url("add_fallback", world.group.pk), posted)
    assert why in " ".join(str(message) for message in get_messages(refused.wsgi_request))
    assert not FallbackSender.objects.filter(conversation=world.group).exists()
