"""`/attachments/`: files of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.core.exceptions import PermissionDenied
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action

from bridge.api.base import ApiView, may_read
from bridge.api.fields import Filters, IdFilter, MaskedContent
from bridge.models import Attachment, AttachmentState
from bridge.security import downloads

if TYPE_CHECKING:
    from django.http import FileResponse
    from rest_framework.request import Request


class AttachmentSerializer(MaskedContent, serializers.ModelSerializer[Attachment]):
    """A file of a message. `name` and `error` are null without the right to read messages."""

    content = ("name", "error")
    name = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(AttachmentState.choices)

    class Meta:
        model = Attachment
        fields = ("id", "message", "position", "kind", "name", "mime", "size", "state", "code", "error")


class AttachmentFilters(Filters):
    message = IdFilter(field_name="message_id")
    state = django_filters.ChoiceFilter(choices=AttachmentState.choices)


class Attachments(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = Attachment.objects.select_related("message__account").defer(
        "source", "handle", "message__raw", "message__data", "message__text", "message__account__credentials"
    )
    serializer_class = AttachmentSerializer
    filterset_class = AttachmentFilters
    required_permissions = {
        "list": "bridge.view_attachment",
        "retrieve": "bridge.view_attachment",
        "content": "bridge.view_attachment",
    }

    @extend_schema(
        responses={(200, kind): OpenApiTypes.BINARY for kind in ("application/octet-stream", *downloads.PICTURES)}
    )
    @action(detail=True)
    def content(self, request: Request, pk: str) -> FileResponse:
        """The bytes; needs the right to read messages."""
        if not may_read(request):
            raise PermissionDenied
        try:
            return downloads.build_response(self.get_object())
        except (OSError, ValueError) as error:
            raise Http404 from error
