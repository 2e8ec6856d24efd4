"""Which language a page or an answer is in: what staff chose, else what the browser or the script asks for, else the site's.

A choice is kept with the user. A login puts it into the session, so that no page has to look it up. Who is not logged in has a cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

from bridge.models import StaffLanguage

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

SESSION_KEY = "language"
LANGUAGES = dict(settings.LANGUAGES)


class StaffLocale(LocaleMiddleware):
    """Django's, which knows the cookie and Accept-Language; the language in the session counts more than either."""

    def process_request(self, request: HttpRequest) -> None:
        language = request.session.get(SESSION_KEY)
        translation.activate(language if language in LANGUAGES else translation.get_language_from_request(request))
        request.LANGUAGE_CODE = translation.get_language()


def choose(request: HttpRequest, language: str) -> None:
    """Store the language of a person who is logged in; for anybody else there is nothing to store but the cookie."""
    if request.user.is_authenticated:
        StaffLanguage.objects.update_or_create(user=request.user, defaults={"language": language})
        request.session[SESSION_KEY] = language


def find_chosen(user: AbstractBaseUser) -> str:
    """Return the language that a user chose; empty where they chose none, or one that is not offered any more."""
    language = StaffLanguage.objects.filter(user_id=user.pk).values_list("language", flat=True).first()
    return language if language in LANGUAGES else ""


def activate_for(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Answer a script in the language that it asks for, else in that of the token's owner."""
    if not request.headers.get("Accept-Language") and (language := find_chosen(user)):
        translation.activate(language)
        request.LANGUAGE_CODE = language


def _remember(request: HttpRequest, user: AbstractBaseUser, **_signal: Any) -> None:
    if language := find_chosen(user):
        request.session[SESSION_KEY] = language
        translation.activate(language)


def connect() -> None:
    """Called once, when Django is ready."""
    user_logged_in.connect(_remember, dispatch_uid="language")
