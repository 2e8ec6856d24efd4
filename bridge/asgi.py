"""What the web server calls for its application: `application` answers everything, `callbacks` only callbacks and probes."""

from __future__ import annotations

import logging
import os
import resource
import sys
from typing import TYPE_CHECKING

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge.settings")
django.setup(set_prefix=False)

from django.utils.translation import gettext_lazy as _  # noqa: E402
from django.utils.translation import override  # noqa: E402

from accounts import channels, work  # noqa: E402
from bridge.operations import health  # noqa: E402
from bridge.operations.watch import Watch  # noqa: E402
from bridge.pipeline.inbound.callbacks import PATH, Callbacks  # noqa: E402
from bridge.pipeline.inbound.spool_drain import Keeper  # noqa: E402
from bridge.runtime.conf.capacity import MAX_TARGET  # noqa: E402
from bridge.runtime.db.outage import DB_UNAVAILABLE  # noqa: E402
from bridge.runtime.web.http import ClientGone, Refused, Request, Response  # noqa: E402
from bridge.runtime.web.languages import language_of  # noqa: E402
from bridge.runtime.web.pages import Pages  # noqa: E402
from bridge.runtime.web.threads import Threads  # noqa: E402
from bridge.security import proxies  # noqa: E402  rows need the setup

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from bridge.runtime.web.http import Receive, Scope, Send

log = logging.getLogger(__name__)
# Seconds for which a thread keeps the interpreter while others wait for it: a fifth of the usual. Eight threads with pages would
# otherwise hold up a callback of the same process for forty milliseconds each time that it needs the interpreter. Without pages the
# usual is better: the shorter time costs callbacks some percent.
SWITCH_SECONDS = 0.001


DATABASE_AWAY = _("The database does not answer now. Try again in a moment.")
DEFECT = _("Something went wrong here")


class Application:
    """ASGI. What it keeps is made with the first request, for it belongs to the event loop of that."""

    def __init__(self, *, pages: bool, threads: Threads | None = None, keeper: Keeper | None = None) -> None:
        """keeper: its thread is started with the first request; a web server's probe is one."""
        self.has_pages = pages
        self.threads, self.keeper = threads or Threads(), keeper
        self.callbacks = Callbacks(self.threads)
        self.probes = health.Probes(self.threads.probes)
        self.pages = Pages(self.threads) if pages else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.keeper:
            self.keeper.start()
            work.begin("web" if self.has_pages else "callbacks")
        scope["headers"] = proxies.without_ambiguous(scope["headers"])
        request = Request(scope, receive)
        try:
            response = await self._answer(request, send)
        except Refused as refused:
            with override(language_of(request)):
                response = refused.response()
        except ClientGone:
            return
        except DB_UNAVAILABLE as error:
            log.warning("%s: the database is away (%s)", request.path[:200], type(error).__name__)
            response = _say(request, 503, DATABASE_AWAY, **{"retry-after": "5"})
        except Exception:  # a defect of ours: whoever called is told that much
            log.exception("%s %s failed", request.method, request.path[:200])
            response = _say(request, 500, DEFECT)
        try:
            if response and not (response.then and await request.is_disconnected()):
                await response.send(send)
        finally:
            request.close()

    async def _answer(self, request: Request, send: Send) -> Response | None:
        """None where the answer was sent already. Raises Refused, ClientGone."""
        if len(request.path) + len(request.scope["query_string"]) > MAX_TARGET:
            raise Refused(414, _("The address is too long."))
        if request.path.startswith(PATH):
            return await self.callbacks.answer(request)
        if request.path in health.VIEWS:
            return await self.probes.answer(request)
        if self.pages is None:
            raise Refused(404, _("There is nothing here."))
        await self.pages.answer(request, send)
        return None

    def close(self) -> None:
        """Close the threads that this application has started. Only tests call it; a web process ends without it."""
        if self.keeper:
            self.keeper.stop()
        self.callbacks.slots.close()
        self.threads.close()


def _say(request: Request, status: int, text: _StrOrPromise, **headers: str) -> Response:
    with override(language_of(request)):
        return Response(status, f"{text}\n".encode(), headers=headers)


def application() -> Application:
    """For the web process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return _start(Application(pages=True, keeper=Keeper(channels.remember_enabled)))


def callbacks() -> Application:
    """For the callbacks process. It knows no pages: neither Django's middleware nor the interpreter's time is shared with them."""
    return _start(Application(pages=False, keeper=Keeper(channels.remember_enabled)))


def _start(made: Application) -> Application:
    """Prepare this process. It watches from its start, for it may get no request at all.

    Each connection is an open file. Service managers start programs with a low soft limit that they may raise themselves.
    """
    Watch().start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    return made
