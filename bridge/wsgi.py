"""What the web server loads: two doors. Callbacks run without middleware; everything else is Django as usual."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import django
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge.settings")
CALLBACKS = "/callbacks/"


class CallbackHandler(WSGIHandler):
    """Django without middleware: a platform has no session, no form and no language, and waits for five seconds at most."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]


django.setup(set_prefix=False)
_pages, _callbacks = WSGIHandler(), CallbackHandler()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    callback = environ.get("PATH_INFO", "").startswith(CALLBACKS)
    return (_callbacks if callback else _pages)(environ, start_response)
