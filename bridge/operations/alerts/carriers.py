"""Sends one alert by one channel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.fields import Undecryptable
from bridge.models import ChannelKind
from bridge.security.redaction import redact_text
from bridge.webhooks import alerts as posts
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Action, Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.models import AlertChannel
    from bridge.operations.alerts.composing import Alert

CONSOLE_MAIL = "django.core.mail.backends.console.EmailBackend"
# After these a repetition cannot help before staff change something.
FOR_STAFF = (Action.PERMANENT, Action.CONFIG)


@dataclass(frozen=True, slots=True)
class Result:
    """accepted: whether the channel took the alert. error: why not, or who did not get it. lasting: whether only staff can mend it."""

    accepted: bool
    error: Cause = NO_CAUSE
    lasting: bool = False


def send(channel: AlertChannel, alert: Alert, identity: str) -> Result:
    """Send one alert. identity: names it to receivers that take a webhook-id, the same at each repetition."""
    senders: dict[str, Callable[[], Result]] = {
        ChannelKind.EMAIL: lambda: _mail(alert, channel.recipients),
        ChannelKind.ROBOT: lambda: _post_to_robot(channel, alert),
        ChannelKind.WEBHOOK: lambda: _post_signed(channel, alert, identity),
    }
    try:
        return senders[channel.kind]()
    except ChannelError as error:
        return Result(False, error.cause, error.action in FOR_STAFF)
    except Undecryptable:
        return Result(False, Cause("unreadable"), lasting=True)
    except OSError as error:
        return Result(False, _mail_cause(error))


def _post_to_robot(channel: AlertChannel, alert: Alert) -> Result:
    body = posts.build_robot_body(alert.fit(posts.MAX_ROBOT_BYTES))
    if channel.account:
        posts.post_by_account(channel.account, body)
    else:
        posts.post_plain(channel.address, body)
    return Result(True)


def _post_signed(channel: AlertChannel, alert: Alert, identity: str) -> Result:
    event_id = f"msg_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
    posts.post_signed(channel.address, channel.secret, event_id, _build_event(alert))
    return Result(True)


def _build_event(alert: Alert) -> dict[str, Any]:
    data = {"title": alert.title, "text": alert.text, "incidents": [item.as_json() for item in alert.items]}
    return {"type": "alert" if alert.items else "alert.test", "timestamp": timezone.now().isoformat(), "data": data}


def _mail(alert: Alert, recipients: Sequence[str]) -> Result:
    """Send one mail to each address, so that one that is refused keeps it from no other. Raises OSError without a connection."""
    if settings.EMAIL_BACKEND == CONSOLE_MAIL and not (settings.DEMO or settings.DEBUG):
        return Result(False, Cause("no_mail_server"), lasting=True)
    subject = " ".join((_("[bridge] %(title)s") % {"title": alert.title}).split())  # a line break would end the header
    refused: dict[str, OSError] = {}
    with get_connection() as connection:
        for address in recipients:
            mail = EmailMessage(subject, alert.text, settings.DEFAULT_FROM_EMAIL, [address], connection=connection)
            try:
                mail.send()
            except OSError as error:
                refused[address] = error
    if len(refused) == len(recipients):
        return Result(False, _mail_cause(next(iter(refused.values()), OSError("no address"))))
    return Result(True, Cause("mail_partly", {"detail": ", ".join(refused)}) if refused else NO_CAUSE)


def _mail_cause(error: OSError) -> Cause:
    return Cause("mail", {"detail": redact_text(str(error)) or type(error).__name__})
