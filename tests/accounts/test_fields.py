"""Encryption at rest."""

from __future__ import annotations

import base64

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Value

from accounts import fields
from accounts.fields import Undecryptable, decrypt, decrypt_once, encrypt, sealed
from accounts.models import AccessToken, ChannelAccount
from tests.support import factories
from tests.support.factories import SECRET, app, hear

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.mark.parametrize("text", ["", "secret", "密码 🔑", "x" * 10_000, "\x00"])
def test_round_trip(text: str) -> None:
    stored = encrypt(text, "a.b.c")
    assert decrypt(stored, "a.b.c") == text
    assert stored.startswith("v1.")
    assert not text or len(text) == 1 or text not in stored


def test_what_is_read_once_stays_in_no_memory() -> None:
    stored = encrypt("a secret", "c")
    fields._decrypt.cache_clear()
    assert decrypt_once(stored, "c") == "a secret"
    assert fields._decrypt.cache_info().currsize == 0
    assert decrypt(stored, "c") == "a secret"
    assert fields._decrypt.cache_info().currsize == 1


def test_nothing_is_encrypted_for_a_row_without_a_key() -> None:
    with pytest.raises(ValueError, match="has no account yet") as caught:
        sealed(AccessToken, "value", None, "canary")
    assert "canary" not in str(caught.value)
    assert sealed(AccessToken, "value", None, "").stored == ""


def test_the_same_text_is_never_the_same_ciphertext() -> None:
    assert encrypt("x", "c") != encrypt("x", "c")


def test_a_value_copied_into_another_column_does_not_open() -> None:
    with pytest.raises(Undecryptable, match="other"):
        decrypt(encrypt("x", "accounts.accesstoken.value"), "other")


def test_a_lone_surrogate_loses_nothing_but_itself() -> None:
    assert decrypt(encrypt("a\ud800b", "c"), "c") == "a?b"


def test_every_key_opens_and_the_first_writes(settings: object) -> None:
    settings.FIELD_KEYS = [OLD]  # type: ignore[attr-defined]
    old = encrypt("x", "c")
    settings.FIELD_KEYS = [NEW, OLD]  # type: ignore[attr-defined]
    new = encrypt("x", "c")
    assert old.split(".")[1] != new.split(".")[1]
    assert decrypt(old, "c") == decrypt(new, "c") == "x"
    settings.FIELD_KEYS = [NEW]  # type: ignore[attr-defined]
    assert decrypt(new, "c") == "x"
    with pytest.raises(Undecryptable):
        decrypt(old, "c")


def test_without_a_key_nothing_is_written(settings: object) -> None:
    settings.FIELD_KEYS = []  # type: ignore[attr-defined]
    with pytest.raises(ImproperlyConfigured):
        encrypt("x", "c")


@pytest.mark.parametrize("part", [1, 2])
def test_tampering_is_seen(part: int) -> None:
    parts = encrypt("a secret", "c").split(".")  # 36 bytes: base64 without idle bits at its end
    for position in range(0, len(parts[part]), 5):
        changed = list(parts)
        flipped = "A" if changed[part][position] != "A" else "B"
        changed[part] = changed[part][:position] + flipped + changed[part][position + 1 :]
        with pytest.raises(Undecryptable):
            decrypt(".".join(changed), "c")


@pytest.mark.parametrize("stored", ["", "x", "v1.x", "v1.x.y", "v1.00000000.AAAA", "v1.é.é", "a.b.c.d"])
def test_what_is_no_ciphertext(stored: str) -> None:
    with pytest.raises(Undecryptable):
        decrypt(stored, "c")


@pytest.mark.django_db
def test_in_the_database_everything_is_ciphertext() -> None:
    account = app()
    factories.access_token(account, value="canary-token")
    message = hear(account, reply="https://reply/canary")
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM accounts_channelaccount")
        credentials = cursor.fetchone()[0]
        cursor.execute("SELECT value FROM accounts_accesstoken")
        value = cursor.fetchone()[0]
        cursor.execute("SELECT reply_address FROM bridge_message")
        reply = cursor.fetchone()[0]
    assert all(stored.startswith("v2.") for stored in (credentials, value, reply))
    assert SECRET not in credentials
    assert ChannelAccount.objects.get().credentials["secret"] == SECRET
    assert AccessToken.objects.get().value == "canary-token"
    message.refresh_from_db()
    assert message.reply_address == "https://reply/canary"


@pytest.mark.django_db
def test_an_expression_of_the_database_is_taken_as_it_is() -> None:
    token = factories.access_token(app(), value="x")
    token.value = Value("")  # type: ignore[assignment]  # an expression where text belongs
    token.save()
    assert AccessToken.objects.get().value == ""


@pytest.mark.django_db
def test_the_empty_text_stays_empty() -> None:
    hear(app())
    with connection.cursor() as cursor:
        cursor.execute("SELECT reply_address FROM bridge_message")
        assert cursor.fetchone()[0] == ""


@pytest.mark.django_db
def test_credentials_are_not_serialised() -> None:
    from django.core import serializers

    with pytest.raises(NotImplementedError):
        serializers.serialize("json", [app()])
