"""`/gateways/`: where the agents are. The token goes in and never comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.forms import ENTER_AGAIN
from accounts.health import Health
from bridge.api.base import ApiView
from bridge.api.connections import ConnectionSerializer
from bridge.api.errors import Conflict
from bridge.api.fields import Filters, MaskedReason, ModelValidated, StrictSerializer, TrueFalseFilter
from bridge.operations.gateway_use import list_account_uses
from channels_wechat.contract.pasted import clean_pasted
from openclaw.models import Gateway

if TYPE_CHECKING:
    from django.db.models import Model
    from rest_framework.request import Request

SECRETS = ("token", "device_key", "device_token")


class AgentSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField(required=False)
    model = serializers.CharField(required=False)


class GatewaySerializer(MaskedReason, ModelValidated, StrictSerializer, serializers.ModelSerializer[Gateway]):
    """An OpenClaw gateway."""

    token = serializers.CharField(
        write_only=True,
        required=False,
        max_length=2000,
        help_text="gateway.auth.token; left out, the stored one stays.",
    )
    state = serializers.ChoiceField(Health.choices, read_only=True)
    agents = AgentSerializer(many=True, read_only=True, help_text="As the gateway listed them last.")

    def validate_token(self, token: str) -> str:
        """A token of invisible characters would take the stored one away."""
        cleaned = clean_pasted(token)
        if not cleaned:
            raise serializers.ValidationError(self.fields["token"].error_messages["blank"])
        return cleaned

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A stored token goes only to the address it was entered for."""
        row = self.instance
        if row and not attrs.get("token") and row.needs_token_for(attrs.get("base_url", row.base_url)):
            raise serializers.ValidationError({"token": [str(ENTER_AGAIN)]})
        return super().validate(attrs)

    connection = ConnectionSerializer(read_only=True, allow_null=True, help_text="Null before a connector has seen it.")

    class Meta:
        model = Gateway
        fields = (
            "id", "name", "base_url", "token", "transport", "timeout_seconds", "max_in_flight", "enabled",
            "state", "state_code", "state_reason", "state_since", "connection", "version", "agents", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("state_code", "state_reason", "state_since", "version", "created_at", "updated_at")


class UseSerializer(serializers.Serializer[Any]):
    """One account at a gateway."""

    account = serializers.IntegerField(source="account.pk")
    share = serializers.IntegerField(help_text="So many turns it may have under way.")
    under_way = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Turns that are due; 1000 means this or more.")
    reason = serializers.CharField(help_text="What they wait for, in a sentence; empty where none wait.")


class UsesSerializer(serializers.Serializer[Any]):
    """Who uses a gateway's turns."""

    accounts = UseSerializer(many=True)


class GatewayFilters(Filters):
    enabled = TrueFalseFilter()
    state = django_filters.ChoiceFilter(choices=Health.choices)


class Gateways(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin, mixins.UpdateModelMixin,
    mixins.DestroyModelMixin, ApiView,
):  # fmt: skip
    queryset = Gateway.objects.defer(*SECRETS).select_related("connection")
    serializer_class = GatewaySerializer
    filterset_class = GatewayFilters
    http_method_names = ["get", "post", "patch", "delete"]
    required_permissions = {
        "list": "openclaw.view_gateway",
        "retrieve": "openclaw.view_gateway",
        "create": "openclaw.add_gateway",
        "partial_update": "openclaw.change_gateway",
        "destroy": "openclaw.delete_gateway",
        "turns": "openclaw.view_gateway",
    }
    extra_statuses = {"create": (409,), "partial_update": (409,), "destroy": (409,)}

    @extend_schema(responses=UsesSerializer)
    @action(detail=True, methods=["get"])
    def turns(self, request: Request, pk: str) -> Response:
        """Which accounts use how many turns, and what waits for what."""
        return Response(UsesSerializer({"accounts": list_account_uses(self.get_object())}).data)

    def perform_update(self, serializer: serializers.BaseSerializer[Gateway]) -> None:
        """A stopped gateway tries again."""
        serializer.save().revive()
        serializer.instance.refresh_from_db(fields=["state", "state_code", "state_params", "state_since"])  # type: ignore[union-attr]

    def perform_destroy(self, instance: Model) -> None:
        """Delete a gateway; refuse where a delivery belongs to it, because then it can only be disabled."""
        if Gateway.objects.filter(pk=instance.pk, deliveries__isnull=False).exists():
            raise Conflict("This gateway has deliveries: disable it instead of deleting it.", "in_use")
        instance.delete()
