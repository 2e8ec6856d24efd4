"""The callback in a plain Django view: `delay()` for each message, or (with STORE=1, for the loop) a row."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from wechatpy.work import parse_message
from wechatpy.work.crypto import WeChatCrypto

from tests.bench import sealed
from tests.bench.rivals import naive  # sets Django up

if TYPE_CHECKING:
    from django.http import HttpRequest

crypto = WeChatCrypto(sealed.TOKEN, sealed.KEY, sealed.CORP)
STORE = os.environ.get("STORE") == "1"


@csrf_exempt
def callback(request: HttpRequest, key: str) -> HttpResponse:
    args = request.GET
    plain = crypto.decrypt_message(request.body, args["msg_signature"], args["timestamp"], args["nonce"])
    message = parse_message(plain)
    if STORE:
        naive.store_question(str(message.id), message.source, message.content)
    else:
        naive.handle.delay(str(message.id), message.source, message.content)
    return HttpResponse("success")


urlpatterns = [path("callbacks/<str:key>", callback)]
application = WSGIHandler()
