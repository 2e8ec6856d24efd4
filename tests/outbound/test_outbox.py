"""Messages on their way out: stored and rendered in one transaction, once for each key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from bridge.explanations.tables import table_for
from bridge.models import Attempt, Conversation, Delivery, Message, Reason
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.outbox import CannotSend, store_callback_reply, why_not_send
from bridge.pipeline.replies.stream_options import find_answerable_message
from channels_wechat.contract.explanations import Action, Explanation
from channels_wechat.contract.messages import Content
from tests.support.factories import (
    GROUP,
    answer,
    app,
    bot,
    eventually,
    hear,
    official,
    parts,
    send,
    shift,
    to_send,
    wechaty,
)
from tests.support.rings import rings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=secret"
NASTY = "a\x00b \ud800 c 👋"
CARD = {
    "card_type": "text_notice",
    "main_title": {"title": "t"},
    "card_action": {"type": 1, "url": "https://example.com"},
}


def file(name: str = "a.pdf", mime: str = "application/pdf") -> ContentFile:
    made = ContentFile(b"content", name=name)
    made.content_type = mime
    return made


def stored_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def carriers(message: Message) -> list[str]:
    return list(message.deliveries.order_by("part").values_list("carrier", flat=True))


# --- an account that can always speak -----------------------------------------------------------------------------------------


def test_message_and_parts() -> None:
    account = app()
    message = send(account, "字" * 1500, client="script", key="k1")
    assert (message.direction, message.source, message.client, message.idempotency_key) == (
        "out",
        "staff",
        "script",
        "k1",
    )
    assert message.conversation == Conversation.objects.get(account=account, peer_kind="direct", peer_id="zhangsan")
    deliveries = list(message.deliveries.order_by("part"))
    assert [d.part for d in deliveries] == [0, 1, 2]
    assert [d.seq for d in deliveries] == sorted(d.seq for d in deliveries)
    assert {d.lane for d in deliveries} == {f"out:{message.conversation_id}"}
    assert len({d.fingerprint for d in deliveries}) == 2  # the first two are the same words


def test_the_same_key_is_the_same_message() -> None:
    account = app()
    first = send(account, "one", key="k")
    assert send(account, "another", "lisi", key="k") == first
    assert send(account, "one", key="k", client="other") != first
    assert send(account, "one", key="k", source=Message.Source.API) != first
    assert Delivery.objects.count() == 3


def test_without_a_key_every_message_is_its_own() -> None:
    account = app()
    assert send(account) != send(account)


def test_what_a_platform_refuses_is_dropped_before_it_is_stored() -> None:
    account = app()
    message = send(account, NASTY)
    assert message.text == "ab  c 👋"
    assert message.deliveries.get().payload["body"]["text"]["content"] == "ab  c 👋"
    message.refresh_from_db()


def test_no_card_and_no_file_name_either() -> None:
    account = app()
    card = {**CARD, "main_title": {"title": NASTY}}
    message = send(account, content=Content(kind="template_card", data=card))
    message.refresh_from_db()
    assert message.data["main_title"]["title"] == "ab  c 👋"
    with_file = send(account, "", files=[file("b\x00\ud800.pdf")])
    assert with_file.attachments.get().name == "b.pdf"


ESCAPES = "\x1b[31mred\x1b[0m\x07\x1b]0;title\x07\r\nnext\tcell\u202egnp\u2066\ufffe\x85\ufeff"


def test_control_characters_reach_no_field() -> None:
    account = app()
    message = send(account, ESCAPES)
    assert message.deliveries.get().payload["body"]["text"]["content"] == "red\nnext\tcellgnp"
    card = {**CARD, "main_title": {"title": ESCAPES}}
    assert "\x1b" not in str(send(account, content=Content(kind="template_card", data=card)).data)
    with_file = send(account, "", files=[file("re\nport\u202egnp.exe")])
    assert with_file.attachments.get().name == "re portgnp.exe"


def test_files() -> None:
    files = [file(), file("b.png", "image/png"), file("c.mp4", "video/mp4"), file("d.amr", "audio/amr")]
    message = send(app(), "see these", files=files)
    rows = list(message.attachments.order_by("position"))
    assert [(row.kind, row.name, row.state, row.size) for row in rows] == [
        ("file", "a.pdf", "ready", 7), ("image", "b.png", "ready", 7), ("video", "c.mp4", "ready", 7), ("voice", "d.amr", "ready", 7),
    ]  # fmt: skip
    assert len({row.file.name for row in rows}) == 4
    assert not any("a.pdf" in row.file.name for row in rows)


def test_a_card_is_stored_with_its_data() -> None:
    message = send(app(), content=Content(kind="template_card", data=CARD))
    assert (message.kind, message.data) == ("template_card", CARD)


def test_what_cannot_be_rendered_is_refused_to_people_and_stores_nothing() -> None:
    with pytest.raises(CannotSend, match="empty"):
        send(app(), "")
    assert Message.objects.count() == 0
    assert Conversation.objects.count() == 0


def test_a_refused_message_leaves_no_file_behind(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    too_small = ContentFile(b"1234", name="a.pdf")
    with pytest.raises(CannotSend, match="5 bytes"):
        send(app(), "", files=[too_small])
    assert stored_files(tmp_path) == []
    send(app(agent_id=7), "see this", files=[too_small])
    assert len(stored_files(tmp_path)) == 1


def test_a_file_that_cannot_be_read_takes_those_before_it_along(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    closed = TemporaryUploadedFile("b.pdf", "application/pdf", 7, None)
    closed.close()
    with pytest.raises((OSError, ValueError)):
        send(app(), "see these", files=[file(), closed])
    assert (stored_files(tmp_path), Message.objects.count()) == ([], 0)


def test_what_an_agent_says_is_kept_in_any_case() -> None:
    message = send(app(), "", source=Message.Source.AGENT)
    assert parts(message) == [("dead", Reason.CONTENT)]
    assert message.deliveries.get().error


def test_why_an_agents_file_is_refused_is_told_in_the_language_of_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's own catalogue stands in for one of ours."""
    message = send(official(), "", source=Message.Source.AGENT, files=[file("a.webp", "image/webp")])
    delivery = message.deliveries.get()
    kept = {"code": "file_format", "params": {"formats": "JPG, JPEG, PNG, GIF"}}
    assert (delivery.code, delivery.code_params) == ("content", {"because": kept})
    assert delivery.error.endswith(": WeChat takes only these formats here: JPG, JPEG, PNG, GIF.")
    table = table_for("channel", message.account.kind)
    monkeypatch.setitem(table, "file_format", Explanation(Action.PERMANENT, _("No"), shows_code=False))
    said = {}
    for language in ("en", "de"):
        with override(language):
            said[language] = delivery.error.rpartition(": ")[2]
    assert said == {"en": "No", "de": "Nein"}


