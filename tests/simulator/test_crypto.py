"""The simulator's own cipher against the published vectors (facts: wecom.md 12) and what it must refuse."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES

from channels_wechat.simulator.core import crypto

FIXTURES = Path(__file__).parents[1] / "fixtures" / "crypto"
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FIXTURES.glob("v*.json"))}
SEALED = [vector for vector in VECTORS.values() if "random16" in vector]
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


@pytest.mark.parametrize("vector", SEALED, ids=lambda vector: vector["source"][:30])
def test_a_vector_is_reproduced_both_ways(vector: dict[str, Any]) -> None:
    key, receiveid, plain = vector["encoding_aes_key"], vector["receiveid"], vector["plaintext"].encode()
    assert crypto.encrypt(key, plain, receiveid, vector["random16"].encode()) == vector["encrypt"]
    assert crypto.decrypt(key, vector["encrypt"], receiveid) == plain
    parts = vector["token"], vector["timestamp"], vector["nonce"], vector["encrypt"]
    assert crypto.signature(*parts) == vector["msg_signature"]


def test_every_vector_is_used() -> None:
    assert len(SEALED) == 10


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("AAAAA", "1714036504", "1514711492"), "f464b24fc39322e44b38aa78f5edd27bd1441696"),
        (("AAAAA", "1714037059", "486452656"), "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
    ],
)
def test_a_signature_of_three_parts(parts: tuple[str, str, str], expected: str) -> None:
    """facts: official_account.md 2.3, V1b."""
    assert crypto.signature(*parts) == expected


def test_media_have_neither_prefix_nor_length() -> None:
    vector = VECTORS["v11__aibot_media"]
    plain = bytes.fromhex(vector["plaintext_hex"])
    body = base64.b64decode(vector["encrypt"])
    assert crypto.encrypt_media(vector["encoding_aes_key"], plain) == body
    assert crypto.decrypt_media(vector["encoding_aes_key"], body) == plain


@pytest.mark.parametrize("size", [0, 11, 12, 13, 31, 32, 33])
def test_any_length_survives(size: int) -> None:
    plain = b"x" * size
    assert crypto.decrypt(KEY, crypto.encrypt(KEY, plain, "corp"), "corp") == plain


def raw(packed: bytes) -> str:
    """Ciphertext of exactly these bytes, padded by hand."""
    key = crypto.key_bytes(KEY)
    return base64.b64encode(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(packed)).decode()


@pytest.mark.parametrize(
    ("encrypted", "why"),
    [
        (crypto.encrypt(KEY, b"hello", "other"), "receiveid"),
        (raw(b"x" * 31 + b"\x00"), "padding"),
        (raw(b"x" * 31 + b"\x21"), "padding"),
        (raw(b"x" * 16 + b"\xff\xff\xff\xff" + b"y" * 11 + b"\x01"), "length"),
        ("not base64!", "base64"),
        (base64.b64encode(b"x" * 15).decode(), "block"),
    ],
    ids=["receiveid", "padding 0", "padding 33", "length", "base64", "block"],  # a ciphertext is another each time
)
def test_what_the_platform_refuses(encrypted: str, why: str) -> None:
    with pytest.raises(crypto.CryptoError, match=why):
        crypto.decrypt(KEY, encrypted, "corp")


def test_a_wrong_signature_or_key_is_refused() -> None:
    with pytest.raises(crypto.CryptoError, match="signature"):
        crypto.check_signature("0" * 40, "token", "1", "2", "x")
    with pytest.raises(crypto.CryptoError, match="43"):
        crypto.key_bytes("short")
