"""From an account row to its channel, ready to speak."""

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

# A callback is answered from an account read at most this long ago: switching one off takes effect within it.
CACHE_SECONDS = 2.0
_recent: dict[tuple[str, object], tuple[float, ChannelAccount, Channel]] = {}
# For the time when the database is away: how often a process reads all enabled accounts, and what it read last. Seconds.
ENABLED_SECONDS = 5.0
_enabled: dict[UUID, tuple[ChannelAccount, Channel]] = {}
_enabled_at = -ENABLED_SECONDS


@cache
def http() -> Http:
    """The process's one way out to the platforms; keeps connections alive, refuses private addresses."""
    return Http(settings.ALLOWED_PRIVATE_HOSTS, allowed_in_messages=settings.ALLOWED_PRIVATE_MEDIA_HOSTS)


def guard() -> Guard:
    """For addresses that staff enter."""
    return Guard(settings.ALLOWED_PRIVATE_HOSTS)


def build_channel(account: ChannelAccount) -> Channel:
    """Of a kind that is no longer registered: one that says so, and can do nothing."""
    sentences = Sentences(account.language, account.sentences)
    identity = Identity(str(account.key), account.external_id, account.credentials, account.api_base_url, sentences)
    found = channel_class(account.kind, account.credentials) if account.kind in KINDS else UnregisteredKind
    return found(identity, http(), stored_tokens(account))


def stored_tokens(account: ChannelAccount) -> StoredTokens:
    """The account's access tokens; a channel built when one is needed asks the platform for the next."""
    return StoredTokens(account, lambda: cast("Tokens", build_channel(account)).fetch_token())


def cached_by_key(key: UUID) -> tuple[ChannelAccount, Channel]:
    """The enabled account that owns a callback address. Raises ChannelAccount.DoesNotExist."""
    return _read(("key", key), key=key, enabled=True)


def recent(key: UUID) -> tuple[ChannelAccount, Channel] | None:
    """What `by_key` gives without asking the database; None where it must be asked."""
    found = _recent.get(("key", key))
    return None if found is None or found[0] < time.monotonic() else (found[1], found[2])


def cached_by_keys(keys: Sequence[UUID]) -> dict[UUID, tuple[ChannelAccount, Channel]]:
    """`by_key` for each; those that own no address are left out. However many strangers guess, it is one query for all of them."""
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
    """What `by_key` gave before the database went away, or `remember_enabled` read."""
    if found := _enabled.get(key):
        return found
    before = _recent.get(("key", key))
    return (before[1], before[2]) if before else None


def cached_by_id(pk: int) -> tuple[ChannelAccount, Channel]:
    """The account that a row belongs to, enabled or not, read at most as long ago. Raises ChannelAccount.DoesNotExist."""
    return _read(("pk", pk), pk=pk)


def _read(name: tuple[str, object], **which: Any) -> tuple[ChannelAccount, Channel]:
    found = _recent.get(name)
    if found is None or found[0] < time.monotonic():
        account = ChannelAccount.objects.get(**which)
        _recent[name] = found = (time.monotonic() + CACHE_SECONDS, account, build_channel(account))
    return found[1], found[2]
