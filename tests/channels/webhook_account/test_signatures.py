"""Who may post messages: only whoever signs them now by the secret of messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_wechat.contract.errors import CallbackRefused
from tests.channels.webhook_account.gateway import INBOUND, OTHER, OUTBOUND, channel, headers, message, signature

BODY = json.dumps(message()).encode()


def refusal(query: dict[str, str], body: bytes = BODY, **fields: Any) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as refused:
        channel(**fields).parse(query, body)
    assert str(refused.value)
    return refused.value.status, refused.value.code


def test_a_signed_message_is_read() -> None:
    (inbound,) = channel().parse(headers(BODY), BODY).inbound
    assert (inbound.key, inbound.text) == ("m-1", "hello")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_no_header_may_be_missing_or_empty(name: str) -> None:
    signed = headers(BODY)
    assert refusal({**signed, name: ""}) == (403, "unsigned")
    assert refusal({other: value for other, value in signed.items() if other != name}) == (403, "unsigned")


@pytest.mark.parametrize("secret", [OTHER, OUTBOUND], ids=["another", "that of deliveries"])
def test_another_secret_signs_nothing(secret: str) -> None:
    """So a delivery of ours that somebody saw cannot be posted back as a message."""
    assert refusal(headers(BODY, secret)) == (403, "secret")


@pytest.mark.parametrize(
    "changed",
    [{"webhook-id": "wh-2"}, {"webhook-signature": "v1,AAAA"}, {"webhook-signature": "v1"}, {"webhook-signature": "v1,é"},
     {"webhook-signature": "v1,%%%"}, {"webhook-signature": " "}, {"webhook-signature": "v1a,AAAA v9,BBBB"}],
)  # fmt: skip
def test_what_was_changed_on_the_way_is_refused(changed: dict[str, str]) -> None:
    assert refusal({**headers(BODY), **changed}) == (403, "secret")


@pytest.mark.parametrize("body", [BODY + b" ", b"", BODY.replace(b"hello", b"hellO"), b"\xff\xfe"])
def test_another_body_is_refused(body: bytes) -> None:
    assert refusal(headers(BODY), body) == (403, "secret")


@pytest.mark.parametrize("age", [310, 86400, -310])
def test_an_old_request_and_one_of_the_future_are_refused(age: float) -> None:
    assert refusal(headers(BODY, age=age)) == (403, "stale")


@pytest.mark.parametrize("timestamp", ["nan", "inf", "yesterday", "1e999", "-1"])
def test_what_is_no_time_is_refused(timestamp: str) -> None:
    signed = {"webhook-id": "a", "webhook-timestamp": timestamp}
    assert refusal({**signed, "webhook-signature": signature(INBOUND, "a", timestamp, BODY)}) == (403, "stale")


@pytest.mark.parametrize("age", [0, 280, -280])
def test_five_minutes_are_tolerated(age: float) -> None:
    assert channel().parse(headers(BODY, age=age), BODY).inbound


def test_two_secrets_are_accepted_while_the_gateway_changes_over() -> None:
    for secret in (OTHER, INBOUND):
        assert channel(inbound_secret=f"{OTHER},{INBOUND}").parse(headers(BODY, secret), BODY).inbound
    assert refusal(headers(BODY, INBOUND), inbound_secret=OTHER) == (403, "secret")


def test_one_right_signature_among_several_is_enough() -> None:
    signed = headers(BODY)
    signed["webhook-signature"] = f"v1,AAAA v2,x {signed['webhook-signature']}"
    assert channel().parse(signed, BODY).inbound


def test_a_signed_get_says_that_address_and_secret_are_right() -> None:
    assert channel().challenge(headers(b"")).body == b"ok"
    for query in ({}, headers(b"", OTHER), headers(b"x")):
        with pytest.raises(CallbackRefused):
            channel().challenge(query)
