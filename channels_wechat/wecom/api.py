"""Calls to WeCom's API: the token in the address, the errcode in the answer, one renewal when the token is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.errors import ChannelError
from channels_wechat.wecom.errors import TOKEN_REFUSED, WECOM, error_for
from channels_wechat.wire.api_answers import decoded, whole
from channels_wechat.wire.http import error_for_status, with_token
from channels_wechat.wire.platform_api import MAX_DOWNLOAD, PlatformApi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.errors import Explanations
    from channels_wechat.contract.http_client import HttpClient, Response
    from channels_wechat.contract.messages import Token
    from channels_wechat.contract.tokens import TokenSource

NEEDS_PIECES = "830002"
# media/get gives larger files only in pieces of at most this.
PIECE = 20 * 1024 * 1024


class WeComApi(PlatformApi):
    """table: of the account's kind, where numbers mean something else to it."""

    token_refused = TOKEN_REFUSED

    def __init__(
        self, http: HttpClient, base_url: str, tokens: TokenSource | None = None, table: Explanations = WECOM
    ) -> None:
        super().__init__(http, base_url, tokens)
        self._table = table

    def read_answer(self, response: Response, harmless: bool, secret: str, path: str) -> dict[str, Any]:
        return check(response, harmless, secret, self._table)

    def fetch_token(self, corp_id: str, secret: str) -> Token:
        """gettoken (page 91039). While a token is valid the platform returns the same one."""
        query = {"corpid": corp_id, "corpsecret": secret}
        return self._ask_for_token("GET", "cgi-bin/gettoken", secret, query=query)

    def download(self, media_id: str) -> Response:
        """media/get (page 90254): the file; above 20 MB in pieces. An error comes as JSON with HTTP 200."""
        try:
            return self._fetch(media_id, {}, MAX_DOWNLOAD)
        except ChannelError as error:
            if error.code != NEEDS_PIECES:
                raise
        first = self._piece(media_id, 0)
        parts, size, total = [first.body], len(first.body), _total(first)
        while size < total:
            if total > MAX_DOWNLOAD:
                raise WECOM.error("file_too_large")
            parts.append(self._piece(media_id, size).body)
            size += len(parts[-1])
        return replace(first, status=200, body=b"".join(parts))

    def _piece(self, media_id: str, start: int) -> Response:
        piece = self._fetch(media_id, {"Range": f"bytes={start}-{start + PIECE - 1}"}, PIECE)
        if not piece.body:
            raise WECOM.error("short")
        return piece

    def _fetch(self, media_id: str, headers: Mapping[str, str], max_bytes: int) -> Response:
        def once(token: str) -> Response:
            url = self._url("cgi-bin/media/get", {"media_id": media_id, "access_token": token})
            response = self._http.request("GET", url, headers=headers, timeout=self.file_timeout, max_bytes=max_bytes)
            if response.status not in (200, 206) or _decoded(response):
                check(response, True, token, self._table)
            return response

        return with_token(self._tokens, once, TOKEN_REFUSED)


def check(response: Response, harmless: bool, secret: str, table: Explanations = WECOM) -> dict[str, Any]:
    """The decoded answer when its errcode is 0. secret: hidden wherever the platform repeats it; table: as in `error_for`.

    Raises ChannelError.
    """
    answer = _decoded(response)
    if answer is not None and answer["errcode"] == 0:
        return answer
    hidden = replace(response, body=response.body.replace(secret.encode(), b"***") if secret else response.body)
    refused = _decoded(hidden)
    if refused is None:
        raise error_for_status(hidden, harmless)
    raise error_for(refused, harmless=harmless, table=table)


def _decoded(response: Response) -> dict[str, Any] | None:
    """None for anything but an object with an errcode, which every answer of this API has; as a number, whatever it came as.

    Where only the errcode is missing, the rest must say that the call succeeded: a token, or the errmsg "ok".
    """
    answer = decoded(response.body)
    fine = answer.get("errmsg") == "ok" or isinstance(answer.get("access_token"), str)
    code = whole(answer["errcode"], None) if "errcode" in answer else 0 if fine else None
    return None if code is None else {**answer, "errcode": code}


def _total(response: Response) -> int:
    """The size of the whole file, from `Content-Range: bytes 0-99/1234`; 0 where the whole file came."""
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size[:20]) if size.isascii() and size.isdigit() else 0
