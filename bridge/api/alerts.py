"""`/alert-channels/`, `/alert-rules/`, `/alerts/`: how staff are told, of what, and who was told. Answers hold no secret."""

from __future__ import annotations

import django_filters
from rest_framework import mixins, serializers

from bridge.api.base import ApiView
from bridge.api.fields import Filters, IdFilter, MaskedContent, TrueFalseFilter
from bridge.models import AlertChannel, AlertDelivery, AlertRule, ChannelKind, RuleKind


class ChannelSerializer(serializers.ModelSerializer[AlertChannel]):
    """One way to tell staff."""

    target = serializers.CharField(
        source="shown_target", read_only=True, help_text="E-mail addresses, the robot's account, or scheme and host."
    )
    active = serializers.BooleanField(
        source="is_set", read_only=True, help_text="False: its setting has no address any more."
    )
    environment = serializers.CharField(
        read_only=True, help_text="The setting that has its address; empty: it is set in the admin."
    )

    class Meta:
        model = AlertChannel
        fields = (
            "id", "kind", "name", "enabled", "active", "environment", "account", "target", "language", "quiet_from", "quiet_until",
            "max_per_hour", "rules", "failures", "next_try_at", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields
        extra_kwargs = {
            "rules": {"help_text": "Of what it tells; empty: of what any rule matches."},
            "failures": {"help_text": "How often in a row it did not accept what was sent."},
        }


class RuleSerializer(serializers.ModelSerializer[AlertRule]):
    """What staff want to be told of."""

    class Meta:
        model = AlertRule
        fields = (
            "id", "kind", "name", "enabled", "minutes", "percent", "least_count", "least_severity", "codes", "accounts", "work_from",
            "work_until", "weekdays_only", "reminder_hours", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields


class AlertSerializer(MaskedContent, serializers.ModelSerializer[AlertDelivery]):
    """One alert of one incident by one channel."""

    content = ("title", "text", "reason")
    target = serializers.CharField(source="message.target", default=None, allow_null=True, read_only=True)
    title = serializers.CharField(source="message.title", default=None, allow_null=True, read_only=True)
    text = serializers.CharField(
        source="message.text",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The whole message, which may tell of other incidents too.",
    )
    told_at = serializers.DateTimeField(source="message.finished_at", default=None, allow_null=True, read_only=True)
    reason = serializers.CharField(
        read_only=True, allow_null=True, help_text="Why it was not sent, or not yet; empty where nothing went wrong."
    )

    class Meta:
        model = AlertDelivery
        fields = (
            "id", "incident", "channel", "occasion", "number", "state", "code", "reason", "target", "title", "text", "told_at",
            "created_at", "finished_at",
        )  # fmt: skip
        read_only_fields = fields


class ChannelFilters(Filters):
    enabled = TrueFalseFilter()
    kind = django_filters.ChoiceFilter(choices=ChannelKind.choices)


class RuleFilters(Filters):
    enabled = TrueFalseFilter()
    kind = django_filters.ChoiceFilter(choices=RuleKind.choices)


class AlertFilters(Filters):
    incident = IdFilter(field_name="incident_id")
    channel = IdFilter(field_name="channel_id")
    state = django_filters.ChoiceFilter(choices=AlertDelivery.State.choices)


class AlertChannels(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = (
        AlertChannel.objects.select_related("account").defer("secret", "account__credentials").prefetch_related("rules")
    )
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilters
    required_permissions = {"list": "bridge.view_alertchannel", "retrieve": "bridge.view_alertchannel"}


class AlertRules(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = AlertRule.objects.prefetch_related("accounts")
    serializer_class = RuleSerializer
    filterset_class = RuleFilters
    required_permissions = {"list": "bridge.view_alertrule", "retrieve": "bridge.view_alertrule"}


class Alerts(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    """Who was told of which incident, the newest first."""

    queryset = AlertDelivery.objects.select_related("message")
    serializer_class = AlertSerializer
    filterset_class = AlertFilters
    required_permissions = {"list": "bridge.view_incident", "retrieve": "bridge.view_incident"}
