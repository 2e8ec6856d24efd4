"""Which accounts use a gateway's turns, and what waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from accounts.models import ChannelAccount
from bridge.pipeline.agent.shares import reserve_of, share_of
from bridge.runtime.db.prepared import execute_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openclaw.models import Gateway

# A count that stands at this means "this or more": a page must not cost more because a backlog grew.
MAX_COUNT = 1000
_USE = """
WITH mapped AS (
  SELECT DISTINCT account_id FROM bridge_route WHERE gateway_id = %(gateway)s AND enabled
), busy AS (
  SELECT account_id, count(*) AS count FROM bridge_delivery
  WHERE state = 'sending' AND gateway_id = %(gateway)s AND target = 'agent' GROUP BY account_id
), used AS (
  SELECT account_id FROM mapped UNION SELECT account_id FROM busy
)
SELECT used.account_id, COALESCE(busy.count, 0), (
  SELECT count(*) FROM (
    SELECT 1 FROM bridge_delivery d
    WHERE d.state = 'pending' AND d.carrier = 'connector' AND COALESCE(d.gateway_id, 0) = %(gateway)s
      AND COALESCE(d.account_id, 0) = used.account_id AND d.due_at <= statement_timestamp() LIMIT %(most)s) AS waiting)
FROM used LEFT JOIN busy USING (account_id) ORDER BY 2 DESC, 3 DESC, 1 LIMIT 200"""


@dataclass(frozen=True, slots=True)
class AccountUse:
    """One account at a gateway. share: how many turns it may have under way; waiting: at most MOST; reason: what that waits for."""

    account: ChannelAccount
    share: int
    under_way: int
    waiting: int
    reason: str


def uses_of(gateway: Gateway) -> list[AccountUse]:
    """Return the accounts that are mapped to this gateway or have turns under way, the busiest first."""
    rows: Sequence[tuple[int, int, int]] = execute_prepared(_USE, {"gateway": gateway.pk, "most": MAX_COUNT})
    accounts = ChannelAccount.objects.defer("credentials").in_bulk([pk for pk, _busy, _waiting in rows])
    total, most = sum(busy for _pk, busy, _waiting in rows), gateway.max_in_flight
    uses = []
    for pk, busy, waiting in rows:
        account = accounts[pk]
        share = share_of(most, account.gateway_share) if len(rows) > 1 else most
        uses.append(AccountUse(account, share, busy, waiting, _reason(gateway, share, busy, waiting, total)))
    return uses


def _reason(gateway: Gateway, share: int, busy: int, waiting: int, total: int) -> str:
    """What the waiting turns of an account wait for; empty where none wait."""
    if not waiting:
        return ""
    if not gateway.enabled or gateway.state == "stopped":
        return _("the gateway: it is switched off or stopped")
    if total >= gateway.max_in_flight:
        return _("a turn of anybody's to end: the gateway takes %(most)d at a time") % {"most": gateway.max_in_flight}
    if busy >= share:
        return _("one of its own turns to end: its share is %(share)d") % {"share": share}
    if busy and total >= gateway.max_in_flight - reserve_of(gateway.max_in_flight):
        return _("a turn to end: what is free is kept for accounts with nothing under way")
    return _("the turn before it in its conversation, or the connector")
