"""Encryption at rest: AES-256-GCM under the first key of `FIELD_KEYS`; every key of the list opens, so keys can be rotated.

Stored form: `v1.<key id>.<base64url of nonce(12) + tag(16) + ciphertext>`. The key id is the start of the key's SHA-256. The model
field's name is authenticated with the text, so a value copied into another column does not open.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from Crypto.Cipher import AES
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Expression

    _Text = models.TextField[str, str]
    _JSON = models.TextField[dict[str, Any], dict[str, Any]]
else:
    _Text = _JSON = models.TextField


class Undecryptable(Exception):
    """The value was written under a key that is not in FIELD_KEYS, or was changed."""


@cache
def _keys(configured: tuple[str, ...]) -> dict[str, bytes]:
    if not configured:
        raise ImproperlyConfigured("FIELD_KEYS is empty: set it to the base64 of 32 random bytes")
    raw = [base64.b64decode(key) for key in configured]
    return {hashlib.sha256(key).hexdigest()[:8]: key for key in raw}


def key_ids(configured: Sequence[str]) -> list[str]:
    """As they stand in ciphertexts, the one that writes first. Raises ImproperlyConfigured where there is none."""
    return list(_keys(tuple(configured)))


def encrypt(text: str, context: str) -> str:
    """Raises ImproperlyConfigured where no key is set."""
    key_id, key = next(iter(_keys(tuple(settings.FIELD_KEYS)).items()))
    nonce = secrets.token_bytes(12)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(context.encode())
    body, tag = cipher.encrypt_and_digest(text.encode("utf-8", "replace"))
    return f"v1.{key_id}.{base64.urlsafe_b64encode(nonce + tag + body).decode()}"


def decrypt(stored: str, context: str) -> str:
    """Raises Undecryptable."""
    return _decrypt(stored, context, tuple(settings.FIELD_KEYS))


def decrypt_once(stored: str, context: str) -> str:
    """`decrypt` for what is read once: nothing of it stays in memory. Raises Undecryptable."""
    return _open(stored, context, tuple(settings.FIELD_KEYS))


@lru_cache(maxsize=256)  # the same few credentials and tokens are read with every message
def _decrypt(stored: str, context: str, configured: tuple[str, ...]) -> str:
    return _open(stored, context, configured)


def _open(stored: str, context: str, configured: tuple[str, ...]) -> str:
    try:
        _version, key_id, packed = stored.split(".")
        data = base64.urlsafe_b64decode(packed)
        cipher = AES.new(_keys(configured)[key_id], AES.MODE_GCM, nonce=data[:12])
        cipher.update(context.encode())
        return cipher.decrypt_and_verify(data[28:], data[12:28]).decode()
    except (ValueError, KeyError) as error:
        raise Undecryptable(f"{context}: written under another key, or damaged") from error


class EncryptedTextField(_Text):
    """Text that is ciphertext in the database; the empty string stays empty."""

    def get_prep_value(self, value: Any) -> Any:
        return encrypt(value, self.context) if value else value

    def from_db_value(self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper) -> str | None:
        return decrypt(value, self.context) if value else value

    @property
    def context(self) -> str:
        return f"{self.model._meta.label_lower}.{self.attname}"


class EncryptedJSONField(_JSON):
    """A JSON object that is ciphertext in the database."""

    def get_prep_value(self, value: Any) -> Any:
        return encrypt(json.dumps(value or {}, ensure_ascii=False, sort_keys=True), self.context)

    def from_db_value(
        self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper
    ) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(decrypt(value, self.context)) if value else {}
        return loaded

    def value_to_string(self, obj: models.Model) -> str:
        raise NotImplementedError("credentials are not serialised")

    @property
    def context(self) -> str:
        return f"{self.model._meta.label_lower}.{self.attname}"
