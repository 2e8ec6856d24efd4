"""`/conversations/`: one group or person at one account, who answers there, and a new start for the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.core.exceptions import PermissionDenied
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.models import ChannelAccount
from bridge.api.base import ApiView, client_of, user_of
from bridge.api.errors import Refused
from bridge.api.fields import Filters, IdFilter, MomentFilter, PeerColumns, PersonFilter, StrictSerializer
from bridge.models import Conversation
from bridge.models.routes import PeerKinds
from bridge.operations import moving
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
        fields = (
            "id", "account", "peer", "title", "mode", "servicer", "session", "moved_to", "moved_at", "last_inbound_at", "created_at",
        )  # fmt: skip
        read_only_fields = ("account", "servicer", "moved_to", "moved_at", "last_inbound_at", "created_at")


class MoveSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Where a conversation goes on, and what is to go along."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.all())
    peer_id = serializers.CharField(
        max_length=moving.MOST_ID,
        help_text="Of the group or person at that account; the kind is that of the conversation.",
    )
    replaces_mapping = serializers.BooleanField(
        default=False, help_text="Whether a mapping of that group's or person's own may be deleted."
    )
    allowed_senders = serializers.CharField(
        default="",
        allow_blank=True,
        help_text="Who may talk to the agent there, one id a line, where the mapping names people.",
    )
    everybody = serializers.BooleanField(
        default=False,
        help_text="Where the mapping names people and no new ids are given: everybody may talk to the agent there.",
    )
    farewell = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=2000,
        help_text="Said in the old conversation; it needs the right to send messages.",
    )


class MovedSerializer(serializers.Serializer[Any]):
    """Where it goes on, and sentences about what was not carried over."""

    conversation = ConversationSerializer(source="target")
    notes = serializers.ListField(child=serializers.CharField())


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
        "move": "bridge.change_route",
    }
    extra_statuses = {"move": (422,)}
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

    @extend_schema(request=MoveSerializer, responses=MovedSerializer)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, pk: str) -> Response:
        """Let the conversation go on at another account: with its mapping, title and fallback senders.

        It needs the rights to change mappings and conversations, and to pause conversations. The old conversation is paused; what waits
        in it goes where it was meant to. The agent begins anew. Moving the new conversation back undoes it.
        """
        needed = ["bridge.change_conversation", "bridge.pause_conversation"]
        given = MoveSerializer(data=request.data, context=self.get_serializer_context())
        given.is_valid(raise_exception=True)
        farewell = given.validated_data.pop("farewell")
        if not user_of(request).has_perms([*needed, *(["bridge.send_message"] if farewell else [])]):
            raise PermissionDenied
        to = moving.Destination(**given.validated_data)
        try:
            moved = moving.move_conversation(self.get_object(), to, farewell=farewell, client=client_of(request))
        except moving.CannotMove as refused:
            raise Refused(str(refused), f"move_{refused.field}" if refused.field else "cannot_move") from refused
        return Response(MovedSerializer(moved, context=self.get_serializer_context()).data)
