"""`/customer-messages/`: messages to customers and their groups, which a member of the company has to confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from accounts.models import ChannelAccount
from bridge.api.base import ApiView, client_of
from bridge.api.errors import Conflict, Refused
from bridge.api.fields import Filters, IdFilter, MaskedContent, StrictSerializer
from bridge.api.messages import KEY, UPLOAD_MAX_BYTES, Uploads
from bridge.api.reading import Json
from bridge.api.sending import FilesField, idempotency_key_of, read_parts
from bridge.media.storage import read_upload
from bridge.models import CustomerMessage, CustomerMessageState
from bridge.models.routes import PeerKinds
from bridge.people import customer_messages
from bridge.security import audit
from channels_wechat.contract.customer_messages import CustomerMessage as Wanted

if TYPE_CHECKING:
    from rest_framework.request import Request


class CustomerMessageSerializer(MaskedContent, serializers.ModelSerializer[CustomerMessage]):
    """A message that a member was asked to send. Whether they confirmed it is shown in WeCom only."""

    content = ("text", "attachments", "error", "left_out")
    state = serializers.ChoiceField(CustomerMessageState.choices, source="current_state")
    error = serializers.CharField(allow_null=True)

    class Meta:
        model = CustomerMessage
        fields = (
            "id", "account", "peer_kind", "sender", "recipients", "text", "attachments", "state", "remote_id", "left_out",
            "code", "error", "created_at",
        )  # fmt: skip


class AskSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Text and up to nine attachments for customers (`direct`) or customer groups (`group`)."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.all())
    peer_kind = serializers.ChoiceField(PeerKinds.choices, help_text="Of the recipients.")
    sender = serializers.CharField(max_length=200, help_text="The member who is asked to confirm and send it.")
    recipients = serializers.ListField(
        child=serializers.CharField(max_length=200), min_length=1, max_length=10_000, help_text="Ids, of one kind."
    )
    text = serializers.CharField(max_length=4000, default="", allow_blank=True, trim_whitespace=False)
    attachments = serializers.ListField(
        child=serializers.DictField(),
        default=list,
        max_length=9,
        help_text="As the platform's document gives them, of type link or miniprogram; files go in the parts `files`.",
    )


class AskFormSerializer(serializers.Serializer[Any]):
    """With files: the same JSON in the part `message`."""

    message = AskSerializer()
    files = FilesField(child=serializers.FileField(max_length=255), max_length=9)


class CustomerMessageFilters(Filters):
    account = IdFilter(field_name="account_id")


class CustomerMessages(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = CustomerMessage.objects.select_related("account").defer("account__credentials")
    serializer_class = CustomerMessageSerializer
    filterset_class = CustomerMessageFilters
    parser_classes = [Json, Uploads]
    required_permissions = {
        "list": "bridge.send_to_many",
        "retrieve": "bridge.send_to_many",
        "create": "bridge.send_to_many",
    }
    extra_statuses = {"create": (409, 422)}

    def max_body_bytes(self, request: Request) -> int:
        multipart = (request.content_type or "").startswith("multipart/")
        return UPLOAD_MAX_BYTES if multipart else settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    @extend_schema(
        parameters=[KEY],
        request={"application/json": AskSerializer, "multipart/form-data": AskFormSerializer},
        responses={200: CustomerMessageSerializer, 201: CustomerMessageSerializer},
    )
    def create(self, request: Request) -> Response:
        """Ask a member to send a message; nothing goes out until they confirm it in their client.

        201 when it is new, 200 when this key was used for the same before. `state` says what became of it.
        """
        key = idempotency_key_of(request)
        data, files = read_parts(request)
        given = AskSerializer(data=data)
        given.is_valid(raise_exception=True)
        row, new = self._ask(given.validated_data, files, client_of(request), key)
        if new:
            audit.log_action(gettext_noop("asked a member to send a message to customers"), [row.account])
        return Response(self.get_serializer(row).data, status=201 if new else 200)

    def _ask(self, given: dict[str, Any], files: list[Any], client: str, key: str) -> tuple[CustomerMessage, bool]:
        """Raises ValidationError, Refused, Conflict."""
        account = given.pop("account")
        wanted = Wanted(
            **{**given, "recipients": tuple(given["recipients"]), "attachments": tuple(given["attachments"])}
        )
        try:
            return customer_messages.create(
                account, wanted, client=client, key=key, files=[read_upload(file) for file in files]
            )
        except customer_messages.CannotCreate as refused:
            if refused.field:
                raise ValidationError({refused.field: [str(refused)]}) from refused
            raise Refused(str(refused), "cannot_send") from refused
        except customer_messages.KeyReused as error:
            text = _("This Idempotency-Key was used for another message.")
            raise Conflict(text, "idempotency_key_reused") from error
