"""Authentication: a service user's token, or staff who are logged in to the admin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.authentication import SessionScheme as BaseSessionScheme
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox.auth import TokenAuthentication
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied

from bridge.ui import language

if TYPE_CHECKING:
    from rest_framework.request import Request

_TOKEN_FORMAT = re.compile(rb"wxb_[0-9a-f]{64}")


class Token(TokenAuthentication):  # type: ignore[misc]
    """Knox's, which looks up whatever it is given: bytes that cannot be a token never come to the database."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found: tuple[Any, Any] | None = super().authenticate(request)
        if found:
            language.activate_for(request._request, found[0])
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[Any, Any]:
        if not _TOKEN_FORMAT.fullmatch(token):
            raise AuthenticationFailed(_("Invalid token."))
        found: tuple[Any, Any] = super().authenticate_credentials(token)
        return found


class Session(SessionAuthentication):
    """For staff in the browser; a write needs the CSRF token in the header X-CSRFToken."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as refused:
            raise PermissionDenied(str(refused.detail), "csrf_failed") from refused


class SessionScheme(BaseSessionScheme):  # type: ignore[no-untyped-call]
    target_class = "bridge.api.auth.Session"


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    target_class, name = "bridge.api.auth.Token", "token"
