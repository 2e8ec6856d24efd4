"""Ids of people in WeCom: the same in upper and lower case, and told by the platform in either."""

from __future__ import annotations

import re

# What WeCom tells in the place of a member's or customer's id where the id itself is not ours to know; case counts there.
ENCRYPTED = re.compile(r"w[om][A-Za-z0-9_-]{20,}")


def is_outside(user_id: str) -> bool:
    """Whether the id is one that WeCom made up: a customer's, whom an app reaches by the code of a welcome only."""
    return bool(ENCRYPTED.fullmatch(user_id))


def person_id(user_id: str) -> str:
    """The form in which an id is stored and compared; of several joined by `|` too."""
    return "|".join(one if ENCRYPTED.fullmatch(one) else one.lower() for one in user_id.split("|"))
