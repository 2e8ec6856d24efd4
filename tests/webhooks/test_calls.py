"""What becomes of the answers of an endpoint: delivered, tried again or dead, in order, and nobody else waits for it."""

from __future__ import annotations

import threading
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from bridge.models import Carrier, Delivery, Incident, Outcome, Reason, State, Target, WebhookEndpoint
from bridge.operations import incidents, replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.outbound import sender
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker.threads import WorkerThreads
from bridge.webhooks import events, post
from tests.channels.harness import Recorded, Reply, recorder
from tests.support import factories
from tests.support.factories import app, claim, endpoint, eventually, in_thread, outcomes, row, shift, to_send, turn
from tests.webhooks.calls import call, queued, told, verified

if TYPE_CHECKING:
    import redis

    from tests.channels.harness import Recorder

pytestmark = pytest.mark.django_db
HTTP_DATE = r"[A-Z][a-z]{2}, \d{1,12} (Jan|Feb|Dec) \d{1,12} \d{1,6}:\d{1,6}:\d{1,9} ([+-]\d{1,20}|GMT)"


def id_of(request: Recorded) -> str:
    return {name.lower(): value for name, value in request.headers.items()}["webhook-id"]


# What becomes of it


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(receiver: Recorder, status: int) -> None:
    receiver.will(Reply(b"", status))
    delivery = events.queue_test_event(endpoint(receiver.url))
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
    delivery = events.queue_test_event(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).possibly_twice) == (State.PENDING, False)
    call(again=True)
    assert row(delivery).state == State.DELIVERED
    assert len({id_of(request) for request in receiver.requests}) == 1


def test_nobody_there_is_tried_again(settings) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.1:*"]
    delivery = events.queue_test_event(endpoint("http://127.0.0.1:9/x"))
    call()
    assert (row(delivery).state, delivery.attempts.get().code) == (State.PENDING, "connect")


def test_a_lost_worker_leaves_nothing_uncertain(receiver: Recorder) -> None:
    delivery = events.queue_test_event(endpoint(receiver.url))
    settle.open_attempt(claim(Carrier.WEBHOOK, "gone")[0], {})
    shift(delivery, lease_until=-1)
    claims.sweep()
    assert (row(delivery).state, row(delivery).possibly_twice) == (State.PENDING, False), "its id tells a repetition"
    call()
    assert row(delivery).state == State.DELIVERED


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 413, 422])
def test_the_rest_is_dead_at_once_and_no_redirect_is_followed(receiver: Recorder, status: int) -> None:
    receiver.will(Reply(b"", status, (("Location", "/elsewhere"),)))
    delivery = events.queue_test_event(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).reason) == (State.DEAD, Reason.PERMANENT)
    assert delivery.attempts.get().code == f"http_{status}"
    assert len(receiver.requests) == 1


def test_gone_switches_the_endpoint_off_and_says_so(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 410))
    one = endpoint(receiver.url)
    first, second = events.queue_test_event(one), events.queue_test_event(one)
    call()
    one.refresh_from_db()
    assert (row(first).state, row(second).state) == (State.DEAD, State.PENDING)
    assert (one.enabled, one.disabled_reason) == (
        False,
        "The webhook is gone, as it says itself, and was disabled. (http_410)",
    )
    incidents.update_incidents()
    found = {item.cause for item in Incident.objects.exclude(code="alerts_off")}
    assert found == {f"hook:{one.pk}", f"dead:webhook:{one.pk}:permanent:http_410"}


def test_gone_says_nothing_about_an_address_entered_since(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 410))
    one = endpoint(receiver.url)
    events.queue_test_event(one)
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
    delivery = events.queue_test_event(endpoint(receiver.url))
    call()
    waits = (row(delivery).due_at - timezone.now()).total_seconds()
    assert least <= waits <= most
    assert (row(delivery).state, row(delivery).tries) == (State.PENDING, 0)


@pytest.mark.parametrize("asked", ["soon", "", "-5", "Mon, 99 Foo 2026"])
def test_a_retry_after_that_says_nothing_is_passed_over(receiver: Recorder, asked: str) -> None:
    receiver.will(Reply(b"", 503, (("Retry-After", asked),)))
    delivery = events.queue_test_event(endpoint(receiver.url))
    call()
    assert (row(delivery).state, row(delivery).tries) == (State.PENDING, 1)


def test_a_private_address_is_refused(settings) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = []
    delivery = events.queue_test_event(endpoint("http://169.254.169.254/latest/meta-data/secret-path"))
    call()
    assert (row(delivery).state, delivery.attempts.get().code) == (State.DEAD, "address_never")
    assert "secret-path" not in row(delivery).error


def test_no_loop_a_dead_webhook_is_no_event(receiver: Recorder) -> None:
    one, other = endpoint(receiver.url), endpoint(receiver.url)
    receiver.will(Reply(b"", 404))
    dead = events.queue_test_event(one)
    call()
    assert row(dead).state == State.DEAD
    assert Delivery.objects.count() == 1
    assert told(other) == []


def test_the_dead_are_replayed_with_the_same_id(receiver: Recorder) -> None:
    receiver.will(Reply(b"", 404))
    delivery = events.queue_test_event(endpoint(receiver.url))
    call()
    assert replay.replay([delivery.pk]).count == 1
    call()
    assert row(delivery).state == State.DELIVERED
    first, second = receiver.requests
    assert id_of(first) == id_of(second)
    assert first.body == second.body


def test_the_dead_are_dismissed() -> None:
    delivery = events.queue_test_event(endpoint("http://10.0.0.1/"))
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
    fresh, old = events.queue_test_event(one), events.queue_test_event(one)
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
    first, drains = events.queue_test_event(slow), WorkerThreads().pools
    thread = threading.Thread(target=in_thread(drains[Topic.HOOK].run))
    thread.start()
    eventually(lambda: receiver.requests)
    with recorder() as quick:
        others = [events.queue_test_event(endpoint(quick.url)) for _other in range(3)]
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
    events.queue_test_event(endpoint())
    factories.alert_of_an_earlier_version("x")
    assert claim(Carrier.WORKER) == claim(Carrier.CONNECTOR) == claim(Carrier.HTTP_REPLY) == []
    assert len(claim(Carrier.WEBHOOK)) == 2
    assert claims.find_due_topics() == []


@given(text=st.text() | st.from_regex(HTTP_DATE, fullmatch=True) | st.integers().map(str))
def test_no_retry_after_is_too_strange(text: str) -> None:
    wait = post._read_retry_after({"Retry-After": text})
    assert wait is None or post.LEAST_WAIT <= wait <= post.MOST_WAIT
