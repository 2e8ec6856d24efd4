"""Messages that the platform keeps: pulled by one process at a time, stored before the cursor, neither skipped nor answered twice."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ReplyWindow
from bridge.admin.conversations.inbox import select_waiting
from bridge.models import Conversation, Delivery, Message, Reason, State
from bridge.operations.unanswered import find_unanswered
from bridge.pipeline.inbound import pulling, router
from bridge.runtime.worker import tasks
from channels_wechat.contract.messages import Knock
from tests.support.away import database_away
from tests.support.callbacks import web_server
from tests.support.factories import (
    AGENT,
    CUSTOMER,
    KF,
    answer,
    app,
    eventually,
    gateway,
    in_thread,
    kf,
    parts,
    pull,
    route,
    work_off,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db(transaction=True)
SYNC, SEND = "kf/sync_msg", "kf/send_msg"


@pytest.fixture
def service(company: SimulatorClient) -> ChannelAccount:
    """An account of customer service with a customer. No notice comes, unless a test sends one."""
    company.kf_account(KF, AGENT, name="售后", servicers=["wangwu", "lisi"], knocks=False)
    company.kf_customer(CUSTOMER, "小红")
    account = kf(company.url)
    route(account, gateway())
    return account


def write(company: SimulatorClient, *texts: str) -> None:
    for text in texts:
        company.say(text, kf=KF, from_=CUSTOMER)


def row_of(account: ChannelAccount) -> Connection:
    return Connection.objects.get(account=account)


def texts() -> list[str]:
    return list(Message.objects.filter(direction="in").order_by("id").values_list("text", flat=True))


# --- pages and the cursor


def test_every_message_comes_once_over_several_pages_and_an_empty_one(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    company.kf_account(KF, AGENT, page_size=2, empty_pages=1)
    write(company, "1", "2", "3", "4", "5")
    pull(service)
    assert texts() == ["1", "2", "3", "4", "5"]
    assert len(company.calls(SYNC)) == 4
    pull(service)
    assert texts() == ["1", "2", "3", "4", "5"]
    assert len(company.calls(SYNC)) == 5


def test_a_page_that_is_read_twice_stores_nothing_twice(company: SimulatorClient, service: ChannelAccount) -> None:
    """The process died between the rows and the cursor."""
    write(company, "1")
    pull(service)
    before = row_of(service).cursor
    write(company, "2", "3")
    pull(service)
    Connection.objects.update(cursor=before)
    write(company, "4")
    pull(service)
    assert texts() == ["1", "2", "3", "4"]
    assert row_of(service).cursor != before


@contextmanager
def no_cursor_is_written() -> Iterator[None]:
    """The database refuses each write of a cursor, and takes everything else."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.cursor <> OLD.cursor THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER refuse BEFORE UPDATE ON accounts_connection FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse ON accounts_connection; DROP FUNCTION refuse()")


