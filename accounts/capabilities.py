"""What the platform does not grant an account, as it answered itself: believed for a day, then asked again."""

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

# An account may be verified at any time; the platform tells nobody.
RESTRICTED_SECONDS = 24 * 3600
# Another process's finding is known after this.
CACHE_SECONDS = 2.0
CUSTOM_SEND, USER_INFO, TYPING = "custom_send", "user_info", "typing"
# One permission of the platform governs both, and "is typing" is asked for first, while the agent still thinks: its refusal tells that the
# answer will have to be read. By the error's code and capability; other codes speak of the one call alone.
SAME_PERMISSION = {("48001", TYPING): CUSTOM_SEND}
_known: dict[int, tuple[float, frozenset[str]]] = {}


def note(account: ChannelAccount, error: ChannelError) -> bool:
    """Keep it where the error says that the platform does not grant this at all."""
    if error.capability:
        restrict(account, error.capability, error)
    also = SAME_PERMISSION.get((error.code, error.capability))
    if also and can(account.kind, Passive):  # who has no other way to answer is not helped by knowing
        restrict(account, also, error)
    return bool(error.capability)


def restrict(account: ChannelAccount, capability: str, error: ChannelError) -> None:
    now = timezone.now()
    until = now + timedelta(seconds=RESTRICTED_SECONDS)
    values = {"code": error.code[:CODE_LENGTH], "code_params": error.params, "until": until}
    Restriction.objects.update_or_create(account=account, capability=capability, defaults=values)
    _known.pop(account.pk, None)


def allowed(account_id: int, capability: str) -> bool:
    """Whether it is worth asking, by what was read at most `CACHE_SECONDS` ago."""
    found = _known.get(account_id)
    if found is None or found[0] < time.monotonic():
        names = frozenset(_current().filter(account=account_id).values_list("capability", flat=True))
        _known[account_id] = found = (time.monotonic() + CACHE_SECONDS, names)
    return capability not in found[1]


def is_known(account_id: int) -> bool:
    """Whether `allowed` answers without asking the database."""
    found = _known.get(account_id)
    return found is not None and found[0] >= time.monotonic()


def last_known(account_id: int, capability: str) -> bool:
    """What `allowed` gave before the database went away; True where nobody asked."""
    found = _known.get(account_id)
    return found is None or capability not in found[1]


def without(capability: str) -> QuerySet[Restriction, int]:
    """The ids of the accounts that are not granted it now, for another query."""
    return _current().filter(capability=capability).values_list("account_id", flat=True)


def restrictions(account: ChannelAccount) -> Iterable[Restriction]:
    """Those in force, for pages."""
    return _current().filter(account=account).order_by("capability")


def lift(account: ChannelAccount, capability: str = "") -> int:
    """Staff know better: ask again at once. All of them without a name. Returns how many there were."""
    rows = Restriction.objects.filter(account=account, **({"capability": capability} if capability else {}))
    lifted = rows.delete()[0]
    _known.pop(account.pk, None)
    return lifted


def answers_passively(channel: Channel, account_id: int) -> TypeGuard[Passive]:
    """Whether the account answers in the reply to the callback now: staff chose it, or the platform grants it no messages."""
    if not isinstance(channel, Passive) or channel.answers == "messages":
        return False
    return channel.answers == "passive" or not allowed(account_id, CUSTOM_SEND)


def answers_passively_as_cached(channel: Channel, account_id: int) -> TypeGuard[Passive]:
    """`passively` while the database is away."""
    if not isinstance(channel, Passive) or channel.answers == "messages":
        return False
    return channel.answers == "passive" or not last_known(account_id, CUSTOM_SEND)


def _current() -> QuerySet[Restriction]:
    return Restriction.objects.filter(until__gt=timezone.now())
