"""The other end of a conversation: the lock that orders everything with one peer, and the rows that describe it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from accounts.person_ids import person_id
from bridge.models import Contact, Conversation
from bridge.people import sql
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.messages import Peer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounts.models import ChannelAccount


def peer_of(kind: str, peer_id: str, reply: str = "") -> Peer:
    """Return the peer that a channel is given, from a row's columns."""
    return Peer("group" if kind == "group" else "direct", peer_id, reply)


def lock_peer(account_id: int, peer_kind: str, peer_id: str) -> None:
    """Lock this peer until the transaction ends, so that what is routed or sent gets its place in the lane in the order of the locks."""
    sql.LOCK_PEER.fetch(account=account_id, kind=peer_kind, id=peer_id)


def lock_peers(*found: tuple[int, str, str]) -> None:
    """Lock several peers, each by account, kind and id, until the transaction ends."""
    rows = [dict(zip(("account_id", "peer_kind", "peer_id"), one, strict=True)) for one in found]
    sql.LOCK_PEERS.fetch(peers=json.dumps(rows))


def get_conversation(account: ChannelAccount, peer_kind: str, peer_id: str) -> Conversation:
    """Return the conversation with this peer, which is made for the first message.

    Its title is the person's name, where that is known, or the account's for its only peer.
    """
    peer_id = person_id(account, peer_kind, peer_id)

    def title() -> str:
        if only_peer(account):
            return account.name
        return load_names_of(account.pk, [peer_id]).get(peer_id, "") if peer_kind == "direct" else ""

    columns: dict[str, Any] = {"account": account, "peer_kind": peer_kind, "peer_id": peer_id}
    defaults: dict[str, Any] = {"title": title}  # called only where the row is new
    return Conversation.objects.get_or_create(**columns, defaults=defaults)[0]


def only_peer(account: ChannelAccount) -> Peer | None:
    """Return the only peer of an account that can write to no other."""
    return channel_class(account.kind).only_peer if account.kind in KINDS else None


def upsert_contacts(account: ChannelAccount, sender: str, names: dict[str, str]) -> None:
    """Store contacts for the sender and for those whom an event named."""
    people = set(names) | ({sender} if sender else set())
    existing = {contact.external_id: contact for contact in account.contacts.filter(external_id__in=people)}
    new = [
        Contact(account=account, external_id=person, name=names.get(person, "")) for person in people - set(existing)
    ]
    Contact.objects.bulk_create(new, ignore_conflicts=True)
    _rename(existing.values(), names)
    for contact in new:
        set_default_title(contact)


def set_subscribed(account_id: int, person: str, *, follows: bool) -> None:
    """Store whether the person follows the account, as the platform told."""
    Contact.objects.filter(account=account_id, external_id=person).update(subscribed=follows)


def set_default_title(contact: Contact) -> None:
    """Call a one-to-one conversation by its person's name, unless staff gave it another title."""
    if contact.name:
        untitled = Conversation.objects.filter(account_id=contact.account_id, peer_kind="direct", title="")
        untitled.filter(peer_id=contact.external_id).update(title=contact.name)


def load_names_of(account_id: int, senders: Iterable[str]) -> dict[str, str]:
    """Return user id → name for those whose name is known."""
    rows = Contact.objects.filter(account_id=account_id, external_id__in=set(senders)).exclude(name="")
    return dict(rows.values_list("external_id", "name"))


def load_names(people: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Return (account, user id) → name, for several accounts in one query."""
    wanted = set(people)
    rows = Contact.objects.filter(
        account__in={a for a, _id in wanted}, external_id__in={person for _a, person in wanted}
    )
    named = rows.exclude(name="").values_list("account_id", "external_id", "name")
    return {(account, person): name for account, person, name in named if (account, person) in wanted}


def _rename(contacts: Iterable[Contact], names: dict[str, str]) -> None:
    for contact in contacts:
        if names.get(contact.external_id, contact.name) != contact.name:
            contact.name = names[contact.external_id]
            contact.save(update_fields=["name"])
            set_default_title(contact)
