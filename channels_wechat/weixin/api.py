"""Calls to api.weixin.qq.com: the token in the address, raw UTF-8 out, whatever comes back read with patience (facts 0 and 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.messages import Quota
from channels_wechat.weixin.errors import FINE, NOT_UNDERSTOOD, TOKEN_REFUSED, WEIXIN, error_for
from channels_wechat.wire.api_answers import decoded, whole
from channels_wechat.wire.http import error_for_status, with_token
from channels_wechat.wire.platform_api import MAX_DOWNLOAD, PlatformApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.http_client import Response
    from channels_wechat.contract.messages import Token

# How a JSON answer in the place of a file is labelled.
WORDS = ("application/json", "text/plain")


class WeixinApi(PlatformApi):
    token_refused = TOKEN_REFUSED

    def read_answer(self, response: Response, harmless: bool, secret: str, path: str) -> dict[str, Any]:
        return check(response, harmless, secret, path)

    def say(self, path: str, body: Mapping[str, Any], bare: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """A call that must not happen twice. bare: the body to send instead where WeChat does not understand a part; True: it was."""

        def once(token: str) -> tuple[dict[str, Any], bool]:
            return self._request(token, "POST", path, body), False

        def instead(error: ChannelError) -> Callable[[str], tuple[dict[str, Any], bool]] | None:
            fits = error.code in NOT_UNDERSTOOD and bare != body
            return (lambda token: (self._request(token, "POST", path, bare), True)) if fits else None

        return with_token(self._tokens, once, TOKEN_REFUSED, instead)

    def fetch_token(self, app_id: str, secret: str) -> Token:
        """stable_token, never forced: the same token for everybody, and no other system's token dies for it."""
        body = {"grant_type": "client_credential", "appid": app_id, "secret": secret, "force_refresh": False}
        return self._ask_for_token("POST", "cgi-bin/stable_token", secret, json=body)

    def download(self, media_id: str) -> Response:
        """media/get: the file. A video comes as the address where it lies; an error as JSON with HTTP 200."""
        path = "cgi-bin/media/get"

        def once(token: str) -> Response | str:
            url = self._url(path, {"media_id": media_id, "access_token": token})
            response = self._http.request("GET", url, timeout=self.file_timeout, max_bytes=MAX_DOWNLOAD)
            if response.status == 200 and not _is_words(response):
                return response
            answer = check(response, True, token, path)
            if not isinstance(answer.get("video_url"), str):
                raise error_for_status(replace(response, body=b""), True)
            return str(answer["video_url"])

        found = with_token(self._tokens, once, TOKEN_REFUSED)
        return self._video(found) if isinstance(found, str) else found

    def _video(self, url: str) -> Response:
        """From Tencent's file servers, which have no names to go by: the guard keeps the address outside our own network."""
        response = self._http.request(
            "GET", url, timeout=self.file_timeout, max_bytes=MAX_DOWNLOAD, follow=3, from_message=True
        )
        if response.status != 200:
            raise WEIXIN.error("video", detail=f"HTTP {response.status}")
        return response

    def quota(self, path: str) -> Quota:
        """openapi/quota/get. path: from `cgi-bin/` on."""
        body = {"cgi_path": f"/{path}"}
        answer = self.call("POST", "cgi-bin/openapi/quota/get", json=body, harmless=True)
        day = [whole(part(answer, "quota").get(name)) for name in ("daily_limit", "used", "remain")]
        rate = [whole(part(answer, "rate_limit").get(name)) for name in ("call_count", "refresh_second")]
        return Quota(path, *day, *rate)

    def clear_quotas(self, app_id: str) -> None:
        """clear_quota: ten times a month, counted together with the console's."""
        self.call("POST", "cgi-bin/clear_quota", json={"appid": app_id})


def check(response: Response, harmless: bool, secret: str, path: str) -> dict[str, Any]:
    """The decoded answer when its errcode is 0, or absent from a harmless call's. secret: hidden wherever the platform repeats it.

    Raises ChannelError.
    """
    answer = decoded(response.body)
    code = whole(answer.get("errcode", 0), None)
    if code in FINE and answer and ("errcode" in answer or (harmless and response.status == 200)):
        return answer
    hidden = replace(response, body=response.body.replace(secret.encode(), b"***") if secret else response.body)
    if code is None or code in FINE:
        raise error_for_status(hidden, harmless)
    raise error_for(decoded(hidden.body), code, path, harmless=harmless)


def part(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object inside an answer, empty where there is none."""
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def _is_words(response: Response) -> bool:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in WORDS and response.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
