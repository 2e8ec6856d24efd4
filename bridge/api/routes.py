"""`/routes/`: which agent answers whom, and who would answer this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.models import ChannelAccount
from bridge.api.base import ApiView
from bridge.api.fields import (
    Filters,
    IdFilter,
    ModelValidated,
    PeerSerializer,
    PersonFilter,
    StrictSerializer,
    TrueFalseFilter,
)
from bridge.models import Reason, Route
from bridge.models.routes import PeerKinds
from bridge.pipeline.routing import rules

if TYPE_CHECKING:
    from rest_framework.request import Request


class RouteSerializer(ModelValidated, StrictSerializer, serializers.ModelSerializer[Route]):
    """Messages of this peer go to this agent; the most specific one wins. An empty peer_kind or peer_id means any."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.defer("credentials"))

    class Meta:
        model = Route
        fields = (
            "id", "account", "peer_kind", "peer_id", "gateway", "agent_id", "scope", "trigger", "trigger_words",
            "allowed_senders", "commands_for_all", "allow_mention_all", "allow_cards", "allow_links",
            "handover_words", "allow_handover", "enabled", "note",
        )  # fmt: skip
        validators: list[Any] = []  # the model's own are asked, with their words


class QuestionSerializer(StrictSerializer, serializers.Serializer[Any]):
    """A message that may come."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.defer("credentials"))
    peer = PeerSerializer()
    sender = serializers.CharField(max_length=200, default="", allow_blank=True)
    text = serializers.CharField(max_length=100_000, default="", allow_blank=True, trim_whitespace=False)
    addressed = serializers.BooleanField(default=True, help_text="Whether the bot is addressed.")


class DecisionSerializer(serializers.Serializer[Any]):
    """Who would answer, and why."""

    route = RouteSerializer(allow_null=True)
    answered = serializers.BooleanField(help_text="Whether the route's agent gets the message.")
    reason = serializers.ChoiceField([("", ""), *Reason.choices], help_text="Why no agent gets it, else empty.")
    text = serializers.CharField(help_text="What the agent would get.")
    steps = serializers.ListField(child=serializers.CharField(), help_text="How it was decided, in sentences.")


class RouteFilters(Filters):
    account = IdFilter(field_name="account_id")
    gateway = IdFilter(field_name="gateway_id")
    peer_kind = django_filters.ChoiceFilter(choices=PeerKinds.choices)
    peer_id = PersonFilter(field_name="peer_id")
    enabled = TrueFalseFilter()


class Routes(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin, mixins.UpdateModelMixin,
    mixins.DestroyModelMixin, ApiView,
):  # fmt: skip
    queryset = Route.objects.all()
    serializer_class = RouteSerializer
    filterset_class = RouteFilters
    http_method_names = ["get", "post", "patch", "delete"]
    required_permissions = {
        "list": "bridge.view_route",
        "retrieve": "bridge.view_route",
        "create": "bridge.add_route",
        "partial_update": "bridge.change_route",
        "destroy": "bridge.delete_route",
        "resolve": "bridge.view_route",
    }
    extra_statuses = {"create": (409,), "partial_update": (409,)}

    @extend_schema(request=QuestionSerializer, responses=DecisionSerializer)
    @action(detail=False, methods=["post"])
    def resolve(self, request: Request) -> Response:
        """Who would answer this message? Changes nothing."""
        given = QuestionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        decision = rules.explain(
            asked["account"], asked["peer"]["kind"], asked["peer"]["id"],
            asked["sender"], asked["text"], asked["addressed"],
        )  # fmt: skip
        answered = decision.route is not None and not decision.reason
        return Response(
            {
                "route": self.get_serializer(decision.route).data if decision.route else None,
                "answered": answered,
                "reason": decision.reason,
                "text": decision.text,
                "steps": decision.steps,
            }
        )
