"""`/conversations/`: one group or person at one account, who answers there, and a new start for the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.models import ChannelAccount
from bridge.api.base import ApiView, client_of, user_of
from bridge.api.errors import Refused
from bridge.api.fields import (
    Filters,
    IdFilter,
    MomentFilter,
    PeerColumns,
    PersonFilter,
    SearchFilter,
    StrictSerializer,
    TrueFalseFilter,
)
from bridge.models import Conversation, ConversationEntry
from bridge.models.routes import PeerKinds
from bridge.operations import handing_back, moving
from bridge.operations.handing_back import Ask
from bridge.people import entries
from bridge.people.entries import LONGEST_NOTE
from bridge.pipeline.agent import takeover
from bridge.pipeline.outbound import outbox
from bridge.security import audit
from bridge.security.permissions import READ_CONTENT
from bridge.ui import search as finders
from channels_wechat.contract.pasted import clean_title

if TYPE_CHECKING:
    from rest_framework.request import Request


# So many notes are told.
MOST_NOTES = 200


class ConversationSerializer(StrictSerializer, serializers.ModelSerializer[Conversation]):
    """One group or person at one account."""

    peer = PeerColumns(source="*", read_only=True)
    assignee = serializers.SlugRelatedField(  # type: ignore[var-annotated]
        slug_field="username", read_only=True, allow_null=True, help_text="The colleague who answers."
    )
    unanswered = serializers.IntegerField(
        source="waiting_count", read_only=True, help_text="Questions that no agent was asked and nobody has answered."
    )
    session = serializers.IntegerField(source="session_epoch", read_only=True, help_text="Grows with each new session.")

    def validate_title(self, title: str) -> str:
        return clean_title(title)

    class Meta:
        model = Conversation
        fields = (
            "id", "account", "peer", "title", "mode", "assignee", "servicer", "waiting_since", "unanswered",
            "session", "moved_to", "moved_at", "last_inbound_at", "created_at",
        )  # fmt: skip
        read_only_fields = (
            "account",
            "servicer",
            "waiting_since",
            "moved_to",
            "moved_at",
            "last_inbound_at",
            "created_at",
        )


class MoveSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Where a conversation goes on, and what is to go along."""

    account = serializers.PrimaryKeyRelatedField(queryset=ChannelAccount.objects.all())
    peer_id = serializers.CharField(
        max_length=moving.MOST_ID,
        help_text="Of the group or person at that account; the kind is that of the conversation.",
    )
    replaces_mapping = serializers.BooleanField(
        default=False, help_text="Whether a mapping of that group's or person's own may be deleted."
    )
    allowed_senders = serializers.CharField(
        default="",
        allow_blank=True,
        help_text="Who may talk to the agent there, one id a line, where the mapping names people.",
    )
    everybody = serializers.BooleanField(
        default=False,
        help_text="Where the mapping names people and no new ids are given: everybody may talk to the agent there.",
    )
    farewell = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=2000,
        help_text="Said in the old conversation; it needs the right to send messages.",
    )


class MovedSerializer(serializers.Serializer[Any]):
    """Where it goes on, and sentences about what was not carried over."""

    conversation = ConversationSerializer(source="target")
    notes = serializers.ListField(child=serializers.CharField())


class AssignSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Who answers."""

    assignee = serializers.SlugRelatedField(
        slug_field="username",
        queryset=User.objects.filter(is_active=True, is_staff=True),
        allow_null=True,
        help_text="The name of a colleague who can open the admin; null: whoever takes it over next.",
    )


class HandBackSerializer(StrictSerializer, serializers.Serializer[Any]):
    """What the agent is asked of what nobody has answered."""

    ask = serializers.ChoiceField(
        choices=[(ask.value, ask.value) for ask in Ask],
        default=Ask.NONE.value,
        help_text="none, the last one, or all in their order; last and all need the right to replay.",
    )


class HandedBackSerializer(serializers.Serializer[Any]):
    """The conversation, and how many questions the agent is asked now."""

    conversation = ConversationSerializer()
    asked = serializers.IntegerField()
    left_out = serializers.IntegerField(
        help_text=f"Older questions that it is not asked: {handing_back.MOST_ASKED} at most, the newest."
    )


class NoteSerializer(StrictSerializer, serializers.ModelSerializer[ConversationEntry]):
    """A note among staff, or what became of the conversation. It is never sent."""

    by = serializers.CharField(source="by_name", read_only=True, help_text="The colleague; empty where none did it.")
    text = serializers.CharField(max_length=LONGEST_NOTE)

    class Meta:
        model = ConversationEntry
        fields = ("id", "kind", "by", "text", "created_at")
        read_only_fields = ("kind", "created_at")


class ConversationFilters(Filters):
    account = IdFilter(field_name="account_id")
    peer_kind = django_filters.ChoiceFilter(choices=PeerKinds.choices)
    peer_id = PersonFilter(field_name="peer_id")
    mode = django_filters.ChoiceFilter(choices=Conversation.Mode.choices)
    assignee = django_filters.CharFilter(field_name="assignee__username")
    waiting = TrueFalseFilter(field_name="waiting_since", lookup_expr="isnull", exclude=True)
    last_inbound_after = MomentFilter(field_name="last_inbound_at", lookup_expr="gte")
    last_inbound_before = MomentFilter(field_name="last_inbound_at", lookup_expr="lt")
    search = SearchFilter(
        finders.conversations, "title, person, or number, platform id or error code of a message in it"
    )


class Conversations(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, ApiView):
    queryset = Conversation.objects.select_related("assignee")
    serializer_class = ConversationSerializer
    filterset_class = ConversationFilters
    http_method_names = ["get", "post", "patch"]
    required_permissions = {
        "list": "bridge.view_conversation",
        "retrieve": "bridge.view_conversation",
        "partial_update": "bridge.change_conversation",
        "new_session": "bridge.pause_conversation",
        "move": "bridge.change_route",
        "take_over": "bridge.pause_conversation",
        "assign": "bridge.pause_conversation",
        "hand_back": "bridge.pause_conversation",
        "notes": "bridge.read_content",
        "add_note": "bridge.pause_conversation",
    }
    extra_statuses = {"move": (422,), "take_over": (422,), "hand_back": (422,), "partial_update": (422,)}
    without_body = ("new_session", "take_over")

    def perform_update(self, serializer: serializers.BaseSerializer[Conversation]) -> None:
        """Write only the fields that were sent; changing who answers needs its own permission."""
        given = serializer.validated_data
        if "mode" in given and not user_of(self.request).has_perm("bridge.pause_conversation"):
            raise PermissionDenied
        conversation = serializer.instance
        if conversation is None:
            return
        with transaction.atomic():
            if (mode := given.pop("mode", conversation.mode)) != conversation.mode:
                self._change_mode(conversation, mode)
                conversation.refresh_from_db()
            for name, value in given.items():
                setattr(conversation, name, value)
            if given:
                conversation.save(update_fields=list(given))

    def _change_mode(self, conversation: Conversation, mode: str) -> None:
        user = user_of(self.request)
        if mode == Conversation.Mode.HUMAN:
            takeover.assign(conversation, None, user)
        elif mode == Conversation.Mode.PAUSED:
            takeover.pause(conversation, user)
        else:
            _hand_back(conversation, user, Ask.NONE)

    @extend_schema(request=None, responses=ConversationSerializer)
    @action(detail=True, methods=["post"], url_path="take-over")
    def take_over(self, request: Request, pk: str) -> Response:
        """Answer the conversation yourself. Refused where a colleague answers it; the agent is asked no more."""
        try:
            takeover.take_over(conversation := self.get_object(), user_of(request))
        except takeover.TakenAlready as taken:
            text = _("%(name)s has taken it over already.") % {"name": taken.name}
            raise Refused(text, "taken_already") from taken
        return self._answer(conversation)

    @extend_schema(request=AssignSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, pk: str) -> Response:
        """Let a colleague answer, or whoever takes it over next; the agent is asked no more."""
        given = AssignSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        takeover.assign(conversation := self.get_object(), given.validated_data["assignee"], user_of(request))
        return self._answer(conversation)

    @extend_schema(request=HandBackSerializer, responses=HandedBackSerializer)
    @action(detail=True, methods=["post"], url_path="hand-back")
    def hand_back(self, request: Request, pk: str) -> Response:
        """Let the agent answer again, and ask it what was asked meanwhile."""
        given = HandBackSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        ask = Ask(given.validated_data["ask"])
        if ask != Ask.NONE and not user_of(request).has_perm("bridge.replay_delivery"):
            raise PermissionDenied
        done = _hand_back(conversation := self.get_object(), user_of(request), ask)
        conversation.refresh_from_db()
        context = self.get_serializer_context()
        answer = {"conversation": conversation, "asked": done.asked, "left_out": done.left_out}
        return Response(HandedBackSerializer(answer, context=context).data)

    @extend_schema(responses=NoteSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def notes(self, request: Request, pk: str) -> Response:
        """The newest 200 notes among staff, and what became of the conversation, the newest first."""
        rows = ConversationEntry.objects.filter(conversation=self.get_object()).order_by("-created_at", "-id")
        return Response(NoteSerializer(rows[:MOST_NOTES], many=True).data)

    @extend_schema(request=NoteSerializer, responses={201: NoteSerializer})
    @notes.mapping.post
    def add_note(self, request: Request, pk: str) -> Response:
        """Write a note among staff. It needs the right to read messages too."""
        if not user_of(request).has_perm(READ_CONTENT):
            raise PermissionDenied
        given = NoteSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        conversation = self.get_object()
        with transaction.atomic():
            kind, text = entries.Kind.NOTE, given.validated_data["text"]
            written = entries.add_entry(conversation, kind, user_of(request), text)
            audit.log_action(gettext_noop("wrote a note"), [conversation])
        return Response(NoteSerializer(written).data, status=201)

    def _answer(self, conversation: Conversation) -> Response:
        conversation.refresh_from_db()
        return Response(self.get_serializer(conversation).data)

    @extend_schema(request=None, responses=ConversationSerializer)
    @action(detail=True, methods=["post"], url_path="new-session")
    def new_session(self, request: Request, pk: str) -> Response:
        """From the next message on the agent remembers nothing of this conversation."""
        conversation = self.get_object()
        outbox.start_new_session(conversation, user_of(request))
        audit.log_action(gettext_noop("began a new session"), [conversation])
        conversation.refresh_from_db(fields=["session_epoch"])
        return Response(self.get_serializer(conversation).data)

    @extend_schema(request=MoveSerializer, responses=MovedSerializer)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, pk: str) -> Response:
        """Let the conversation go on at another account: with its mapping, title and fallback senders.

        It needs the rights to change mappings and conversations, and to pause conversations. The old conversation is paused; what waits
        in it goes where it was meant to. The agent begins anew. Moving the new conversation back undoes it.
        """
        needed = ["bridge.change_conversation", "bridge.pause_conversation"]
        given = MoveSerializer(data=request.data, context=self.get_serializer_context())
        given.is_valid(raise_exception=True)
        farewell = given.validated_data.pop("farewell")
        if not user_of(request).has_perms([*needed, *(["bridge.send_message"] if farewell else [])]):
            raise PermissionDenied
        to = moving.Destination(**given.validated_data)
        try:
            moved = moving.move_conversation(self.get_object(), to, farewell=farewell, client=client_of(request))
        except moving.CannotMove as refused:
            raise Refused(str(refused), f"move_{refused.field}" if refused.field else "cannot_move") from refused
        return Response(MovedSerializer(moved, context=self.get_serializer_context()).data)


def _hand_back(conversation: Conversation, user: User, ask: Ask) -> handing_back.HandedBack:
    """Raises Refused where a servicer answers in the platform's own client."""
    try:
        return handing_back.hand_back(conversation, user, ask)
    except takeover.AnsweredElsewhere as elsewhere:
        text = _("A servicer answers it in the platform's own client: take it back from them first.")
        raise Refused(text, "answered_elsewhere") from elsewhere
