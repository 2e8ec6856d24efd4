"""Finds out whether a failing account works again, by a call that changes nothing, at growing intervals."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from accounts.channels import build_channel
from accounts.fields import Undecryptable
from accounts.health import Health
from accounts.models import ChannelAccount
from channels_wechat.contract.connection import LOGIN_STATES, Connection
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

# Seconds from one probe to the next; the last one repeats. So an account that works again is shown as failing for five minutes at most,
# and a day of failing costs about three hundred calls.
PROBE_SECONDS = (60, 120, 240, 300)
# One run probes at most so many accounts, because each call may wait for a time-out.
MAX_PROBES = 10


def probe_failing() -> int:
    """Probe every failing account that is due. Return how many were probed. Beat starts it."""
    due = Q(next_try_at=None) | Q(next_try_at__lte=timezone.now())
    rows = ChannelAccount.objects.filter(due, enabled=True, state=Health.FAILING).order_by("next_try_at")
    rows = rows.exclude(connection__state__in=LOGIN_STATES)  # no call to the platform logs anybody in
    return sum(_claim_probe(account) and _probe(account) for account in rows[:MAX_PROBES])


def _claim_probe(account: ChannelAccount) -> bool:
    """Postpone the next probe before this one, so that only one of several workers asks, and a call that hangs is not repeated."""
    later = timezone.now() + timedelta(seconds=PROBE_SECONDS[min(account.probes, len(PROBE_SECONDS) - 1)])
    unchanged = ChannelAccount.objects.filter(pk=account.pk, state=Health.FAILING, enabled=True)
    unchanged = unchanged.filter(next_try_at=account.next_try_at)
    return bool(unchanged.update(next_try_at=later, probes=F("probes") + 1))


def _probe(account: ChannelAccount) -> bool:
    """Ask the platform and store its answer in the account's state. A wait that it asks for is respected.

    Of an account with a connection its holder says whether it works. One that cannot be asked is due when nothing failed for a while.
    """
    try:
        channel = build_channel(account)
    except Undecryptable:  # an incident says so
        return False
    if isinstance(channel, Connection):
        return False
    if not channel.test_calls:
        account.set_state(Health.OK)
        return False
    try:
        channel.test()
    except ChannelError as error:
        _store_failure(account, error)
    else:
        account.set_state(Health.OK)
    return True


def _store_failure(account: ChannelAccount, error: ChannelError) -> None:
    if error.action in (Action.RETRY, Action.UNKNOWN, Action.CONFIG):
        account.set_state(Health.STOPPED if error.action == Action.CONFIG else Health.FAILING, error.code, error.params)
    if error.action == Action.WAIT and error.retry_after:
        until = timezone.now() + timedelta(seconds=error.retry_after)
        later = ChannelAccount.objects.filter(pk=account.pk, state=Health.FAILING, next_try_at__lt=until)
        later.update(next_try_at=until)
