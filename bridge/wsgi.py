"""What the web server loads: two doors. Callbacks and probes pass by Django's handler; everything else is Django as usual."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import request_finished
from django.http import Http404

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from django.http import HttpRequest, HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge.settings")
django.setup(set_prefix=False)

from bridge import health, views  # noqa: E402  rows need the setup

CALLBACKS = "/callbacks/"
_pages = WSGIHandler()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ.get("PATH_INFO", "")
    for_machines = path.startswith(CALLBACKS) or path in health.VIEWS
    return (_for_machines if for_machines else _pages)(environ, start_response)


def _for_machines(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Django's request, view and response alone: a platform has no session, no form and no language, and waits five seconds at most."""
    response = _answered(WSGIRequest(environ))
    request_finished.send(sender=None)  # hands the database connection back
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [response.content]


def _view(request: HttpRequest) -> HttpResponse:
    if request.path_info in health.VIEWS:
        return health.VIEWS[request.path_info](request)
    try:
        key = UUID(request.path_info.removeprefix(CALLBACKS))
    except ValueError:
        raise Http404 from None
    return views.callback(request, key)


_answered: Any = convert_exception_to_response(_view)
