"""`/stats/`: today's figures and the open work, as the dashboard shows them; `/stats/reports/`: the figures of a range of days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from bridge.api.base import ApiView
from bridge.operations import dashboard
from bridge.operations.figures.reports import MOST_DAYS, MOST_ROWS, Grouping, build_report, default_range, is_range

if TYPE_CHECKING:
    from rest_framework.request import Request


class StatsSerializer(serializers.Serializer[Any]):
    """Counts of today and of the work that is open."""

    since = serializers.DateTimeField(help_text="Midnight in the bridge's time zone.")
    incoming = serializers.IntegerField(help_text="Messages received since then.")
    outgoing = serializers.IntegerField(help_text="Messages sent since then.")
    failed = serializers.IntegerField(help_text="Deliveries to agents and to WeChat created since then that failed.")
    waiting = serializers.IntegerField(help_text="Deliveries waiting or on their way.")
    oldest_waiting = serializers.DateTimeField(allow_null=True)
    held = serializers.IntegerField(help_text="Deliveries on hold.")
    held_by: Any = serializers.DictField(
        child=serializers.IntegerField(), help_text="The same by reason; those with `review` wait for a person."
    )
    dead = serializers.IntegerField(help_text="Failed deliveries that nobody has dismissed.")
    uncertain = serializers.IntegerField(help_text="Uncertain deliveries that nobody has dismissed.")


class LineSerializer(serializers.Serializer[Any]):
    """One line of a report. By agent, `key` is the gateway and `text` the agent; by day, `text` is the day."""

    key = serializers.IntegerField(
        allow_null=True, help_text="The id of the account, gateway or conversation, or the hour."
    )
    text = serializers.CharField()
    messages_in = serializers.IntegerField()
    messages_out = serializers.IntegerField()
    failed = serializers.IntegerField()
    uncertain = serializers.IntegerField()
    questions = serializers.IntegerField(help_text="Deliveries to agents that were not skipped.")
    answers = serializers.IntegerField(help_text="Questions whose answer was delivered.")
    p50 = serializers.FloatField(allow_null=True, help_text="Seconds within which half of them were answered.")
    p95 = serializers.FloatField(allow_null=True, help_text="Seconds within which 95 of 100 were answered.")
    tokens_in = serializers.IntegerField(help_text="With those that a model read from its cache or wrote into it.")
    tokens_out = serializers.IntegerField()
    cost = serializers.FloatField(help_text="In dollars, as the gateways tell it.")


class ReportSerializer(serializers.Serializer[Any]):
    """The figures of a range of days."""

    first = serializers.DateField()
    last = serializers.DateField()
    by = serializers.ChoiceField(Grouping.choices)
    lines = LineSerializer(many=True)
    total = LineSerializer()
    is_cut = serializers.BooleanField(
        help_text=f"There are more than {MOST_ROWS} lines; those with the most messages are here."
    )


class RangeSerializer(serializers.Serializer[Any]):
    """What a report is asked for; without days, of the last seven."""

    first = serializers.DateField(required=False)
    last = serializers.DateField(required=False)
    by = serializers.ChoiceField(Grouping.choices, default=Grouping.DAY)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        first, last = default_range()
        found = {"first": first, "last": last, **given}
        if not is_range(found["first"], found["last"]):
            text = _("The range must end after it begins, and be no longer than %(days)d days.") % {"days": MOST_DAYS}
            raise serializers.ValidationError({"last": text})
        return found


class Stats(ApiView):
    required_permissions = {"retrieve": "bridge.view_delivery", "report": "bridge.view_delivery"}
    parameters = {"report": ("first", "last", "by")}
    extra_statuses = {"report": (400,)}
    serializer_class = StatsSerializer
    filter_backends = []

    @extend_schema(responses=StatsSerializer)
    def retrieve(self, request: Request) -> Response:
        """Today's figures and the open work."""
        return Response(self.get_serializer(dashboard.read_dashboard()).data)

    @extend_schema(
        parameters=[
            OpenApiParameter("first", OpenApiTypes.DATE, description="The first day, in the bridge's time zone."),
            OpenApiParameter("last", OpenApiTypes.DATE, description="The last day, included."),
            OpenApiParameter("by", enum=Grouping.values, description="What the lines are of."),
        ],
        responses=ReportSerializer,
    )
    def report(self, request: Request) -> Response:
        """The figures of a range of days: messages, failures, times to answer, tokens and cost."""
        asked = RangeSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        chosen = asked.validated_data
        report = build_report(chosen["first"], chosen["last"], Grouping(chosen["by"]), MOST_ROWS)
        return Response(ReportSerializer(report).data)
