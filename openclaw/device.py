"""The ed25519 identity by which a gateway on another host recognises this bridge.

On the gateway's own host the token is enough; elsewhere a connection without a paired device gets no rights.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Signer:
    """The client's description that goes into the signature; it must equal the one in `connect`."""

    client_id: str
    mode: str
    role: str
    scopes: tuple[str, ...]
    platform: str  # lower case
    device_family: str = ""


@dataclass(frozen=True)
class Device:
    """A device key; `pem` is a secret."""

    pem: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(ECC.generate(curve="ed25519").export_key(format="PEM"))

    @property
    def _key(self) -> ECC.EccKey:
        return ECC.import_key(self.pem)

    @property
    def public_bytes(self) -> bytes:
        return bytes(self._key.public_key().export_key(format="raw"))

    @property
    def id(self) -> str:
        return hashlib.sha256(self.public_bytes).hexdigest()

    def sign(self, signer: Signer, *, nonce: str, signed_at: int, token: str) -> dict[str, object]:
        """Return the `device` block of `connect`; `nonce` and `signed_at` (ms) come from the challenge.

        `token` is the shared token when one is sent, else the device token (gateway protocol, signature v3).
        """
        parts = ["v3", self.id, signer.client_id, signer.mode, signer.role, ",".join(signer.scopes)]
        parts += [str(signed_at), token, nonce, signer.platform, signer.device_family]
        signature = eddsa.new(self._key, "rfc8032").sign("|".join(parts).encode())
        return {
            "id": self.id,
            "publicKey": _base64url(self.public_bytes),
            "signature": _base64url(signature),
            "signedAt": signed_at,
            "nonce": nonce,
        }
