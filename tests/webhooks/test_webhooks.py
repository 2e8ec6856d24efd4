"""Outgoing webhooks: what is told, once, in order, signed as the specification has it, and what becomes of each answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.health import Health
from bridge.models import (
    Carrier,
    Conversation,
    Delivery,
    Event,
    Incident,
    Message,
    Outcome,
    Reason,
    State,
    Target,
    WebhookEndpoint,
)
from bridge.models.webhooks import new_secret
from bridge.operations import alerts, replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure, message_of
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox, sender
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker import tasks
from bridge.runtime.worker.threads import WorkerThreads
from bridge.webhooks import events, post
from channels_wechat.contract.explanations import Action
from tests.channels.harness import Recorded, Reply, recorder
from tests.inbound.test_receive import params, waiting
from tests.support import factories
from tests.support.factories import (
    app,
    at_once,
    bot,
    claim,
    claimed,
    due,
    endpoint,
    eventually,
    gateway,
    hear,
    in_thread,
    outcomes,
    picture,
    route,
    row,
    send,
    shift,
    to_send,
    turn,
    work_off,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import redis

    from accounts.models import ChannelAccount
    from tests.channels.harness import Recorder

pytestmark = pytest.mark.django_db
HTTP_DATE = r"[A-Z][a-z]{2}, \d{1,12} (Jan|Feb|Dec) \d{1,12} \d{1,6}:\d{1,6}:\d{1,9} ([+-]\d{1,20}|GMT)"


@pytest.fixture
def receiver(settings) -> Iterator[Recorder]:
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.1:*"]
    with recorder() as server:
        yield server


def verified(request: Recorded, secrets: Iterable[str]) -> bool:
    """As a receiver would, knowing the specification only: any of its secrets fits any of the signatures."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    given = [item.split(",", 1) for item in headers["webhook-signature"].split(" ")]
    keys = [base64.b64decode(secret.split("_", 1)[1], validate=True) for secret in secrets]
    expected = {base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys}
    return fresh and any(version == "v1" and value in expected for version, value in given)


def queued(one: WebhookEndpoint) -> list[Delivery]:
    return list(one.deliveries.order_by("seq"))


def told(one: WebhookEndpoint) -> list[tuple[str, dict[str, Any]]]:
    return [(item.payload["body"]["type"], item.payload["body"]["data"]) for item in queued(one)]


def at(moment: datetime | None) -> str:
    assert moment is not None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def call(*, again: bool = False) -> None:
    """The worker's part, in this thread; again: what waits for its next attempt is due now."""
    if again:
        due(*Delivery.objects.filter(target=Target.WEBHOOK, state=State.PENDING))
    work_off(carrier=Carrier.WEBHOOK)


def id_of(request: Recorded) -> str:
    return {name.lower(): value for name, value in request.headers.items()}["webhook-id"]


# The signature


def test_the_vector_of_the_specification() -> None:
    headers = post.signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_call_is_signed_over_the_bytes_that_were_sent(receiver: Recorder) -> None:
    one = endpoint(receiver.url + "/in?key=abc")
    turn(app(), "héllo 世界 🎉")
    call()
    (request,) = receiver.requests
    assert (request.method, request.path, request.query) == ("POST", "/in", {"key": "abc"})
    assert request.json["data"]["text"] == "héllo 世界 🎉"
    assert verified(request, [one.secret])
    assert not verified(request, [new_secret()])
    changed = Recorded(request.method, request.path, request.query, request.headers, request.body + b" ")
    assert not verified(changed, [one.secret])


def test_secrets_are_as_the_specification_wants_them() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert 24 <= len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) <= 64


def test_during_the_overlap_both_secrets_sign_and_then_only_the_new_one(receiver: Recorder) -> None:
    one = endpoint(receiver.url)
    old = one.secret
    new = one.rotate(timedelta(hours=1))
    events.test(one)
    call()
    WebhookEndpoint.objects.filter(pk=one.pk).update(previous_until=timezone.now() - timedelta(seconds=1))
    events.test(one)
    call()
    during, after = receiver.requests
    assert verified(during, [old])
    assert verified(during, [new])
    assert not verified(after, [old])
    assert verified(after, [new])


def test_a_leaked_secret_ends_at_once_where_no_overlap_is_wanted(receiver: Recorder) -> None:
    one = endpoint(receiver.url)
    old = one.secret
    new = one.rotate(timedelta(0))
    events.test(one)
    call()
    assert not verified(receiver.requests[0], [old])
    assert verified(receiver.requests[0], [new])


