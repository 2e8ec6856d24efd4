"""`/deliveries/`: what became of each message, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import django_filters
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from bridge.api.base import ApiView, may_read, user_of
from bridge.api.errors import Refused
from bridge.api.fields import (
    BeforeFilter,
    Filters,
    IdFilter,
    MaskedContent,
    MomentFilter,
    SearchFilter,
    StrictSerializer,
    TrueFalseFilter,
)
from bridge.models import Attempt, Delivery, Outcome, Reason, State, Target
from bridge.operations import replay
from bridge.operations.waiting import Wait, explain_waits
from bridge.security import audit
from bridge.security.permissions import hide_errors
from bridge.ui import search as finders

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from rest_framework.request import Request

CODE = "An error code like 81013."
# One request replays at most so many; the rest is left for the next.
MAX_REPLAYED = 1000


class UsageSerializer(serializers.Serializer[Any]):
    """What a turn of an agent took, over all its calls of the model."""

    model = serializers.CharField(help_text="provider/model")
    input = serializers.IntegerField(help_text="Tokens that were not read from the model's cache.")
    output = serializers.IntegerField()
    cache_read = serializers.IntegerField()
    cache_write = serializers.IntegerField()
    cost = serializers.FloatField(allow_null=True, help_text="Dollars, where the gateway knows the model's prices.")


class AttemptSerializer(MaskedContent, serializers.ModelSerializer[Attempt]):
    """One request to the platform or the gateway. Without the right to read messages `request`, `response` and `error` are null."""

    content = ("request", "response", "error")
    error = serializers.CharField(allow_null=True)
    outcome = serializers.ChoiceField([("", _("on its way")), *Outcome.choices])
    request = serializers.JSONField(allow_null=True, help_text="What was sent, without secrets.")
    response = serializers.JSONField(allow_null=True, help_text="What was answered, without secrets.")
    usage = UsageSerializer(allow_null=True, help_text="Of a turn of an agent; null where the gateway did not say.")

    class Meta:
        model = Attempt
        fields = (
            "number",
            "started_at",
            "finished_at",
            "outcome",
            "code",
            "error",
            "possibly_twice",
            "request",
            "response",
            "usage",
        )


class WaitSerializer(serializers.Serializer[Any]):
    """For what a delivery waits, why, and until when; `until` is null where nobody knows."""

    on = serializers.ChoiceField(
        ["account", "gateway", "webhook", "delivery", "time", "person", "staff", "process"],
        help_text="What it waits for; the first four have an `id`.",
    )
    id = serializers.IntegerField(allow_null=True)
    why = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)


class DeliverySerializer(MaskedContent, serializers.ModelSerializer[Delivery]):
    """The work that a message makes at one target. `error` is null without the right to read messages."""

    content: ClassVar[tuple[str, ...]] = ("error",)
    error = serializers.CharField(allow_null=True)
    waits_for = serializers.SerializerMethodField(help_text="Null for what does not wait.")

    target = serializers.ChoiceField(Target.choices)
    state = serializers.ChoiceField(State.choices)
    reason = serializers.ChoiceField([("", ""), *Reason.choices])

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = (
            "id", "target", "message", "account", "gateway", "endpoint", "route", "lane", "part", "state", "reason", "code", "error",
            "tries", "replays", "possibly_twice", "remote_id", "due_at", "queued_at", "created_at", "finished_at", "dismissed_at",
            "recalled_at", "reviewed_at", "waits_for",
        )  # fmt: skip

    @extend_schema_field(WaitSerializer(allow_null=True))
    def get_waits_for(self, delivery: Delivery) -> dict[str, Any] | None:
        """Looked up once for all rows of a page."""
        known: dict[int, Wait | None] = self.__dict__.setdefault("found", {})
        if delivery.pk not in known:
            page = self.root.instance
            rows = page if isinstance(page, list) and delivery in page else [delivery]
            reads = may_read(self.context["request"])
            if not reads:
                hide_errors(rows)
            known.update(dict.fromkeys(row.pk for row in rows) | explain_waits(rows, may_read=reads))
        wait = known[delivery.pk]
        return dict(WaitSerializer(wait).data) if wait else None


class WholeDeliverySerializer(DeliverySerializer):
    """A delivery with what is sent and each attempt. `payload` is null without the right to read messages."""

    content = ("payload", "error")
    payload = serializers.DictField(allow_null=True, help_text="What a replay sends again, without address and token.")
    attempts = AttemptSerializer(many=True)

    class Meta(DeliverySerializer.Meta):
        fields = (*DeliverySerializer.Meta.fields, "payload", "attempts")


class DeliveryFilters(Filters):
    state = django_filters.ChoiceFilter(choices=State.choices)
    reason = django_filters.ChoiceFilter(choices=Reason.choices)
    target = django_filters.ChoiceFilter(choices=Target.choices)
    account = IdFilter(field_name="account_id")
    gateway = IdFilter(field_name="gateway_id")
    endpoint = IdFilter(field_name="endpoint_id")
    message = IdFilter(field_name="message_id")
    conversation = IdFilter(field_name="message__conversation_id")
    code = django_filters.CharFilter(max_length=64, help_text=CODE)
    dismissed = TrueFalseFilter(field_name="dismissed_at", lookup_expr="isnull", exclude=True)
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = BeforeFilter()
    search = SearchFilter(finders.deliveries, "text of the message, person, number, platform id or error code")


class ChoiceSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Which deliveries: those in this state that nobody has dismissed, further narrowed by what is given."""

    state = serializers.ChoiceField([State.DEAD, State.UNCERTAIN, State.SKIPPED])
    reason = serializers.ChoiceField(Reason.choices, required=False)
    target = serializers.ChoiceField(Target.choices, required=False)
    account = serializers.IntegerField(min_value=1, required=False)
    gateway = serializers.IntegerField(min_value=1, required=False)
    conversation = serializers.IntegerField(min_value=1, required=False)
    code = serializers.CharField(max_length=64, required=False, help_text=CODE)
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)


