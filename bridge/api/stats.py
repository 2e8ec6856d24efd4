"""`/stats/`: today's figures and the open work, as the dashboard shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from bridge.api.base import ApiView
from bridge.operations import dashboard

if TYPE_CHECKING:
    from rest_framework.request import Request


class StatsSerializer(serializers.Serializer[Any]):
    """Counts of today and of the work that is open."""

    since = serializers.DateTimeField(help_text="Midnight in the bridge's time zone.")
    incoming = serializers.IntegerField(help_text="Messages received since then.")
    outgoing = serializers.IntegerField(help_text="Messages sent since then.")
    waiting = serializers.IntegerField(help_text="Deliveries waiting or on their way.")
    oldest_waiting = serializers.DateTimeField(allow_null=True)
    held = serializers.IntegerField(help_text="Deliveries on hold.")
    held_by: Any = serializers.DictField(
        child=serializers.IntegerField(), help_text="The same by reason; those with `review` wait for a person."
    )
    dead = serializers.IntegerField(help_text="Failed deliveries that nobody has dismissed.")
    uncertain = serializers.IntegerField(help_text="Uncertain deliveries that nobody has dismissed.")


class Stats(ApiView):
    required_permissions = {"retrieve": "bridge.view_delivery"}
    serializer_class = StatsSerializer
    filter_backends = []

    @extend_schema(responses=StatsSerializer)
    def retrieve(self, request: Request) -> Response:
        """Today's figures and the open work."""
        return Response(self.get_serializer(dashboard.read_dashboard()).data)
