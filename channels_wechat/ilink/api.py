"""Calls to iLink's API (facts 8): their headers, what every body carries, and answers of which any code but 0 is an error."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from channels_wechat.ilink.errors import MESSAGE_SECONDS, error_for
from channels_wechat.wire.api_answers import decoded
from channels_wechat.wire.http import error_for_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.http_client import HttpClient, Response

# Of the protocol that Tencent's own program speaks; this one was written after it.
VERSION = (2, 4, 9)
BASE_INFO = {"channel_version": ".".join(map(str, VERSION)), "bot_agent": "WeChatOpenClawBridge/0.1"}


def headers_of_get() -> dict[str, str]:
    major, minor, patch = VERSION
    return {"iLink-App-Id": "bot", "iLink-App-ClientVersion": str(major << 16 | minor << 8 | patch)}


def headers_of_post(token: str) -> dict[str, str]:
    """The number is another one for each request. token: empty while nobody is logged in."""
    number = base64.b64encode(str(secrets.randbits(32)).encode()).decode()
    return {
        "Content-Type": "application/json",
        "AuthorizationType": "ilink_bot_token",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        "X-WECHAT-UIN": number,
        **headers_of_get(),
    }


def with_base_info(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "base_info": BASE_INFO}


def read_answer(
    response: Response,
    token: str = "",
    *,
    harmless: bool = True,
    sends: bool = False,
    lost_seconds: float = MESSAGE_SECONDS,
) -> dict[str, Any]:
    """Return the decoded answer of a call that succeeded. harmless: as in `Http.request`; else as `error_for`. Raises ChannelError."""
    answer = decoded(response.body)
    if error := error_for(answer, token, sends=sends, lost_seconds=lost_seconds):
        raise error
    if response.status != 200 or not (answer or response.body.strip() == b"{}"):
        raise error_for_status(response, harmless)
    return answer


class IlinkApi:
    """Calls with the token of an account. base_url: without a slash at its end. Every method raises ChannelError."""

    def __init__(self, http: HttpClient, base_url: str, token: str) -> None:
        self._http, self._base_url, self._token = http, base_url, token

    def call(self, path: str, body: Mapping[str, Any], *, harmless: bool = True, sends: bool = False) -> dict[str, Any]:
        """Return the decoded answer. path: behind `ilink/bot/`."""
        response = self._http.request(
            "POST",
            address_of(self._base_url, path),
            json=with_base_info(body),
            headers=headers_of_post(self._token),
            harmless=harmless,
        )
        return read_answer(response, self._token, harmless=harmless, sends=sends)


def address_of(base_url: str, path: str) -> str:
    return f"{base_url}/ilink/bot/{path}"