class ReplaySerializer(StrictSerializer, serializers.Serializer[Any]):
    """Oldest first, at most `limit`; with `dry_run` nothing is done."""

    filter = ChoiceSerializer()
    limit = serializers.IntegerField(min_value=1, max_value=MAX_REPLAYED, default=100)
    dry_run = serializers.BooleanField(default=False)
    possibly_twice = serializers.BooleanField(
        default=False, help_text="Also those that may have arrived already; they are marked possibly_twice."
    )


class RefusedSerializer(serializers.Serializer[Any]):
    delivery = serializers.IntegerField()
    why = serializers.CharField()


class ReplayedSerializer(serializers.Serializer[Any]):
    """What was queued again, or would be."""

    count = serializers.IntegerField(help_text="How many are queued again.")
    refused = RefusedSerializer(many=True, help_text="Those that stay where they are, and why.")
    more = serializers.BooleanField(help_text="Whether there are others beyond the limit.")
    dry_run = serializers.BooleanField()


class Deliveries(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    filterset_class = DeliveryFilters
    required_permissions = {
        "list": "bridge.view_delivery",
        "retrieve": "bridge.view_delivery",
        "replay": "bridge.replay_delivery",
        "replay_many": "bridge.replay_delivery",
        "release": "bridge.replay_delivery",
        "dismiss": "bridge.dismiss_delivery",
    }
    extra_statuses = {"replay": (422,), "release": (422,), "dismiss": (422,)}
    without_body = ("replay", "release", "dismiss")

    def get_queryset(self) -> QuerySet[Delivery]:
        rows = Delivery.objects.select_related("account").defer("account__credentials")
        return rows.prefetch_related("attempts") if self.action == "retrieve" else rows.defer("payload")

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return WholeDeliverySerializer if self.action == "retrieve" else DeliverySerializer

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str) -> Response:
        """Queue again at the tail of its lane. A question is routed anew; an answer goes out as it was.

        What may have arrived already is marked `possibly_twice`.
        """
        delivery = self.get_object()
        done = replay.replay([delivery.pk], user_of(request), twice=True)
        for _pk, reason in done.refused:
            raise Refused(reason, "cannot_replay")
        audit.log_action(gettext_noop("replayed"), [delivery])
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data)

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Send what is on hold for the content check, unchanged and without another check. What waits for a reply window stays."""
        delivery = self.get_object()
        done = replay.release([delivery.pk], user_of(request))
        for _pk, reason in done.refused:
            raise Refused(reason, "cannot_release")
        audit.log_action(gettext_noop("released"), [delivery])
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data)

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, pk: str) -> Response:
        """Take it off the list of dead letters. What was on hold is not sent any more."""
        delivery = self.get_object()
        if not replay.dismiss([delivery.pk], user_of(request)):
            raise Refused(replay.why_not_dismiss(delivery), "cannot_dismiss")
        audit.log_action(gettext_noop("dismissed"), [delivery])
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data)

    @extend_schema(operation_id="deliveries_replay_many", request=ReplaySerializer, responses=ReplayedSerializer)
    @action(detail=False, methods=["post"], url_path="replay")
    def replay_many(self, request: Request) -> Response:
        """Queue again what the filter finds. What may have arrived already stays, unless `possibly_twice` is true."""
        serializer = ReplaySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        found = list(_matching(given["filter"])[: given["limit"] + 1])
        rows, more = found[: given["limit"]], len(found) > given["limit"]
        twice = given["possibly_twice"]
        done = _dry_run(rows, twice) if given["dry_run"] else _replay(rows, user_of(request), twice)
        refused = [{"delivery": pk, "why": why} for pk, why in done.refused]
        return Response({"count": done.count, "refused": refused, "more": more, "dry_run": given["dry_run"]})


def _matching(wanted: dict[str, Any]) -> QuerySet[Delivery]:
    columns = {
        "account": "account_id",
        "gateway": "gateway_id",
        "conversation": "message__conversation_id",
        "created_after": "created_at__gte",
        "created_before": "created_at__lt",
    }
    conditions = {columns.get(name, name): value for name, value in wanted.items()}
    related = ("account", "message__account", "message__reply_to")
    return Delivery.objects.filter(**conditions, dismissed_at=None).select_related(*related).order_by("id")


def _replay(rows: list[Delivery], by: User, twice: bool) -> replay.ReplayResult:
    result = replay.replay([row.pk for row in rows], by, twice=twice)
    refused = {pk for pk, _why in result.refused}
    audit.log_action(gettext_noop("replayed"), [row for row in rows if row.pk not in refused])
    return result


def _dry_run(rows: list[Delivery], twice: bool) -> replay.ReplayResult:
    """Return the expected result of a replay, without doing it."""
    result = replay.ReplayResult()
    arrived = set() if twice else replay.find_possible_repeats(rows)
    for row in rows:
        if reason := replay.why_not_replay(row) or (str(replay.MAY_HAVE_ARRIVED) if row.pk in arrived else ""):
            result.refused.append((row.pk, reason))
        else:
            result.count += 1
    return result
