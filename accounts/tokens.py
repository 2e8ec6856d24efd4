"""Access tokens: fetched once for all processes, by whoever finds the old one refused or about to end.

A generation is refused at most once: the first to say so leases the row and asks the platform; the others wait for its answer.
A failure is shared too: after a wrong secret nobody asks again until staff changed something, and where the platform says how long to
wait, nobody asks before that.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from accounts import counters, lease
from accounts.explanations import TOKENS
from accounts.fields import sealed
from accounts.health import CODE_LENGTH, Health
from accounts.models import AccessToken, ChannelAccount
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action, Explanation, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.messages import Token

# Renewed this long before its end, by beat; a token of 7 200 s is fetched about every 115 minutes.
MARGIN_SECONDS = 300
# Longer than a fetch can take (HTTP time-outs), so that a killed process blocks the others only this long.
LEASE_SECONDS = 20
POLL_SECONDS = 0.05
# A process reads a good token at most this often; that it was refused meanwhile, the platform says.
KEEP_SECONDS = 2.0
# Where the platform asks us to wait and does not say how long.
WAIT_SECONDS = 60.0
# What a row says where nothing went wrong.
NO_FAILURE: dict[str, Any] = {"failure_code": "", "failure_params": {}, "wait_until": None}
# (account, API address) → (until when, token): a token goes only where it came from.
_kept: dict[tuple[int, str], tuple[float, str]] = {}


class StoredTokens:
    """The `TokenSource` of a channel, for one account. fetch: asks the platform for a new one."""

    def __init__(self, account: ChannelAccount, fetch: Callable[[], Token]) -> None:
        self.account = account
        self._ask = fetch
        self._name = (account.pk, account.api_base_url)

    def current(self) -> str:
        """Raises ChannelError: the stored refusal, or what the fetch met."""
        until, value = _kept.get(self._name, (0.0, ""))
        if time.monotonic() < until:
            return value
        row = self._row()
        if not self._good(row) or row.refused:
            return self._next(row.generation, row)
        if row.valid(KEEP_SECONDS):
            _kept[self._name] = (time.monotonic() + KEEP_SECONDS, row.value)
        return row.value

    def renew(self, refused: str) -> str:
        _kept.pop(self._name, None)
        row = self._row()
        return row.value if self._good(row) and row.value != refused else self._next(row.generation, row)

    def refresh_soon(self) -> None:
        """For beat: renew what ends within the margin."""
        row = self._row()
        if not row.refused and not row.waits() and not row.valid(MARGIN_SECONDS):
            self._next(row.generation, row)

    def _good(self, row: AccessToken) -> bool:
        """Whether the token may be used at our address: one that another address gave out is none of ours."""
        return row.valid() and row.address == self.account.api_base_url

    def _row(self) -> AccessToken:
        return AccessToken.objects.get_or_create(account=self.account)[0]

    def _next(self, generation: int, row: AccessToken) -> str:
        """The token after `generation`: fetched here, or by the process that was first."""
        deadline = time.monotonic() + LEASE_SECONDS + 5
        while time.monotonic() < deadline:
            if row.refused or row.waits():
                raise _refusal(row)
            if row.generation > generation and row.address == self.account.api_base_url:
                return row.value  # just fetched: good for a moment at least, else the platform says so
            generation = row.generation
            if self._acquire(row):
                return self._fetch(row)
            time.sleep(POLL_SECONDS)
            row.refresh_from_db()
        raise TOKENS.error("token_unfinished")

    def _acquire(self, row: AccessToken) -> bool:
        """Whether it is ours to fetch the token after this row's: nobody began to since the row was read, and nobody finished.

        The holder's name is good for this once, so that each fetch has a fence of its own.
        """
        may_ask = Q(failure_code="") | Q(wait_until__lt=timezone.now())
        rows = row.as_held().filter(may_ask, generation=row.generation)
        if not lease.acquire(rows, uuid.uuid4().hex, LEASE_SECONDS, **NO_FAILURE):
            return False
        row.fence += 1
        return True

    def _fetch(self, row: AccessToken) -> str:
        try:
            token = self._ask()
        except ChannelError as error:
            counters.add("token_failures", account=str(self.account.pk))
            self._failed(row, error)
            raise
        return self._store(row, token)

    def _store(self, row: AccessToken, token: Token) -> str:
        now = timezone.now()
        row.settle_as_held(
            value=sealed(AccessToken, "value", self.account.pk, token.value),
            address=self.account.api_base_url,
            generation=row.generation + 1,
            expires_at=now + timedelta(seconds=token.expires_in),
            refreshed_at=now,
            **NO_FAILURE,
        )
        return token.value

    def _failed(self, row: AccessToken, error: ChannelError) -> None:
        """A refusal is kept for all, and so is the order to wait; anything else only frees the lease, and the account says so.

        Nothing was sent yet: whatever the platform answers, it is no fault of the message that asked for the token.
        """
        if error.action not in (Action.CONFIG, Action.WAIT):
            error.action, error.max_tries = Action.RETRY, None
            row.settle_as_held(**NO_FAILURE)
            self.account.set_state(Health.FAILING, error.code, error.params)
            return
        now, wait = timezone.now(), timedelta(seconds=error.retry_after or WAIT_SECONDS)
        until = now + wait if error.action == Action.WAIT else None
        failure = {"failure_code": error.code[:CODE_LENGTH], "failure_params": error.params}
        if row.settle_as_held(wait_until=until, failed_at=now, **failure):
            self.account.set_state(Health.FAILING if until else Health.STOPPED, error.code, error.params)


def _refusal(row: AccessToken) -> ChannelError:
    """What the first to ask was told."""
    explanation = find(row.account.explanations, row.failure_code) or Explanation(Action.CONFIG, row.failure)
    told = {"params": row.failure_params, "detail": str(row.failure_params.get("detail", ""))}
    if row.wait_until is None:
        return ChannelError(row.failure_code, explanation, Action.CONFIG, **told)
    left = (row.wait_until - timezone.now()).total_seconds()
    return ChannelError(row.failure_code, explanation, Action.WAIT, retry_after=max(left, 1.0), **told)


def ending_soon() -> list[ChannelAccount]:
    """Accounts whose token beat has to renew now."""
    soon = timezone.now() + timedelta(seconds=MARGIN_SECONDS)
    rows = AccessToken.objects.filter(account__enabled=True, failure_code="", expires_at__lt=soon)
    return [row.account for row in rows.exclude(account__state=Health.STOPPED).select_related("account")]
