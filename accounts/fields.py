"""Encryption at rest: AES-256-GCM under the first key of `FIELD_KEYS`; every key of the list decrypts, so keys can be rotated.

Stored form: `<version>.<key id>.<base64url of nonce(12) + tag(16) + ciphertext>`. The key id is the start of the key's SHA-256. Of what
stands in a column (version v2) the model field's name and the row's key are authenticated with the text, so a value that was copied into
another column or another row does not open. Version v1 authenticates one text, its context, for what stands in no column: a line of the
spool.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from Crypto.Cipher import AES
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.query_utils import DeferredAttribute

Given = TypeVar("Given")
Found = TypeVar("Found")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Expression

    class _Text(models.TextField[Given, Found]):
        pass
else:

    class _Text(models.TextField, Generic[Given, Found]):
        pass


# The versions of ciphertexts.
ALONE, IN_ROW = "v1", "v2"


class Undecryptable(Exception):
    """The value was written under a key that is not in FIELD_KEYS, or was changed."""


@cache
def _keys(configured: tuple[str, ...]) -> dict[str, bytes]:
    if not configured:
        raise ImproperlyConfigured("FIELD_KEYS is empty: set it to the base64 of 32 random bytes")
    raw = [base64.b64decode(key) for key in configured]
    return {hashlib.sha256(key).hexdigest()[:8]: key for key in raw}


def key_ids(configured: Sequence[str]) -> list[str]:
    """Return the ids of the keys as in ciphertexts, first the one that encrypts. Raises ImproperlyConfigured where there is none."""
    return list(_keys(tuple(configured)))


def encrypt(text: str, context: str) -> str:
    """Encrypt as version v1. Raises ImproperlyConfigured where no key is set."""
    return _seal(ALONE, text, context)


def encrypt_in_row(text: str, column: str, row: str) -> str:
    """Encrypt as version v2. row: the row's key as text. Raises ImproperlyConfigured where no key is set."""
    return _seal(IN_ROW, text, _context_in_row(column, row))


def _context_in_row(column: str, row: str) -> str:
    return f"{IN_ROW}\n{column}\n{row}"


def _seal(version: str, text: str, context: str) -> str:
    key_id, key = next(iter(_keys(tuple(settings.FIELD_KEYS)).items()))
    nonce = secrets.token_bytes(12)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(context.encode())
    body, tag = cipher.encrypt_and_digest(text.encode("utf-8", "replace"))
    return f"{version}.{key_id}.{base64.urlsafe_b64encode(nonce + tag + body).decode()}"


def decrypt(stored: str, context: str) -> str:
    """Decrypt version v1. Raises Undecryptable."""
    return _decrypt(stored, ALONE, context, context, tuple(settings.FIELD_KEYS))


def decrypt_in_row(stored: str, column: str, row: str) -> str:
    """Decrypt version v2. Raises Undecryptable."""
    return _decrypt(stored, IN_ROW, _context_in_row(column, row), column, tuple(settings.FIELD_KEYS))


def decrypt_once(stored: str, context: str) -> str:
    """Decrypt a value that is read once, without caching it. Raises Undecryptable."""
    return _open(stored, ALONE, context, context, tuple(settings.FIELD_KEYS))


@lru_cache(maxsize=256)  # the same few credentials and tokens are read with every message
def _decrypt(stored: str, version: str, context: str, name: str, configured: tuple[str, ...]) -> str:
    return _open(stored, version, context, name, configured)


