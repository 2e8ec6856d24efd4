"""`/fallbacks/`: who sends the messages of a conversation where its own account cannot."""

from __future__ import annotations

from typing import Any

from rest_framework import mixins, serializers

from accounts.models import ChannelAccount
from bridge.api.base import ApiView
from bridge.api.fields import Filters, IdFilter, ModelValidated, StrictSerializer
from bridge.models import Conversation, FallbackSender
from bridge.models.routes import PeerKinds
from bridge.pipeline.outbound.recipients import why_unconfirmed


class FallbackSerializer(ModelValidated, StrictSerializer, serializers.ModelSerializer[FallbackSender]):
    """An account that sends in place of the conversation's own, in the order of `position`, and in which cases it does."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.defer("credentials"))
    conversation = serializers.PrimaryKeyRelatedField(queryset=Conversation.objects.all())
    peer_kind = serializers.ChoiceField(choices=PeerKinds.choices, default="group")
    peer_id = serializers.CharField(
        max_length=200, default="", allow_blank=True, help_text="The id at that account; a group robot needs none."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Nobody confirms what is sent by itself, so it goes to one person or one group."""
        kind, peer_id = (str(attrs.get(name) or getattr(self.instance, name, "")) for name in ("peer_kind", "peer_id"))
        if refusal := why_unconfirmed(kind, peer_id):
            raise serializers.ValidationError({"peer_id": [refusal]})
        return super().validate(attrs)

    class Meta:
        model = FallbackSender
        fields = (
            "id", "conversation", "position", "account", "peer_kind", "peer_id", "on_quota", "on_window", "on_refusal", "on_down",
        )  # fmt: skip
        validators: list[Any] = []  # the model's own are asked, with their words


class FallbackFilters(Filters):
    conversation = IdFilter(field_name="conversation_id")
    account = IdFilter(field_name="account_id")


class Fallbacks(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin, mixins.UpdateModelMixin,
    mixins.DestroyModelMixin, ApiView,
):  # fmt: skip
    queryset = FallbackSender.objects.order_by("conversation", "position")
    serializer_class = FallbackSerializer
    filterset_class = FallbackFilters
    http_method_names = ["get", "post", "patch", "delete"]
    extra_statuses = {"create": (409,), "partial_update": (409,)}
    required_permissions = {
        "list": "bridge.view_conversation",
        "retrieve": "bridge.view_conversation",
        "create": "bridge.change_conversation",
        "partial_update": "bridge.change_conversation",
        "destroy": "bridge.change_conversation",
    }
