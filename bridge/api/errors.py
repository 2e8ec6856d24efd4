"""Every refusal has one shape: `{"code", "message", "details"}`. details: name of a field → sentences, else empty."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError
from django.db.models import ProtectedError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.views import defaults
from rest_framework import exceptions, serializers, status
from rest_framework.response import Response

from accounts.fields import Undecryptable
from bridge.runtime.db.outage import DB_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http.response import HttpResponseBase
    from django.utils.functional import _StrOrPromise

PREFIX = "/api/"


class MalformedRequest(exceptions.ParseError):
    """Something beside the body is missing or cannot be read."""


class Conflict(exceptions.APIException):
    """The request is fine, but what is stored stands against it."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = _("The request is larger than this endpoint takes.")


class Refused(exceptions.APIException):
    """Well-formed, but the platform, the gateway or the bridge will not do it; the words say why."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "refused"


class ErrorSerializer(serializers.Serializer[Any]):
    """The answer to a request that was refused."""

    code = serializers.CharField(help_text="A word for programs; it stays the same between releases.")
    message = serializers.CharField(help_text="What is wrong and what to do, for people.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Name of a field or parameter (dotted where nested) → what is wrong with it; else empty.",
    )


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Handle DRF's exceptions. Other exceptions stay errors of the server, which `server_error` below answers."""
    refusal = _as_refusal(error)
    if refusal is None:
        return None
    headers = {}
    if challenge := getattr(refusal, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(refusal, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    return Response(build_body(refusal), status=refusal.status_code, headers=headers)


def build_body(refusal: exceptions.APIException) -> dict[str, Any]:
    if isinstance(refusal, exceptions.ValidationError):
        details = _merge(_flatten(refusal.detail))
        return {"code": "invalid", "message": _("Some values cannot be used: see details."), "details": details}
    code: Any = refusal.get_codes()
    return {"code": str(code), "message": str(refusal.detail), "details": {}}


def _as_refusal(error: Exception) -> exceptions.APIException | None:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, DjangoValidationError):
        return exceptions.ValidationError(serializers.as_serializer_error(error))
    if isinstance(error, ProtectedError):
        return Conflict(_("It is in use: disable it instead of deleting it."), "in_use")
    if isinstance(error, RequestDataTooBig):
        return TooLarge()
    if isinstance(error, SuspiciousOperation):
        return exceptions.ParseError()
    if isinstance(error, IntegrityError):
        return Conflict(_("Somebody stored or removed what this depends on at the same moment. Try again."))
    return None


def _flatten(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of a dotted name and a sentence."""
    if isinstance(detail, dict):
        for name, below in detail.items():
            own = str(name) if name not in ("non_field_errors", "__all__") else ""
            yield from _flatten(below, ".".join(filter(None, (path, own))))
    elif isinstance(detail, list):
        for below in detail:
            yield from _flatten(below, path)
    else:
        yield path or "non_field_errors", str(detail)


def _merge(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, sentence in pairs:
        found.setdefault(name, []).append(sentence)
    return found


def not_found(request: HttpRequest, *_args: Any, **_kwargs: Any) -> JsonResponse:
    """For every path under /api/ that is none of ours."""
    return _plain(HTTPStatus.NOT_FOUND, "not_found", _("There is nothing at this path. Paths end with a slash."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer requests that Django refuses before a view is called (handler400)."""
    if request.path.startswith(PREFIX):
        return _plain(HTTPStatus.BAD_REQUEST, "bad_request", _("The request cannot be read."))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Django's handler500; the cause is in the log. 503 where the database is away: nothing is wrong with the request."""
    error = sys.exc_info()[1]
    if isinstance(error, DB_UNAVAILABLE):
        return _database_away(request)
    if isinstance(error, Undecryptable):
        return _unreadable(request)
    if request.path.startswith(PREFIX):
        text = _("Internal error. The log has the details.")
        return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", text)
    return defaults.server_error(request)


def _database_away(request: HttpRequest) -> HttpResponseBase:
    answer: Any
    if request.path.startswith(PREFIX):
        text = _("The database does not answer now. Try again in a moment.")
        answer = _plain(HTTPStatus.SERVICE_UNAVAILABLE, "database_away", text)
    else:
        html = render_to_string("503.html")
        answer = HttpResponse(html, status=HTTPStatus.SERVICE_UNAVAILABLE)
    answer["Retry-After"] = "5"
    return answer  # type: ignore[no-any-return]


def _unreadable(request: HttpRequest) -> HttpResponseBase:
    if not request.path.startswith(PREFIX):
        html = render_to_string("unreadable.html")
        return HttpResponse(html, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    text = _(
        "No key of FIELD_KEYS opens what is stored. Was a key removed? Put it back at the end of FIELD_KEYS and restart."
    )
    return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "secrets_unreadable", text)


def _plain(status: HTTPStatus, code: str, message: _StrOrPromise) -> JsonResponse:
    answer: HttpResponse = JsonResponse({"code": code, "message": message, "details": {}}, status=status)
    return answer  # type: ignore[return-value]
