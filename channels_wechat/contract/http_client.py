"""The interface of the HTTP client that a channel uses; `channels_wechat.wire.http` implements it."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Response:
    """headers: case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Raises ValueError."""
        return jsonlib.loads(self.body)


class AddressGuard(Protocol):
    """Resolves a name to the addresses that may be reached, as staff allowed them."""

    def resolve(self, host: str, port: int, *, secure: bool = True) -> list[str]:
        """secure: whether TLS is spoken. Raises OSError, or ChannelError where none may be reached."""


class HttpClient(Protocol):
    @property
    def guard(self) -> AddressGuard:
        """The one that this client asks, for connections that are no HTTP requests."""

    def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        fields: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
        max_bytes: int = ...,
        follow: int = 0,
        harmless: bool | None = None,
        from_message: bool = False,
    ) -> Response:
        """One request; its answer whatever the status. Raises ChannelError."""
