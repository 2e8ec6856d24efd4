"""The worker's side of the wire, against the simulated platform."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.channels import stored_tokens
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.media import storage
from bridge.models import Attachment, Carrier, Delivery, Message, Reason
from bridge.operations import replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure
from bridge.pipeline.outbound import outbox, sender
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import Content
from tests.outbound.platform import SEND, calls, checked, png, seen
from tests.support.factories import (
    AGENT,
    GROUP,
    SECRET,
    answer,
    app,
    bot,
    claimed,
    due,
    hear,
    outcomes,
    parts,
    row,
    send,
    shift,
    state,
    to_send,
    work_off,
)

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(company: SimulatorClient) -> ChannelAccount:
    return app(company.url)


def test_a_message_has_one_key_for_all_tries_and_another_after_a_replay(account: ChannelAccount) -> None:
    message = send(account, "a" * 3000)
    first, second = message.deliveries.order_by("part")
    before = first.platform_key
    settle.fail(claimed(first), None, Failure(Action.PERMANENT, Cause("1", {"detail": "no"})))
    assert row(first).platform_key == before != second.platform_key
    assert replay.replay([first.pk]).count == 1
    assert row(first).platform_key not in (before, second.platform_key)


# --- it arrives -------------------------------------------------------------------------------------------------------------


def test_a_claimed_delivery_is_sent_without_reading_its_row_again(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    for person in ("zhangsan", "lisi"):
        to_send(account, "hi", person)
    first, second = claims.claim(Carrier.WORKER, "me", 2)
    sender.process_delivery(first)  # fetches the token
    with CaptureQueriesContext(connection) as captured:
        sender.process_delivery(second)
    reads = [str(query["sql"]) for query in captured.captured_queries if str(query["sql"]).startswith("SELECT")]
    assert [sql for sql in reads if '"bridge_delivery"' in sql or '"bridge_message"' in sql] == []


def test_it_arrives_and_is_proved(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account, "你好 👋")
    assert work_off() == 1
    after, attempt = row(delivery), delivery.attempts.get()
    assert (after.state, after.reason, after.tries) == ("delivered", "", 1)
    assert after.remote_id
    assert seen(company) == ["你好 👋"]
    assert attempt.request["to"] == {"kind": "direct", "id": "zhangsan"}
    assert attempt.request["body"]["text"] == {"content": "你好 👋"}
    assert attempt.response["errcode"] == 0
    account.refresh_from_db()
    assert account.state == Health.OK


def test_parts_arrive_in_order(company: SimulatorClient, account: ChannelAccount) -> None:
    text = "\n\n".join(f"{number}: " + "字" * 600 for number in range(4))
    message = send(account, text)
    work_off()
    assert parts(message) == [("delivered", "")] * len(seen(company))
    assert len(seen(company)) == 4
    assert [shown[0] for shown in seen(company)] == ["0", "1", "2", "3"]


def test_a_partial_failure_is_shown(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account, "hi", "zhangsan|nobody", several=True)
    work_off()
    assert (row(delivery).state, row(delivery).reason) == ("delivered", Reason.PARTIAL)
    assert "nobody" in row(delivery).error


def test_files_are_uploaded_once_for_all_tries(company: SimulatorClient, account: ChannelAccount) -> None:
    message = send(account, "", files=[png()], content=Content())
    delivery = message.deliveries.get()
    company.fault(SEND, "errcode", errcode=-1, times=1)
    work_off()
    assert (state(delivery), len(company.calls("media/upload"))) == ("pending", 1)
    due(delivery)
    work_off()
    assert state(delivery) == "delivered"
    (shown,) = company.transcript(f"app:{AGENT}:zhangsan")
    assert shown["kind"] == "image"


def test_a_media_id_that_died_is_replaced(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = send(account, "", files=[png()], content=Content()).deliveries.get()
    item = Attachment.objects.get()
    Attachment.objects.filter(pk=item.pk).update(handle="dead", handle_at=timezone.now())
    work_off()
    assert state(delivery) == "pending"
    due(delivery)
    work_off()
    assert state(delivery) == "delivered"


def test_a_group_of_the_apps_own_is_written_to(company: SimulatorClient, account: ChannelAccount) -> None:
    company.group("appgroup", "Made by the app", members=["zhangsan", "lisi"], owner="zhangsan", creator=AGENT)
    delivery = to_send(account, "hello group", "appgroup", peer_kind="group")
    work_off()
    assert state(delivery) == "delivered"
    assert [entry["text"] for entry in company.transcript("appgroup")] == ["hello group"]


@pytest.mark.parametrize(("peer_kind", "ends"), [("group", "uncertain"), ("direct", "pending")])
def test_a_defect_of_ours_after_the_attempt_was_open_is_no_proof_that_nothing_arrived(
    account: ChannelAccount, peer_kind: str, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = to_send(account, "hello", "zhangsan", peer_kind=peer_kind)
    shift(delivery, payload={"body": {}})
    work_off()
    assert (state(delivery), outcomes(delivery)) == (ends, ["unknown"])
    assert "internal" in delivery.attempts.get().code
    assert "delivery" in caplog.text


# --- what the platform says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["errcode", "html"])
def test_busy_is_tried_again(company: SimulatorClient, account: ChannelAccount, kind: str) -> None:
    """The platform swallows the repetition, should the first have arrived."""
    delivery = to_send(account)
    company.fault(SEND, kind, errcode=-1, status=408)
    work_off()
    assert (state(delivery), row(delivery).tries, outcomes(delivery)) == ("pending", 1, ["unknown"])
    account.refresh_from_db()
    assert account.state == Health.FAILING
    due(delivery)
    work_off()
    account.refresh_from_db()
    assert (state(delivery), account.state, seen(company)) == ("delivered", Health.OK, ["hello"])


def test_busy_for_too_long_is_uncertain(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    company.fault(SEND, "errcode", errcode=-1, times=0)
    for _try in range(3):
        assert state(delivery) == "pending"
        work_off()
        due(delivery)
    assert (row(delivery).state, row(delivery).reason) == ("uncertain", Reason.UNKNOWN)
    assert checked(company) == [True, True, True]


def test_a_limit_of_the_platform_is_waited_for(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    company.fault(SEND, "errcode", errcode=45009, errmsg="api freq out of limit, minute")
    work_off()
    wait = (row(delivery).due_at - timezone.now()).total_seconds()
    assert (state(delivery), row(delivery).tries) == ("pending", 0)
    assert 50 < wait <= 60


def test_a_limit_at_the_upload_is_waited_for(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = send(account, "", files=[png()], content=Content()).deliveries.get()
    company.fault("media/upload", "errcode", errcode=45009, errmsg="minute")
    work_off()
    assert (state(delivery), row(delivery).tries, outcomes(delivery)) == ("pending", 0, [])


@pytest.mark.parametrize("kind", ["reset_after", "timeout_before", "html"])
def test_a_lost_answer_to_an_upload_is_a_plain_retry(
    company: SimulatorClient, account: ChannelAccount, kind: str
) -> None:
    delivery = send(account, "", files=[png()], content=Content()).deliveries.get()
    company.fault("media/upload", kind, seconds=0.1, status=502)
    work_off()
    assert (state(delivery), row(delivery).tries, outcomes(delivery)) == ("pending", 1, [])
    due(delivery)
    work_off()
    assert state(delivery) == "delivered"


def test_refused_for_good(company: SimulatorClient, account: ChannelAccount) -> None:
    message = send(account, "字" * 1500, "nobody")
    work_off()
    assert parts(message)[0] == ("dead", Reason.PERMANENT)
    assert set(parts(message)[1:]) == {("held", Reason.PART_BEFORE)}
    assert message.deliveries.get(part=0).attempts.get().code == "81013"


def test_a_wrong_secret_stops_the_account_until_staff_act(company: SimulatorClient, account: ChannelAccount) -> None:
    company.app(AGENT, secret="changed")
    first, second = to_send(account, "1"), to_send(account, "2")
    other = to_send(account, "3", "lisi")
    work_off()
    account.refresh_from_db()
    assert account.state == Health.STOPPED
    assert account.state_reason.count("40001") == 1
    assert [(row(d).state, row(d).tries) for d in (first, second, other)] == [("pending", 0)] * 3
    work_off()
    assert company.record()["counters"]["wrong_secrets"] == 1  # nobody calls again
    company.app(AGENT, secret=SECRET)
    account.revive()
    work_off()
    assert (seen(company), seen(company, "lisi")) == (["1", "2"], ["3"])


def test_an_address_the_platform_does_not_trust(company: SimulatorClient, account: ChannelAccount) -> None:
    company.app(AGENT, trusted_ip=False)
    delivery = to_send(account)
    work_off()
    account.refresh_from_db()
    assert (state(delivery), account.state) == ("pending", Health.STOPPED)
    assert "60020" in account.state_reason


def test_a_token_that_is_refused_is_renewed_once(company: SimulatorClient, account: ChannelAccount) -> None:
    stored_tokens(account).current()
    company.invalidate_token(AGENT)
    delivery = to_send(account)
    work_off()
    assert (state(delivery), outcomes(delivery)) == ("delivered", ["ok"])
    assert AccessToken.objects.get().generation == 2


# --- limits, age and defects ----------------------------------------------------------------------------------------------------


def test_above_the_limit_it_waits_without_asking(company: SimulatorClient, account: ChannelAccount) -> None:
    deliveries = [to_send(account, str(number)) for number in range(32)]
    work_off()
    states = [row(d).state for d in deliveries]
    assert states == ["delivered"] * 30 + ["pending"] * 2
    held_back = row(deliveries[30])
    assert held_back.tries == 0
    assert 0 < (held_back.due_at - timezone.now()).total_seconds() <= 61
    assert len(calls(company)) == 30


def test_too_old_is_not_sent(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    shift(delivery, queued_at=-6 * 3600 - 1)
    work_off()
    assert (row(delivery).state, row(delivery).reason, outcomes(delivery)) == ("dead", Reason.TOO_OLD, [])
    assert calls(company) == []


def test_a_defect_of_ours_is_dead_and_stops_nobody(
    company: SimulatorClient, account: ChannelAccount, caplog: pytest.LogCaptureFixture
) -> None:
    broken, next_one = to_send(account, "1"), to_send(account, "2")
    before = settle.open_attempt(claimed(broken), {})
    settle.fail(row(broken), before, Failure(Action.RETRY, Cause("-1", {"detail": "busy"})))
    shift(broken, payload={"nothing": "here"}, due_at=-1)
    with caplog.at_level(logging.CRITICAL):
        work_off()
    assert (row(broken).state, row(broken).reason, outcomes(broken)) == ("dead", Reason.INTERNAL, ["error"])
    assert "KeyError" in row(broken).error
    assert state(next_one) == "delivered"


def test_a_file_that_is_gone_is_dead(account: ChannelAccount, caplog: pytest.LogCaptureFixture) -> None:
    delivery = send(account, "", files=[png()], content=Content()).deliveries.get()
    Attachment.objects.get().file.delete(save=False)
    with caplog.at_level(logging.CRITICAL):
        work_off()
    assert (row(delivery).state, row(delivery).reason) == ("dead", Reason.INTERNAL)


def test_whose_lease_is_lost_changes_nothing(account: ChannelAccount, caplog: pytest.LogCaptureFixture) -> None:
    from bridge.pipeline.outbound import sender

    delivery = claimed(to_send(account), "slow")
    shift(delivery, holder="fast")
    with caplog.at_level(logging.CRITICAL):
        sender.process_delivery(delivery)
    assert (state(delivery), row(delivery).holder, outcomes(delivery)) == ("sending", "fast", [])


# --- recall -------------------------------------------------------------------------------------------------------------------


def test_recall(company: SimulatorClient, account: ChannelAccount) -> None:
    delivery = to_send(account)
    shift(delivery, remote_id="of an earlier try", created_at=-24 * 3600 - 1)
    with pytest.raises(outbox.CannotSend, match="Only a delivered"):
        outbox.recall(row(delivery))
    work_off()
    outbox.recall(row(delivery))  # its time began when it arrived, however long it had waited
    assert row(delivery).recalled_at
    assert company.transcript(f"app:{AGENT}:zhangsan")[0]["recalled"]
    shift(delivery, finished_at=-24 * 3600 - 1)
    with pytest.raises(outbox.CannotSend, match="limited time"):
        outbox.recall(row(delivery))


# --- a surface that speaks only in answer -----------------------------------------------------------------------------------------


def asked(company: SimulatorClient, account: ChannelAccount) -> Message:
    """A question whose reply address the platform does not know any more."""
    return hear(account, group=GROUP, reply=f"{company.url}/cgi-bin/aibot/response?response_code=unknown")


def test_the_one_use_address_takes_one_answer(company: SimulatorClient) -> None:
    account = bot(company.url)
    question = asked(company, account)
    message = answer(question, "late")
    delivery = message.deliveries.get()
    assert (delivery.carrier, delivery.state) == ("http_reply", "pending")
    assert work_off() == 0  # for twenty seconds a poll may still fetch it
    due(delivery)
    work_off()
    assert row(delivery).carrier == "worker"
    assert (row(delivery).state, row(delivery).attempts.get().code) == ("dead", "60140")


def test_without_an_address_the_answer_is_dead_and_kept(company: SimulatorClient) -> None:
    account = bot(company.url)
    message = answer(hear(account, group=GROUP))
    due(message.deliveries.get())
    work_off()
    assert parts(message) == [("dead", Reason.NO_REPLY)]
    assert message.text == "the answer"
    shift(message.deliveries.get(), state="pending", reason="", finished_at=None, due_at=-1, part=1)
    work_off()
    assert parts(message) == [("dead", Reason.TOO_LONG)], "a later part has its way no more"
    Message.objects.filter(pk=message.reply_to_id).update(created_at=timezone.now() - timedelta(seconds=341))
    assert replay.replay([message.deliveries.get().pk]).count == 0


def test_handles_are_kept_as_long_as_the_platform_does(company: SimulatorClient, account: ChannelAccount) -> None:
    from accounts.channels import build_channel

    send(account, "", files=[png()], content=Content())
    item, channel = Attachment.objects.get(), build_channel(account)
    first = storage.get_or_upload_handle(channel, str(item.pk))
    assert storage.get_or_upload_handle(channel, str(item.pk)) == first
    Attachment.objects.filter(pk=item.pk).update(handle_at=timezone.now() - timedelta(days=3))
    assert storage.get_or_upload_handle(channel, str(item.pk)) != first


def test_deliveries_of_one_lane_are_never_sent_at_the_same_time(
    company: SimulatorClient, account: ChannelAccount
) -> None:
    texts = [str(number) for number in range(12)]
    for text in texts:
        to_send(account, text)
    work_off()
    assert seen(company) == texts
    assert Delivery.objects.filter(state="delivered").count() == 12
