"""Calls to a platform's API: the token in the address, one renewal when it is refused, and the platform's own reading of answers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from channels_wechat.wire.api_answers import token_in
from channels_wechat.wire.http import error_for_status, with_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.http_client import HttpClient, Response
    from channels_wechat.contract.messages import Token
    from channels_wechat.contract.tokens import TokenSource

# Shorter than the lease that one process holds while all others wait for its token.
TOKEN_TIMEOUT = (5.0, 10.0)
FILE_TIMEOUT = (5.0, 60.0)
MAX_DOWNLOAD = 100 * 1024 * 1024
NOTHING: Mapping[str, str] = MappingProxyType({})


class PlatformApi:
    """base_url: without a slash at the end. Every method raises ChannelError and sends at most twice, with one token fetch.

    token_refused: the codes that mean so.
    """

    token_refused: ClassVar[frozenset[str]]
    token_timeout = TOKEN_TIMEOUT
    file_timeout = FILE_TIMEOUT

    def __init__(self, http: HttpClient, base_url: str, tokens: TokenSource | None = None) -> None:
        self._http, self._base_url, self._tokens = http, base_url, tokens

    @abstractmethod
    def read_answer(self, response: Response, harmless: bool, secret: str, path: str) -> dict[str, Any]:
        """The decoded answer of a call that succeeded. secret: hidden wherever the platform repeats it. Raises ChannelError."""

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        fields: Mapping[str, tuple[str, bytes, str]] | None = None,
        harmless: bool | None = None,
    ) -> dict[str, Any]:
        """The decoded answer of a call that succeeded. path: from `cgi-bin/` on; harmless: as in `Http.request`."""
        harmless = method == "GET" if harmless is None else harmless

        def once(token: str) -> dict[str, Any]:
            return self._request(token, method, path, json, query or NOTHING, fields, harmless)

        return with_token(self._tokens, once, self.token_refused)

    def _request(
        self,
        token: str,
        method: str,
        path: str,
        json: Mapping[str, Any] | None,
        query: Mapping[str, str] = NOTHING,
        fields: Mapping[str, tuple[str, bytes, str]] | None = None,
        harmless: bool = False,
    ) -> dict[str, Any]:
        url = self._url(path, {**query, "access_token": token})
        timeout = self.file_timeout if fields else None
        response = self._http.request(method, url, json=json, fields=fields, timeout=timeout, harmless=harmless)
        return self.read_answer(response, harmless, token, path)

    def _ask_for_token(
        self,
        method: str,
        path: str,
        secret: str,
        *,
        json: Mapping[str, Any] | None = None,
        query: Mapping[str, str] = NOTHING,
    ) -> Token:
        """An answer that holds no token is one that cannot be read."""
        response = self._http.request(
            method, self._url(path, query), json=json, timeout=self.token_timeout, harmless=True
        )
        if (token := token_in(self.read_answer(response, True, secret, path))) is None:
            raise error_for_status(replace(response, body=b""), True)
        return token

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._base_url}/{path}" + (f"?{urlencode(query)}" if query else "")
