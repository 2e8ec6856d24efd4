"""Outgoing webhooks are signed as the specification has it; secrets rotate, and are stored and shown nowhere in the clear."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.utils import timezone

from bridge.models import Message, WebhookEndpoint
from bridge.models.webhooks import new_secret
from bridge.pipeline.inbound import router
from bridge.runtime.wakeups.publish import Topic
from bridge.runtime.worker.threads import WorkerThreads
from bridge.webhooks import events, signing
from tests.channels.harness import Recorded
from tests.support.factories import app, endpoint, eventually, hear, in_thread, turn
from tests.webhooks.calls import call, verified

if TYPE_CHECKING:
    import redis

    from tests.channels.harness import Recorder

pytestmark = pytest.mark.django_db


# The signature


def test_the_vector_of_the_specification() -> None:
    headers = signing.build_signed_headers(
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
    events.queue_test_event(one)
    call()
    WebhookEndpoint.objects.filter(pk=one.pk).update(previous_until=timezone.now() - timedelta(seconds=1))
    events.queue_test_event(one)
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
    events.queue_test_event(one)
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
