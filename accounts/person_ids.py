"""Compares ids of people: WeCom's are the same in upper and lower case, OpenIDs and ids of groups are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from channels_wechat import KINDS, channel_class

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


def is_any_case(account: ChannelAccount) -> bool:
    return account.kind in KINDS and channel_class(account.kind).ids_in_any_case


def person_id(account: ChannelAccount, peer_kind: str, peer_id: str) -> str:
    """Return the form in which a peer's id is stored and compared."""
    if peer_kind == "group" or account.kind not in KINDS:
        return peer_id
    return channel_class(account.kind).person_id(peer_id)


def match_person(field: str, value: str) -> Q:
    """Return a condition for rows with an `account` whose field has this id, in another case too where case does not matter."""
    if value == value.lower():
        return Q(**{field: value})
    # The first condition is what an index of the field can answer.
    return Q(**{f"{field}__in": [value, value.lower()]}) & (Q(**{field: value}) | Q(account__kind__in=any_case_kinds()))


def any_case_kinds() -> list[str]:
    return [kind for kind in KINDS if channel_class(kind).ids_in_any_case]
