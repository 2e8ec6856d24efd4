"""What staff enter for a connection of their own, and what is refused at which field."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from accounts.forms import account_form
from channels_wechat.webhook_account.credentials import WebhookAccountCredentials
from tests.accounts.test_sentences import filled
from tests.channels.webhook_account.gateway import INBOUND, OTHER, OUTBOUND
from tests.support.factories import OWN_FIELDS, own_connection


def errors(**fields: Any) -> dict[str, list[str]]:
    return {name: list(said) for name, said in WebhookAccountCredentials({**OWN_FIELDS, **fields}).errors.items()}


def secret(size: int) -> str:
    return f"whsec_{base64.b64encode(bytes(size)).decode()}"


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    assert errors(inbound_secret=secret(size)) == {}


@pytest.mark.parametrize("wrong", [secret(23), secret(65), secret(32)[6:], "whsec_", "whsec_%%%%", f"{OTHER},nothing"])
def test_what_is_no_secret_is_refused_without_repeating_it(wrong: str) -> None:
    assert errors(inbound_secret=wrong) == {
        "inbound_secret": ["A secret is whsec_ followed by 24 to 64 bytes in base64."]
    }


def test_two_secrets_are_stored_and_a_third_is_refused() -> None:
    form = WebhookAccountCredentials({**OWN_FIELDS, "inbound_secret": f" {INBOUND} , {OTHER} "})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["inbound_secret"] == f"{INBOUND},{OTHER}"
    assert list(errors(inbound_secret=f"{INBOUND},{OTHER},{secret(32)}")) == ["inbound_secret"]


@pytest.mark.parametrize("inbound", [OUTBOUND, f"{OTHER},{OUTBOUND}"])
def test_the_two_directions_need_secrets_of_their_own(inbound: str) -> None:
    assert list(errors(inbound_secret=inbound)) == ["outbound_secret"]


@pytest.mark.parametrize("name", ["", "two words", "-sales", "a/b", "x" * 65])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    assert list(errors(connection=name)) == ["connection"]


@pytest.mark.parametrize(
    "address",
    ["", "gateway.example", "ftp://gateway.example", "https://a:b@gateway.example", "https://g.example/?key=1"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert list(errors(address=address)) == ["address"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://10.0.0.1/in", "private network"),
        ("http://8.8.8.8/in", "Use https"),
        ("https://169.254.169.254/", "never called"),
    ],
)
def test_an_address_that_the_guard_refuses_is_named_at_its_field(address: str, why: str) -> None:
    form = filled(own_connection(), address=address)
    assert list(form.errors) == ["address"]
    assert why in str(form.errors["address"])


@pytest.mark.django_db
def test_a_blank_keeps_the_secret_that_is_stored_and_the_other_one_is_compared_with_it() -> None:
    row = own_connection()
    form = filled(row, address="http://127.0.0.1:9/elsewhere")
    assert form.is_valid(), form.errors
    assert form.instance.credentials["inbound_secret"] == INBOUND
    assert list(filled(row, outbound_secret=INBOUND).errors) == ["outbound_secret"]


@pytest.mark.django_db
def test_the_name_of_the_connection_is_what_the_account_is_known_by() -> None:
    own_connection()
    given = {"name": "Second", "enabled": "on", **OWN_FIELDS, "address": "http://127.0.0.1:9/"}
    form = account_form("webhook_account")(given)
    assert list(form.errors) == ["connection"]
    assert account_form("webhook_account")({**given, "connection": "other"}).is_valid()
