"""The callback route: the platform's way in. No session, no CSRF, no call to anybody; one statement and an answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts.capabilities import passively
from accounts.channels import by_key
from accounts.models import ChannelAccount, Health
from bridge import arrivals, logs, metrics, outbound, passive, streams
from bridge.database import AWAY
from bridge.models import Message
from channels_wechat.base import Callbacks, Streaming
from channels_wechat.errors import CallbackRefused

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest

    from channels_wechat.messages import Answer, Inbound

log = logging.getLogger(__name__)


@csrf_exempt
@require_http_methods(["GET", "POST"])
def callback(request: HttpRequest, key: UUID) -> HttpResponse:
    """GET verifies the address, POST brings a message, an event or a poll. 400, 403, 413: refused and counted, nothing stored.

    503: the database is away, or there is no answer yet; the platform repeats what it gets no 200 for.
    """
    try:
        return _received(request, key)
    except AWAY as error:
        log.warning("callback %s: the database is away (%s)", key, type(error).__name__)
        return HttpResponse(status=503)
    except passive.NotYet:
        return HttpResponse(status=503)


def _received(request: HttpRequest, key: UUID) -> HttpResponse:
    try:
        account, channel = by_key(key)
    except ChannelAccount.DoesNotExist:
        raise Http404 from None
    if not isinstance(channel, Callbacks):
        raise Http404
    try:
        with logs.about(account=account.pk):
            answer = _answer(request, account, channel)
    except CallbackRefused as refused:
        metrics.note_callback(str(key), refused.code, refused=True)
        return HttpResponse(str(refused), status=refused.status, content_type="text/plain; charset=utf-8")
    return HttpResponse(answer.body, content_type=answer.content_type)


def _answer(request: HttpRequest, account: ChannelAccount, channel: Callbacks) -> Answer:
    query = request.GET.dict()
    if request.method == "GET":
        answer = channel.challenge(query)
        metrics.note_callback(str(account.key), "verified", refused=False)
        return answer
    reception = channel.parse(query, _body(request))
    if reception.poll and isinstance(channel, Streaming):
        return streams.answer_poll(account, channel, query, reception.poll)
    for message in reception.inbound:
        _store(account, channel, message)
    if reception.inbound and passively(channel, account.pk):
        return passive.answer(account, channel, query, reception.inbound[0])
    return channel.acknowledge(query, reception)


def _body(request: HttpRequest) -> bytes:
    limit = settings.CALLBACK_MAX_BYTES
    body: Any = request.read(limit + 1) if _declared_length(request) <= limit else None
    if body is None or len(body) > limit:
        raise CallbackRefused(413, "too_large", _("The body is larger than 1 MiB."))
    return bytes(body)


def _declared_length(request: HttpRequest) -> int:
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _store(account: ChannelAccount, channel: Callbacks, message: Inbound) -> None:
    stored = arrivals.receive(account, message)
    metrics.note_callback(str(account.key), "ok", refused=False)
    if account.state == Health.NEW:
        account.set_state(Health.OK)
    said = channel.passive_text(message)
    if stored and said:
        outbound.said_at_once(Message.objects.select_related("account").get(pk=stored), said)
