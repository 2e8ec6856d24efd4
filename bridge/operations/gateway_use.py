"""Which accounts use a gateway's turns, and what their waiting turns wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from accounts.models import ChannelAccount
from bridge.operations import sql
from bridge.pipeline.agent.shares import reserve_of, share_of

if TYPE_CHECKING:
    from openclaw.models import Gateway

# Counting stops here, because a page must not cost more when a backlog grows; a count of this means "this or more".
MAX_COUNT = 1000


@dataclass(frozen=True, slots=True)
class AccountUse:
    """One account at a gateway. share: how many turns it may have under way; waiting: at most MAX_COUNT; reason: why they wait."""

    account: ChannelAccount
    share: int
    under_way: int
    waiting: int
    reason: str


def list_account_uses(gateway: Gateway) -> list[AccountUse]:
    """Return the accounts that are mapped to this gateway or have turns under way, the busiest first."""
    rows = sql.ACCOUNTS_OF_GATEWAY.fetch(gateway=gateway.pk, most=MAX_COUNT)
    accounts = ChannelAccount.objects.defer("credentials").in_bulk([row.account_id for row in rows])
    total, most = sum(row.under_way for row in rows), gateway.max_in_flight
    uses = []
    for row in rows:
        account = accounts[row.account_id]
        share = share_of(most, account.gateway_share) if len(rows) > 1 else most
        reason = _explain_wait(gateway, share, row.under_way, row.waiting, total)
        uses.append(AccountUse(account, share, row.under_way, row.waiting, reason))
    return uses


def _explain_wait(gateway: Gateway, share: int, busy: int, waiting: int, total: int) -> str:
    """Say what the waiting turns of an account wait for; empty where none wait."""
    if not waiting:
        return ""
    if not gateway.enabled or gateway.state == "stopped":
        return _("the gateway: it is disabled or stopped")
    if total >= gateway.max_in_flight:
        return _("a turn of anybody's to end: the gateway takes %(most)d at a time") % {"most": gateway.max_in_flight}
    if busy >= share:
        return _("one of its own turns to end: its share is %(share)d") % {"share": share}
    if busy and total >= gateway.max_in_flight - reserve_of(gateway.max_in_flight):
        return _("a turn to end: what is free is kept for accounts with nothing under way")
    return _("the turn before it in its conversation, or the connector")
