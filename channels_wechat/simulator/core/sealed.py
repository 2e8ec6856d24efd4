"""A callback ready for the wire, and how a platform makes one."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Sealed:
    params: dict[str, str]
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


class Envelope(Protocol):
    """How one account's callbacks go over the wire."""

    def seal(self, plain: bytes, openid: str = "") -> Sealed:
        """A new nonce, timestamp and random prefix every time, as in the platform's retries."""

    def verification(self, echo: str) -> dict[str, str]:
        """The query of the console's check of a callback URL."""

    def open_reply(self, body: bytes, nonce: str) -> bytes:
        """The plaintext of a passive reply, b"" for none. CryptoError where the platform would not take it."""
