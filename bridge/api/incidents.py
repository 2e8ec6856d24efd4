"""`/incidents/`: what is or was wrong, since when, and what staff do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from bridge.api.base import ApiView, user_of
from bridge.api.errors import Conflict
from bridge.api.fields import Filters, IdFilter, MaskedContent, StrictSerializer, TrueFalseFilter
from bridge.models import Incident
from bridge.models.incidents import Severity, select_muted
from bridge.operations import incidents

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from rest_framework.request import Request

RESOLVED = _("It was resolved meanwhile.")


class IncidentSerializer(MaskedContent, serializers.ModelSerializer[Incident]):
    """One cause, from its first sign to its end."""

    content = ("detail", "error")
    title = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True, allow_null=True, help_text="Why, and what to do about it.")
    error = serializers.CharField(read_only=True, allow_null=True, help_text="Why staff could not be alerted.")
    muted = serializers.BooleanField(source="is_muted", read_only=True)
    acknowledged_by = serializers.CharField(
        source="acknowledged_by.username", allow_null=True, default=None, read_only=True
    )
    owner = serializers.CharField(
        source="owner.username", allow_null=True, default=None, read_only=True, help_text="The colleague who deals with it."
    )  # fmt: skip

    class Meta:
        model = Incident
        fields = (
            "id", "cause", "code", "title", "detail", "severity", "account", "gateway", "endpoint", "conversation", "reason",
            "error_code", "count", "first_seen_at", "last_seen_at", "opened_at", "closed_at", "notified_at", "error",
            "acknowledged_at", "acknowledged_by", "muted", "muted_until", "muted_to_end", "owner", "note",
        )  # fmt: skip
        read_only_fields = fields
        extra_kwargs = {
            "cause": {"help_text": "What identifies the cause; the same one may come again later."},
            "severity": {"help_text": "1: it ends by itself; 2: something failed; 3: people get no answer."},
            "count": {"help_text": "How many deliveries, chats or callbacks it concerns; 0 where nothing is counted."},
        }


class MuteSerializer(StrictSerializer, serializers.Serializer[Any]):
    """For how long it is not shown among what needs attention, and raises no alert."""

    how_long = serializers.ChoiceField(
        choices=[(each.value, each.value) for each in incidents.Mute], help_text="end: until it is resolved."
    )


class OwnerSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Who deals with it."""

    owner = serializers.SlugRelatedField(
        slug_field="username",
        queryset=User.objects.filter(is_active=True, is_staff=True),
        allow_null=True,
        help_text="The name of a colleague who can open the admin; null: nobody.",
    )


class MutedFilter(TrueFalseFilter):
    """Whether it is muted now."""

    def filter(self, qs: QuerySet[Any], value: bool | None) -> QuerySet[Any]:
        if value is None:
            return qs
        muted = select_muted(timezone.now())
        return qs.filter(muted) if value else qs.exclude(muted)


class IncidentFilters(Filters):
    active = TrueFalseFilter(field_name="closed_at", lookup_expr="isnull")
    acknowledged = TrueFalseFilter(field_name="acknowledged_at", lookup_expr="isnull", exclude=True)
    muted = MutedFilter()
    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    code = django_filters.CharFilter(max_length=64)
    error_code = django_filters.CharFilter(max_length=64)
    owner = django_filters.CharFilter(field_name="owner__username")
    account = IdFilter(field_name="account_id")
    gateway = IdFilter(field_name="gateway_id")
    endpoint = IdFilter(field_name="endpoint_id")
    conversation = IdFilter(field_name="conversation_id")


class Incidents(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = Incident.objects.select_related("owner", "acknowledged_by")
    serializer_class = IncidentSerializer
    filterset_class = IncidentFilters
    required_permissions = {
        "list": "bridge.view_incident",
        "retrieve": "bridge.view_incident",
        "acknowledge": "bridge.handle_incident",
        "mute": "bridge.handle_incident",
        "assign": "bridge.handle_incident",
    }
    without_body = ("acknowledge",)
    extra_statuses = {"acknowledge": (409,), "mute": (409,), "assign": (409,)}

    @extend_schema(request=None, responses=IncidentSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:
        """Say that somebody knows of it. Whoever did it first stays named."""
        return self._handle(lambda incident: incidents.acknowledge(incident, user_of(request)))

    @extend_schema(request=MuteSerializer, responses=IncidentSerializer)
    @action(detail=True, methods=["post"])
    def mute(self, request: Request, pk: str) -> Response:
        """Show it no more among what needs attention, for a time or until it is resolved; `none` ends that."""
        given = MuteSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        how_long = incidents.Mute(given.validated_data["how_long"])
        return self._handle(lambda incident: incidents.mute(incident, how_long))

    @extend_schema(request=OwnerSerializer, responses=IncidentSerializer)
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, pk: str) -> Response:
        """Say who deals with it."""
        given = OwnerSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self._handle(lambda incident: incidents.assign(incident, given.validated_data["owner"]))

    def _handle(self, change: Callable[[Incident], None]) -> Response:
        incident = self.get_object()
        try:
            change(incident)
        except incidents.IsResolved:
            raise Conflict(RESOLVED, "is_resolved") from None
        return Response(self.get_serializer(incident).data)
