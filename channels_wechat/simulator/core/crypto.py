"""The platform's side of the callback cipher (facts: wecom.md 2.2, 6.1 and the vectors of 12).

Written on its own, not taken from the channel modules, so that a mistake on either side shows as a failing exchange.
"""

import base64
import hashlib
import hmac
import secrets

from Crypto.Cipher import AES

BLOCK = 32  # the platform pads to 32 bytes, not to the cipher's own 16
HEADER = 20  # 16 random bytes and the length as a big-endian uint32


class CryptoError(ValueError):
    """A ciphertext or signature is not what the platform would accept."""


def key_bytes(aes_key: str) -> bytes:
    """The 32 bytes behind a 43-character EncodingAESKey; spare bits in the last character are ignored."""
    if len(aes_key) != 43:
        raise CryptoError("EncodingAESKey must have 43 characters")
    return base64.b64decode(aes_key + "=")


def signature(*parts: str) -> str:
    """SHA-1 hex of token, timestamp, nonce and, where there is one, the ciphertext, sorted; the algorithm is the platform's choice."""
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def check_signature(given: str, token: str, timestamp: str, nonce: str, encrypted: str) -> None:
    if not hmac.compare_digest(given.encode(), signature(token, timestamp, nonce, encrypted).encode()):
        raise CryptoError("signature does not match")


def _pad(data: bytes) -> bytes:
    count = BLOCK - len(data) % BLOCK
    return data + bytes([count]) * count


def _unpad(data: bytes) -> bytes:
    count = data[-1] if data else 0
    if not 1 <= count <= BLOCK or not data.endswith(bytes([count]) * count):
        raise CryptoError("padding is wrong")
    return data[:-count]


def encrypt_media(aes_key: str, plain: bytes) -> bytes:
    """Bytes of an AI bot's image, file or video: no random prefix, no length."""
    key = key_bytes(aes_key)
    return AES.new(key, AES.MODE_CBC, key[:16]).encrypt(_pad(plain))


def decrypt_media(aes_key: str, body: bytes) -> bytes:
    key = key_bytes(aes_key)
    if len(body) % 16:
        raise CryptoError("length is not a multiple of the cipher's block")
    return _unpad(AES.new(key, AES.MODE_CBC, key[:16]).decrypt(body))


def encrypt(aes_key: str, plain: bytes, receiveid: str, random16: bytes = b"") -> str:
    """Base64 ciphertext of a callback or an echostr."""
    head = random16 or secrets.token_bytes(16)
    packed = head + len(plain).to_bytes(4, "big") + plain + receiveid.encode()
    return base64.b64encode(encrypt_media(aes_key, packed)).decode()


def decrypt(aes_key: str, encrypted: str, receiveid: str) -> bytes:
    """The plaintext of a passive reply; CryptoError for anything the platform would refuse."""
    try:
        body = base64.b64decode(encrypted, validate=True)
    except ValueError as error:
        raise CryptoError("not base64") from error
    packed = decrypt_media(aes_key, body)
    end = HEADER + int.from_bytes(packed[16:HEADER], "big")
    if end > len(packed):
        raise CryptoError("length field is larger than the text")
    if packed[end:] != receiveid.encode():
        raise CryptoError("receiveid does not match")
    return packed[HEADER:end]
