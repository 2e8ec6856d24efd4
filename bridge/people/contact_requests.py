"""Invitations to groups and friend requests: stored when they come, accepted or dismissed by staff, and never by the bridge alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

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
    from django.db.models import QuerySet

    from channels_wechat.contract.messages import ContactRequest as Asked

RequestState = ContactRequest.State
COLUMN_LENGTH = 200
# A call to accept one has ended by then; without an outcome its process was lost.
ACCEPT_TIME = timedelta(minutes=2)


class CannotAccept(Exception):
    """The account cannot accept requests now, for the reason that this says."""


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
    """Accept it at the platform, by one call. Return False where somebody else decided it first. Raises ChannelError, CannotAccept.

    What the platform certainly did not do may be tried again; after an unknown outcome the request stays as being accepted.
    """
    channel = build_channel(request.account)
    if not isinstance(channel, ContactRequests) or not request.account.usable:
        raise CannotAccept(str(_("The account is disabled, stopped, or of a kind that receives no requests any more.")))
    decided = ContactRequest.objects.filter(pk=request.pk, state=RequestState.OPEN)
    if not _decide(decided, RequestState.ACCEPTING, user):
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
    """Return False where somebody else decided it first. Nothing is sent: whoever asked is told nothing.

    One that is being accepted can be dismissed once its call is over without a known outcome.
    """
    is_over = ~Q(code="") | Q(decided_at__lt=timezone.now() - ACCEPT_TIME)
    undecided = Q(state=RequestState.OPEN) | Q(state=RequestState.ACCEPTING) & is_over
    return _decide(ContactRequest.objects.filter(undecided, pk=request.pk), RequestState.DISMISSED, user)


def select_open() -> QuerySet[ContactRequest]:
    """Return the requests that wait for staff."""
    return ContactRequest.objects.filter(state=RequestState.OPEN)


def _decide(undecided: QuerySet[ContactRequest], state: ContactRequest.State, user: User) -> bool:
    return bool(undecided.update(state=state, decided_at=timezone.now(), decided_by=user))
