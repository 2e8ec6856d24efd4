"""What outgoing webhooks are told: each event once, to whom it concerns, with everything about it and no secret."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.db import transaction
from django.utils import timezone

from accounts.health import Health
from bridge.models import Conversation, Delivery, Event, Message
from bridge.operations import replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure, message_of
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox, sender
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker import tasks
from bridge.runtime.worker.threads import WorkerThreads
from bridge.webhooks import events
from channels_wechat.contract.explanations import Action, Cause
from tests.channels.harness import Reply
from tests.inbound.test_receive import params, waiting
from tests.support import factories
from tests.support.factories import (
    app,
    at_once,
    bot,
    claimed,
    endpoint,
    eventually,
    gateway,
    hear,
    in_thread,
    picture,
    route,
    row,
    send,
    shift,
    to_send,
    turn,
)
from tests.webhooks.calls import call, queued, told

if TYPE_CHECKING:
    import redis

    from accounts.models import ChannelAccount
    from tests.channels.harness import Recorder

pytestmark = pytest.mark.django_db


def at(moment: datetime | None) -> str:
    assert moment is not None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# What is told


def test_a_message_is_told_with_everything_about_it() -> None:
    one, account = endpoint(), app()
    factories.contact(account, "lisi", name="李四")
    factories.contact(bot(), "lisi", name="another account's")
    message = turn(
        account, "hello", "lisi", group="wrGroup", addressed=False, media=(picture("M", "plan.png"),)
    ).message
    assert message is not None
    item = message.attachments.get()
    ((event, data),) = told(one)
    assert event == "message.received"
    assert data == {
        "id": message.pk,
        "uuid": str(message.uuid),
        "account": {"id": account.pk, "name": "Acme app", "kind": "wecom_app"},
        "conversation": {"id": message.conversation_id, "title": ""},
        "peer": {"kind": "group", "id": "wrGroup"},
        "sender": {"id": "lisi", "name": "李四"},
        "kind": "text",
        "text": "hello",
        "addressed": False,
        "attachments": [{"id": item.pk, "kind": "image", "name": "plan.png"}],
        "occurred_at": at(message.occurred_at),
        "received_at": at(message.created_at),
    }


def test_a_failure_is_told_with_everything_about_it() -> None:
    one, account = endpoint(events=[Event.DELIVERY_DEAD]), app()
    first, second, _third = send(account, "字" * 1500).deliveries.order_by("part")
    shift(first, state="delivered", finished_at=0)
    Conversation.objects.update(title="张三")
    mine = claimed(second)
    settle.fail(
        mine, settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("40003", {"detail": "no such user"}))
    )
    ((_event, data),) = told(one)
    failed = row(second)
    assert data == {
        "id": second.pk,
        "state": "dead",
        "target": "channel",
        "reason": "permanent",
        "reason_text": "rejected (permanent)",
        "code": "40003",
        "error": failed.error,
        "tries": 1,
        "account": {"id": account.pk, "name": "Acme app", "kind": "wecom_app"},
        "conversation": {"id": message_of(failed).conversation_id, "title": "张三"},
        "message": second.message_id,
        "part": 1,
        "queued_at": at(failed.queued_at),
        "finished_at": at(failed.finished_at),
    }


def test_events_of_the_platform_are_no_messages() -> None:
    one = endpoint()
    turn(app(), "", kind="event")
    assert told(one) == []


def test_only_what_was_chosen_and_only_of_its_account() -> None:
    here, there = app(), bot()
    mine = endpoint(account=there)
    others = endpoint(events=[Event.DELIVERY_DEAD])
    off = endpoint(enabled=False)
    turn(here)
    turn(there, reply="http://127.0.0.1:9/r")
    assert [data["account"]["id"] for _event, data in told(mine)] == [there.pk]
    assert told(others) == told(off) == []


def test_a_message_that_breaks_the_router_is_told_and_its_death_too() -> None:
    one, account = endpoint(), app()
    hear(account)
    Message.objects.update(raw={"_bridge": []})  # what the router does not expect
    router.route_waiting()
    first, second = told(one)
    assert (first[0], second[0]) == ("message.received", "delivery.dead")
    assert second[1]["reason"] == "internal_error"


@pytest.mark.django_db(transaction=True)
def test_once_for_each_endpoint_however_many_route() -> None:
    account, listeners = app(), [endpoint(), endpoint()]
    messages = [hear(account, str(number), f"user{number % 3}") for number in range(12)]
    at_once(*[router.route_waiting] * 6)
    for one in listeners:
        ids = Counter(data["uuid"] for _event, data in told(one))
        assert ids == Counter(str(message.uuid) for message in messages)


def test_nothing_is_told_of_what_was_rolled_back() -> None:
    one, account = endpoint(), app()
    hear(account)
    with transaction.atomic():
        router.route_waiting()
        assert len(told(one)) == 1
        transaction.set_rollback(True)
    assert told(one) == []
    router.route_waiting()
    assert len(told(one)) == 1


def dies_by(way: str, account: ChannelAccount) -> Delivery:
    """One delivery that goes down each arrow into `dead` or `uncertain`."""
    if way == "cannot be rendered":
        question = turn(account).message
        assert question is not None
        return outbox.send_answer(question, "", source=Message.Source.AGENT, key="k").deliveries.get()
    delivery = to_send(account)
    if way == "too old":
        shift(delivery, queued_at=-10 * 86400)
        sender.process_delivery(claimed(delivery))
    elif way == "lost with an open attempt":
        settle.open_attempt(claimed(delivery, "gone"), {})
        shift(delivery, lease_until=-1)
        claims.sweep()
    elif way == "handed over with an open attempt":
        settle.open_attempt(claimed(delivery, "gone"), {})
        claims.release_all_leases("gone")
    else:
        failure = {
            "refused": Failure(Action.PERMANENT, Cause("40003", {"detail": "no such user"})),
            "tries spent": Failure(Action.RETRY, Cause("503", {"detail": "busy"}), max_tries=1),
            "no answer": Failure(Action.UNKNOWN, Cause("timeout", {"detail": "no answer"})),
        }[way]
        mine = claimed(delivery)
        settle.fail(mine, settle.open_attempt(mine, {}), failure)
    return delivery


@pytest.mark.parametrize(
    ("way", "state", "reason"),
    [
        ("refused", "dead", "permanent"),
        ("tries spent", "dead", "tries_spent"),
        ("too old", "dead", "too_old"),
        ("cannot be rendered", "dead", "content"),
        ("no answer", "uncertain", "unknown"),
        ("lost with an open attempt", "uncertain", "unknown"),
        ("handed over with an open attempt", "uncertain", "unknown"),
    ],
)
def test_every_way_to_die_is_told_once(way: str, state: str, reason: str) -> None:
    one, account = endpoint(events=[Event.DELIVERY_DEAD]), app()
    delivery = dies_by(way, account)
    ((event, data),) = told(one)
    assert event == "delivery.dead"
    assert (data["id"], data["state"], data["reason"]) == (delivery.pk, state, reason)
    assert data["target"] == "channel"
    assert data["account"]["id"] == account.pk
    assert data["error"] == row(delivery).error


def test_an_answer_that_nothing_can_carry_is_told() -> None:
    one = endpoint(events=[Event.DELIVERY_DEAD])
    turn(bot())
    Message.objects.update(created_at=timezone.now() - timedelta(hours=2))
    outbox.send_answer(Message.objects.get(), "too late", source=Message.Source.AGENT, key="k")
    ((_event, data),) = told(one)
    assert data["reason"] == "no_reply"


def test_dying_again_after_a_replay_is_told_again_with_another_id() -> None:
    one = endpoint(events=[Event.DELIVERY_DEAD])
    delivery = dies_by("refused", app())
    replay.replay([delivery.pk])
    mine = claimed(row(delivery))
    settle.fail(mine, None, Failure(Action.PERMANENT, Cause("40003", {"detail": "no such user"})))
    first, second = queued(one)
    assert first.payload["id"] != second.payload["id"]


def test_what_was_skipped_retried_or_held_is_not_told() -> None:
    one = endpoint(events=[Event.DELIVERY_DEAD])
    account = app()
    turn(account)  # no mapping: skipped
    mine = claimed(to_send(account))
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.RETRY, Cause("503", {"detail": "busy"})))
    assert told(one) == []


def test_each_change_of_an_account_is_told_once_and_with_its_reason() -> None:
    account, one = app(), endpoint(events=[Event.ACCOUNT_STATE])
    events.queue_account_state_events()
    assert told(one) == []
    account.set_state(Health.STOPPED, "", {"text": "the secret is wrong"})
    for _twice in range(2):
        events.queue_account_state_events()
    account.revive()
    events.queue_account_state_events()
    said = [(data["previous"], data["state"], data["reason"]) for _event, data in told(one)]
    assert said == [("new", "stopped", "the secret is wrong"), ("stopped", "new", "")]
    told_at_last = told(one)[-1][1]
    assert told_at_last["account"] == {"id": account.pk, "name": "Acme app", "kind": "wecom_app"}
    account.refresh_from_db()
    assert (told_at_last["enabled"], told_at_last["since"]) == (True, at(account.state_since))


@pytest.mark.django_db(transaction=True)
def test_a_change_of_state_is_told_once_by_many_sweeps(valkey: redis.Redis) -> None:
    account, one = app(), endpoint()
    account.set_state(Health.STOPPED, "", {"text": "x"})
    at_once(*[tasks.sweep.run] * 6)
    assert len(told(one)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_state_does_not_change_while_it_is_told() -> None:
    """Else an older state might be told after a newer one, and be the last that a receiver hears of."""
    account, one = app(), endpoint(events=[Event.ACCOUNT_STATE])
    account.set_state(Health.FAILING, "", {"text": "busy"})
    with ThreadPoolExecutor(2) as threads:
        with closing(psycopg.connect(**params())) as server:
            server.execute("LOCK TABLE bridge_delivery IN SHARE MODE")
            tells = threads.submit(in_thread(events.queue_account_state_events))
            eventually(lambda: waiting() == 1)
            changes = threads.submit(in_thread(lambda: account.set_state(Health.OK)))
            eventually(lambda: waiting() == 2)
        tells.result(20)
        assert changes.result(20)
    events.queue_account_state_events()
    assert [data["state"] for _event, data in told(one)] == ["failing", "ok"]


def test_no_event_holds_a_secret(receiver: Recorder) -> None:
    one, account = endpoint(receiver.url + "/hook/path-secret?k=query-secret"), app(secret="canary-secret")
    mapped = route(account, gateway(token="canary-token"))
    delivery = turn(account)
    assert delivery.route == mapped
    mine = claimed(delivery)
    settle.fail(mine, None, Failure(Action.PERMANENT, Cause("x", {"detail": "refused: access_token=canary-access"})))
    account.set_state(Health.STOPPED, "", {"text": "stopped"})
    events.queue_account_state_events()
    receiver.will(Reply(b"path-secret", 500), Reply(b"", fault="reset"))
    call()
    call(again=True)
    kept = [*Delivery.objects.values(), *one.deliveries.values("attempts__request", "attempts__response")]
    kept += one.deliveries.values("attempts__code_params")
    assert "canary" not in str(kept)
    assert "path-secret" not in str(kept)
    assert "query-secret" not in str(kept)
    assert one.secret not in str(kept)


def test_the_worker_listens_for_every_bell() -> None:
    connectors = {"wakeup:ask", "wakeup:socket"}
    assert set(WorkerThreads().listener.events) == {f"wakeup:{topic}" for topic in Topic} - connectors


def test_the_sweep_rings_for_them() -> None:
    events.queue_test_event(endpoint())
    assert [str(bell) for bell in claims.find_due_topics()] == ["hook"]
