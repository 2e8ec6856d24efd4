"""AES-128-ECB with PKCS7, and the two forms in which a message names a key (facts: wechaty.md 8)."""

import base64
import binascii

from Crypto.Cipher import AES

KEY_BYTES = 16


def encrypt(key: bytes, content: bytes) -> bytes:
    count = padded_size(len(content)) - len(content)
    return bytes(AES.new(key, AES.MODE_ECB).encrypt(content + bytes([count]) * count))


def decrypt(key: bytes, content: bytes) -> bytes:
    """Raises ValueError."""
    padded = bytes(AES.new(key, AES.MODE_ECB).decrypt(content))
    count = padded[-1] if padded else 0
    if not 1 <= count <= KEY_BYTES or not padded.endswith(bytes([count]) * count):
        raise ValueError("no padding: another key")
    return padded[:-count]


def padded_size(size: int) -> int:
    return (size // KEY_BYTES + 1) * KEY_BYTES


def read_key(text: object) -> bytes:
    """Of base64 of the key, or of its 32 hex characters. Raises ValueError."""
    try:
        raw = base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    key = raw if len(raw) == KEY_BYTES else bytes.fromhex(raw.decode("ascii"))
    if len(key) != KEY_BYTES:
        raise ValueError("no key of 16 bytes")
    return key


def write_key(key: bytes, *, as_hex: bool) -> str:
    return base64.b64encode(key.hex().encode() if as_hex else key).decode()
