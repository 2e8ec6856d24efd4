"""`/accounts/`: the WeChat identities we speak as. Credentials go in and never come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from accounts.channels import build_channel
from accounts.forms import CONFIGURATION, SENTENCE_LENGTH, SENTENCE_PREFIX, AccountForm, account_form
from accounts.health import Health
from accounts.limits import all_limits, list_remaining
from accounts.models import ChannelAccount, ModerationScope
from accounts.person_ids import person_id
from bridge.api.base import ApiView
from bridge.api.connections import ConnectionSerializer
from bridge.api.errors import Conflict, Refused
from bridge.api.fields import Filters, IdFilter, MaskedReason, PeerSerializer, StrictSerializer, TrueFalseFilter
from bridge.models.routes import PeerKinds
from bridge.operations import sending
from bridge.operations.alerts import deleting
from bridge.people import peers
from bridge.security import audit
from channels_wechat import KINDS, can, channel_class
from channels_wechat.contract.capabilities import Callbacks, Templates
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.sentences import SENTENCES
from channels_wechat.unregistered import NO_LONGER_SUPPORTED

if TYPE_CHECKING:
    from rest_framework.request import Request


def _described(field: forms.Field) -> dict[str, Any]:
    kind = "integer" if isinstance(field, forms.IntegerField) else "string"
    return {"type": kind, "title": str(field.label), "description": str(field.help_text)}


CREDENTIALS = {
    "description": "The fields of the account's kind.",
    "anyOf": [
        {
            "type": "object",
            "title": str(channel_class(kind).label),
            "properties": {name: _described(field) for name, field in channel_class(kind).Credentials().fields.items()},
            "additionalProperties": False,
        }
        for kind in KINDS
    ],
}


@extend_schema_field(CREDENTIALS)
class CredentialsField(serializers.DictField):
    """Name → text or number. The kind's own form decides about them."""

    child = serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=10_000)


def _takes_callbacks(account: ChannelAccount) -> bool:
    """Whether the platform calls this account. Only of a kind with modes the credentials are read."""
    if not can(account.kind, Callbacks):
        return False
    modes = channel_class(account.kind).modes()
    return len(modes) == 1 or issubclass(channel_class(account.kind, account.credentials), Callbacks)


SENTENCES_SCHEMA = {
    "type": "object",
    "description": "What WeChat users read from the bridge itself where it is not the default of `language`; empty: the default.",
    "properties": {
        name: {
            "type": "string",
            "maxLength": SENTENCE_LENGTH,
            "title": str(sentence.label),
            "description": f"Default: {sentence.zh} / {sentence.en}",
        }
        for name, sentence in SENTENCES.items()
    },
    "additionalProperties": False,
}


@extend_schema_field(SENTENCES_SCHEMA)
class SentencesField(serializers.DictField):
    """Name of a sentence → text."""

    child = serializers.CharField(allow_blank=True, max_length=SENTENCE_LENGTH)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        texts: dict[str, str] = super().to_internal_value(data)
        if unknown := sorted(set(texts) - set(SENTENCES)):
            known = ", ".join(SENTENCES)
            raise ValidationError({name: [f"There is no such sentence. Known: {known}."] for name in unknown})
        return texts


