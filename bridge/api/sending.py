"""How a request to send is read, and done once."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, get_args

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError

from accounts.channels import build_channel
from accounts.models import ChannelAccount
from bridge.api.errors import Conflict, MalformedRequest, Refused
from bridge.api.fields import PeerSerializer, StrictSerializer
from bridge.api.pages import refuse_unknown
from bridge.api.reading import Json
from bridge.models import Conversation, Message
from bridge.people import peers
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.recipients import count_people
from bridge.pipeline.outbound.surplus import find_surplus_fields
from channels_wechat import KINDS
from channels_wechat.contract.messages import Content, MediaKind
from channels_wechat.contract.pasted import without_invisible
from channels_wechat.unregistered import NO_LONGER_SUPPORTED

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile
    from rest_framework.request import Request

_KEY = re.compile(r"[!-~]{1,200}")


class ContentSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Markdown text and files, or a platform message of its own type with its `data`."""

    kind = serializers.CharField(max_length=32, default="text")
    text = serializers.CharField(max_length=100_000, default="", allow_blank=True, trim_whitespace=False)
    data = serializers.DictField(  # type: ignore[assignment]
        default=dict, help_text="For a kind other than text, as the platform's document gives it."
    )


class SendSerializer(StrictSerializer, serializers.Serializer[Any]):
    """To a conversation; or by an account to a peer, who may never have written. An account's only peer need not be named."""

    conversation = serializers.PrimaryKeyRelatedField(
        queryset=Conversation.objects.select_related("account"), required=False
    )
    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.all(), required=False)
    peer = PeerSerializer(required=False)
    content = ContentSerializer()
    several = serializers.BooleanField(
        default=False,
        help_text="Whether more than one person is meant: `a|b` or `@all` as a direct peer. Needs the right to send to many.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("conversation" in attrs) == ("account" in attrs or "peer" in attrs):
            raise ValidationError(_("Name the recipient: a conversation, or an account and a peer."))
        if "peer" not in attrs and "account" in attrs and (only := peers.only_peer(attrs["account"])):
            attrs["peer"] = {"kind": only.kind, "id": only.id}
        if "conversation" not in attrs and not ("account" in attrs and "peer" in attrs):
            raise ValidationError(_("An account and a peer belong together."))
        return attrs


@extend_schema_field({"type": "array", "items": {"type": "string", "format": "binary"}})
class FilesField(serializers.ListField):
    """The files of a request."""


class FormSerializer(serializers.Serializer[Any]):
    """With files: the same JSON in the part `message`."""

    message = SendSerializer()
    files = FilesField(child=serializers.FileField(max_length=255), max_length=10)


@dataclass(slots=True)
class SendRequest:
    """A message to send: its receiver and its content."""

    account: ChannelAccount
    peer_kind: str
    peer_id: str
    content: Content
    files: list[UploadedFile[Any]] = field(default_factory=list)
    several: bool = False

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the receiver, the content, and the bytes of the files."""
        said = self.content
        what = [self.account.pk, self.peer_kind, self.peer_id, said.kind, said.text, said.data]
        files = [[file.name, file.content_type, _digest(file)] for file in self.files]
        return hashlib.sha256(json.dumps([what, files], sort_keys=True).encode()).hexdigest()


def idempotency_key_of(request: Request) -> str:
    """Raises MalformedRequest."""
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.fullmatch(key):
        text = _("Send a header Idempotency-Key that names this message: 1 to 200 visible ASCII characters.")
        raise MalformedRequest(text, "idempotency_key_required")
    return key


def read_send_request(request: Request) -> SendRequest:
    """Raises ValidationError, ParseError."""
    data, files = read_parts(request)
    serializer = SendSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    given = serializer.validated_data
    content = Content(**given["content"])
    if conversation := given.get("conversation"):
        wanted = SendRequest(conversation.account, conversation.peer_kind, conversation.peer_id, content, files)
    else:
        wanted = SendRequest(given["account"], given["peer"]["kind"], given["peer"]["id"], content, files)
    wanted.several = given["several"]
    _check(wanted)
    if count_people(wanted.peer_kind, wanted.peer_id) != 1 and wanted.several and not _may_send_to_many(request):
        raise PermissionDenied(_("You may not send to several people at once."))
    return wanted


def _may_send_to_many(request: Request) -> bool:
    return bool(request.user.has_perm("bridge.send_to_many"))


@transaction.atomic
def send_once(wanted: SendRequest, client: str, key: str) -> tuple[Message, bool]:
    """The message, and whether it is new. Raises Conflict where the key stands for another one, Refused where it cannot be sent.

    The lock covers what the unique constraint does not: the same key at the same moment to another account.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 11))", [f"{client}/{key}"])
    space = {"source": Message.Source.API, "client": client, "idempotency_key": key}
    fingerprint = wanted.fingerprint
    if stored := Message.objects.filter(**space, direction="out").first():
        if stored.request_hash != fingerprint:
            raise Conflict(_("This Idempotency-Key was used for another message."), "idempotency_key_reused")
        return stored, False
    where = (wanted.account, wanted.peer_kind, wanted.peer_id, wanted.content)
    try:
        message = outbox.send(
            *where,
            source=Message.Source.API,
            client=client,
            key=key,
            request_hash=fingerprint,
            files=wanted.files,
            several=wanted.several,
        )
    except outbox.CannotSend as refused:
        raise Refused(str(refused), "cannot_send") from refused
    return message, True


def read_parts(request: Request) -> tuple[Any, list[UploadedFile[Any]]]:
    """The JSON and the files of a request in either form."""
    if not (request.content_type or "").startswith("multipart/"):
        return request.data, []
    form: Any = request.data
    refuse_unknown(form, {"message", "files"})
    message = form.get("message", "")
    body = message.read() if hasattr(message, "read") else message.encode("utf-8", "surrogatepass")
    files = serializers.ListField(child=serializers.FileField(max_length=255), max_length=10)
    given = files.run_validation(request.FILES.getlist("files"))
    return Json().parse(BytesIO(body), "application/json", {"request": request}), given


def _check(wanted: SendRequest) -> None:
    """Raises ValidationError, Refused."""
    if wanted.account.kind not in KINDS:
        raise Refused(str(NO_LONGER_SUPPORTED), "cannot_send")
    kind, channel = wanted.content.kind, build_channel(wanted.account)
    kinds = [name for name in channel.content_kinds if name not in get_args(MediaKind)]
    if kind == "text":
        if not without_invisible(wanted.content.text) and not wanted.files:
            raise ValidationError({"content": {"text": [_("Write something, or send a file.")]}})
    elif kind not in kinds:
        text = _("This account sends: %(kinds)s.") % {"kinds": ", ".join(["text", *kinds])}
        raise ValidationError({"content": {"kind": [text]}})
    elif wanted.files:
        raise ValidationError({"files": [_("Files go with text only.")]})
    if surplus := find_surplus_fields(channel, wanted.content):
        raise ValidationError({"content": {name: [why] for name, why in surplus.items()}})


def _digest(file: UploadedFile[Any]) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()
