"""Messages on their way in: one statement, once each, routed in order, and never stuck."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.utils import timezone

from bridge.models import Carrier, ContactRequest, Conversation, Delivery, Message, Reason, Route, State, Target
from bridge.operations.problems import chats
from bridge.operations.unanswered import find_unanswered
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import ContactRequest as ContactRequestAsked
from channels_wechat.contract.messages import Content, message_uuid
from tests.support import factories
from tests.support.factories import GROUP, app, bot, claim, gateway, hear, picture, route, row, said, shift, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> ChannelAccount:
    return app()


# --- receive ----------------------------------------------------------------------------------------------------------------


def test_one_statement(account: ChannelAccount, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        factories.receive(account, said(media=(picture("M1"), picture("M2"))))


def test_everything_is_kept(account: ChannelAccount) -> None:
    one = said("你好 \U0001f600 'quoted' %s", reply="https://reply/?code=secret", occurred_at=1_700_000_000,
               raw={"msgtype": "text", "deep": {"x": [1, None]}}, contacts={"lisi": "李四"})  # fmt: skip
    pk = factories.receive(account, one)
    message = Message.objects.get(pk=pk)
    assert message.uuid == message_uuid(str(account.key), one.key)
    assert (message.direction, message.source, message.kind, message.sender) == ("in", "channel", "text", "zhangsan")
    assert (message.peer_kind, message.peer_id, message.idempotency_key) == ("direct", "zhangsan", one.key)
    assert (message.text, message.addressed) == (one.text, True)
    assert message.raw == {
        "msgtype": "text",
        "deep": {"x": [1, None]},
        "_bridge": {"contacts": {"lisi": "李四"}},
    }
    assert message.reply_address == "https://reply/?code=secret"
    assert timedelta(seconds=3590) < message.reply_until - timezone.now() <= timedelta(seconds=3600)
    assert message.occurred_at.timestamp() == 1_700_000_000
    assert message.routed_at is message.conversation is None


def test_without_reply_address_and_time(account: ChannelAccount) -> None:
    message = hear(account, occurred_at=0)
    assert (message.reply_address, message.reply_until, message.occurred_at) == ("", None, None)


def test_a_repetition_is_one_row(account: ChannelAccount) -> None:
    one = said(media=(picture(),))
    assert [bool(factories.receive(account, one)) for _time in range(3)] == [True, False, False]
    assert Message.objects.get().attachments.count() == 1


def test_the_same_key_at_another_account_is_another_message(account: ChannelAccount) -> None:
    one = said()
    assert factories.receive(account, one)
    assert factories.receive(bot(), one)


def test_files_are_kept_in_order(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("M1"), picture("M2", "b" * 400)))
    rows = list(message.attachments.order_by("position").values_list("position", "kind", "source", "state"))
    assert rows == [(0, "image", "M1", "pending"), (1, "image", "M2", "pending")]
    assert len(message.attachments.get(position=1).name) == 255


# --- routing ----------------------------------------------------------------------------------------------------------------


def test_a_turn_for_the_agent(account: ChannelAccount) -> None:
    mine = route(account, agent_id="support")
    factories.contact(account, "zhangsan", name="张三")
    delivery = turn(account, "你好", media=(picture("M1"),))
    message = delivery.message
    assert (delivery.state, delivery.gateway, delivery.route, delivery.account) == (
        "pending",
        mine.gateway,
        mine,
        account,
    )
    assert message.routed_at
    assert message.conversation.last_inbound_at
    payload = delivery.payload
    assert (payload["agent_id"], payload["message"]) == ("support", "你好\n[image]")
    assert payload["session_key"].startswith("agent:support:wechat:direct:")
    assert payload["attachments"] == [message.attachments.get().pk]
    assert "张三 (user id zhangsan)" in payload["extra_system_prompt"]
    assert "Only plain text is shown" in payload["extra_system_prompt"]


def test_in_a_group_the_agent_reads_who_speaks_and_where() -> None:
    account = bot()
    route(account, peer_kind="group", peer_id=GROUP)
    factories.conversation(account, GROUP, "group", title="产品组")
    payload = turn(account, "早", "lisi", group=GROUP).payload
    assert "⟧ lisi: 早\n" in payload["message"]
    assert "the group “产品组”" in payload["extra_system_prompt"]


def test_nothing_left_to_route(account: ChannelAccount) -> None:
    assert not router.has_unrouted()
    assert router.route_waiting() == 0
    hear(account)
    assert router.has_unrouted()
    assert router.route_waiting() == 1
    assert not router.has_unrouted()


def test_order_of_routing_is_order_of_arrival(account: ChannelAccount) -> None:
    route(account)
    keys = [hear(account, str(number), who).pk for number in range(3) for who in ("zhangsan", "lisi")]
    assert router.route_waiting() == 6
    for who in ("zhangsan", "lisi"):
        rows = Delivery.objects.filter(message__sender=who).order_by("seq")
        assert [row.message_id for row in rows] == [pk for pk in keys if Message.objects.get(pk=pk).sender == who]
        assert len({row.lane for row in rows}) == 1


@pytest.mark.parametrize(
    ("mode", "reason"), [("paused", Reason.PAUSED), ("human", Reason.HUMAN), ("bot", "")]
)  # fmt: skip
def test_a_paused_conversation(account: ChannelAccount, mode: str, reason: str) -> None:
    route(account)
    factories.conversation(account, "zhangsan", mode=mode)
    delivery = turn(account)
    assert (delivery.state, delivery.reason) == ("skipped" if reason else "pending", reason)


@pytest.mark.parametrize(("kind", "reason"), [("event", Reason.EVENT), ("unsupported", Reason.UNSUPPORTED)])
def test_what_no_agent_gets(account: ChannelAccount, kind: str, reason: str) -> None:
    route(account)
    delivery = turn(account, "", kind=kind)
    assert (delivery.state, delivery.reason, delivery.gateway) == (State.SKIPPED, reason, None)


def test_people_are_met_and_renamed(account: ChannelAccount) -> None:
    turn(account, sender="zhangsan")
    turn(account, kind="event", sender="", contacts={"zhangsan": "张三", "lisi": "李四"})
    turn(account, kind="event", sender="", contacts={"lisi": "李四四"})
    assert dict(account.contacts.values_list("external_id", "name")) == {"zhangsan": "张三", "lisi": "李四四"}


def test_feedback_is_kept_with_the_answer_it_judges() -> None:
    account = bot()
    route(account)
    question = turn(account, group=GROUP).message
    from tests.support.factories import answer

    answer(question)
    judged = answer(question, "the answer to the question that was asked again")
    outbox.send(account, "group", GROUP, Content(text="a notice"), source="bridge", reply_to=question)
    later = hear(account, "feedback: accurate", kind="event", group=GROUP, refers_to=question.uuid.hex)
    router.route_waiting()
    later.refresh_from_db()
    assert later.reply_to == judged
    stray = hear(account, "feedback: accurate", kind="event", group=GROUP, refers_to="0" * 32)
    router.route_waiting()
    stray.refresh_from_db()
    assert stray.reply_to is None


def test_feedback_judges_no_answer_of_another_account(account: ChannelAccount) -> None:
    from tests.support.factories import answer

    other = bot()
    route(other)
    question = turn(other, group=GROUP).message
    answer(question)
    foreign = hear(account, "feedback: accurate", kind="event", refers_to=question.uuid.hex)
    router.route_waiting()
    foreign.refresh_from_db()
    assert foreign.reply_to is None


# --- a message that breaks the router -----------------------------------------------------------------------------------------


def test_a_message_that_breaks_the_router_is_dead_and_stops_nobody(
    account: ChannelAccount, caplog: pytest.LogCaptureFixture
) -> None:
    route(account)
    before, bad, after = hear(account, "1"), hear(account, "2"), hear(account, "3")
    other = hear(account, "4", "lisi")
    Message.objects.filter(pk=bad.pk).update(raw={"_bridge": "not an object"})
    with caplog.at_level(logging.CRITICAL):
        assert router.route_waiting() == 4
    rows = [message.deliveries.get() for message in (before, bad, after, other)]
    assert [row.state for row in rows] == ["pending", "dead", "pending", "pending"]
    assert (rows[1].reason, rows[1].target) == (Reason.INTERNAL, Target.AGENT)
    assert "AttributeError" in rows[1].error
    assert [said.reply_to for said in Message.objects.filter(direction="out")] == [bad], "its sender is told"
    assert rows[0].seq < rows[1].seq < rows[2].seq


# --- commands -----------------------------------------------------------------------------------------------------------------


def test_new_begins_a_new_session(account: ChannelAccount) -> None:
    route(account)
    before = turn(account).payload["session_key"]
    command = turn(account, " /NEW ")
    assert (command.state, command.reason) == (State.SKIPPED, Reason.COMMAND)
    said_back = Message.objects.get(direction="out")
    assert (said_back.text, said_back.source, said_back.reply_to_id) == (
        "已开始新的会话。",
        "bridge",
        command.message_id,
    )
    assert said_back.deliveries.get().state == "pending"
    assert turn(account).payload["session_key"] != before


def test_stop_is_written_down(account: ChannelAccount) -> None:
    route(account)
    mine, waiting, other = turn(account), turn(account), turn(account, sender="lisi")
    assert {row.pk for row in claim(Carrier.CONNECTOR)} == {mine.pk, other.pk}
    command = turn(account, "/stop")
    assert command.reason == Reason.COMMAND
    assert [bool(row(one).stopped_at) for one in (mine, waiting, other)] == [True, False, False]
    assert Message.objects.get(direction="out").text == "已停止。"


def test_a_command_after_the_words_that_call_the_agent(account: ChannelAccount) -> None:
    route(account, trigger="prefix", trigger_words="小助手")
    assert turn(account, "小助手 /stop").reason == Reason.COMMAND
    assert turn(account, "/stop").reason == Reason.NO_TRIGGER


@pytest.mark.parametrize("text", ["/new session", "please /stop", "/unknown", "new"])
def test_what_is_no_command_goes_to_the_agent(account: ChannelAccount, text: str) -> None:
    route(account)
    assert turn(account, text).state == "pending"


@pytest.mark.parametrize("kind", ["voice", "action"])
def test_only_what_was_typed_is_a_command(account: ChannelAccount, kind: str) -> None:
    route(account)
    assert turn(account, "/stop", kind=kind).state == "pending"


def test_a_conversation_that_begins_with_a_broken_message_has_its_time(account: ChannelAccount) -> None:
    hear(account)
    Message.objects.update(raw={"_bridge": "not an object"})
    router.route_waiting()
    assert Conversation.objects.get().last_inbound_at


def test_nobody_commands_who_may_not_speak(account: ChannelAccount) -> None:
    route(account, gateway(), allowed_senders="boss")
    command = turn(account, "/new")
    assert command.reason == Reason.SENDER
    assert command.message.conversation.session_epoch == 0
    assert Message.objects.filter(direction="out").count() == 0


def key_of(account: ChannelAccount, sender: str, group: str = "") -> str:
    return str(turn(account, sender=sender, group=group).payload["session_key"])


def said_last() -> str:
    return Message.objects.filter(direction="out").latest("pk").text


def test_new_changes_the_memory_of_whoever_types_it_and_nobody_elses() -> None:
    account = bot()
    route(account, scope=Route.Scope.SENDER)
    mine, others = key_of(account, "zhangsan", GROUP), key_of(account, "lisi", GROUP)
    elsewhere = key_of(account, "zhangsan", "wrOther")
    assert len({mine, others, elsewhere}) == 3
    turn(account, "/new", group=GROUP)
    assert said_last() == account.sentence("new_session")
    renewed = key_of(account, "zhangsan", GROUP)
    assert renewed not in (mine, others, elsewhere)
    assert [key_of(account, "lisi", GROUP), key_of(account, "zhangsan", "wrOther")] == [others, elsewhere]
    turn(account, "/new", group=GROUP)
    assert key_of(account, "zhangsan", GROUP) not in (mine, renewed)


@pytest.mark.parametrize("allowed", [False, True])
def test_new_begins_a_shared_memory_anew_only_where_the_mapping_allows_it(allowed: bool) -> None:
    account = bot()
    route(account, scope=Route.Scope.SHARED, commands_for_all=allowed)
    before = key_of(account, "zhangsan", GROUP)
    turn(account, "/new", group="wrOther")
    assert said_last() == account.sentence("new_session" if allowed else "new_session_shared")
    after = key_of(account, "zhangsan", GROUP)
    assert (after != before) is allowed
    assert key_of(account, "lisi", "wrOther") == after, "one memory for all, before and after"


@pytest.mark.parametrize("scope", Route.Scope.values)
def test_staff_begin_every_memory_of_a_conversation_anew(scope: str) -> None:
    account = bot()
    route(account, scope=scope)
    before = [key_of(account, who, GROUP) for who in ("zhangsan", "lisi")]
    outbox.start_new_session(Conversation.objects.get())
    after = [key_of(account, who, GROUP) for who in ("zhangsan", "lisi")]
    assert not set(before) & set(after)


@pytest.mark.parametrize(("allowed", "sentence"), [(False, "stop_not_yours"), (True, "stopped")])
def test_stop_of_another_member_s_turn(allowed: bool, sentence: str) -> None:
    account = bot()
    route(account, commands_for_all=allowed)
    theirs = turn(account, sender="lisi", group=GROUP)
    assert [one.pk for one in claim(Carrier.CONNECTOR)] == [theirs.pk]
    turn(account, "/stop", group=GROUP)
    assert said_last() == account.sentence(sentence)
    assert bool(row(theirs).stopped_at) is allowed
    turn(account, "/stop", "LISI", group=GROUP)
    assert said_last() == account.sentence("stopped")
    assert row(theirs).stopped_at


@pytest.mark.parametrize("end", ["", "delivered", "dead", "uncertain", "skipped"])
@pytest.mark.parametrize("group", ["", GROUP])
def test_stop_where_nothing_runs_says_so_to_everybody(group: str, end: str) -> None:
    account = bot()
    route(account)
    if end:
        over = turn(account, sender="lisi" if group else "zhangsan", group=group)
        reason = "" if end == "delivered" else Reason.PERMANENT
        shift(over, state=end, reason=reason, finished_at=0, tries=1, run_number=1)
    turn(account, "/stop", group=group)
    assert said_last() == account.sentence("stopped")
    assert not Delivery.objects.filter(stopped_at__isnull=False).exists()


@pytest.mark.parametrize(("asked", "stopped"), [({"tries": 1}, True), ({"run_number": 1}, True), ({}, False)])
def test_stop_is_for_a_turn_that_waits_to_be_asked_again(
    account: ChannelAccount, asked: dict[str, int], stopped: bool
) -> None:
    route(account)
    waiting, other = turn(account), turn(account, sender="lisi")
    for one in (waiting, other):
        shift(one, **asked)
    turn(account, "/stop")
    assert (bool(row(waiting).stopped_at), row(other).stopped_at) == (stopped, None)


# --- what the platform tells of groups and of ourselves -----------------------------------------------------------------------


def test_a_group_is_called_as_its_platform_does_until_staff_title_it(account: ChannelAccount) -> None:
    first = hear(account, group=GROUP, title="产品组")
    router.route_waiting()
    talk = Conversation.objects.get()
    assert talk.title == "产品组"
    Conversation.objects.update(title="Product team")
    hear(account, group=GROUP, title="产品二组")
    hear(account, sender="lisi", title="not a group's")
    router.route_waiting()
    assert set(Conversation.objects.values_list("title", flat=True)) == {"Product team", ""}
    assert first.conversation_id is None, "routed since it was read"


def test_a_group_that_is_renamed_is_called_so_unless_staff_title_it(account: ChannelAccount) -> None:
    for title in ("产品组", "产品二组"):
        hear(account, group=GROUP, title=title)
        router.route_waiting()
    assert Conversation.objects.get().title == "产品二组"
    Conversation.objects.update(title="Product team")
    hear(account, group=GROUP, title="产品三组")
    hear(account, group=GROUP, title="产品四组")
    router.route_waiting()
    assert Conversation.objects.get().title == "Product team"


def test_what_only_staff_may_grant_is_listed_once(account: ChannelAccount) -> None:
    asked = ContactRequestAsked("group", "inv1", "lisi", "come in", "产品组")
    for _repetition in range(2):
        turn(account, sender="lisi", kind="event", request=asked)
    request = ContactRequest.objects.get()
    assert (request.kind, request.remote_id, request.sender, request.title) == ("group", "inv1", "lisi", "产品组")
    assert (request.text, request.state) == ("come in", ContactRequest.State.OPEN)


def test_what_its_owner_answers_on_the_phone_ends_the_wait_and_the_time_begins_anew(account: ChannelAccount) -> None:
    talk = factories.conversation(account, mode="human", staff_active_at=timezone.now() - timedelta(hours=1))
    long_ago = talk.staff_active_at
    turn(account, "anybody?")
    talk.refresh_from_db()
    assert (talk.waiting_count, talk.staff_active_at) == (1, long_ago)
    assert [chat.conversation_id for chat in chats.list_for_staff()] == [talk.pk]
    hear(account, "yes", own=True)
    router.route_waiting()
    talk.refresh_from_db()
    assert (talk.waiting_count, talk.waiting_since, find_unanswered(talk)) == (0, None, [])
    assert talk.staff_active_at
    assert long_ago
    assert talk.staff_active_at > long_ago
    assert chats.list_for_staff() == []


@pytest.mark.parametrize("text", ["hello", "/stop", "1"])
def test_what_the_account_itself_said_elsewhere_is_stored_and_never_a_turn(account: ChannelAccount, text: str) -> None:
    route(account)
    echo = hear(account, text, own=True)
    router.route_waiting()
    delivery = echo.deliveries.get()
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.OWN)
    assert not Message.objects.filter(direction="out").exists()
    with transaction.atomic():
        assert router.route_again(Message.objects.get(pk=echo.pk)).reason == Reason.OWN
