"""The restrictions of accounts: what the platform refused to grant, as it answered itself. They end after a day, then it is asked again."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, TypeGuard

from django.utils import timezone

from accounts.health import CODE_LENGTH
from accounts.models import Restriction
from channels_wechat import can
from channels_wechat.contract.capabilities import Passive

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.errors import ChannelError

# A restriction ends by itself, because an account may be verified at any time and the platform does not report that.
RESTRICTED_SECONDS = 24 * 3600
# The restrictions of an account are cached so long, so a change by another process takes effect within this time.
CACHE_SECONDS = 2.0
CUSTOM_SEND, USER_INFO, TYPING = "custom_send", "user_info", "typing"
# One permission of the platform governs both, and "is typing" is called first, while the agent still works: its refusal shows that the
# answer cannot be sent. The keys are the error's code and the capability; other codes concern one call only.
SAME_PERMISSION = {("48001", TYPING): CUSTOM_SEND}
# By account: until when it is known, and what is restricted: capability and peer; without a peer for all.
_known: dict[int, tuple[float, frozenset[tuple[str, str]]]] = {}


def store_refusal(account: ChannelAccount, error: ChannelError, peer_id: str = "") -> bool:
    """Restrict the account where the error names what the platform does not grant it, and what needs the same permission.

    peer_id: whom the call was for, where that may be why. Return whether the error named something.
    """
    if error.capability and (peer_id or not error.of_peer):
        restrict(account, error.capability, error, peer_id if error.of_peer else "")
    also = SAME_PERMISSION.get((error.code, error.capability))
    if also and can(account.kind, Passive):  # it only matters for accounts that can answer in another way
        restrict(account, also, error)
    return bool(error.capability)


def restrict(account: ChannelAccount, capability: str, error: ChannelError, peer_id: str = "") -> None:
    now = timezone.now()
    until = now + timedelta(seconds=RESTRICTED_SECONDS)
    values = {"code": error.code[:CODE_LENGTH], "code_params": error.params, "until": until}
    Restriction.objects.update_or_create(account=account, capability=capability, peer_id=peer_id, defaults=values)
    _known.pop(account.pk, None)


def is_allowed(account_id: int, capability: str) -> bool:
    """Whether the account has no such restriction, as read at most `CACHE_SECONDS` ago."""
    return (capability, "") not in _read_restrictions(account_id)


def list_refused(account_id: int, peer_id: str) -> frozenset[str]:
    """Return what the platform does not grant this account, or not to this peer, as read at most `CACHE_SECONDS` ago."""
    return frozenset(name for name, peer in _read_restrictions(account_id) if peer in ("", peer_id))


def _read_restrictions(account_id: int) -> frozenset[tuple[str, str]]:
    found = _known.get(account_id)
    if found is None or found[0] < time.monotonic():
        pairs = frozenset(_current_restrictions().filter(account=account_id).values_list("capability", "peer_id"))
        _known[account_id] = found = (time.monotonic() + CACHE_SECONDS, pairs)
    return found[1]


def is_known(account_id: int) -> bool:
    """Whether `is_allowed` answers without a query."""
    found = _known.get(account_id)
    return found is not None and found[0] >= time.monotonic()


def was_allowed(account_id: int, capability: str) -> bool:
    """Return the last known result of `is_allowed`, while the database is away; True where there is none."""
    found = _known.get(account_id)
    return found is None or (capability, "") not in found[1]


def restricted_account_ids(capability: str) -> QuerySet[Restriction, int]:
    """Return the ids of the accounts that have this restriction now, for use in another query."""
    return _current_restrictions().filter(capability=capability, peer_id="").values_list("account_id", flat=True)


def list_restrictions(account: ChannelAccount) -> Iterable[Restriction]:
    """Return the present restrictions of the account, for pages."""
    return _current_restrictions().filter(account=account).order_by("capability", "peer_id")


def lift_restrictions(account: ChannelAccount, capability: str = "") -> int:
    """Delete the restrictions of a capability, or all of them without a name, so that the platform is asked again.

    Return how many there were.
    """
    rows = Restriction.objects.filter(account=account, **({"capability": capability} if capability else {}))
    lifted = rows.delete()[0]
    _known.pop(account.pk, None)
    return lifted


def answers_passively(channel: Channel, account_id: int) -> TypeGuard[Passive]:
    """Whether the account answers in the reply to the callback now, because staff chose it or the platform grants it no messages."""
    if not isinstance(channel, Passive) or channel.answers == "messages":
        return False
    return channel.answers == "passive" or not is_allowed(account_id, CUSTOM_SEND)


def answers_passively_as_cached(channel: Channel, account_id: int) -> TypeGuard[Passive]:
    """Return the same from the cache, while the database is away."""
    if not isinstance(channel, Passive) or channel.answers == "messages":
        return False
    return channel.answers == "passive" or not was_allowed(account_id, CUSTOM_SEND)


def _current_restrictions() -> QuerySet[Restriction]:
    return Restriction.objects.filter(until__gt=timezone.now())
