"""The cipher of WeCom and WeChat callbacks (facts: pages 90930, 90968 and 101033 of developer.work.weixin.qq.com).

AES-256-CBC with IV = key[:16]; plaintext = 16 random bytes + length (uint32, big-endian) + message + receiveid, padded by
PKCS#7 to blocks of 32, not 16; signature = SHA-1 of the sorted token, timestamp, nonce and ciphertext.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import struct
import time
from typing import TYPE_CHECKING

from Crypto.Cipher import AES
from django.utils.translation import gettext as _

from channels_wechat.contract.errors import CallbackRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from Crypto.Cipher._mode_cbc import CbcMode

BLOCK = 32
# Seconds that a callback's clock may differ from ours; the platform's last retry comes well within.
STALE_AFTER = 600
AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")


def decode_aes_key(text: str) -> bytes:
    """The 32 bytes of an EncodingAESKey. Raises ValueError with a sentence for the form that took it.

    The last character may have spare bits set: keys made by Tencent do, so a strict decoder would refuse them.
    """
    text = text.strip()
    if len(text) != 43:
        raise ValueError(_("An EncodingAESKey has 43 characters; this one has %(count)d.") % {"count": len(text)})
    if not AES_KEY.fullmatch(text):
        raise ValueError(_("An EncodingAESKey has 43 characters, all of them letters and digits."))
    return base64.b64decode(text + "=")


class Cipher:
    """One callback address: its token, key and the receiveid that messages must name (empty for an AI bot)."""

    def __init__(self, token: str, encoding_aes_key: str, receiveid: str) -> None:
        self._token, self._key, self._receiveid = token, decode_aes_key(encoding_aes_key), receiveid.encode()
        self._block_cipher = AES.new(self._key, AES.MODE_ECB)  # keeps no state, so threads may share it

    def signature(self, timestamp: str, nonce: str, ciphertext: str) -> str:
        """Hexadecimal SHA-1, as the protocol prescribes."""
        return _signature(self._token, timestamp, nonce, ciphertext)

    def open(self, query: Mapping[str, str], ciphertext: str, *, now: float | None = None) -> bytes:
        """The message inside. query: msg_signature, timestamp, nonce; now: Unix seconds.

        Raises CallbackRefused: 403 "signature", "stale", "receiveid"; 400 "base64", "padding", "length".
        """
        ciphertext = "".join(ciphertext.split())  # line breaks are those of whoever formatted the body
        expected = self.signature(query.get("timestamp", ""), query.get("nonce", ""), ciphertext)
        _check_signed(query, "msg_signature", expected, now)
        return self._unpack(_unpad_callback(self._decrypt(_decode(ciphertext))))

    def seal(self, plaintext: bytes, *, random16: bytes | None = None) -> str:
        """The ciphertext of a passive reply, in base64; sign it with `signature`. random16: fixed by tests only."""
        salt = secrets.token_bytes(16) if random16 is None else random16
        packed = _pad(salt + struct.pack(">I", len(plaintext)) + plaintext + self._receiveid)
        return base64.b64encode(_aes(self._key).encrypt(packed)).decode()

    def _decrypt(self, ciphertext: bytes) -> bytes:
        """CBC as it is defined: each block, deciphered, XOR the block before. Like `_decrypt`, in a fifth of the time: making a
        CBC object for each callback takes longer than everything else that opens it.
        """
        if not ciphertext or len(ciphertext) % AES.block_size:
            return b""
        deciphered = bytearray(len(ciphertext))
        self._block_cipher.decrypt(ciphertext, output=deciphered)
        before = self._key[:16] + ciphertext[: -AES.block_size]
        return (int.from_bytes(deciphered) ^ int.from_bytes(before)).to_bytes(len(ciphertext))

    def _unpack(self, packed: bytes) -> bytes:
        length = struct.unpack(">I", packed[16:20])[0] if len(packed) >= 20 else -1
        if not 0 <= length <= len(packed) - 20:
            raise CallbackRefused(400, "length", _("The length inside the decrypted message is wrong."))
        message, receiveid = packed[20 : 20 + length], packed[20 + length :]
        if receiveid != self._receiveid:
            # Neither id is a secret: a corp id or app id, and the cure is to compare the two.
            found = receiveid[:64].decode(errors="replace")
            names = {"found": found, "expected": self._receiveid.decode()}
            text = _("The message is meant for “%(found)s”; this account expects “%(expected)s”.")
            raise CallbackRefused(403, "receiveid", text % names)
        return message


def decrypt_media(key: bytes, body: bytes) -> bytes:
    """A file sent to an AI bot: same cipher, neither random bytes nor length in front.

    key: 32 bytes, of the callback or of the file alone. Raises ValueError when the bytes are not one.
    """
    return _unpad(_decrypt(key, body))


def check_clear(token: str, query: Mapping[str, str], *, now: float | None = None) -> None:
    """A callback in the clear is signed without its body, so it tells only that the sender knows the token.

    query: signature, timestamp, nonce. Raises CallbackRefused: 403 "signature", "stale".
    """
    expected = _signature(token, query.get("timestamp", ""), query.get("nonce", ""))
    _check_signed(query, "signature", expected, now)


def _signature(*parts: str) -> str:
    return hashlib.sha1("".join(sorted(parts)).encode(errors="replace")).hexdigest()


def _check_signed(query: Mapping[str, str], name: str, expected: str, now: float | None) -> None:
    if not hmac.compare_digest(expected.encode(), query.get(name, "").encode(errors="replace")):
        raise CallbackRefused(403, "signature", _("The signature is wrong: the token differs from the console's."))
    _check_age(query.get("timestamp", ""), time.time() if now is None else now)


def _check_age(timestamp: str, now: float) -> None:
    """The timestamp is signed, so a recorded callback cannot be played back later."""
    try:
        age = now - int(timestamp)
    except (ValueError, OverflowError):
        age = float("inf")
    if abs(age) > STALE_AFTER:
        text = _("The timestamp is more than ten minutes off: a repetition, or this machine's clock is wrong.")
        raise CallbackRefused(403, "stale", text)


def _decode(ciphertext: str) -> bytes:
    try:
        return base64.b64decode(ciphertext, validate=True)
    except ValueError as error:
        raise CallbackRefused(400, "base64", _("The encrypted part is not base64.")) from error


def _unpad_callback(padded: bytes) -> bytes:
    try:
        return _unpad(padded)
    except ValueError as error:
        text = _("The message cannot be decrypted: the EncodingAESKey differs from the console's.")
        raise CallbackRefused(400, "padding", text) from error


def _aes(key: bytes) -> CbcMode:
    return AES.new(key, AES.MODE_CBC, iv=key[:16])


def _decrypt(key: bytes, ciphertext: bytes) -> bytes:
    """Empty, which no padding fits, where the length is no multiple of AES's own block."""
    return _aes(key).decrypt(ciphertext) if len(ciphertext) % AES.block_size == 0 else b""


def _pad(data: bytes) -> bytes:
    count = BLOCK - len(data) % BLOCK
    return data + bytes([count]) * count


def _unpad(padded: bytes) -> bytes:
    """By hand: a stock PKCS#7 for AES refuses the pads from 17 to 32."""
    count = padded[-1] if padded else 0
    if not 1 <= count <= BLOCK or padded[-count:] != bytes([count]) * count:
        raise ValueError("padding")
    return padded[:-count]
