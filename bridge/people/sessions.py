"""The keys of agents' sessions, and how a new session is started.

A conversation's session is counted up in its own row. A person's session within a conversation, and one that all conversations share, have
an epoch of their own, so that whoever begins one anew changes nobody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from bridge.models import Conversation, Route, SessionEpoch
from bridge.people import sql
from bridge.pipeline.routing import rules

if TYPE_CHECKING:
    from bridge.models import Message


def build_session_key(route: Route, message: Message, conversation: Conversation, *, by_row: bool) -> str:
    """Return the session key of this message's turn. by_row: as in `routing.session_key_for`."""
    owner = (conversation, str(message.account.key), message.sender)
    key = rules.session_key_for(route, *owner, by_row=by_row)
    if route.scope == Route.Scope.CONVERSATION:
        return key
    found = sql.SESSION_EPOCH.fetch_one(key=key)
    return rules.session_key_for(route, *owner, by_row=by_row, renewals=found.epoch) if found else key


def renew_session(route: Route, message: Message, conversation: Conversation, *, by_row: bool) -> None:
    """Begin the session of this person's turns anew, in the caller's transaction: the next turn has another key."""
    if route.scope == Route.Scope.CONVERSATION:
        renew_conversation(conversation)
        return
    key = rules.session_key_for(route, conversation, str(message.account.key), message.sender, by_row=by_row)
    _renew_key(key, None if route.scope == Route.Scope.SHARED else conversation)


def renew_conversation(conversation: Conversation) -> None:
    """Begin every session of this conversation anew: its own, and each person's in it."""
    Conversation.objects.filter(pk=conversation.pk).update(session_epoch=F("session_epoch") + 1)
    conversation.session_epoch += 1  # the same object is the next message's, if that is in the same batch


def renew_all(conversation: Conversation) -> None:
    """Begin every session of this conversation anew; where its mapping shares one memory among all chats, that one for everybody."""
    renew_conversation(conversation)
    first_message = rules.RoutingInput(conversation.peer_kind, conversation.peer_id, conversation.peer_id, "")
    route = rules.decide(conversation.account.routes.all(), first_message).route
    if route and route.scope == Route.Scope.SHARED:
        renew_shared(route, str(conversation.account.key), conversation)


def renew_shared(route: Route, account_key: str, conversation: Conversation) -> None:
    """Begin the session anew that all conversations mapped to this agent share."""
    _renew_key(rules.session_key_for(route, conversation, account_key, ""), None)


def _renew_key(key: str, conversation: Conversation | None) -> None:
    SessionEpoch.objects.get_or_create(key=key, defaults={"conversation": conversation})
    SessionEpoch.objects.filter(key=key).update(epoch=F("epoch") + 1)
