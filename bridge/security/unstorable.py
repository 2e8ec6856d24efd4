"""U+0000 in a request: PostgreSQL can neither store it nor look for it, so the request is the mistake, wherever in it the letter stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import BadRequest
from django.core.handlers.exception import response_for_exception
from django.db import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

# As psycopg says it; every other DataError is a defect of ours.
SAID = "cannot contain NUL"


class RefuseUnstorable:
    """Forms say it at their field; what is read without one (filters of a list, a word to look for) is answered with 400 here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        if not isinstance(exception, DataError) or SAID not in str(exception):
            return None
        return response_for_exception(request, BadRequest("There is U+0000 in the request."))
