"""Counts the people that a direct peer's id reaches: WeCom takes several ids with "|", "@all", departments and tags. Pure."""

from __future__ import annotations

import re
import unicodedata

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

EVERYBODY = "all"
GROUPS = "departments or tags"
# How a department or a tag is named in the place of a person: `party:1` is the whole company.
_GROUP = re.compile(r"\s*(?:party|tag)\s*:", re.IGNORECASE)


def count_people(peer_kind: str, peer_id: str) -> int | str:
    """Return the number of people, EVERYBODY, or GROUPS, whose people are not counted here. A group chat is one peer."""
    if peer_kind != "direct":
        return 1
    plain = unicodedata.normalize("NFKC", peer_id)
    ids = [one.strip() for one in plain.split("|")]
    if any(one.casefold() == "@all" for one in ids):
        return EVERYBODY
    if _GROUP.match(plain):
        return GROUPS
    return max(1, len([one for one in ids if one]), peer_id.count("|") + 1)


def recipients_text(people: int | str) -> str:
    """Return whom it reaches, for the sentence that asks for a confirmation."""
    if people == EVERYBODY:
        return _("everybody who can see this account")
    if people == GROUPS:
        return _("everybody in these departments or with these tags")
    return ngettext("%(count)d person", "%(count)d people", int(people)) % {"count": int(people)}


def why_unconfirmed(peer_kind: str, peer_id: str) -> str:
    """Return why somebody has to confirm that this many people are meant; empty for one person or a group."""
    people = count_people(peer_kind, peer_id)
    return (
        ""
        if people == 1
        else _("This goes to %(people)s, which has to be confirmed.") % {"people": recipients_text(people)}
    )
