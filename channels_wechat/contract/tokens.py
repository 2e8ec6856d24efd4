"""Where a channel gets its access token from."""

from __future__ import annotations

from typing import Protocol


class TokenSource(Protocol):
    """Where a channel gets its access token: `accounts.tokens` in the product."""

    def current(self) -> str: ...

    def renew(self, refused: str) -> str:
        """Return another token after the platform refused this one; called once. Raises ChannelError."""
