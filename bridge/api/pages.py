"""Lists: newest first, a page at a time by cursor, never counted; a parameter that is not known is refused, not passed over."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import QueryDict
    from rest_framework.request import Request
    from rest_framework.views import APIView

MAX_ID = 2**63 - 1


class Pages(CursorPagination):
    ordering = "-id"
    page_size, max_page_size, page_size_query_param = 50, 200, "page_size"

    def get_page_size(self, request: Request) -> int:
        """DRF would take the usual size in place of a wrong one."""
        text = request.query_params.get("page_size", str(self.page_size))
        if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= self.max_page_size):
            raise ValidationError({"page_size": [_("Enter a whole number from 1 to %d.") % self.max_page_size]})
        return int(text)

    def decode_cursor(self, request: Request) -> Any:
        """Check the cursor strictly, because DRF trusts its position, ignores unknown parts, and answers 404 to an unreadable one."""
        wrong = ValidationError({"cursor": [_("Invalid cursor: begin again without one.")]})
        try:
            cursor = super().decode_cursor(request)
        except NotFound as error:
            raise wrong from error
        if cursor is None:
            return None
        position: Any = cursor.position
        if position is not None and not (position.isascii() and position.isdigit() and int(position) <= MAX_ID):
            raise wrong
        if _encode_cursor(cursor) != request.query_params[self.cursor_query_param]:
            raise wrong
        return cursor

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        described: dict[str, Any] = super().get_paginated_response_schema(schema)
        described["required"] = ["next", "previous", "results"]
        return described


def _encode_cursor(cursor: Any) -> str:
    """As DRF writes it; never empty, for the first page has no cursor."""
    parts = {
        "o": str(cursor.offset) if cursor.offset else None,
        "r": "1" if cursor.reverse else None,
        "p": cursor.position,
    }
    given = {name: value for name, value in parts.items() if value is not None}
    return base64.b64encode(urlencode(given).encode("ascii")).decode() if given else " "


class Filtering(DjangoFilterBackend):
    """For lists; everything else takes no parameters at all (`ApiView.initial`)."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        if getattr(view, "action", None) != "list":
            return queryset
        filters = self.get_filterset_class(view, queryset)
        refuse_unknown(request.query_params, {"cursor", "page_size", *(filters.base_filters if filters else ())})
        refuse_repeated(request.query_params)
        found: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return found


def refuse_unknown(given: Any, known: set[str]) -> None:
    """Raises ValidationError: a misspelt name would otherwise change what is asked for."""
    unknown = sorted(set(given) - known)
    if unknown:
        allowed = ", ".join(sorted(known)) or _("none")
        raise ValidationError({name: [_("Unknown name. Allowed: %s.") % allowed] for name in unknown})


def refuse_repeated(given: QueryDict) -> None:
    """Raises ValidationError: of two values one would be passed over."""
    repeated = sorted(name for name, values in given.lists() if len(values) > 1)
    if repeated:
        raise ValidationError({name: [_("This is given more than once.")] for name in repeated})
