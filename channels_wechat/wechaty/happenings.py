"""What happened in a group or to the account, and what only staff may grant, as the bridge stores it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import as_list, inbound_key, word
from channels_wechat.contract.messages import ContactRequest, Inbound, Peer
from channels_wechat.contract.unreadable import SYSTEM
from channels_wechat.wechaty.parsing import as_json
from channels_wechat.wechaty.protocol import Event, FriendshipType, unix_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.wechaty import puppet_pb2 as pb

# Event → the fields of its JSON: who did it, and to whom.
FIELDS = {
    Event.ROOM_JOIN: ("inviterId", "inviteeIdList"),
    Event.ROOM_LEAVE: ("removerId", "removeeIdList"),
    Event.ROOM_TOPIC: ("changerId", ""),
}


def people_of(kind: int, payload: Mapping[str, Any]) -> list[str]:
    """Return the ids of the people that an event of a group names: who did it comes first, where it says so."""
    doer, others = FIELDS[Event(kind)]
    return _ids(word(payload, doer), *as_list(payload.get(others)))


def read_change(kind: int, payload: Mapping[str, Any], title: str, names: Mapping[str, str]) -> Inbound:
    """Return an event for somebody who joined or left a group, or a new title of it. names: id → name, as far as known."""
    people = people_of(kind, payload)
    if kind == Event.ROOM_TOPIC:
        title = word(payload, "newTopic") or title
    return Inbound(
        key=_key(kind, payload),
        kind="event",
        peer=Peer("group", word(payload, "roomId") or SYSTEM),
        sender=people[0] if people else "",
        text=_describe_change(kind, payload, title, lambda person: names.get(person) or person),
        addressed=False,
        raw={"event": Event(kind).name.lower(), **payload},
        occurred_at=_time(payload),
        contacts={each: name for each, name in names.items() if name},
        title=title,
    )


def _describe_change(kind: int, payload: Mapping[str, Any], title: str, called: Any) -> str:
    doer = word(payload, FIELDS[Event(kind)][0])
    who = called(doer) if doer else ""
    if kind == Event.ROOM_TOPIC:
        return f"{who or 'Somebody'} renamed the group to “{title}”."
    others = ", ".join(called(each) for each in people_of(kind, payload) if each != doer)
    if kind == Event.ROOM_JOIN:
        return f"{others or who or 'Somebody'} joined" + (f", invited by {who}." if who and others else ".")
    return f"{who} removed {others}." if who and others else f"{others or who or 'Somebody'} left."


def read_invitation(invitation: pb.InvitationData, inviter_name: str) -> Inbound:
    """Return an event with a request that staff can grant."""
    inviter, title = invitation.inviter_id, invitation.topic.strip()
    members = f" ({invitation.member_count} members)" if invitation.member_count else ""
    return Inbound(
        key=f"invitation:{invitation.id}",
        kind="event",
        peer=Peer("direct", inviter or SYSTEM),
        sender=inviter,
        text=f"Invitation to the group “{title}”{members}. It waits for staff.",
        raw={"event": "room_invite", **as_json(invitation)},
        occurred_at=unix_seconds(invitation.timestamp),
        contacts=_named(inviter, inviter_name),
        request=ContactRequest("group", invitation.id, inviter, title=title),
    )


def read_friendship(friendship: pb.FriendshipData, name: str) -> Inbound:
    """Return an event; one with a request where somebody wants to become a contact."""
    person, hello = friendship.contact_id, friendship.hello.strip()
    asks = friendship.type == FriendshipType.RECEIVE
    words = f": {hello}" if hello else "."
    texts = {
        FriendshipType.CONFIRM: "You are contacts now.",
        FriendshipType.RECEIVE: f"Friend request{words} It waits for staff.",
        FriendshipType.VERIFY: "This person wants to be asked before they become a contact.",
    }
    return Inbound(
        key=f"friendship:{friendship.id}:{friendship.type}",
        kind="event",
        peer=Peer("direct", person or SYSTEM),
        sender=person,
        text=texts.get(FriendshipType(friendship.type), "") if friendship.type in list(FriendshipType) else "",
        raw={"event": "friendship", **as_json(friendship)},
        contacts=_named(person, name),
        request=ContactRequest("friend", friendship.id, person, hello) if asks else None,
    )


def _named(person: str, name: str) -> dict[str, str]:
    return {person: name} if person and name else {}


def _ids(*found: Any) -> list[str]:
    return list(dict.fromkeys(each for each in found if isinstance(each, str) and each))


def _key(kind: int, payload: Mapping[str, Any]) -> str:
    """Events have no id: what they say, with their time, is one."""
    return inbound_key(json.dumps([kind, payload], sort_keys=True).encode())


def _time(payload: Mapping[str, Any]) -> int:
    told = payload.get("timestamp")
    return unix_seconds(told) if isinstance(told, int | float) and not isinstance(told, bool) else 0
