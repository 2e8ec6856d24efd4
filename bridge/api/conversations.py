"""`/conversations/`: one group or person at one account, who answers there, and a new start for the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.core.exceptions import PermissionDenied
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from bridge.api.base import ApiView, user_of
from bridge.api.fields import Filters, IdFilter, MomentFilter, PeerColumns, PersonFilter, StrictSerializer
from bridge.models import Conversation
from bridge.models.routes import PeerKinds
from bridge.pipeline.outbound import outbox
from bridge.security import audit
from channels_wechat.contract.pasted import clean_title

if TYPE_CHECKING:
    from rest_framework.request import Request


class ConversationSerializer(StrictSerializer, serializers.ModelSerializer[Conversation]):
    """One group or person at one account."""

    peer = PeerColumns(source="*", read_only=True)
    session = serializers.IntegerField(source="session_epoch", read_only=True, help_text="Grows with each new session.")

    def validate_title(self, title: str) -> str:
        return clean_title(title)

    class Meta:
        model = Conversation
        fields = ("id", "account", "peer", "title", "mode", "servicer", "session", "last_inbound_at", "created_at")
        read_only_fields = ("account", "servicer", "last_inbound_at", "created_at")


class ConversationFilters(Filters):
    account = IdFilter(field_name="account_id")
    peer_kind = django_filters.ChoiceFilter(choices=PeerKinds.choices)
    peer_id = PersonFilter(field_name="peer_id")
    mode = django_filters.ChoiceFilter(choices=Conversation.Mode.choices)
    last_inbound_after = MomentFilter(field_name="last_inbound_at", lookup_expr="gte")


class Conversations(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, ApiView):
    queryset = Conversation.objects.all()
    serializer_class = ConversationSerializer
    filterset_class = ConversationFilters
    http_method_names = ["get", "post", "patch"]
    required_permissions = {
        "list": "bridge.view_conversation",
        "retrieve": "bridge.view_conversation",
        "partial_update": "bridge.change_conversation",
        "new_session": "bridge.pause_conversation",
    }
    without_body = ("new_session",)

    def perform_update(self, serializer: serializers.BaseSerializer[Conversation]) -> None:
        """Write only the fields that were sent; changing who answers needs its own permission."""
        given = serializer.validated_data
        if "mode" in given and not user_of(self.request).has_perm("bridge.pause_conversation"):
            raise PermissionDenied
        for name, value in given.items():
            setattr(serializer.instance, name, value)
        if serializer.instance and given:
            serializer.instance.save(update_fields=list(given))

    @extend_schema(request=None, responses=ConversationSerializer)
    @action(detail=True, methods=["post"], url_path="new-session")
    def new_session(self, request: Request, pk: str) -> Response:
        """From the next message on the agent remembers nothing of this conversation."""
        conversation = self.get_object()
        outbox.start_new_session(conversation)
        audit.log_action("began a new session", [conversation])
        conversation.refresh_from_db(fields=["session_epoch"])
        return Response(self.get_serializer(conversation).data)
