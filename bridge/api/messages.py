"""`/messages/`: what was said, and saying something, once for each Idempotency-Key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import django_filters
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext_noop
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from bridge.api.attachments import AttachmentSerializer
from bridge.api.base import ApiView, client_of, may_read
from bridge.api.fields import (
    BeforeFilter,
    Filters,
    IdFilter,
    MaskedContent,
    MomentFilter,
    PeerColumns,
    PersonFilter,
    SearchFilter,
)
from bridge.api.reading import Json
from bridge.api.sending import FormSerializer, SendSerializer, idempotency_key_of, read_send_request, send_once
from bridge.models import Delivery, Message
from bridge.security import audit
from bridge.ui import search as finders

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

# What a request with files may weigh in all; the platforms take 20 MB a file.
UPLOAD_MAX_BYTES = 64 * 1024 * 1024
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,200}$"},
    OpenApiParameter.HEADER,
    required=True,
    description="Names this message among all that this user sends. The same key again answers the same and sends nothing; "
    "with another body it is refused. Keys are kept for at least seven days.",
)


class MessageSerializer(MaskedContent, serializers.ModelSerializer[Message]):
    """What was said. `text` is null without the right to read messages."""

    content: ClassVar[tuple[str, ...]] = ("text",)
    peer = PeerColumns(source="*")
    direction = serializers.ChoiceField(Message.Direction.choices)
    source = serializers.ChoiceField(Message.Source.choices)  # type: ignore[assignment]
    text = serializers.CharField(allow_null=True)

    class Meta:
        model = Message
        fields: tuple[str, ...] = (
            "id", "account", "conversation", "peer", "direction", "source", "kind", "text", "sender", "addressed",
            "reply_to", "idempotency_key", "occurred_at", "created_at",
        )  # fmt: skip


class PartSerializer(serializers.Serializer[Any]):
    """What became of the message at one of its targets."""

    id = serializers.IntegerField()
    target = serializers.CharField()
    part = serializers.IntegerField()
    state = serializers.CharField()
    reason = serializers.CharField()


class WholeMessageSerializer(MessageSerializer):
    """A message with its platform form, its files and what became of it."""

    content = ("text", "data", "raw")
    data = serializers.DictField(  # type: ignore[assignment]
        allow_null=True, help_text="Outbound: the platform message of its own type."
    )
    raw = serializers.DictField(allow_null=True, help_text="Inbound: what the platform sent, without secrets.")
    attachments = AttachmentSerializer(many=True)
    deliveries = PartSerializer(many=True)

    class Meta(MessageSerializer.Meta):
        fields = (*MessageSerializer.Meta.fields, "data", "raw", "attachments", "deliveries")


class ReceiptSerializer(serializers.ModelSerializer[Message]):
    """What was queued. Nothing in it changes, so a repeated request is answered with the same words."""

    peer = PeerColumns(source="*")
    attachments: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)
    deliveries: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Message
        fields = ("id", "account", "conversation", "peer", "kind", "created_at", "attachments", "deliveries")


class MessageFilters(Filters):
    account = IdFilter(field_name="account_id")
    conversation = IdFilter(field_name="conversation_id")
    direction = django_filters.ChoiceFilter(choices=Message.Direction.choices)
    source = django_filters.ChoiceFilter(choices=Message.Source.choices)
    kind = django_filters.CharFilter(max_length=32)
    sender = PersonFilter(field_name="sender", max_length=200)
    idempotency_key = django_filters.CharFilter(max_length=200)
    code = django_filters.CharFilter(
        max_length=64, method="by_code", label="The error code of one of its deliveries, like 81013."
    )
    text = django_filters.CharFilter(
        lookup_expr="icontains",
        min_length=2,
        max_length=200,
        method="by_text",
        label=f"A part of the text. Two letters are looked for in the newest {finders.NEWEST} messages only.",
    )
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = BeforeFilter()
    search = SearchFilter(finders.messages, "text, person, number, platform id or error code")

    def by_code(self, rows: QuerySet[Message], _name: str, code: str) -> QuerySet[Message]:
        return rows.filter(pk__in=Delivery.objects.filter(code=code).values("message"))

    def by_text(self, rows: QuerySet[Message], _name: str, words: str) -> QuerySet[Message]:
        """Search in texts only for users who may read them, because a search would reveal their content."""
        if self.request is None or not may_read(self.request):
            raise PermissionDenied
        return finders.holding(rows, words)


class Uploads(MultiPartParser):
    """A part `message` with the JSON, and the files in parts called `files`."""


class Messages(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    filterset_class = MessageFilters
    parser_classes = [Json, Uploads]
    required_permissions = {
        "list": "bridge.view_message",
        "retrieve": "bridge.view_message",
        "create": "bridge.send_message",
    }
    extra_statuses = {"create": (409, 422)}

    def get_queryset(self) -> QuerySet[Message]:
        if self.action == "retrieve":
            return Message.objects.defer("reply_address").prefetch_related("attachments", "deliveries")
        return Message.objects.defer("reply_address", "raw", "data")

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return WholeMessageSerializer if self.action == "retrieve" else MessageSerializer

    def max_body_bytes(self, request: Request) -> int:
        multipart = (request.content_type or "").startswith("multipart/")
        return UPLOAD_MAX_BYTES if multipart else settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    @extend_schema(
        parameters=[KEY],
        request={"application/json": SendSerializer, "multipart/form-data": FormSerializer},
        responses={200: ReceiptSerializer, 201: ReceiptSerializer},
    )
    def create(self, request: Request) -> Response:
        """Queue a message: 201 when it is new, 200 with the same body when this key was used for the same before."""
        key = idempotency_key_of(request)
        message, new = send_once(read_send_request(request), client_of(request), key)
        if new and message.conversation:
            audit.log_action(gettext_noop("sent a message"), [message.conversation])
        return Response(ReceiptSerializer(message).data, status=201 if new else 200)
