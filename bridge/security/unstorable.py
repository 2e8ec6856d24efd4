"""Answers 400 to U+0000 in a request: PostgreSQL can neither store nor search for it, so the request is wrong wherever it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import BadRequest
from django.core.handlers.exception import response_for_exception
from django.db import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

# The words of psycopg; every other DataError is a defect of ours.
NUL_ERROR = "cannot contain NUL"


class RefuseUnstorable:
    """For what is read without a form (filters of a list, a word to search for). A form says it at its field."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        if not isinstance(exception, DataError) or NUL_ERROR not in str(exception):
            return None
        return response_for_exception(request, BadRequest("There is U+0000 in the request."))
