"""Builds the channel of an account, and caches accounts with their channels."""

from __future__ import annotations

import contextlib
import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings

from accounts.models import ChannelAccount
from accounts.tokens import StoredTokens
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.messages import Identity
from channels_wechat.contract.sentences import Sentences
from channels_wechat.unregistered import UnregisteredKind
from channels_wechat.wire.http import Http
from channels_wechat.wire.ssrf_guard import Guard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from channels_wechat.contract.capabilities import Tokens
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Token

# An account is cached so long, so disabling it takes effect for callbacks within this time.
CACHE_SECONDS = 2.0
_recent: dict[tuple[str, object], tuple[float, ChannelAccount, Channel]] = {}
# A process reads all enabled accounts every ENABLED_SECONDS and keeps them for the time when the database is away.
ENABLED_SECONDS = 5.0
_enabled: dict[UUID, tuple[ChannelAccount, Channel]] = {}
_enabled_at = -ENABLED_SECONDS


@cache
def http() -> Http:
    """Return the HTTP client of this process, which keeps connections open and refuses private addresses."""
    return Http(settings.ALLOWED_PRIVATE_HOSTS, allowed_in_messages=settings.ALLOWED_PRIVATE_MEDIA_HOSTS)


def guard() -> Guard:
    """Return the guard against private addresses, with which `check_address` looks at what staff enter."""
    return Guard(settings.ALLOWED_PRIVATE_HOSTS)


def build_channel(account: ChannelAccount) -> Channel:
    """Build the account's channel; for a kind that is no longer registered one that can do nothing but say so."""
    sentences = Sentences(account.language, account.sentences)
    identity = Identity(str(account.key), account.external_id, account.credentials, account.api_base_url, sentences)
    kind_class = channel_class(account.kind, account.credentials) if account.kind in KINDS else UnregisteredKind
    return kind_class(identity, http(), stored_tokens(account))


def stored_tokens(account: ChannelAccount) -> StoredTokens:
    """Return the source of the account's access tokens, which asks the platform for a new one when it is needed.

    It asks with the credentials that are stored then: those of an account that a process keeps may have been corrected meanwhile.
    """

    def fetch() -> Token:
        stored = ChannelAccount.objects.filter(pk=account.pk).first() or account
        return cast("Tokens", build_channel(stored)).fetch_token()

    return StoredTokens(account, fetch)


def cached_by_key(key: UUID) -> tuple[ChannelAccount, Channel]:
    """Return the enabled account with this callback key. Raises ChannelAccount.DoesNotExist."""
    return _read(("key", key), key=key, enabled=True)


def cached_without_query(key: UUID) -> tuple[ChannelAccount, Channel] | None:
    """Return what `cached_by_key` would, without a query; None where a query is needed."""
    found = _recent.get(("key", key))
    return None if found is None or found[0] < time.monotonic() else (found[1], found[2])


def cached_by_keys(keys: Sequence[UUID]) -> dict[UUID, tuple[ChannelAccount, Channel]]:
    """Return key → account for those keys that exist. Unknown keys, however many strangers guess, cost one query together."""
    rows = ChannelAccount.objects.filter(key__in=keys, enabled=True)
    existing = set(rows.values_list("key", flat=True)) if len(keys) > 1 else set(keys)
    found = {}
    for key in existing:
        with contextlib.suppress(ChannelAccount.DoesNotExist):
            found[key] = cached_by_key(key)
    return found


def remember_enabled() -> None:
    """Read all enabled accounts, at most once in `ENABLED_SECONDS`. Raises OperationalError."""
    global _enabled, _enabled_at
    if time.monotonic() - _enabled_at < ENABLED_SECONDS:
        return
    _enabled = {
        account.key: (account, build_channel(account)) for account in ChannelAccount.objects.filter(enabled=True)
    }
    _enabled_at = time.monotonic()


def last_known(key: UUID) -> tuple[ChannelAccount, Channel] | None:
    """Return the last account that `cached_by_key` or `remember_enabled` read, while the database is away."""
    if found := _enabled.get(key):
        return found
    before = _recent.get(("key", key))
    return (before[1], before[2]) if before else None


def cached_by_id(pk: int) -> tuple[ChannelAccount, Channel]:
    """Return the account with this id, enabled or not, cached like the others. Raises ChannelAccount.DoesNotExist."""
    return _read(("pk", pk), pk=pk)


def _read(name: tuple[str, object], **which: Any) -> tuple[ChannelAccount, Channel]:
    found = _recent.get(name)
    if found is None or found[0] < time.monotonic():
        account = ChannelAccount.objects.get(**which)
        _recent[name] = found = (time.monotonic() + CACHE_SECONDS, account, build_channel(account))
    return found[1], found[2]
