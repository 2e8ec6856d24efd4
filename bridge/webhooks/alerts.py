"""Posts alerts: to a WeCom group robot, to an address of the settings, and signed to a webhook of the company's own.

No error holds an address, in which a robot has its key and many services put a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts.channels import build_channel, http
from bridge.explanations.webhooks import ALERT
from bridge.webhooks.signing import TIMEOUT, build_signed_headers
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Outgoing, Payload, Receipt
from channels_wechat.wecom.robot.channel import GROUP, robot_at
from channels_wechat.wire.http import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.http_client import Response

# What a robot takes in one message is 2048 bytes.
MAX_ROBOT_BYTES = 2000


def build_robot_body(text: str) -> dict[str, Any]:
    """Return the message that a robot posts, which other receivers of the setting read too. What is too long is cut."""
    return {"msgtype": "text", "text": {"content": text.encode()[:MAX_ROBOT_BYTES].decode("utf-8", "ignore")}}


def post_plain(address: str, body: Mapping[str, Any]) -> Receipt:
    """Post to an address that may belong to a robot or to another service that takes the same. Raises ChannelError."""
    if not address:
        raise ALERT.error("no_address")
    if robot := robot_at(address, http()):
        return _post_by(robot, body)
    try:
        response = http().request("POST", address, json=body, harmless=False)
    except ChannelError as error:
        raise ALERT.error(error.code, error.action, params=error.params) from error
    _check(response)
    return Receipt(response={"status": response.status})


def post_by_account(account: ChannelAccount, body: Mapping[str, Any]) -> Receipt:
    """Post by an account of a group robot. Raises ChannelError."""
    if not account.may_send:
        raise ALERT.error("sending_stopped")
    return _post_by(build_channel(account), body)


def post_signed(address: str, secret: str, event_id: str, body: Mapping[str, Any]) -> Receipt:
    """Post to a webhook of the company's own. Raises ChannelError."""
    content = encode_json(body)
    headers = build_signed_headers(event_id, content, [secret], timezone.now())
    headers["Content-Type"] = "application/json"
    try:
        response = http().request("POST", address, content=content, headers=headers, timeout=TIMEOUT, harmless=True)
    except ChannelError as error:
        raise ALERT.error(error.code, error.action, params=error.params) from error
    _check_status(response)
    return Receipt(response={"status": response.status})


def _post_by(robot: Channel, body: Mapping[str, Any]) -> Receipt:
    try:
        return robot.send(Outgoing(GROUP, Payload(body)))
    except ChannelError as error:  # an error without an answer names the address
        if error.response is not None:
            raise
        raise ALERT.error(error.code, error.action, params=error.params) from error


def _check(response: Response) -> None:
    _check_status(response)
    code = _read_errcode(response)
    if code:  # a robot behind a proxy, or a service with the same answers
        action = Action.WAIT if code == 45009 else Action.UNKNOWN if code == -1 else Action.PERMANENT
        raise ALERT.error(code, action, retry_after=60)


def _check_status(response: Response) -> None:
    if response.status >= 500 or response.status == 429:
        action = Action.RETRY if response.status == 429 else Action.UNKNOWN
        raise ALERT.error(f"http_{response.status}", action, params={"status": response.status})
    if response.status >= 300:
        raise ALERT.error(f"http_{response.status}", params={"status": response.status})


def _read_errcode(response: Response) -> int:
    """Return the number that a robot names; 0 where the answer has none, as those of other receivers, which took the alert."""
    try:
        answer: Any = response.json()
        return int(answer.get("errcode") or 0) if isinstance(answer, dict) else 0
    except (ValueError, TypeError, OverflowError):
        return 0
