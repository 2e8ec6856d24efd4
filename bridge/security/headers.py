"""The headers by which every page tells a browser what it may do.

Files of messages have a stricter policy of their own: `bridge.admin.conversations.attachments`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

# The theme's Alpine evaluates its attributes and sets styles; no page has an inline script.
ADMIN = {"script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:"]}
NOTHING_OF_THE_DEVICE = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb")
)


class SecurityHeaders(CSPMiddleware):
    """CONTENT_SECURITY_POLICY everywhere, loosened below /admin/; and Permissions-Policy, which Django does not know."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", NOTHING_OF_THE_DEVICE)
        answer: HttpResponseBase = super().process_response(request, response)
        return answer

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if parts.replace is None and request.path_info.startswith("/admin/"):
            parts.replace = ADMIN
        return parts
