"""Allows large bodies only from clients that are logged in, to pages that exist; checked before the body is read, to protect the disk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie
from django.urls import Resolver404, resolve
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_LENGTH = 68  # "wxb_" and 64 digits


def may_upload(headers: Mapping[str, str], path: str) -> bool:
    """Whether this request may upload. headers: by name in small letters. It asks the database and changes nothing."""
    return _exists(path) and (_has_session(headers.get("cookie", "")) or _has_token(headers.get("authorization", "")))


def _exists(path: str) -> bool:
    """Whether a page has this path. A pattern that catches what nothing else matches has no name, so it does not count."""
    try:
        return bool(resolve(path).url_name)
    except Resolver404:
        return False


def _has_session(cookies: str) -> bool:
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return False
    request: Any = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return bool(get_user(request).is_authenticated)


def _has_token(authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    if scheme != "Bearer" or len(token) != TOKEN_LENGTH:
        return False
    try:
        TokenAuthentication().authenticate_credentials(token.encode())
    except AuthenticationFailed:
        return False
    return True