def _open(stored: str, version: str, context: str, name: str, configured: tuple[str, ...]) -> str:
    """Decrypt a value. name: its name in the error."""
    try:
        given, key_id, packed = stored.split(".")
        data = base64.urlsafe_b64decode(packed)
        cipher = AES.new(_keys(configured)[key_id], AES.MODE_GCM, nonce=data[:12])
        cipher.update(context.encode())
        text = cipher.decrypt_and_verify(data[28:], data[12:28]).decode()
    except (ValueError, KeyError) as error:
        raise Undecryptable(f"{name}: written under another key or in another place, or damaged") from error
    if given != version:
        raise Undecryptable(f"{name}: not of the version {version}")
    return text


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A ciphertext as its column has it; the key of its row is needed to decrypt it."""

    stored: str


class SealedAttribute(DeferredAttribute):
    """The text of a `Sealed`, decrypted with the key of its row when it is first read."""

    field: Encrypted[Any, Any]

    def __get__(self, instance: models.Model | None, cls: type[models.Model] | None = None) -> Any:
        if instance is None:
            return self
        name, values = self.field.attname, instance.__dict__
        if name not in values:  # deferred
            rows = type(instance)._base_manager.using(instance._state.db).filter(pk=instance.pk)
            values[name] = rows.values_list(name, flat=True).get()
        if isinstance(values[name], Sealed):
            values[name] = self.field.open_value(instance, values[name])
        return values[name]

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class Encrypted(_Text[Given, Found]):
    """The base of both fields: the value is ciphertext in the database.

    row: the name of the field of the same model that is the row's key; it is there before the row is stored, and never changes.
    Querysets know no row: they give `Sealed` for values(), and take for update() and filter() nothing but the empty text and what
    `sealed` made; anything else raises TypeError.
    """

    descriptor_class = SealedAttribute

    def __init__(self, *args: Any, row: str, **options: Any) -> None:
        self.row = row
        super().__init__(*args, **options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        return name, path, args, {**options, "row": self.row}

    @property
    def context(self) -> str:
        return f"{self.model._meta.label_lower}.{self.attname}"

    @property
    def row_field(self) -> models.Field[Any, Any]:
        return cast("models.Field[Any, Any]", self.model._meta.get_field(self.row))

    def encrypted(self, value: Any, key: object) -> str:
        """Return the value encrypted, or the empty text for an empty value. key: the row's key as its field takes it."""
        text = self.as_text(value)
        if not text:
            return ""
        known = self.row_field.to_python(key)
        if known is None:
            raise ValueError(f"{self.context}: the row has no {self.row} yet")
        return encrypt_in_row(text, self.context, str(known))

    def open_value(self, instance: models.Model, sealed: Sealed) -> Any:
        """Raises Undecryptable."""
        key = self.row_field.to_python(getattr(instance, self.row_field.attname))
        return self.from_text(decrypt_in_row(sealed.stored, self.context, str(key)))

    def as_text(self, value: Any) -> str:
        return value or ""

    def from_text(self, text: str) -> Any:
        return text

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = getattr(model_instance, self.attname)
        if value is None or hasattr(value, "as_sql"):
            return value
        return Sealed(self.encrypted(value, getattr(model_instance, self.row_field.attname)))

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):
            return value.stored
        if value is None or value == "" or hasattr(value, "as_sql"):
            return value
        raise TypeError(f"{self.context}: it is encrypted for its row; save the row, or give what `sealed` makes")

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Return a value for the check of a constraint, which only compares whether it is empty and writes nothing."""
        if not prepared and isinstance(value, str | dict):
            return "sealed" if value else ""
        return value if prepared else self.get_prep_value(value)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        return self.get_prep_value(value)

    def from_db_value(self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper) -> Any:
        return Sealed(value) if value else value


class EncryptedTextField(Encrypted[str, str]):
    """Text that is ciphertext in the database; the empty string stays empty."""


class EncryptedJSONField(Encrypted[dict[str, Any], dict[str, Any]]):
    """A JSON object that is ciphertext in the database."""

    def as_text(self, value: Any) -> str:
        return json.dumps(value or {}, ensure_ascii=False, sort_keys=True)

    def from_text(self, text: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(text)
        return loaded

    def from_db_value(self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper) -> Any:
        return Sealed(value) if value else {}

    def value_to_string(self, obj: models.Model) -> str:
        raise NotImplementedError("credentials are not serialised")


def open_sealed(row: models.Model, name: str, value: Any) -> Any:
    """Return the decrypted value of this field of this row; it may be decrypted already. Raises Undecryptable."""
    return (
        cast("Encrypted[Any, Any]", row._meta.get_field(name)).open_value(row, value)
        if isinstance(value, Sealed)
        else value
    )


def list_unreadable(row: models.Model) -> list[str]:
    """Return the names of the encrypted fields of this row that were loaded and that no key of FIELD_KEYS opens."""
    names = [field.attname for field in row._meta.concrete_fields if isinstance(field, Encrypted)]
    return [name for name in names if name in row.__dict__ and not _can_read(row, name)]


def _can_read(row: models.Model, name: str) -> bool:
    try:
        getattr(row, name)
    except Undecryptable:
        return False
    return True


def sealed(model: type[models.Model], name: str, key: object, value: Any) -> Sealed:
    """Return the value that update() takes for this field of the row with this key. A raw statement takes its `stored`."""
    return Sealed(cast("Encrypted[Any, Any]", model._meta.get_field(name)).encrypted(value, key))
