"""The base of every endpoint: permissions, rate limits, and the user under whose name a change is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.viewsets import GenericViewSet

from bridge.api import throttle
from bridge.api.errors import TooLarge
from bridge.api.pages import Filtering, Pages, refuse_unknown
from bridge.api.reading import AlwaysJson, Json
from bridge.security import permissions
from bridge.security.audit import set_actor

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request
    from rest_framework.views import APIView


class ActionPermission(BasePermission):
    """Requires the Django permission that the endpoint's `required_permissions` names for this action; without an entry it is refused."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            return False
        action = getattr(view, "action", None)
        if action in (None, "metadata"):  # no such method here: 405 follows
            return True
        permission = view.required_permissions.get(action)  # type: ignore[attr-defined]
        return bool(permission and request.user.has_perm(permission))


class ApiView(GenericViewSet[Any]):
    """Base of every view here.

    required_permissions: action → the permission it takes.
    extra_statuses: action → the statuses it can answer beside the usual ones.
    parameters: action → the parameters that it takes in the address; lists have those of their filters.
    without_body: actions that take no body. A body is refused there, because it would be ignored silently.
    """

    required_permissions: ClassVar[dict[str, str]] = {}
    parameters: ClassVar[dict[str, tuple[str, ...]]] = {}
    without_body: ClassVar[tuple[str, ...]] = ()
    extra_statuses: ClassVar[dict[str, tuple[int, ...]]] = {}
    parser_classes = [Json]
    content_negotiation_class = AlwaysJson
    filter_backends = [Filtering]
    pagination_class = Pages
    permission_classes = [ActionPermission]
    lookup_value_regex = "[0-9]{1,18}"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body that is too large before anything reads it; no server passes on a body without a length."""
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if not declared.isdecimal() or int(declared) > self.max_body_bytes(request):
            raise TooLarge
        super().initial(request, *args, **kwargs)
        if getattr(self, "action", None) != "list":
            refuse_unknown(request.query_params, set(self.parameters.get(getattr(self, "action", None) or "", ())))
        without_body = getattr(self, "action", None) in self.without_body
        if without_body and (request.content_type or "").startswith("application/json") and (given := request.data):
            refuse_unknown(given if isinstance(given, dict) else {"non_field_errors"}, set())

    def max_body_bytes(self, request: Request) -> int:
        """Bytes that the body may have."""
        return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)

    def perform_authentication(self, request: Request) -> None:
        """Counts before anything else is done, and names the actor to the audit log: DRF knows it only now."""
        try:
            known = request.user.is_authenticated
        except APIException:
            throttle.count_unauthenticated(request)
            raise
        if not known:
            throttle.count_unauthenticated(request)
            return
        throttle.count(request)
        set_actor(user_of(request))


def user_of(request: Request) -> User:
    """Return the user who made an authenticated request."""
    return request.user  # type: ignore[return-value]


def may_read(request: Request) -> bool:
    """Whether the user may see texts, files, payloads and answers; if not, they are null."""
    return permissions.may_read(user_of(request))


def client_of(request: Request) -> str:
    """Return the space of a request's idempotency keys; all tokens of a user share one."""
    return f"user:{user_of(request).pk}"
