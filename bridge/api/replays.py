"""`/replays/`: plan what failed, run the plan, watch it, and read what became of each delivery."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar

import django_filters
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from bridge.api.base import ApiView, client_of, may_read, user_of
from bridge.api.errors import Conflict, Refused
from bridge.api.fields import Filters, MaskedContent, StrictSerializer
from bridge.api.messages import KEY
from bridge.api.pages import Pages
from bridge.api.sending import idempotency_key_of
from bridge.models import Outlook, Reason, ReplayItem, ReplayKind, ReplayResult, ReplayRun, ReplayState, Route, Target
from bridge.models.replays import MAX_RATE
from bridge.operations.obstacles import Obstacle
from bridge.operations.replays import changes, control, plan
from bridge.operations.replays.filters import CHOICES, NUMBERS, ReplayFilter, WrongFilter
from bridge.security.permissions import may_write
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

VERBS = ("run", "pause", "resume", "cancel", "undo", "look_again")
CHANGES = {ReplayKind.ASK: changes.OF_QUESTIONS, ReplayKind.AGAIN: changes.OF_ANSWERS}


class GroupSerializer(serializers.Serializer[Any]):
    """Deliveries of which the same would become."""

    planned = serializers.ChoiceField(Outlook.choices)
    detail = serializers.CharField(help_text="Why they cannot be replayed, as a code; else empty.")
    count = serializers.IntegerField()
    oldest = serializers.DateTimeField()
    newest = serializers.DateTimeField()
    example = serializers.IntegerField(help_text="The number of a delivery.")


class ReplayRunSerializer(MaskedContent, serializers.ModelSerializer[ReplayRun]):
    """A plan and its run. `filter` and `changes` are null without the right to read messages."""

    content: ClassVar[tuple[str, ...]] = ("filter", "changes")
    filter = serializers.DictField(allow_null=True)
    changes = serializers.DictField(allow_null=True)
    kind = serializers.ChoiceField(ReplayKind.choices)
    state = serializers.ChoiceField(ReplayState.choices)
    groups = GroupSerializer(many=True)
    results = serializers.SerializerMethodField(help_text="Result → how many of the chosen ones have it.")
    done = serializers.IntegerField(help_text="How many of the chosen ones have left or were refused.")

    class Meta:
        model = ReplayRun
        fields = (
            "id", "name", "kind", "state", "filter", "from_at", "until_at", "rate", "changes", "groups", "results", "total", "chosen",
            "done", "failed_steps", "created_at", "started_at", "finished_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_results(self, run: ReplayRun) -> dict[str, int]:
        counts: dict[str, int] = run.results
        return counts


class ReplayItemSerializer(serializers.ModelSerializer[ReplayItem]):
    """One delivery of a replay. Its number stays when the delivery is deleted."""

    delivery = serializers.IntegerField(source="delivery_id")
    planned = serializers.ChoiceField(Outlook.choices)
    result = serializers.ChoiceField([("", _("not queued yet")), *ReplayResult.choices])

    class Meta:
        model = ReplayItem
        fields = ("delivery", "planned", "chosen", "result", "detail")
        read_only_fields = fields


class WantedSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Which failures: failed or uncertain ones that nobody has dismissed, narrowed by what is given. `text` needs the right to read."""

    state = serializers.ChoiceField(CHOICES["state"], required=False)
    reason = serializers.ChoiceField(Reason.choices, required=False)
    code = serializers.CharField(max_length=64, required=False, help_text="An error code like 81013.")
    direction = serializers.ChoiceField(Target.choices, required=False, help_text="Where they were to go.")
    text = serializers.CharField(max_length=200, required=False, help_text="A part of the text.")

    def get_fields(self) -> dict[str, Any]:
        """Add the numbers of rows, and the range: `from` is a word of Python's own."""
        numbers = {name: serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False) for name in NUMBERS}
        moments = {
            name: serializers.DateTimeField(required=False, help_text=f"Failed {word} this moment.")
            for name, word in (("from", "at or after"), ("to", "before"))
        }
        return {**numbers, **super().get_fields(), **moments}