@pytest.mark.django_db(transaction=True)
def test_secrets_rotate_under_load_and_no_call_fails(receiver: Recorder, valkey: redis.Redis) -> None:
    """The receiver changes over some time after each rotation, as people do; the worker is the real one."""
    one, account = endpoint(receiver.url), app()
    known, stop, refused = [one.secret], threading.Event(), []
    caller = WorkerThreads().pools[Topic.HOOK]

    def hear_on() -> None:
        """Always some calls ahead of the receiver, and each of them rung for."""
        heard = 0
        while not stop.is_set():
            if heard < len(receiver.requests) + 5:
                hear(account)
                router.route_waiting()
                heard += 1
            caller.wake_event.set()

    def call_on() -> None:
        while not stop.is_set():
            caller.run()

    def judge(seen: int) -> int:
        fresh = receiver.requests[seen:]
        refused.extend(request for request in fresh if not verified(request, known[-1:]))
        return seen + len(fresh)

    threads = [threading.Thread(target=in_thread(work)) for work in (hear_on, call_on)]
    for thread in threads:
        thread.start()
    seen = 0
    for _rotation in range(5):
        enough = seen + 5
        eventually(lambda enough=enough: len(receiver.requests) >= enough)
        seen = judge(seen)
        new = WebhookEndpoint.objects.get(pk=one.pk).rotate(timedelta(hours=1))
        enough = len(receiver.requests) + 5
        eventually(lambda enough=enough: len(receiver.requests) >= enough)
        seen = judge(seen)  # with the secret from before the rotation, which is all that the receiver knows
        known.append(new)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    caller.run()
    judge(seen)
    assert refused == []
    assert len(receiver.requests) == Message.objects.count() >= 50
    assert set(one.deliveries.values_list("state", "tries")) == {("delivered", 1)}


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
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.PERMANENT, "40003", "no such user"))
    ((_event, data),) = told(one)
    failed = row(second)
    assert data == {
        "id": second.pk,
        "state": "dead",
        "target": "channel",
        "reason": "permanent",
        "reason_text": "rejected (permanent)",
        "error": "no such user",
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
        return outbox.answer(question, "", source=Message.Source.AGENT, key="k").deliveries.get()
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
            "refused": Failure(Action.PERMANENT, "40003", "no such user"),
            "tries spent": Failure(Action.RETRY, "503", "busy", max_tries=1),
            "no answer": Failure(Action.UNKNOWN, "timeout", "no answer"),
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
    outbox.answer(Message.objects.get(), "too late", source=Message.Source.AGENT, key="k")
    ((_event, data),) = told(one)
    assert data["reason"] == "no_reply"


def test_dying_again_after_a_replay_is_told_again_with_another_id() -> None:
    one = endpoint(events=[Event.DELIVERY_DEAD])
    delivery = dies_by("refused", app())
    replay.replay([delivery.pk])
    mine = claimed(row(delivery))
    settle.fail(mine, None, Failure(Action.PERMANENT, "40003", "no such user"))
    first, second = queued(one)
    assert first.payload["id"] != second.payload["id"]


def test_what_was_skipped_retried_or_held_is_not_told() -> None:
    one = endpoint(events=[Event.DELIVERY_DEAD])
    account = app()
    turn(account)  # no mapping: skipped
    mine = claimed(to_send(account))
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.RETRY, "503", "busy"))
    assert told(one) == []


def test_each_change_of_an_account_is_told_once_and_with_its_reason() -> None:
    account, one = app(), endpoint(events=[Event.ACCOUNT_STATE])
    events.tell_account_states()
    assert told(one) == []
    account.set_state(Health.STOPPED, "", "the secret is wrong")
    for _twice in range(2):
        events.tell_account_states()
    account.revive()
    events.tell_account_states()
    said = [(data["previous"], data["state"], data["reason"]) for _event, data in told(one)]
    assert said == [("new", "stopped", "the secret is wrong"), ("stopped", "new", "")]
    told_at_last = told(one)[-1][1]
    assert told_at_last["account"] == {"id": account.pk, "name": "Acme app", "kind": "wecom_app"}
    account.refresh_from_db()
    assert (told_at_last["enabled"], told_at_last["since"]) == (True, at(account.state_since))


