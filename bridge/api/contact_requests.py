"""`/contact-requests/`: invitations to groups and friend requests, which only staff accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from bridge.api.base import ApiView, user_of
from bridge.api.errors import Conflict, Refused
from bridge.api.fields import Filters, IdFilter, MaskedContent
from bridge.models import ContactRequest
from bridge.people import contact_requests
from bridge.security import audit
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from rest_framework.request import Request

DECIDED = _("Somebody else has decided it already, or it is being accepted just now.")


class ContactRequestSerializer(MaskedContent, serializers.ModelSerializer[ContactRequest]):
    """Somebody invites the account to a group, or wants to become its contact."""

    content = ("text", "error")
    text = serializers.CharField(allow_null=True, read_only=True, help_text="What they wrote with it.")
    error = serializers.CharField(
        allow_null=True, read_only=True, help_text="Why the platform did not accept it when staff tried."
    )
    decided_by = serializers.CharField(
        source="decided_by.username", allow_null=True, default=None, read_only=True, help_text="The name of the user."
    )

    class Meta:
        model = ContactRequest
        fields = (
            "id", "account", "kind", "sender", "title", "text", "state", "code", "error", "created_at", "decided_at", "decided_by",
        )  # fmt: skip
        read_only_fields = fields


class ContactRequestFilters(Filters):
    account = IdFilter(field_name="account_id")
    state = django_filters.ChoiceFilter(choices=ContactRequest.State.choices)
    kind = django_filters.ChoiceFilter(choices=ContactRequest.Kind.choices)


class ContactRequests(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = ContactRequest.objects.select_related("account", "decided_by")
    serializer_class = ContactRequestSerializer
    filterset_class = ContactRequestFilters
    required_permissions = {
        "list": "bridge.view_contact",
        "retrieve": "bridge.view_contact",
        "accept": "bridge.change_contact",
        "dismiss": "bridge.change_contact",
    }
    without_body = ("accept", "dismiss")
    extra_statuses = {"accept": (409, 422), "dismiss": (409,)}

    @extend_schema(request=None, responses=ContactRequestSerializer)
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:
        """Accept it at the platform, now: the account joins the group, or has a contact more.

        After an unknown outcome its state stays `accepting`, with a `code`.
        """
        asked = self.get_object()
        try:
            done = contact_requests.accept_request(asked, user_of(request))
        except contact_requests.CannotAccept as error:
            raise Refused(str(error), "cannot_accept") from error
        except ChannelError as error:
            raise Refused(str(error), "platform_refused") from error
        return self._answer(asked, gettext_noop("Accepted."), done)

    @extend_schema(request=None, responses=ContactRequestSerializer)
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, pk: str) -> Response:
        """Take it off the list of those that wait. Whoever asked is told nothing."""
        asked = self.get_object()
        return self._answer(
            asked, gettext_noop("Dismissed."), contact_requests.dismiss_request(asked, user_of(request))
        )

    def _answer(self, asked: ContactRequest, words: str, done: bool) -> Response:
        if not done:
            raise Conflict(DECIDED, "already_decided")
        audit.log_action(words, [asked])
        asked.refresh_from_db()
        return Response(self.get_serializer(asked).data)
