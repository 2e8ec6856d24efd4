"""In which language a browser is refused before Django reads its request. Platforms and scripts are refused in English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest, parse_cookie
from django.utils import translation

if TYPE_CHECKING:
    from bridge.runtime.web.http import Request

PAGES = "/admin"


def language_of(request: Request) -> str:
    """Return the language of the cookie that the switch sets, else the one that the browser asks for."""
    asked = HttpRequest()
    if request.path.startswith(PAGES):
        asked.COOKIES = parse_cookie(request.headers.get("cookie", ""))
        asked.META["HTTP_ACCEPT_LANGUAGE"] = request.headers.get("accept-language", "")
    return translation.get_language_from_request(asked)