@pytest.mark.django_db(transaction=True)
def test_a_change_of_state_is_told_once_by_many_sweeps(valkey: redis.Redis) -> None:
    account, one = app(), endpoint()
    account.set_state(Health.STOPPED, "", "x")
    at_once(*[tasks.sweep.run] * 6)
    assert len(told(one)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_state_does_not_change_while_it_is_told() -> None:
    """Else an older state might be told after a newer one, and be the last that a receiver hears of."""
    account, one = app(), endpoint(events=[Event.ACCOUNT_STATE])
    account.set_state(Health.FAILING, "", "busy")
    with ThreadPoolExecutor(2) as threads:
        with closing(psycopg.connect(**params())) as server:
            server.execute("LOCK TABLE bridge_delivery IN SHARE MODE")
            tells = threads.submit(in_thread(events.tell_account_states))
            eventually(lambda: waiting() == 1)
            changes = threads.submit(in_thread(lambda: account.set_state(Health.OK)))
            eventually(lambda: waiting() == 2)
        tells.result(20)
        assert changes.result(20)
    events.tell_account_states()
    assert [data["state"] for _event, data in told(one)] == ["failing", "ok"]


def test_no_event_holds_a_secret(receiver: Recorder) -> None:
    one, account = endpoint(receiver.url + "/hook/path-secret?k=query-secret"), app(secret="canary-secret")
    mapped = route(account, gateway(token="canary-token"))
    delivery = turn(account)
    assert delivery.route == mapped
    mine = claimed(delivery)
    settle.fail(mine, None, Failure(Action.PERMANENT, "x", "refused: access_token=canary-access"))
    account.set_state(Health.STOPPED, "", "stopped")
    events.tell_account_states()
    receiver.will(Reply(b"path-secret", 500), Reply(b"", fault="reset"))
    call()
    call(again=True)
    kept = [*Delivery.objects.values(), *one.deliveries.values("attempts__request", "attempts__response")]
    kept += one.deliveries.values("attempts__error")
    assert "canary" not in str(kept)
    assert "path-secret" not in str(kept)
    assert "query-secret" not in str(kept)
    assert one.secret not in str(kept)


# What becomes of it


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(receiver: Recorder, status: int) -> None:
    receiver.will(Reply(b"", status))
    delivery = events.test(endpoint(receiver.url))
    call()
    assert (row(delivery).state, outcomes(delivery)) == (State.DELIVERED, [Outcome.OK])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again_with_the_same_bytes_and_id(receiver: Recorder, status: int) -> None:
    receiver.will(Reply(b"", status))
    one = endpoint(receiver.url)
    turn(app(), "世界")
    (delivery,) = queued(one)
    call()
    assert (row(delivery).state, row(delivery).tries) == (State.PENDING, 1)
    call(again=True)
    first, second = receiver.requests
    assert row(delivery).state == State.DELIVERED
    assert first.body == second.body
    assert id_of(first) == id_of(second) == delivery.payload["id"]
    assert verified(second, [one.secret])


@pytest.mark.parametrize("fault", ["reset", "close"])
def test_a_lost_answer_is_tried_again_and_never_uncertain(receiver: Recorder, fault: str) -> None:
    receiver.will(Reply(b"", fault=fault))
    delivery = events.test(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).possibly_twice) == (State.PENDING, False)
    call(again=True)
    assert row(delivery).state == State.DELIVERED
    assert len({id_of(request) for request in receiver.requests}) == 1


def test_nobody_there_is_tried_again(settings) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.1:*"]
    delivery = events.test(endpoint("http://127.0.0.1:9/x"))
    call()
    assert (row(delivery).state, delivery.attempts.get().code) == (State.PENDING, "connect")


def test_a_lost_worker_leaves_nothing_uncertain(receiver: Recorder) -> None:
    delivery = events.test(endpoint(receiver.url))
    settle.open_attempt(claim(Carrier.WEBHOOK, "gone")[0], {})
    shift(delivery, lease_until=-1)
    claims.sweep()
    assert (row(delivery).state, row(delivery).possibly_twice) == (State.PENDING, False), "its id tells a repetition"
    call()
    assert row(delivery).state == State.DELIVERED


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 413, 422])
def test_the_rest_is_dead_at_once_and_no_redirect_is_followed(receiver: Recorder, status: int) -> None:
    receiver.will(Reply(b"", status, (("Location", "/elsewhere"),)))
    delivery = events.test(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).reason) == (State.DEAD, Reason.PERMANENT)
    assert delivery.attempts.get().code == f"http_{status}"
    assert len(receiver.requests) == 1


