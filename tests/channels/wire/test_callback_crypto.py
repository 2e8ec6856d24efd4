"""The callback cipher against published vectors, against wechatpy in both directions, and against random bytes."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st
from wechatpy.crypto import PrpCrypto
from wechatpy.work.crypto import WeChatCrypto

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.wire.callback_crypto import STALE_AFTER, Cipher, decode_aes_key, decrypt_media

FIXTURES = Path(__file__).parents[2] / "fixtures" / "crypto"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
NOW = 1_700_000_000
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FIXTURES.glob("v*.json"))}
CALLBACKS = [name for name, vector in VECTORS.items() if "token" in vector]


def cipher_of(vector: dict[str, Any]) -> Cipher:
    return Cipher(vector["token"], vector["encoding_aes_key"], vector["receiveid"])


def query_of(cipher: Cipher, ciphertext: str, *, timestamp: str = str(NOW), nonce: str = "n") -> dict[str, str]:
    signature = cipher.signature(timestamp, nonce, ciphertext)
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}


def sealed(packed: bytes, key: str = KEY) -> str:
    """Any bytes under the right key, so that only the inside can be wrong."""
    raw = decode_aes_key(key)
    return base64.b64encode(AES.new(raw, AES.MODE_CBC, iv=raw[:16]).encrypt(packed)).decode()


def refusal(cipher: Cipher, query: dict[str, str], ciphertext: str) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as caught:
        cipher.open(query, ciphertext, now=NOW)
    assert str(caught.value)
    assert KEY not in str(caught.value)
    return caught.value.status, caught.value.code


def test_there_are_eleven_vectors():
    assert len(VECTORS) == 11
    assert len(CALLBACKS) == 10


@pytest.mark.parametrize("name", CALLBACKS)
def test_vector_opens(name: str):
    vector = VECTORS[name]
    query = {key: vector[key] for key in ("msg_signature", "timestamp", "nonce")}
    opened = cipher_of(vector).open(query, vector["encrypt"], now=int(vector["timestamp"]))
    assert opened.decode().strip() == vector["plaintext"].strip()


@pytest.mark.parametrize("name", [name for name in CALLBACKS if not name.startswith(("v2_", "v4_"))])
def test_vector_seals_to_the_same_bytes(name: str):
    vector = VECTORS[name]
    cipher = cipher_of(vector)
    ciphertext = cipher.seal(vector["plaintext"].encode(), random16=vector["random16"].encode())
    assert ciphertext == vector["encrypt"]
    assert cipher.signature(vector["timestamp"], vector["nonce"], ciphertext) == vector["msg_signature"]


def test_media_vector_decrypts():
    vector = VECTORS["v11__aibot_media"]
    body, plain = base64.b64decode(vector["encrypt"]), bytes.fromhex(vector["plaintext_hex"])
    assert decrypt_media(decode_aes_key(vector["encoding_aes_key"]), body) == plain


@pytest.mark.parametrize("body", [b"", b"short", bytes(64)])
def test_media_that_is_not_encrypted_raises(body: bytes):
    with pytest.raises(ValueError, match="padding"):
        decrypt_media(decode_aes_key(KEY), body)


@given(st.binary(max_size=200))
def test_seal_then_open(plaintext: bytes):
    cipher = Cipher("token", KEY, "corp")
    ciphertext = cipher.seal(plaintext)
    assert cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW) == plaintext


@pytest.mark.parametrize("length", range(12, 46))
def test_every_pad_from_1_to_32(length: int):
    cipher = Cipher("token", KEY, "")
    ciphertext = cipher.seal(b"x" * length)
    assert len(base64.b64decode(ciphertext)) % 32 == 0
    assert cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW) == b"x" * length


def test_the_same_message_is_never_sealed_to_the_same_bytes():
    cipher = Cipher("token", KEY, "corp")
    assert len({cipher.seal(b"x")[:20] for _time in range(20)}) == 20


def test_wechatpy_reads_what_we_seal():
    cipher = Cipher("token", KEY, "corp")
    ciphertext = cipher.seal("你好".encode())
    peer = WeChatCrypto("token", KEY, "corp")
    signature = cipher.signature("1", "n", ciphertext)
    assert peer.check_signature(signature, "1", "n", ciphertext) == "你好"
    bare = PrpCrypto(decode_aes_key(KEY))
    assert bare.decrypt(Cipher("token", KEY, "").seal("你好".encode()), "") == "你好"


def test_we_read_what_wechatpy_seals():
    cipher = Cipher("token", KEY, "corp")
    ciphertext = PrpCrypto(decode_aes_key(KEY)).encrypt("你好😀", "corp").decode()
    assert cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW) == "你好😀".encode()


@pytest.mark.parametrize("missing", ["msg_signature", "timestamp", "nonce"])
def test_a_missing_parameter_is_a_wrong_signature(missing: str):
    cipher = Cipher("token", KEY, "")
    ciphertext = cipher.seal(b"x")
    query = query_of(cipher, ciphertext)
    del query[missing]
    assert refusal(cipher, query, ciphertext) == (403, "signature")


def test_a_wrong_token_is_a_wrong_signature():
    ciphertext = Cipher("token", KEY, "").seal(b"x")
    assert refusal(Cipher("other", KEY, ""), query_of(Cipher("token", KEY, ""), ciphertext), ciphertext) == (
        403,
        "signature",
    )


@pytest.mark.parametrize("signature", ["", "é", "\ud800", "0" * 40])
def test_an_odd_signature_is_refused(signature: str):
    assert refusal(Cipher("token", KEY, ""), {"msg_signature": signature}, "x") == (403, "signature")


@pytest.mark.parametrize("off", [STALE_AFTER, -STALE_AFTER])
def test_ten_minutes_are_not_stale(off: int):
    cipher = Cipher("token", KEY, "")
    ciphertext = cipher.seal(b"x")
    assert cipher.open(query_of(cipher, ciphertext, timestamp=str(NOW + off)), ciphertext, now=NOW) == b"x"


@pytest.mark.parametrize(
    "timestamp", [str(NOW + STALE_AFTER + 1), str(NOW - STALE_AFTER - 1), "", "soon", "1" * 400, "9" * 5000]
)
def test_a_stale_or_odd_timestamp_is_refused(timestamp: str):
    cipher = Cipher("token", KEY, "")
    ciphertext = cipher.seal(b"x")
    assert refusal(cipher, query_of(cipher, ciphertext, timestamp=timestamp), ciphertext) == (403, "stale")


def test_without_now_the_clock_is_used():
    cipher = Cipher("token", KEY, "")
    ciphertext = cipher.seal(b"x")
    with pytest.raises(CallbackRefused) as caught:
        cipher.open(query_of(cipher, ciphertext), ciphertext)
    assert caught.value.code == "stale"


@pytest.mark.parametrize("ciphertext", ["!", "好", "\ud800", "abc", "AAAA!" * 16, "AAA-" * 16])
def test_what_is_not_base64_is_refused(ciphertext: str):
    cipher = Cipher("token", KEY, "")
    assert refusal(cipher, query_of(cipher, ciphertext), ciphertext) == (400, "base64")


@pytest.mark.parametrize(
    "packed",
    [
        b"x" * 31 + b"\x00",
        b"x" * 31 + b"\x21",
        b"x" * 29 + b"\x02\x01\x02",
        b"\x20" * 16,  # claims more padding than there is
    ],
)
def test_bad_padding_is_refused(packed: bytes):
    cipher, ciphertext = Cipher("token", KEY, ""), sealed(packed)
    assert refusal(cipher, query_of(cipher, ciphertext), ciphertext) == (400, "padding")


@pytest.mark.parametrize("ciphertext", ["", base64.b64encode(b"x" * 15).decode()])
def test_a_length_that_is_no_block_is_bad_padding(ciphertext: str):
    cipher = Cipher("token", KEY, "")
    assert refusal(cipher, query_of(cipher, ciphertext), ciphertext) == (400, "padding")


@pytest.mark.parametrize("length", [12, 0xFFFFFFFF])
def test_a_length_beyond_the_message_is_refused(length: int):
    packed = bytes(16) + struct.pack(">I", length) + b"x" * 11 + b"\x01"
    cipher, ciphertext = Cipher("token", KEY, ""), sealed(packed)
    assert refusal(cipher, query_of(cipher, ciphertext), ciphertext) == (400, "length")


def test_a_message_without_room_for_its_length_is_refused():
    cipher, ciphertext = Cipher("token", KEY, ""), sealed(b"x" * 15 + b"\x11" * 17)
    assert refusal(cipher, query_of(cipher, ciphertext), ciphertext) == (400, "length")


def test_another_receiveid_is_refused_with_both_names():
    cipher, ciphertext = Cipher("token", KEY, "corp"), Cipher("token", KEY, "other").seal(b"x")
    with pytest.raises(CallbackRefused) as caught:
        cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW)
    assert (caught.value.status, caught.value.code) == (403, "receiveid")
    assert "corp" in str(caught.value)
    assert "other" in str(caught.value)


def test_of_a_long_receiveid_the_refusal_repeats_the_beginning():
    cipher, ciphertext = Cipher("token", KEY, "corp"), Cipher("token", KEY, "other" * 2000).seal(b"x")
    with pytest.raises(CallbackRefused) as caught:
        cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW)
    assert "otherother" in str(caught.value)
    assert len(str(caught.value)) < 200


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_are_refused_or_a_message(noise: bytes, encrypted: bool):
    """Random bytes, and random bytes under the right key, give nothing but CallbackRefused (or, by luck, a message)."""
    cipher = Cipher("token", KEY, "corp")
    ciphertext = sealed(noise[: len(noise) // 16 * 16]) if encrypted else base64.b64encode(noise).decode()
    with contextlib.suppress(CallbackRefused):
        assert isinstance(cipher.open(query_of(cipher, ciphertext), ciphertext, now=NOW), bytes)


@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["msg_signature", "timestamp", "nonce"]), st.text(max_size=20)),
)
def test_random_queries_are_refused(ciphertext: str, query: dict[str, str]):
    with pytest.raises(CallbackRefused):
        Cipher("token", KEY, "corp").open(query, ciphertext, now=NOW)


@pytest.mark.parametrize("text", ["", "short", KEY + "=", KEY[:-1] + "-", KEY[:-1] + "好"])
def test_a_wrong_key_is_explained(text: str):
    with pytest.raises(ValueError, match="43 characters"):
        decode_aes_key(text)


def test_a_key_may_hold_every_character_of_base64():
    assert len(decode_aes_key("+/" * 21 + "A")) == 32


def test_line_breaks_inside_the_ciphertext_are_not_signed():
    cipher = Cipher("token", KEY, "corp")
    ciphertext = cipher.seal(b"x" * 200)
    broken = "\r\n ".join(ciphertext[at : at + 76] for at in range(0, len(ciphertext), 76))
    assert cipher.open(query_of(cipher, ciphertext), f"\n{broken}\n", now=NOW) == b"x" * 200


def test_a_key_may_have_spare_bits_and_spaces_around_it():
    assert len(decode_aes_key(" abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n")) == 32


def test_a_repr_tells_no_secret():
    assert KEY not in repr(Cipher("topsecret", KEY, ""))
    assert "topsecret" not in repr(Cipher("topsecret", KEY, ""))
