"""Finds out whether a failing account works again, by a call that changes nothing, ever more rarely."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import ChannelAccount
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

# Seconds from one probe to the next; the last one repeats. A day of failing costs about a hundred calls.
PROBE_SECONDS = (60, 120, 240, 480, 900)
# So many accounts at most in one run: each may wait for a time-out.
PROBE_AT_ONCE = 10
# A kind whose platform cannot be asked counts as working when nothing failed for so long.
QUIET = timedelta(minutes=10)


def probe_failing() -> int:
    """Probe every failing account that is due. Return how many were probed. Called by the clock."""
    due = Q(next_try_at=None) | Q(next_try_at__lte=timezone.now())
    rows = ChannelAccount.objects.filter(due, enabled=True, state=Health.FAILING).order_by("next_try_at")
    return sum(_take(account) and _probe(account) for account in rows[:PROBE_AT_ONCE])


def _take(account: ChannelAccount) -> bool:
    """Postpone the next probe before this one, so that only one of several workers asks, and a call that hangs is not repeated."""
    later = timezone.now() + timedelta(seconds=PROBE_SECONDS[min(account.probes, len(PROBE_SECONDS) - 1)])
    mine = ChannelAccount.objects.filter(pk=account.pk, state=Health.FAILING, enabled=True)
    mine = mine.filter(next_try_at=account.next_try_at)
    return bool(mine.update(next_try_at=later, probes=F("probes") + 1))


def _probe(account: ChannelAccount) -> bool:
    """Ask the platform and store its answer in the account's state. A wait that it asks for is respected."""
    channel = build_channel(account)
    if not channel.test_calls:
        if timezone.now() - account.state_since > QUIET:
            account.set_state(Health.OK)
        return False
    try:
        channel.test()
    except ChannelError as error:
        _still_failing(account, error)
    else:
        account.set_state(Health.OK)
    return True


def _still_failing(account: ChannelAccount, error: ChannelError) -> None:
    if error.action in (Action.RETRY, Action.UNKNOWN, Action.CONFIG):
        account.set_state(Health.STOPPED if error.action == Action.CONFIG else Health.FAILING, error.code, error.params)
    if error.action == Action.WAIT and error.retry_after:
        until = timezone.now() + timedelta(seconds=error.retry_after)
        later = ChannelAccount.objects.filter(pk=account.pk, state=Health.FAILING, next_try_at__lt=until)
        later.update(next_try_at=until)