def test_gone_switches_the_endpoint_off_and_says_so(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 410))
    one = endpoint(receiver.url)
    first, second = events.test(one), events.test(one)
    call()
    one.refresh_from_db()
    assert (row(first).state, row(second).state) == (State.DEAD, State.PENDING)
    assert (one.enabled, one.disabled_reason) == (False, "It answered 410 Gone.")
    alerts.check()
    assert {item.cause for item in Incident.objects.all()} == {f"hook:{one.pk}", f"dead:hook:{one.pk}"}


def test_gone_says_nothing_about_an_address_entered_since(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 410))
    one = endpoint(receiver.url)
    events.test(one)
    (mine,) = claim(Carrier.WEBHOOK)
    one.url = receiver.url + "/new"
    one.save()
    sender.process_delivery(mine)
    one.refresh_from_db()
    assert one.enabled


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 110, 160),
        ("1", 25, 40),
        ("999999999", 3500, 4400),
        (timedelta(minutes=30), 1500, 2200),
    ],
    ids=["seconds", "too soon", "too late", "date"],
)
def test_retry_after_is_honoured_within_bounds_and_burns_no_try(
    receiver: Recorder, asked: str | timedelta, least: int, most: int
) -> None:
    said = format_datetime(timezone.now() + asked) if isinstance(asked, timedelta) else asked
    receiver.will(Reply(b"", 429, (("Retry-After", said),)))
    delivery = events.test(endpoint(receiver.url))
    call()
    waits = (row(delivery).due_at - timezone.now()).total_seconds()
    assert least <= waits <= most
    assert (row(delivery).state, row(delivery).tries) == (State.PENDING, 0)


@pytest.mark.parametrize("asked", ["soon", "", "-5", "Mon, 99 Foo 2026"])
def test_a_retry_after_that_says_nothing_is_passed_over(receiver: Recorder, asked: str) -> None:
    receiver.will(Reply(b"", 503, (("Retry-After", asked),)))
    delivery = events.test(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).tries) == (State.PENDING, 1)


def test_a_private_address_is_refused(settings) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = []
    delivery = events.test(endpoint("http://169.254.169.254/latest/meta-data/secret-path"))
    call()
    assert (row(delivery).state, delivery.attempts.get().code) == (State.DEAD, "address_never")
    assert "secret-path" not in row(delivery).error


def test_no_loop_a_dead_webhook_is_no_event(receiver: Recorder) -> None:
    one, other = endpoint(receiver.url), endpoint(receiver.url)
    receiver.will(Reply(b"", 404))
    dead = events.test(one)
    call()
    assert row(dead).state == State.DEAD
    assert Delivery.objects.count() == 1
    assert told(other) == []


def test_the_dead_are_replayed_with_the_same_id(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 404))
    delivery = events.test(endpoint(receiver.url))
    call()
    assert replay.replay([delivery.pk]).count == 1
    call()
    assert row(delivery).state == State.DELIVERED
    first, second = receiver.requests
    assert id_of(first) == id_of(second)
    assert first.body == second.body


def test_the_dead_are_dismissed() -> None:
    delivery = events.test(endpoint("http://10.0.0.1/"))
    call()
    assert replay.dismiss([delivery.pk]) == 1


def test_events_of_one_endpoint_arrive_in_order_and_a_retry_holds_the_rest(receiver: Recorder) -> None:
    account, one = app(), endpoint(receiver.url)
    for number in range(3):
        turn(account, str(number))
    receiver.will(Reply(b"", 200), Reply(b"", 503))
    call()
    assert [request.json["data"]["text"] for request in receiver.requests] == ["0", "1"]
    call(again=True)
    assert [request.json["data"]["text"] for request in receiver.requests] == ["0", "1", "1", "2"]
    assert {item.state for item in queued(one)} == {State.DELIVERED}


def test_switched_off_it_waits_in_order_burns_nothing_and_hears_nothing_new(receiver: Recorder) -> None:
    account, one = app(), endpoint(receiver.url)
    turn(account, "before 1")
    turn(account, "before 2")
    WebhookEndpoint.objects.update(enabled=False)
    turn(account, "meanwhile")
    call()
    assert receiver.requests == []
    assert [(item.state, item.tries) for item in queued(one)] == [("pending", 0)] * 2
    WebhookEndpoint.objects.update(enabled=True)
    turn(account, "after")
    call()
    assert [request.json["data"]["text"] for request in receiver.requests] == ["before 1", "before 2", "after"]