class ChangesSerializer(StrictSerializer, serializers.Serializer[Any]):
    """Changes before the run: `route`, `gateway` and `agent` where it asks again; `text` or `before` where it sends again.

    The two texts need the rights to read messages and to send some.
    """

    route = serializers.PrimaryKeyRelatedField(queryset=Route.objects.all(), required=False)
    gateway = serializers.PrimaryKeyRelatedField(queryset=Gateway.objects.all(), required=False)
    agent = serializers.CharField(max_length=64, required=False)
    text = serializers.CharField(max_length=100_000, required=False, help_text="In place of each text.")
    before = serializers.CharField(max_length=2000, required=False, help_text="A sentence before each text.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {name: getattr(value, "pk", value) for name, value in attrs.items()}


class PlanSerializer(StrictSerializer, serializers.Serializer[Any]):
    """A plan to make. Its range is fixed with it: what fails later does not come in."""

    kind = serializers.ChoiceField(ReplayKind.choices)
    name = serializers.CharField(max_length=100, required=False, default="")
    filter = WantedSerializer(required=False)
    rate = serializers.IntegerField(min_value=1, max_value=MAX_RATE, default=10, help_text="Deliveries a second.")
    changes = ChangesSerializer(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        allowed = CHANGES[attrs["kind"]]
        if wrong := [name for name in attrs.get("changes", ()) if name not in allowed]:
            text = _("This kind of replay does not change that.")
            raise ValidationError({"changes": {name: [text] for name in wrong}})
        route, account = attrs.get("changes", {}).get("route"), attrs.get("filter", {}).get("account")
        if route and changes.is_of_other_account(route, account):
            raise ValidationError({"changes": {"route": [Obstacle.OTHER_ACCOUNT.label]}})
        return attrs


class RunSerializer(StrictSerializer, serializers.Serializer[Any]):
    """What goes. Without `outlooks` it is what the plan has chosen."""

    outlooks = serializers.ListField(
        child=serializers.ChoiceField(Outlook.choices),
        required=False,
        help_text="The groups that go. `unknown` needs `possibly_twice`.",
    )
    deliveries = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        max_length=10_000,
        help_text="Single ones that go beside the groups; those with an unknown outcome need `possibly_twice`.",
    )
    possibly_twice = serializers.BooleanField(
        default=False,
        help_text="Confirms that what has an unknown outcome may arrive twice. Needed where any of it is chosen.",
    )
    rate = serializers.IntegerField(min_value=1, max_value=MAX_RATE, required=False, help_text="Deliveries a second.")
    name = serializers.CharField(max_length=100, required=False)


class ReplayRunFilters(Filters):
    state = django_filters.ChoiceFilter(choices=ReplayState.choices)
    kind = django_filters.ChoiceFilter(choices=ReplayKind.choices)


class ItemPages(Pages):
    """Items stand in the order of their deliveries."""

    ordering = "delivery_id"


class Replays(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = ReplayRun.objects.all()
    serializer_class = ReplayRunSerializer
    filterset_class = ReplayRunFilters
    required_permissions = {
        **dict.fromkeys(("list", "retrieve", "items"), "bridge.view_delivery"),
        **dict.fromkeys(("create", *VERBS), "bridge.replay_delivery"),
    }
    parameters = {"items": ("cursor", "page_size", "planned", "result")}
    extra_statuses = {"create": (409, 422), "items": (400,), **dict.fromkeys(VERBS, (409, 422))}
    without_body = ("pause", "resume", "cancel", "undo", "look_again")

    @extend_schema(
        parameters=[KEY], request=PlanSerializer, responses={200: ReplayRunSerializer, 201: ReplayRunSerializer}
    )
    def create(self, request: Request) -> Response:
        """Make a plan; nothing is sent. 201 when it is new, 200 with the same plan when this key was used for the same before."""
        key = idempotency_key_of(request)
        serializer = PlanSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        run, new = _plan_once(request, serializer.validated_data, key)
        return Response(self.get_serializer(run).data, status=201 if new else 200)

    @extend_schema(
        parameters=[
            OpenApiParameter("planned", OpenApiTypes.STR, enum=Outlook.values),
            OpenApiParameter("result", OpenApiTypes.STR, enum=ReplayResult.values),
        ],
        responses=ReplayItemSerializer(many=True),
    )
    @action(detail=True, pagination_class=ItemPages, filter_backends=[])
    def items(self, request: Request, pk: str) -> Response:
        """List the deliveries of a replay, with what the plan said and what became of each."""
        rows = ReplayItem.objects.filter(run=self.get_object())
        for name, known in (("planned", Outlook.values), ("result", ReplayResult.values)):
            value = request.query_params.get(name)
            if value is not None and value not in known:
                raise ValidationError({name: [_("Choose one of: %(names)s.") % {"names": ", ".join(known)}]})
            rows = rows.filter(**{name: value}) if value else rows
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(ReplayItemSerializer(page, many=True).data)

    @extend_schema(request=RunSerializer, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"])
    def run(self, request: Request, pk: str) -> Response:
        """Run a plan: the chosen deliveries are queued, `rate` a second, each once."""
        serializer = RunSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = {**serializer.validated_data}
        twice = given.pop("possibly_twice")
        return self._do(lambda run: control.start(run, user_of(request), twice=twice, **given))

    @extend_schema(request=None, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Queue nothing more until it is resumed; what is queued goes on."""
        return self._do(control.pause)

    @extend_schema(request=None, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on where it was paused."""
        return self._do(control.resume)

    @extend_schema(request=None, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Queue nothing more, for ever; what is queued goes on."""
        return self._do(control.cancel)

    @extend_schema(request=None, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Cancel it, and make what no attempt was made of what it was before."""
        return self._do(control.undo)

    @extend_schema(request=None, responses=ReplayRunSerializer)
    @action(detail=True, methods=["post"], url_path="look-again")
    def look_again(self, request: Request, pk: str) -> Response:
        """Judge the deliveries of a plan anew, because a mapping or a reply window is another now."""
        return self._do(control.look_again)

    def _do(self, act: Callable[[ReplayRun], Any]) -> Response:
        """Raises Conflict where it is in another state, ValidationError without a confirmation, Refused where nothing can be done."""
        run = self.get_object()
        try:
            act(run)
        except control.CannotControl as refused:
            if refused.code == "twice":
                raise ValidationError({"possibly_twice": [str(refused)]}) from refused
            error = Conflict if refused.code == "state" else Refused
            raise error(str(refused), f"cannot_replay_{refused.code}") from refused
        run.refresh_from_db()
        return Response(self.get_serializer(run).data)


@transaction.atomic
def _plan_once(request: Request, given: dict[str, Any], key: str) -> tuple[ReplayRun, bool]:
    """Return the plan, and whether it is new. Raises ValidationError, PermissionDenied, Refused, and Conflict for a key of another plan."""
    client = client_of(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 12))", [f"{client}/{key}"])
    fingerprint = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
    if stored := ReplayRun.objects.filter(client=client, key=key).first():
        if stored.request_hash != fingerprint:
            raise Conflict(_("This Idempotency-Key was used for another replay."), "idempotency_key_reused")
        return stored, False
    if changes.change_texts(given.get("changes", {})) and not may_write(user_of(request)):
        raise PermissionDenied
    once: dict[str, Any] = {"client": client, "key": key, "request_hash": fingerprint}
    more: dict[str, Any] = {"name": given["name"], "rate": given["rate"], "changes": given.get("changes", {})}
    try:
        return plan.make_plan(given["kind"], _read_filter(request, given), by=user_of(request), **more, **once), True
    except plan.CannotPlan as refused:
        raise Refused(str(refused), f"cannot_plan_{refused.code}") from refused


def _read_filter(request: Request, given: dict[str, Any]) -> ReplayFilter:
    """Search in texts only for users who may read them, because a search would reveal their content."""
    wanted = given.get("filter", {})
    if "text" in wanted and not may_read(request):
        raise PermissionDenied
    try:
        return ReplayFilter.parse(wanted)
    except WrongFilter as wrong:
        raise ValidationError({"filter": {wrong.name: [_("This is not understood.")]}}) from wrong