def test_a_wake_up_is_published_after_the_commit(django_capture_on_commit_callbacks: object) -> None:
    with django_capture_on_commit_callbacks() as callbacks:  # type: ignore[operator]
        send(app())
    assert len(callbacks) == 1


@pytest.mark.parametrize(("make", "topic"), [(app, "send"), (wechaty, "socket")])
def test_the_process_that_sends_it_is_woken(
    make: Callable[[], ChannelAccount], topic: str, valkey: redis.Redis, django_capture_on_commit_callbacks: object
) -> None:
    """Nobody else's wake-up would do: the message would wait for the next sweep."""
    with rings(valkey) as heard:
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            send(make())
        eventually(lambda: heard.rung(topic))
        assert heard.count == {topic: 1}


# --- a surface that speaks only in answer ---------------------------------------------------------------------------------------


def test_the_first_part_goes_by_the_stream_the_second_by_the_address_and_says_that_the_rest_is_missing() -> None:
    message = answer(hear(bot(), group=GROUP, reply=REPLY), "字" * 20_000)
    assert carriers(message) == ["http_reply", "worker"]
    assert parts(message) == [("pending", ""), ("pending", "")]
    assert len(message.text) == 20_000
    first, second = message.deliveries.order_by("part")
    assert message.account.sentence("too_long") in json.dumps(second.payload, ensure_ascii=False)
    assert 15 < (first.due_at - timezone.now()).total_seconds() <= 20
    assert second.due_at <= timezone.now()


def test_late_answers_go_by_the_address() -> None:
    question = hear(bot(), group=GROUP, reply=REPLY)
    Message.objects.filter(pk=question.pk).update(created_at=timezone.now() - timedelta(seconds=341))
    question.refresh_from_db()
    assert carriers(answer(question)) == ["worker"]
    Message.objects.filter(pk=question.pk).update(reply_until=timezone.now())
    question.refresh_from_db()
    dead = answer(question, "字" * 2000)
    assert parts(dead) == [("dead", Reason.NO_REPLY)]
    assert "字" * 2000 in json.dumps(dead.deliveries.get().payload, ensure_ascii=False)


