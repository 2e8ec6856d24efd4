"""Invitations to groups and friend requests: stored when they come, accepted or dismissed by staff, and never by the bridge alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.channels import build_channel
from accounts.health import CODE_LENGTH
from bridge.models import ContactRequest
from bridge.security.redaction import redact_params
from channels_wechat.contract.capabilities import ContactRequests
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from channels_wechat.contract.messages import ContactRequest as Asked

RequestState = ContactRequest.State
COLUMN_LENGTH = 200


def store_request(account_id: int, asked: Asked) -> None:
    """Store a request; one that is stored already stays as it is, with what staff decided."""
    ContactRequest.objects.get_or_create(
        account_id=account_id,
        kind=asked.kind,
        remote_id=asked.id[:COLUMN_LENGTH],
        defaults={
            "sender": asked.sender[:COLUMN_LENGTH],
            "title": asked.title[:COLUMN_LENGTH],
            "text": clean(asked.text),
        },
    )


def accept_request(request: ContactRequest, user: User) -> bool:
    """Accept it at the platform, by one call. Return False where somebody else decided it first. Raises ChannelError.

    What the platform certainly did not do may be tried again; after an unknown outcome the request stays as being accepted.
    """
    channel = build_channel(request.account)
    if not isinstance(channel, ContactRequests):
        raise TypeError(f"accounts of kind {channel.kind} receive no requests")
    if not _decide(request, RequestState.ACCEPTING, user):
        return False
    row = ContactRequest.objects.filter(pk=request.pk, state=RequestState.ACCEPTING)
    try:
        channel.accept_request("group" if request.kind == ContactRequest.Kind.GROUP else "friend", request.remote_id)
    except ChannelError as error:
        state = RequestState.ACCEPTING if error.action == Action.UNKNOWN else RequestState.OPEN
        row.update(state=state, code=error.code[:CODE_LENGTH], code_params=redact_params(error.params))
        raise
    row.update(state=RequestState.ACCEPTED, code="", code_params={})
    return True


def dismiss_request(request: ContactRequest, user: User) -> bool:
    """Return False where somebody else decided it first. Nothing is sent: whoever asked is told nothing."""
    return _decide(request, RequestState.DISMISSED, user)


def _decide(request: ContactRequest, state: ContactRequest.State, user: User) -> bool:
    undecided = ContactRequest.objects.filter(pk=request.pk, state__in=(RequestState.OPEN, RequestState.ACCEPTING))
    if state == RequestState.ACCEPTING:
        undecided = undecided.filter(state=RequestState.OPEN)
    return bool(undecided.update(state=state, decided_at=timezone.now(), decided_by=user))
