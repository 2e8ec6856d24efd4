"""How many people a direct peer's id reaches: WeCom takes several ids with "|" between them, and "@all". Pure."""

from __future__ import annotations

import unicodedata

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

EVERYBODY = "all"


def people_of(peer_kind: str, peer_id: str) -> int | str:
    """Return the number of people, or EVERYBODY. A group is one peer."""
    ids = [one.strip() for one in unicodedata.normalize("NFKC", peer_id).split("|")]
    if peer_kind != "direct":
        return 1
    if any(one.casefold() == "@all" for one in ids):
        return EVERYBODY
    return max(1, len([one for one in ids if one]), peer_id.count("|") + 1)


def in_words(people: int | str) -> str:
    """Return whom it reaches, for the sentence that asks for a confirmation."""
    if people == EVERYBODY:
        return _("everybody who can see this account")
    return ngettext("%(count)d person", "%(count)d people", int(people)) % {"count": int(people)}


def why_unconfirmed(peer_kind: str, peer_id: str) -> str:
    """Return why somebody has to confirm that this many people are meant; empty for one person or a group."""
    people = people_of(peer_kind, peer_id)
    return (
        "" if people == 1 else _("This goes to %(people)s, which has to be confirmed.") % {"people": in_words(people)}
    )
