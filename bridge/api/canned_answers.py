"""`/canned-answers/`: texts that staff insert by a shortcut."""

from __future__ import annotations

from typing import Any

from rest_framework import mixins, serializers

from bridge.api.base import ApiView
from bridge.api.fields import Filters, IdFilter, ModelValidated, StrictSerializer
from bridge.models import CannedAnswer


class CannedAnswerSerializer(ModelValidated, StrictSerializer, serializers.ModelSerializer[CannedAnswer]):
    """A text that staff insert by its shortcut; without an account it is offered at all of them."""

    class Meta:
        model = CannedAnswer
        fields = ("id", "account", "shortcut", "text")
        validators: list[Any] = []  # the model's own are asked, with their words


class CannedAnswerFilters(Filters):
    account = IdFilter(field_name="account_id")


class CannedAnswers(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    ApiView,
):
    queryset = CannedAnswer.objects.order_by("id")
    serializer_class = CannedAnswerSerializer
    filterset_class = CannedAnswerFilters
    http_method_names = ["get", "post", "patch", "delete"]
    extra_statuses = {"create": (409,), "partial_update": (409,)}
    required_permissions = dict.fromkeys(
        ("list", "retrieve", "create", "partial_update", "destroy"), "bridge.send_message"
    )