def test_after_a_weekend_off_nothing_is_too_old_but_after_a_week_it_is(receiver: Recorder) -> None:
    one = endpoint(receiver.url)
    fresh, old = events.test(one), events.test(one)
    shift(fresh, queued_at=-2 * 86400)
    shift(old, queued_at=-7 * 86400)
    call()
    assert (row(fresh).state, row(old).state, row(old).reason) == (State.DELIVERED, State.DEAD, Reason.TOO_OLD)


def test_what_waited_for_a_deleted_endpoint_is_skipped_and_kept(receiver: Recorder) -> None:
    one = endpoint(receiver.url)
    turn(app())
    one.delete()
    call()
    delivery = Delivery.objects.get(target=Target.WEBHOOK)
    assert (delivery.state, delivery.reason) == (State.SKIPPED, Reason.NO_ENDPOINT)
    assert replay.replay([delivery.pk]).refused
    assert receiver.requests == []


@pytest.mark.django_db(transaction=True)
def test_a_slow_endpoint_holds_up_neither_others_nor_wechat(receiver: Recorder, valkey: redis.Redis) -> None:
    receiver.will(Reply(b"", fault="hang"))
    slow, account = endpoint(receiver.url), app()
    first, drains = events.test(slow), WorkerThreads().pools
    thread = threading.Thread(target=in_thread(drains[Topic.HOOK].run))
    thread.start()
    eventually(lambda: receiver.requests)
    with recorder() as quick:
        others = [events.test(endpoint(quick.url)) for _other in range(3)]
        drains[Topic.HOOK].run()  # wakes the drain under way
        eventually(lambda: all(row(item).state == State.DELIVERED for item in others))
        sent = to_send(account)
        drains[Topic.SEND].run()
        assert row(sent).tries == 1
    assert row(first).state == State.SENDING
    receiver.released.set()
    thread.join(30)
    assert row(first).state == State.PENDING


def test_webhooks_are_never_claimed_by_those_who_carry_messages() -> None:
    events.test(endpoint())
    post.queue_alert("x")
    assert claim(Carrier.WORKER) == claim(Carrier.CONNECTOR) == claim(Carrier.HTTP_REPLY) == []
    assert len(claim(Carrier.WEBHOOK)) == 2
    assert claims.due_topics() == []


@given(text=st.text() | st.from_regex(HTTP_DATE, fullmatch=True) | st.integers().map(str))
def test_no_retry_after_is_too_strange(text: str) -> None:
    wait = post._retry_after({"Retry-After": text})
    assert wait is None or post.LEAST_WAIT <= wait <= post.MOST_WAIT


def test_the_worker_listens_for_every_bell() -> None:
    assert set(WorkerThreads().listener.events) == {f"wakeup:{topic}" for topic in Topic} - {
        "wakeup:ask"
    }  # the connector's


def test_the_sweep_rings_for_them() -> None:
    events.test(endpoint())
    assert [str(bell) for bell in claims.due_topics()] == ["hook"]


def test_two_rotations_at_once_keep_the_secret_that_was_given_out() -> None:
    one = endpoint()
    same = WebhookEndpoint.objects.get(pk=one.pk)
    first = one.rotate(timedelta(hours=1))
    second = same.rotate(timedelta(hours=1))
    kept = WebhookEndpoint.objects.get(pk=one.pk)
    assert kept.signing_secrets(timezone.now()) == [second, first]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com"),
        ("https://user:password@example.com:8443/x?key=1#f", "https://example.com:8443"),
    ],
)
def test_only_scheme_and_host_are_shown(url: str, origin: str) -> None:
    assert WebhookEndpoint(url=url).origin == origin


def test_address_and_secrets_are_ciphertext_in_the_database() -> None:
    one = endpoint("https://example.com/canary")
    one.rotate(timedelta(hours=1))
    with transaction.get_connection().cursor() as cursor:
        cursor.execute("SELECT url, secret, previous_secret FROM bridge_webhookendpoint")
        stored = cursor.fetchone()
    assert all(value.startswith("v2.") for value in stored)
    assert "canary" not in str(stored)