def test_what_was_stored_without_its_cursor_is_not_answered_twice(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    """It ends exactly between the two: the messages are committed, the cursor is not."""
    write(company, "1", "2")
    with no_cursor_is_written():
        pull(service)
    assert (texts(), row_of(service).cursor) == (["1", "2"], "")
    router.route_waiting()
    Connection.objects.update(pull_due_at=timezone.now())
    pull(service)
    router.route_waiting()
    assert texts() == ["1", "2"]
    assert row_of(service).cursor
    assert Delivery.objects.filter(target="agent", state=State.PENDING).count() == 2


def test_the_cursor_is_not_stored_before_the_messages(
    company: SimulatorClient, service: ChannelAccount, settings: Any
) -> None:
    write(company, "1")
    pull(service)
    before = row_of(service).cursor
    write(company, "2")
    pulling.note_knock(Knock("wecom_kf", KF))
    (row,) = pulling.claim_due(1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE bridge_message RENAME TO bridge_message_away")
    try:
        pulling.pull_account(row)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE bridge_message_away RENAME TO bridge_message")
    assert row_of(service).cursor == before
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    pull(service)
    assert texts() == ["1", "2"]


def test_nothing_is_lost_while_the_database_is_away(company: SimulatorClient, service: ChannelAccount) -> None:
    write(company, "1")
    pulling.note_knock(Knock("wecom_kf", KF))
    (row,) = pulling.claim_due(1)
    with database_away():
        pulling.pull_account(row)
    assert texts() == []
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    assert pulling.has_due()
    pull(service)
    assert texts() == ["1"]


@pytest.mark.parametrize("change", ["platform", "account"])
def test_a_cursor_is_good_only_where_it_came_from(
    company: SimulatorClient, service: ChannelAccount, change: str
) -> None:
    """The platform knows it no more; staff entered another account in the place of this one."""
    write(company, "1")
    pull(service)
    if change == "platform":
        row = row_of(service)
        Connection.objects.update(cursor=row.cursor[:-4] + "AAAA")
    else:
        company.kf_account("wkOther", AGENT, knocks=False)
        company.say("1 of the other", kf="wkOther", from_=CUSTOMER)
        service.credentials, service.external_id = {**service.credentials, "open_kfid": "wkOther"}, "wkOther"
        service.save()
    write(company, "2")
    pull(service)
    assert texts() == (["1", "2"] if change == "platform" else ["1", "1 of the other"])


# --- one at a time


def test_one_of_many_workers_pulls(company: SimulatorClient, service: ChannelAccount) -> None:
    write(company, "1")
    pulling.note_knock(Knock("wecom_kf", KF))
    claimed: list[Connection] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait(30)
        claimed.extend(pulling.claim_due(1))

    threads = [threading.Thread(target=in_thread(take)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (row,) = claimed
    pulling.pull_account(row)
    assert (texts(), len(company.calls(SYNC))) == (["1"], 1)


def test_a_late_worker_stores_no_cursor(company: SimulatorClient, service: ChannelAccount) -> None:
    """It was paused past its lease, and another one pulled meanwhile."""
    write(company, "1")
    pulling.note_knock(Knock("wecom_kf", KF))
    (late,) = pulling.claim_due(1)
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    (other,) = pulling.claim_due(1)
    pulling.pull_account(other)
    after = row_of(service)
    write(company, "2")
    pulling.pull_account(late)
    now = row_of(service)
    assert (now.cursor, now.fence, now.pull_due_at) == (after.cursor, after.fence, after.pull_due_at)
    pull(service)
    assert texts() == ["1", "2"]


def test_a_knock_during_a_pull_makes_the_account_due_again(company: SimulatorClient, service: ChannelAccount) -> None:
    pulling.note_knock(Knock("wecom_kf", KF))
    (row,) = pulling.claim_due(1)
    pulling.note_knock(Knock("wecom_kf", KF))
    pulling.pull_account(row)
    assert pulling.has_due()
    pull(service)
    assert not pulling.has_due()


# --- when


def test_an_account_without_a_knock_is_pulled_by_the_clock(company: SimulatorClient, service: ChannelAccount) -> None:
    write(company, "1")
    assert not pulling.has_due()
    tasks.schedule_pulls()
    (row,) = pulling.claim_due(1)
    pulling.pull_account(row)
    assert texts() == ["1"]
    due = row_of(service).pull_due_at
    assert due is not None
    assert 0 < (due - timezone.now()).total_seconds() <= pulling.PERIOD_SECONDS
    tasks.schedule_pulls()
    assert row_of(service).pull_due_at == due


@pytest.mark.parametrize("change", [{"enabled": False}, {"state": Health.STOPPED}])
def test_an_account_that_is_off_is_not_pulled(
    company: SimulatorClient, service: ChannelAccount, change: dict[str, Any]
) -> None:
    pulling.note_knock(Knock("wecom_kf", KF))
    ChannelAccount.objects.filter(pk=service.pk).update(**change)
    tasks.schedule_pulls()
    assert (pulling.has_due(), pulling.claim_due(1), company.calls(SYNC)) == (False, [], [])


@pytest.mark.parametrize("knock", [Knock("wecom_kf", "wkUnknown"), Knock("wecom_app", KF), Knock("no_such_kind", KF)])
def test_a_knock_for_nobody_changes_nothing(service: ChannelAccount, knock: Knock) -> None:
    assert not pulling.note_knock(knock)
    assert not Connection.objects.exists()


def test_a_failing_platform_is_asked_again_only_after_longer_and_longer_pauses(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    company.fault(SYNC, "errcode", errcode=-1, errmsg="system busy", times=0)
    pulling.note_knock(Knock("wecom_kf", KF))
    pauses = []
    for _ in range(5):
        Connection.objects.update(pull_due_at=timezone.now())
        (row,) = pulling.claim_due(1)
        pulling.note_knock(Knock("wecom_kf", KF))
        pulling.pull_account(row)
        pulling.note_knock(Knock("wecom_kf", KF))
        assert not pulling.has_due()
        after = row_of(service)
        assert after.pull_due_at is not None
        pauses.append(round((after.pull_due_at - timezone.now()).total_seconds()))
        assert (after.code, after.owner) == ("-1", "")
    assert pauses == [5, 10, 20, 40, 60]
    assert len(company.calls(SYNC)) == 5
    service.refresh_from_db()
    assert service.state == Health.FAILING
    company.clear_faults()
    Connection.objects.update(pull_due_at=timezone.now())
    pull(service)
    service.refresh_from_db()
    assert (service.state, row_of(service).pull_failures) == (Health.OK, 0)


@pytest.mark.parametrize(("errcode", "state"), [(95017, Health.STOPPED), (95000, Health.STOPPED), (45009, Health.NEW)])
def test_what_an_error_of_the_platform_does_to_the_account(
    company: SimulatorClient, service: ChannelAccount, errcode: int, state: Health
) -> None:
    company.fault(SYNC, "errcode", errcode=errcode, errmsg="api freq out of limit: minute")
    pull(service)
    service.refresh_from_db()
    assert service.state == state
    due = row_of(service).pull_due_at
    assert due is not None
    assert (due - timezone.now()).total_seconds() > (55 if errcode == 45009 else 1)
    assert len(company.calls(SYNC)) == 1


def test_the_token_of_a_knock_is_used_for_its_ten_minutes_and_kept_encrypted(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    pull(service, token="ENC-canary")  # noqa: S106  not one of the platform's, which is refused once and then left out
    bodies = [call["body"] for call in company.calls(SYNC)]
    assert ["ENC-canary" in body for body in bodies] == [True, False]
    with connection.cursor() as cursor:
        cursor.execute("SELECT knock_token FROM accounts_connection")
        assert "canary" not in cursor.fetchone()[0]
    Connection.objects.update(knock_until=timezone.now() - timedelta(seconds=1))
    pull(service)
    assert "ENC-canary" not in company.calls(SYNC)[-1]["body"]


# --- what came before


def test_what_was_said_before_the_account_was_here_is_history_without_a_turn(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    write(company, "yesterday")
    company.open_chat(KF, CUSTOMER)
    ChannelAccount.objects.filter(pk=service.pk).update(created_at=timezone.now() + timedelta(hours=1))
    service.refresh_from_db()
    pull(service)
    router.route_waiting()
    turns = Delivery.objects.order_by("id").values_list("state", "reason")
    assert list(turns) == [(State.SKIPPED, Reason.PAST)] * 2
    assert not Message.objects.filter(direction="out").exists()


def test_what_is_too_old_to_be_answered_is_history_too(
    company: SimulatorClient, service: ChannelAccount, settings: Any
) -> None:
    ChannelAccount.objects.filter(pk=service.pk).update(created_at=timezone.now() - timedelta(days=5))
    write(company, "old", "new")
    settings.MAX_AGE_QUESTION = -3600
    pull(service)
    router.route_waiting()
    assert set(Delivery.objects.values_list("reason", flat=True)) == {Reason.PAST}


# --- how a conversation goes on


def test_a_servicer_s_words_are_shown_and_make_no_turn(company: SimulatorClient, service: ChannelAccount) -> None:
    write(company, "1")
    company.take_conversation(KF, CUSTOMER, "wangwu")
    company.answer_as_servicer(KF, CUSTOMER, "我来帮您")
    write(company, "2")
    company.take_conversation(KF, CUSTOMER, change_type=3)
    write(company, "3")
    pull(service)
    router.route_waiting()
    found = Delivery.objects.filter(target="agent").exclude(message__kind="event").order_by("id")
    assert [(one.message.text, one.state, one.reason) for one in found if one.message] == [
        ("1", State.PENDING, ""),
        ("我来帮您", State.SKIPPED, Reason.OWN),
        ("2", State.SKIPPED, Reason.HUMAN),
        ("3", State.PENDING, ""),
    ]
    talk = Conversation.objects.get(peer_id=CUSTOMER)
    assert (talk.mode, talk.servicer) == (Conversation.Mode.BOT, "")


def test_what_a_servicer_answered_waits_for_nobody_and_is_not_offered_to_the_agent(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    """While they answer in the platform's client it waits for nobody here; afterwards only what they left unanswered does."""

    def hear() -> Conversation:
        pull(service)
        while router.route_waiting():
            pass
        return Conversation.objects.get(peer_id=CUSTOMER)

    write(company, "1")
    company.take_conversation(KF, CUSTOMER, "wangwu")
    hear()
    write(company, "2")
    talk = hear()
    assert (talk.servicer, talk.waiting_count) == ("wangwu", 1)
    assert not select_waiting().exists()
    company.answer_as_servicer(KF, CUSTOMER, "我来帮您")
    talk = hear()
    assert (talk.waiting_count, talk.waiting_since, find_unanswered(talk)) == (0, None, [])
    write(company, "3")
    company.take_conversation(KF, CUSTOMER, change_type=3)
    talk = hear()
    assert (talk.mode, talk.waiting_count) == ("bot", 1)
    [left] = find_unanswered(talk)
    assert Delivery.objects.get(pk=left).message.text == "3"  # type: ignore[union-attr]


def test_what_waits_for_its_turn_is_a_servicer_s_when_they_take_it(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    write(company, "1")
    pull(service)
    router.route_waiting()
    assert Delivery.objects.get(message__text="1").state == State.PENDING
    company.take_conversation(KF, CUSTOMER, "wangwu")
    pull(service)
    router.route_waiting()
    asked = Delivery.objects.get(message__text="1")
    assert (asked.state, asked.reason) == (State.SKIPPED, Reason.HUMAN)


def test_the_end_of_a_session_does_not_undo_what_staff_chose(company: SimulatorClient, service: ChannelAccount) -> None:
    write(company, "1")
    pull(service)
    router.route_waiting()
    Conversation.objects.update(mode=Conversation.Mode.HUMAN)
    company.take_conversation(KF, CUSTOMER, change_type=3)
    pull(service)
    router.route_waiting()
    assert Conversation.objects.get(peer_id=CUSTOMER).mode == Conversation.Mode.HUMAN


def test_a_message_that_was_taken_back_makes_no_turn(company: SimulatorClient, service: ChannelAccount) -> None:
    said = company.say("oops", kf=KF, from_=CUSTOMER)
    pull(service)
    router.route_waiting()
    write(company, "stays")
    recall = {"recall_msgid": said["id"]}
    company.event("user_recall_msg", kf=KF, from_=CUSTOMER, fields=recall)
    again = company.say("oops again", kf=KF, from_=CUSTOMER)
    company.event("user_recall_msg", kf=KF, from_=CUSTOMER, fields={"recall_msgid": again["id"]})
    pull(service)
    router.route_waiting()
    turns = {one.message.text: one for one in Delivery.objects.filter(message__kind="text") if one.message}
    assert {text: (one.state, one.reason) for text, one in turns.items()} == {
        "oops": (State.SKIPPED, Reason.RECALLED),
        "stays": (State.PENDING, ""),
        "oops again": (State.SKIPPED, Reason.RECALLED),
    }
    assert turns["oops"].recalled_at is not None
    event = Message.objects.filter(kind="event").order_by("id")[0]
    assert event.reply_to == turns["oops"].message


def question(company: SimulatorClient, service: ChannelAccount, text: str = "1") -> Message:
    write(company, text)
    pull(service)
    router.route_waiting()
    return Message.objects.get(text=text, direction="in")


def test_five_messages_may_follow_one_of_the_customer_s_and_the_next_is_held(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    first = question(company, service)
    for number in range(6):
        answer(first, f"answer {number}")
        work_off()
    states = [one.state for one in Delivery.objects.filter(target="channel").order_by("id")]
    assert states == [State.DELIVERED] * 5 + [State.HELD]
    assert len(company.calls(SEND)) == 5
    question(company, service, "2")
    work_off()
    assert Delivery.objects.filter(target="channel").latest("id").state == State.DELIVERED


@pytest.mark.parametrize(("state", "code"), [("servicer", "95018"), ("spent", "95001")])
def test_what_the_platform_does_not_let_us_say_waits_for_the_customer(
    company: SimulatorClient, service: ChannelAccount, state: str, code: str
) -> None:
    asked = question(company, service)
    if state == "servicer":
        company.take_conversation(KF, CUSTOMER, "wangwu")
    else:
        company.advance(49 * 3600)
    answer(asked)
    work_off()
    held = Delivery.objects.get(target="channel")
    assert (held.state, held.reason, held.code) == (State.HELD, Reason.WINDOW, code)
    assert ReplyWindow.objects.get().left == 0
    assert company.record()["errors"][f"{SEND} {code}"] == 1


def test_a_time_out_is_repeated_under_the_same_id_and_said_once(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    """Also where the same text went to the same customer just before."""
    asked = question(company, service)
    answer(asked, "好的")
    work_off()
    company.fault(SEND, "reset_after", times=1)
    answer(asked, "好的")
    work_off()
    waiting = Delivery.objects.filter(target="channel").latest("id")
    assert waiting.state == State.PENDING
    Delivery.objects.filter(pk=waiting.pk).update(due_at=timezone.now())
    work_off()
    waiting.refresh_from_db()
    assert (waiting.state, waiting.remote_id) == (State.DELIVERED, waiting.platform_key)
    shown = [entry["text"] for entry in company.transcript(f"kf:{KF}:{CUSTOMER}") if entry["via"] == SEND]
    assert shown == ["好的", "好的"]
    assert company.record()["counters"]["duplicates"] == 1


def test_what_was_accepted_and_did_not_arrive_becomes_a_failure_with_its_cause(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    company.kf_customer(CUSTOMER, "小红", refuses=True)
    message = answer(question(company, service))
    work_off()
    assert parts(message) == [(State.DELIVERED, "")]
    pull(service)
    router.route_waiting()
    assert parts(message) == [(State.DEAD, Reason.PERMANENT)]
    failed = message.deliveries.get()
    assert failed.code == "fail_refused"
    assert "refuses messages" in failed.error
    pull(service)
    router.route_waiting()
    assert parts(message) == [(State.DEAD, Reason.PERMANENT)]


def test_a_customer_who_opens_the_chat_is_welcomed_once_by_the_code_and_it_costs_no_message(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    service.sentences = {"welcome": "您好，请问有什么可以帮您？"}
    service.save()
    for _ in range(2):
        company.open_chat(KF, CUSTOMER)
        pull(service)
        router.route_waiting()
        work_off()
    chat = company.transcript(f"kf:{KF}:{CUSTOMER}")
    assert [(entry["via"], entry["text"]) for entry in chat] == [("kf/send_msg_on_event", "您好，请问有什么可以帮您？")]
    assert not ReplyWindow.objects.exists()


def test_a_welcome_that_is_late_is_not_tried(company: SimulatorClient, service: ChannelAccount) -> None:
    service.sentences = {"welcome": "您好"}
    service.save()
    company.open_chat(KF, CUSTOMER)
    pull(service)
    router.route_waiting()
    Message.objects.filter(kind="event").update(reply_until=timezone.now() - timedelta(seconds=1))
    work_off()
    late = Delivery.objects.get(target="channel")
    assert (late.state, late.reason) == (State.DEAD, Reason.NO_REPLY)
    assert company.calls("kf/send_msg_on_event") == []


# --- the notice at the callback address


def test_a_notice_at_the_app_s_address_makes_the_account_due_and_stays_an_event_of_the_app(
    company: SimulatorClient, service: ChannelAccount
) -> None:
    own = app(company.url)
    with web_server() as url:
        company.app(AGENT, callback_url=f"{url}/callbacks/{own.key}")
        company.kf_account(KF, AGENT, knocks=True)
        write(company, "1")
        eventually(pulling.has_due)
        (row,) = pulling.claim_due(1)
        assert row.knock_token.startswith("ENC")
        pulling.pull_account(row)
    (event,) = Message.objects.filter(account=own)
    assert (event.kind, texts()) == ("event", [event.text, "1"])
    assert row.knock_token not in str(event.raw)
    assert "token" in company.calls(SYNC)[0]["body"]


def test_a_notice_at_the_account_s_own_address_is_no_message(company: SimulatorClient, service: ChannelAccount) -> None:
    with web_server() as url:
        company.app(AGENT, callback_url=f"{url}/callbacks/{service.key}")
        assert company.verify(app=AGENT)["ok"] is True
        company.kf_account(KF, AGENT, knocks=True)
        write(company, "1")
        eventually(pulling.has_due)
    assert not Message.objects.exists()