class AccountSerializer(MaskedReason, StrictSerializer, serializers.ModelSerializer[ChannelAccount]):
    """A WeChat identity."""

    kind = serializers.ChoiceField([(kind, channel_class(kind).label) for kind in KINDS])
    api_base_url = serializers.CharField(required=False, allow_blank=True, max_length=200)
    credentials = CredentialsField(write_only=True, required=False)
    callback_url = serializers.SerializerMethodField(
        help_text="What is entered in the platform's console. Empty for a kind that the platform does not call."
    )
    only_peer = serializers.SerializerMethodField(help_text="The one peer of an account that can write to no other.")
    moderation_scope = serializers.ChoiceField(
        ModerationScope.choices,
        required=False,
        help_text="What is checked before it goes on, for kinds that have a content check.",
    )
    sentences = SentencesField(required=False)
    state = serializers.ChoiceField(Health.choices, read_only=True)
    connection = ConnectionSerializer(
        read_only=True,
        allow_null=True,
        help_text="Null for an account that needs none, or that no connector has seen yet.",
    )

    class Meta:
        model = ChannelAccount
        fields = (
            "id", "kind", "name", "external_id", "enabled", "retention_days", "moderation_scope", "gateway_share",
            "turns_per_minute", "staff_minutes", "language", "sentences",
            "api_base_url", "credentials", "callback_url", "only_peer",
            "state", "state_code", "state_reason", "state_since", "sending_stopped_at", "connection", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = (
            "external_id", "state_code", "state_reason", "state_since", "sending_stopped_at", "created_at", "updated_at",
        )  # fmt: skip
        extra_kwargs = {
            "sending_stopped_at": {
                "help_text": "Since when staff have nothing sent by it, while what comes is still received; null: it is sent."
            }
        }

    def get_callback_url(self, account: ChannelAccount) -> str:
        return f"{settings.PUBLIC_URL}/callbacks/{account.key}" if _takes_callbacks(account) else ""

    @extend_schema_field(PeerSerializer(allow_null=True))
    def get_only_peer(self, account: ChannelAccount) -> dict[str, str] | None:
        only = peers.only_peer(account)
        return {"kind": only.kind, "id": only.id} if only else None

    def to_representation(self, instance: ChannelAccount) -> dict[str, Any]:
        """A kind that is no longer there is still named."""
        return {**super().to_representation(instance), "kind": instance.kind}


class ChangeSerializer(AccountSerializer):
    kind = serializers.CharField(read_only=True)  # type: ignore[assignment]


class TemplateSerializer(serializers.Serializer[Any]):
    """A template for subscribe messages, sent as content of kind `subscribe`."""

    id = serializers.CharField(help_text="The `template_id` of what is sent.")
    title = serializers.CharField()
    content = serializers.CharField(help_text="Its lines; `{{name.DATA}}` stands for what is sent as `name`.")
    example = serializers.CharField()


class LimitSerializer(serializers.Serializer[Any]):
    """At most `count` calls in any `seconds`, for the account or for each peer of a kind."""

    name = serializers.CharField()
    description = serializers.CharField()
    scope = serializers.ChoiceField(["account", "direct", "group"])
    count = serializers.IntegerField()
    seconds = serializers.IntegerField()
    left = serializers.IntegerField(
        allow_null=True, help_text="Null: it counts for each peer and none was given, or the counters cannot be read."
    )


class LimitsSerializer(serializers.Serializer[Any]):
    """All limits that are kept before a call of this account."""

    limits = LimitSerializer(many=True)


class TemplatesSerializer(serializers.Serializer[Any]):
    """All templates of an account, as the platform has them now."""

    templates = TemplateSerializer(many=True)


class AccountFilters(Filters):
    enabled = TrueFalseFilter()
    kind = django_filters.ChoiceFilter(choices=[(kind, kind) for kind in KINDS])
    state = django_filters.ChoiceFilter(choices=Health.choices)
    id = IdFilter()


class Accounts(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    # Credentials are decrypted when they are read, which a list does only for the mode of a kind that has several.
    queryset = ChannelAccount.objects.select_related("connection")
    serializer_class = AccountSerializer
    filterset_class = AccountFilters
    required_permissions = {
        "list": "accounts.view_channelaccount",
        "retrieve": "accounts.view_channelaccount",
        "create": "accounts.add_channelaccount",
        "partial_update": "accounts.change_channelaccount",
        "destroy": "accounts.delete_channelaccount",
        "templates": "bridge.send_message",
        "limits": "accounts.view_channelaccount",
        "stop_sending": "accounts.change_channelaccount",
        "allow_sending": "accounts.change_channelaccount",
    }
    without_body = ("stop_sending", "allow_sending")
    parameters = {"limits": ("peer_kind", "peer_id")}
    extra_statuses = {
        "create": (409,),
        "partial_update": (409,),
        "destroy": (409,),
        "templates": (422,),
        "limits": (400,),
    }

    @extend_schema(responses={201: AccountSerializer})
    def create(self, request: Request) -> Response:
        """Add an account. The platform must then be given its callback address.

        Where `enabled` is left out it is true, but false for a kind whose platform may ban such accounts.
        """
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        account = _save_account(account_form(given.validated_data["kind"]), given.validated_data)
        return Response(self.get_serializer(account).data, status=201)

    @extend_schema(request=ChangeSerializer, responses=AccountSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what is given; credentials that are left out stay. A stopped account tries again."""
        account = self.get_object()
        given = ChangeSerializer(account, data=request.data, partial=True, context=self.get_serializer_context())
        given.is_valid(raise_exception=True)
        if account.kind not in KINDS:
            raise ValidationError({"kind": [str(NO_LONGER_SUPPORTED)]})
        account = _save_account(account_form(account.kind), given.validated_data, account)
        account.revive()
        return Response(self.get_serializer(account).data)

    def destroy(self, request: Request, pk: str) -> Response:
        """What was said is kept, so an account that spoke can only be disabled."""
        account = self.get_object()
        if account.messages.exists():
            raise Conflict("This account has messages: disable it instead of deleting it.", "in_use")
        if deleting.list_rules_limited_to([account]):
            raise Conflict(_("An alert rule is about this account only: change or delete the rule first."), "in_use")
        account.delete()
        return Response(status=204)

    @extend_schema(
        parameters=[
            OpenApiParameter("peer_kind", enum=PeerKinds.values, description="For the limits that each peer has."),
            OpenApiParameter("peer_id", description="The platform's id of that group or person."),
        ],
        responses=LimitsSerializer,
    )
    @action(detail=True, methods=["get"])
    def limits(self, request: Request, pk: str) -> Response:
        """The platform's limits for this account, and how many calls they still allow now."""
        account = self.get_object()
        kind, peer_id = request.query_params.get("peer_kind", ""), request.query_params.get("peer_id", "")
        if kind not in ("", *PeerKinds.values):
            raise ValidationError({"peer_kind": [f"It is one of {', '.join(PeerKinds.values)}."]})
        peer = person_id(account, kind, peer_id) if kind else ""
        found = list_remaining(all_limits(build_channel(account)), str(account.key), peer)
        rows = [
            {
                "name": limit.name,
                "description": limit.label,
                "scope": limit.scope,
                "count": limit.count,
                "seconds": limit.per,
            }
            | {"left": left if limit.scope in ("account", kind) else None}
            for limit, left in found
        ]
        return Response(LimitsSerializer({"limits": rows}).data)

    @extend_schema(responses=TemplatesSerializer)
    @action(detail=True, methods=["get"])
    def templates(self, request: Request, pk: str) -> Response:
        """The templates for subscribe messages, asked of the platform."""
        channel = build_channel(self.get_object())
        if not isinstance(channel, Templates):
            raise Refused(_("Accounts of this kind have no templates."), "no_templates")
        try:
            found = channel.templates()
        except ChannelError as error:
            raise Refused(str(error), "platform_refused") from error
        return Response(TemplatesSerializer({"templates": found}).data)

    @extend_schema(request=None, responses=AccountSerializer)
    @action(detail=True, methods=["post"], url_path="stop-sending")
    def stop_sending(self, request: Request, pk: str) -> Response:
        """Stop all sending of this account at once. What comes is still received; what is to be sent waits.

        A message whose request has left already is not taken back.
        """
        account = self.get_object()
        if sending.stop_sending(account):
            audit.log_action(gettext_noop("All sending is stopped."), [account])
        return Response(self.get_serializer(account).data)

    @extend_schema(request=None, responses=AccountSerializer)
    @action(detail=True, methods=["post"], url_path="allow-sending")
    def allow_sending(self, request: Request, pk: str) -> Response:
        """Allow sending again: what waits goes in its order, except what is too old by now."""
        account = self.get_object()
        if sending.allow_sending(account):
            audit.log_action(gettext_noop("Sending is allowed again."), [account])
        return Response(self.get_serializer(account).data)


def _save_account(form_class: type[AccountForm], given: dict[str, Any], account: ChannelAccount | None = None) -> Any:
    """The account as its form, the same as the admin's, has checked and filled it. Raises ValidationError by field."""
    row = account or ChannelAccount(enabled=not channel_class(form_class.kind).is_risky)
    names = form_class.credential_names
    wanted = given.get("credentials", {})
    if unknown := sorted(set(wanted) - set(names)):
        raise ValidationError({"credentials": {name: ["This kind has no such field."] for name in unknown}})
    stored = {name: value for name, value in row.credentials.items() if name not in form_class(instance=row).secrets}
    own = {name: given.get(name, getattr(row, name)) for name in form_class.Meta.fields}
    texts = {f"{SENTENCE_PREFIX}{name}": text for name, text in {**row.sentences, **given.get("sentences", {})}.items()}
    form = form_class({**own, **stored, **wanted, **texts}, instance=row)
    if not form.is_valid():
        wrong = {name: [str(each) for each in found] for name, found in form.errors.items()}
        raise ValidationError({_field_name(name, names): errors for name, errors in wrong.items()})
    if account is None:
        return form.save()
    changed = form.save(commit=False)
    changed.save(update_fields=CONFIGURATION)
    return changed


def _field_name(name: str, credentials: tuple[str, ...]) -> str:
    """The API's name for a field of the form."""
    if name.startswith(SENTENCE_PREFIX):
        return f"sentences.{name.removeprefix(SENTENCE_PREFIX)}"
    return f"credentials.{name}" if name in credentials else name
