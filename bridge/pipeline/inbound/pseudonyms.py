"""Replaces a person's name in their rows by a pseudonym, where the platform requires an erasure; `operations.erasure` does the rest.

This happens in the transaction that routes the event: whoever comes back a moment later is somebody new, with a conversation, a window
and an agent's memory of their own. The pseudonym is the number of their contact's row, so nothing of the old id can be worked out from
it, and no two are the same.
"""

from __future__ import annotations

from django.utils import timezone

from accounts.models import ReplyWindow
from bridge.models import ERASED, Contact, Conversation, ConversationEntry, FallbackSender, Route, SessionEpoch
from bridge.people.open_questions import NOTHING_WAITS
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.routing.rules import split_entries
from bridge.security import audit


def pseudonymise(account_id: int, person: str) -> None:
    """Replace this person's name in their rows by a pseudonym; called while their peer is locked, in that transaction."""
    now = timezone.now()
    contact = Contact.objects.get(account_id=account_id, external_id=person)
    name = f"{ERASED}{contact.pk}"
    nameless = {"external_id": name, "name": "", "name_fetched_at": now, "erasure_requested_at": now}
    Contact.objects.filter(pk=contact.pk).update(**nameless)
    ReplyWindow.objects.filter(account=account_id, peer_id=person).delete()
    talks = Conversation.objects.filter(account=account_id, peer_kind="direct", peer_id=person)
    for pk in talks.values_list("pk", flat=True):
        stop_turns(unfinished_turns(pk))
    SessionEpoch.objects.filter(conversation__in=talks).delete()
    ConversationEntry.objects.filter(conversation__in=talks).delete()
    talks.update(peer_id=name, title="", **NOTHING_WAITS)
    FallbackSender.objects.filter(account=account_id, peer_kind="direct", peer_id=person).delete()
    _rename_in_mappings(account_id, person, name)


def _rename_in_mappings(account_id: int, person: str, name: str) -> None:
    """Rename the person in mappings. These stay, because deliveries name them and an empty list of senders would allow everybody."""
    routes = Route.objects.filter(account=account_id)
    changed = list(routes.filter(peer_kind="direct", peer_id=person))
    Route.objects.filter(pk__in=[route.pk for route in changed]).update(peer_id=name, note="")
    for route in routes.filter(allowed_senders__contains=person):
        senders = [name if sender == person else sender for sender in split_entries(route.allowed_senders)]
        Route.objects.filter(pk=route.pk).update(allowed_senders="\n".join(senders))
        changed.append(route)
    audit.anonymise(Route.objects.filter(pk__in=[route.pk for route in changed]), "peer_id", "note", "allowed_senders")
