"""The third target: an address of the company's own that is told something, with the same retry, attempts and replay as a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from accounts.channels import http
from bridge.models import Delivery, Target, Wire
from channels_wechat.errors import Action, ChannelError
from channels_wechat.messages import Receipt

if TYPE_CHECKING:
    from channels_wechat.http import Response

ALERTS = "hook:alerts"


def queue_alert(text: str) -> Delivery:
    """What a WeCom group robot takes, and most others read. The address holds a secret, so it is not in the payload."""
    body = {"msgtype": "text", "text": {"content": text.encode()[:2000].decode("utf-8", "ignore")}}
    return Delivery.objects.create(target=Target.WEBHOOK, wire=Wire.WORKER, lane=ALERTS, payload={"body": body})


def post(delivery: Delivery) -> Receipt:
    """Raises ChannelError. Doubling an alert does no harm, so a lost answer is simply a reason to try again."""
    if not settings.ALERT_WEBHOOK_URL:
        raise ChannelError("no_address", Action.PERMANENT, _("ALERT_WEBHOOK_URL is not set any more."))
    response = http().request("POST", settings.ALERT_WEBHOOK_URL, json=delivery.payload["body"], harmless=True)
    _check(response)
    return Receipt(response={"status": response.status})


def _check(response: Response) -> None:
    if response.status >= 500 or response.status == 429:
        raise ChannelError(response.status, Action.RETRY, _("The alert address does not take it now."))
    if response.status >= 300:
        raise ChannelError(response.status, Action.PERMANENT, _("The alert address refuses: check ALERT_WEBHOOK_URL."))
    code = _errcode(response)
    if code:  # a WeCom robot answers 200 to everything; 45009 is its limit of twenty a minute
        action = Action.WAIT if code == 45009 else Action.PERMANENT
        text = _("The robot at the alert address refuses: check ALERT_WEBHOOK_URL.")
        raise ChannelError(code, action, text, retry_after=60)


def _errcode(response: Response) -> int:
    try:
        answer: Any = response.json()
    except ValueError:
        return 0
    return int(answer.get("errcode") or 0) if isinstance(answer, dict) else 0
