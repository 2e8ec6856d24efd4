"""How a request is read: JSON in bounds, whatever its Accept header says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser

from bridge.api.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request


class Json(JSONParser):
    """JSON that is not too large and not nested too deeply."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        declared = int((parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0)
        if declared > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError from None


class AlwaysJson(DefaultContentNegotiation):
    """There is one format, so nobody is refused for asking for another."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type
