"""How the turns that a gateway takes at a time are shared by the accounts that are mapped to it. Pure.

The claim (claim_sql.CLAIM) has the same two rules in SQL; they count while several accounts share a gateway:
an account has no more under way than its own share, and the reserve is for accounts that have little under way.
"""

from __future__ import annotations


def reserve_of(most: int) -> int:
    """Return how many of `most` turns at a time stay free for accounts that have less than this under way: an eighth, at least one."""
    return max(1, most // 8) if most > 1 else 0


def share_of(most: int, percent: int) -> int:
    """Return how many turns one account may have under way: its share, but never the reserve, and at least one."""
    return max(1, min(most * percent // 100, most - reserve_of(most)))