def test_shortly_before_the_end_of_the_stream_the_hand_over_comes_earlier() -> None:
    question = hear(bot(), group=GROUP, reply=REPLY)
    question.created_at = timezone.now() - timedelta(seconds=335)
    question.save()
    assert (answer(question).deliveries.get().due_at - timezone.now()).total_seconds() <= 5


@pytest.mark.parametrize("used", ["sending", "delivered", "uncertain"])
def test_a_second_answer_takes_the_way_that_is_left(used: str) -> None:
    question = hear(bot(), group=GROUP, reply=REPLY)
    assert [carriers(answer(question)) for _twice in range(2)] == [["http_reply"], ["worker"]]
    spent = Delivery.objects.get(carrier="worker")
    under_way = used == "sending"
    reason = Reason.UNKNOWN if used == "uncertain" else ""
    shift(spent, state=used, reason=reason, lease_until=60 if under_way else None, finished_at=None if under_way else 0)
    assert parts(answer(question)) == [("dead", Reason.NO_REPLY)]


def test_an_answer_that_died_leaves_its_way_to_the_next() -> None:
    question = hear(bot(), group=GROUP, reply=REPLY)
    shift(answer(question).deliveries.get(), state="dead", reason=Reason.CONTENT, finished_at=0)
    assert carriers(answer(question)) == ["http_reply"]


def test_an_event_opens_no_stream() -> None:
    question = hear(bot(), "Card", kind="action", group=GROUP, reply=REPLY)
    assert carriers(answer(question)) == ["worker"]


def test_people_are_told_at_once_that_nothing_is_left() -> None:
    account = bot()
    with pytest.raises(CannotSend, match="only in answer"):
        send(account, peer_kind="group", peer_id=GROUP)
    assert Message.objects.count() == 0


def test_staff_answer_the_newest_question_that_can_be_answered() -> None:
    from bridge.pipeline.inbound.router import route_waiting

    account = bot()
    questions = [hear(account, str(number), group=GROUP, reply=REPLY) for number in range(3)]
    route_waiting()
    talk = Conversation.objects.get()
    assert why_not_send(talk) == ""
    assert send(account, peer_kind="group", peer_id=GROUP).reply_to == questions[2]
    Message.objects.filter(direction="in").update(reply_until=timezone.now())
    Message.objects.filter(direction="in").update(created_at=timezone.now() - timedelta(seconds=400))
    assert "only in answer" in why_not_send(talk)
    from accounts.channels import build_channel

    assert find_answerable_message(talk, build_channel(account)) is None


def test_a_repeated_key_is_answered_even_when_nothing_is_left() -> None:
    account = bot()
    question = hear(account, group=GROUP, reply=REPLY)
    first = send(account, "one", GROUP, peer_kind="group", key="k", reply_to=question)
    Message.objects.filter(pk=question.pk).update(
        reply_until=timezone.now(), created_at=timezone.now() - timedelta(seconds=400)
    )
    question.refresh_from_db()
    assert send(account, "one", GROUP, peer_kind="group", key="k", reply_to=question) == first


def test_an_app_can_always_be_written_by() -> None:
    send(app())
    assert why_not_send(Conversation.objects.get()) == ""


# --- welcomes -------------------------------------------------------------------------------------------------------------------


def test_what_the_callback_said_at_once_is_kept_once() -> None:
    question = hear(bot(), "enter_chat", kind="event")
    for _twice in range(2):
        store_callback_reply(question, "welcome")
    message = Message.objects.get(direction="out")
    assert (message.text, message.source, message.reply_to) == ("welcome", "bridge", question)
    assert (parts(message), message.deliveries.get().tries) == ([("delivered", "")], 1)
    attempt = Attempt.objects.get()
    assert (attempt.outcome, bool(attempt.finished_at)) == ("ok", True)


def test_recall_needs_a_channel_that_can() -> None:
    delivery = answer(hear(bot(), group=GROUP, reply=REPLY)).deliveries.get()
    shift(delivery, state="delivered", finished_at=0, remote_id="R")
    with pytest.raises(CannotSend, match="no longer"):
        outbox.recall(Delivery.objects.get())


def test_a_new_session_is_only_counted() -> None:
    talk = to_send(app()).message.conversation
    outbox.start_new_session(talk)
    talk.refresh_from_db()
    assert talk.session_epoch == 1
