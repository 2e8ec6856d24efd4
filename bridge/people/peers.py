"""The other end of a conversation: the lock that orders everything with one peer, and the rows that describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.person_ids import person_id
from bridge.models import Contact, Conversation
from bridge.runtime.db.prepared import execute_prepared
from channels_wechat.contract.messages import Peer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounts.models import ChannelAccount

# For each row that has these columns; who locks several must have them sorted.
LOCK = "pg_advisory_xact_lock(hashtextextended(account_id || '/' || peer_kind || '/' || peer_id, 7))"
_LOCK_ONE = f"""
SELECT {LOCK} FROM (VALUES (%(account)s::bigint, %(kind)s::text, %(id)s::text)) AS peer(account_id, peer_kind, peer_id)"""  # noqa: S608  constants


def peer_of(kind: str, peer_id: str, reply: str = "") -> Peer:
    """From a row's columns to what a channel is given."""
    return Peer("group" if kind == "group" else "direct", peer_id, reply)


def lock(account_id: int, peer_kind: str, peer_id: str) -> None:
    """Hold this peer until the transaction ends: what is routed or sent under it gets its place in the lane in that order."""
    execute_prepared(_LOCK_ONE, {"account": account_id, "kind": peer_kind, "id": peer_id})


def conversation_with(account: ChannelAccount, peer_kind: str, peer_id: str) -> Conversation:
    """Made on the first word; a person's carries their name, where it is known."""
    peer_id = person_id(account, peer_kind, peer_id)

    def title() -> str:
        return names_of(account.pk, [peer_id]).get(peer_id, "") if peer_kind == "direct" else ""

    where: dict[str, Any] = {"account": account, "peer_kind": peer_kind, "peer_id": peer_id}
    defaults: dict[str, Any] = {"title": title}  # called only where the row is new
    return Conversation.objects.get_or_create(**where, defaults=defaults)[0]


def upsert_contacts(account: ChannelAccount, sender: str, names: dict[str, str]) -> None:
    """Keep who spoke, and the names an event told."""
    people = set(names) | ({sender} if sender else set())
    known = {contact.external_id: contact for contact in account.contacts.filter(external_id__in=people)}
    fresh = [Contact(account=account, external_id=who, name=names.get(who, "")) for who in people - set(known)]
    Contact.objects.bulk_create(fresh, ignore_conflicts=True)
    _rename(known.values(), names)
    for contact in fresh:
        set_default_title(contact)


def set_subscribed(account_id: int, person: str, *, follows: bool) -> None:
    """Whether they follow the account, as the platform told."""
    Contact.objects.filter(account=account_id, external_id=person).update(subscribed=follows)


def set_default_title(contact: Contact) -> None:
    """A one-to-one conversation is called by its person's name, until staff give it another title."""
    if contact.name:
        mine = Conversation.objects.filter(account_id=contact.account_id, peer_kind="direct", title="")
        mine.filter(peer_id=contact.external_id).update(title=contact.name)


def names_of(account_id: int, senders: Iterable[str]) -> dict[str, str]:
    """User id → name, for those whose name is known."""
    rows = Contact.objects.filter(account_id=account_id, external_id__in=set(senders)).exclude(name="")
    return dict(rows.values_list("external_id", "name"))


def names(people: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """The same for several accounts in one query: account and user id → name."""
    asked = set(people)
    rows = Contact.objects.filter(account__in={a for a, _id in asked}, external_id__in={who for _a, who in asked})
    known = rows.exclude(name="").values_list("account_id", "external_id", "name")
    return {(account, who): name for account, who, name in known if (account, who) in asked}


def _rename(known: Iterable[Contact], names: dict[str, str]) -> None:
    for contact in known:
        if names.get(contact.external_id, contact.name) != contact.name:
            contact.name = names[contact.external_id]
            contact.save(update_fields=["name"])
            set_default_title(contact)
