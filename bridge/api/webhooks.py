"""`/webhooks/`: addresses that get events. The secret is shown once, the address never."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.models import ChannelAccount
from bridge.api.base import ApiView
from bridge.api.errors import Refused
from bridge.api.fields import Filters, IdFilter, ModelValidated, StrictSerializer, TrueFalseFilter
from bridge.models import Event, WebhookEndpoint
from bridge.models.webhooks import MAX_OVERLAP_HOURS, MAX_URL_LENGTH, OVERLAP_HOURS
from bridge.security import audit
from bridge.webhooks import events

if TYPE_CHECKING:
    from rest_framework.request import Request


class WebhookSerializer(ModelValidated, StrictSerializer, serializers.ModelSerializer[WebhookEndpoint]):
    """An address that gets events, as standardwebhooks.com describes it."""

    account = serializers.PrimaryKeyRelatedField(
        queryset=ChannelAccount.objects.defer("credentials"), allow_null=True, required=False,
        help_text="Only what happens to this account; null: all accounts.",
    )  # fmt: skip
    url = serializers.CharField(
        write_only=True, max_length=MAX_URL_LENGTH, help_text="Where events are posted to; it may hold a secret."
    )
    origin = serializers.CharField(read_only=True, help_text="Scheme and host of the address.")
    disabled_reason = serializers.CharField(
        read_only=True, help_text="Why it was disabled by what it answered; empty if staff did it."
    )
    events = serializers.ListField(
        child=serializers.ChoiceField(Event.choices), allow_empty=False, max_length=len(Event)
    )

    class Meta:
        model = WebhookEndpoint
        fields: tuple[str, ...] = (
            "id", "name", "url", "origin", "events", "account", "enabled", "disabled_code", "disabled_reason", "previous_until",
            "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("disabled_code", "disabled_reason", "previous_until", "created_at", "updated_at")
        extra_kwargs = {
            "previous_until": {"help_text": "Until then the secret before the last rotation signs too."},
        }


class NewWebhookSerializer(WebhookSerializer):
    """With the secret, which no other answer holds."""

    secret = serializers.CharField(read_only=True, help_text="Shown this once. Calls are signed with it.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")


class ChangedWebhookSerializer(WebhookSerializer):
    """With the secret where there is a new one."""

    secret = serializers.SerializerMethodField(help_text="Only where the address leads to another host now; else null.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")

    def get_secret(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.secret if endpoint.has_new_secret else None


class RotationSerializer(StrictSerializer, serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        min_value=0, max_value=MAX_OVERLAP_HOURS, default=OVERLAP_HOURS,
        help_text="For so long the secret before signs too; 0 ends it at once.",
    )  # fmt: skip


class RotatedSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="The new one, shown this once.")
    previous_until = serializers.DateTimeField(help_text="Until then the secret before signs too.")


class TestedSerializer(serializers.Serializer[Any]):
    delivery = serializers.IntegerField(help_text="What becomes of it stands under /deliveries/.")


class WebhookFilters(Filters):
    enabled = TrueFalseFilter()
    account = IdFilter(field_name="account_id")


class Webhooks(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin, mixins.UpdateModelMixin,
    mixins.DestroyModelMixin, ApiView,
):  # fmt: skip
    queryset = WebhookEndpoint.objects.defer("secret", "previous_secret")
    serializer_class = WebhookSerializer
    filterset_class = WebhookFilters
    http_method_names = ["get", "post", "patch", "delete"]
    required_permissions = {
        "list": "bridge.view_webhookendpoint",
        "retrieve": "bridge.view_webhookendpoint",
        "create": "bridge.add_webhookendpoint",
        "partial_update": "bridge.change_webhookendpoint",
        "destroy": "bridge.delete_webhookendpoint",
        "rotate_secret": "bridge.change_webhookendpoint",
        "test": "bridge.change_webhookendpoint",
    }
    extra_statuses = {"test": (422,)}
    without_body = ("test",)

    @extend_schema(request=WebhookSerializer, responses=ChangedWebhookSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change what is given. Where the address leads to another host there is a new secret, shown in this one answer."""
        given = WebhookSerializer(
            self.get_object(), data=request.data, partial=True, context=self.get_serializer_context()
        )
        given.is_valid(raise_exception=True)
        return Response(ChangedWebhookSerializer(given.save(), context=self.get_serializer_context()).data)

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return NewWebhookSerializer if self.action == "create" else WebhookSerializer

    @extend_schema(request=RotationSerializer, responses=RotatedSerializer)
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """A new secret, shown in this one answer. During the overlap each call is signed with both."""
        endpoint = self.get_object()
        given = RotationSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        secret = endpoint.rotate(timedelta(hours=given.validated_data["overlap_hours"]))
        return Response({"secret": secret, "previous_until": endpoint.previous_until})

    @extend_schema(request=None, responses={202: TestedSerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Queue an event `webhook.test`, behind whatever waits for this address."""
        endpoint = self.get_object()
        if not endpoint.enabled:
            raise Refused(_("Enable it first."), "disabled")
        delivery = events.queue_test_event(endpoint)
        audit.log_action(gettext_noop("tested"), [endpoint])
        return Response({"delivery": delivery.pk}, status=202)
