"""The redirect to https. It is temporary, so that no browser keeps it, and spares a browser on this machine while no TLS proxy is set up.

Django's own redirect is for good and knows no such case; everything else of its SecurityMiddleware stays in use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpResponseRedirect

from bridge.security.proxies import DIRECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

# Probes ask from inside, past the proxy, by http.
PROBES = re.compile(r"^/(livez|readyz|metrics)$")


class Https:
    """The middleware. It runs after TrustedProxies, which notes whether a browser on this machine asked directly."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.is_secure() or not settings.HTTPS_REDIRECT or not settings.PUBLIC_URL.startswith("https://"):
            return self.get_response(request)
        if not request.META.get(DIRECT):
            if PROBES.match(request.path):
                return self.get_response(request)
            return HttpResponseRedirect(f"{settings.PUBLIC_URL}{request.get_full_path()}")
        answer = self.get_response(request)
        for morsel in answer.cookies.values():  # over plain http a browser would drop what is for https only
            morsel["secure"] = ""
        return answer
