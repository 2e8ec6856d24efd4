"""The one way out: a guarded HTTP session. It says of every failure whether the request can have been carried out.

urllib3 directly: half the cost of requests, and nothing is read from the environment (no proxies, no .netrc).
"""

from __future__ import annotations

import json as jsonlib
import re
import socket
import time
from contextlib import contextmanager, suppress
from email.message import Message
from functools import partial
from html import unescape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from django.utils.translation import gettext_lazy as _
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.filepost import encode_multipart_formdata
from urllib3.util import parse_url
from urllib3.util.connection import create_connection

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.http_client import Response
from channels_wechat.contract.text import clean, sendable_json, sendable_name
from channels_wechat.wire.errors import WIRE
from channels_wechat.wire.ssrf_guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from urllib3 import BaseHTTPResponse

    from channels_wechat.contract.tokens import TokenSource

T = TypeVar("T")

# A kept connection older than this is not used again: servers close idle ones after 30 to 75 s, and a request written
# into that moment can be neither repeated nor believed.
IDLE_SECONDS = 15
# An answer that drips in is given up after this, whatever the read time-out.
BODY_SECONDS = 120
CHUNK = 65536
SECRET = re.compile(r"([?&][^=&#\s]*(?:token|secret|key|code|sign|ticket)[^=&#\s]*=)[^&#\s'\")]*", re.IGNORECASE)
TITLE = re.compile(r"<title[^>]*>([^<]*)<", re.IGNORECASE)
WAIT_SECONDS, LONGEST_RETRY_AFTER = 60, 3600  # where nothing was said; and at most, whatever was said
REDIRECTS = (301, 302, 303, 307, 308)


def redact_query_secrets(text: str) -> str:
    """The text with the values of secret query parameters hidden: access_token, corpsecret, key, response_code, signatures."""
    return SECRET.sub(r"\1***", text)


def encode_json(value: Any) -> bytes:
    """Raw UTF-8: the platform refuses `\\uXXXX` (40033). A surrogate pair becomes its character, a lone half U+FFFD."""
    text = jsonlib.dumps(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return clean(text).encode()


class _Unsent(ProtocolError):
    """The request was not written completely, so nobody can have carried it out."""


class _Plain(HTTPConnection):
    """Connects only to addresses that the guard let through, and tells a failure before the request from one after it."""

    guard: Guard
    secure = False
    used = 0.0

    def _new_conn(self) -> socket.socket:
        port = self.port or self.default_port
        try:
            addresses = self.guard.resolve(self._dns_host, port, secure=self.secure)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                return create_connection((address, port), self.timeout, socket_options=self.socket_options)
            except OSError as error:
                failure = error
        raise NewConnectionError(self, str(failure)) from failure

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:  # TLS refused, or its handshake timed out
            raise NewConnectionError(self, str(error)) from error
        self.used = time.monotonic()

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except OSError as error:
            raise _Unsent(str(error), error) from error
        self.used = time.monotonic()

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self.used < IDLE_SECONDS


class _Secure(_Plain, HTTPSConnection):
    """The same over TLS: the guard is asked before the handshake."""

    secure = True


def _pools(guard: Guard) -> PoolManager:
    pools = PoolManager(num_pools=64, maxsize=32)
    plain, secure = (type(base.__name__, (base,), {"guard": guard}) for base in (_Plain, _Secure))
    pools.pool_classes_by_scheme = {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return pools


class Http:
    """A session with keep-alive, for all threads of a process.

    allowed_private: `host:port` that staff may name though they are private, or without https. allowed_in_messages: the same for addresses
    that stand in messages, which a stranger can write. timeout: seconds to connect, seconds without a byte of the answer.
    """

    def __init__(
        self,
        allowed_private: Sequence[str] = (),
        timeout: tuple[float, float] = (5, 20),
        *,
        allowed_in_messages: Sequence[str] = (),
    ) -> None:
        self._timeout = timeout
        self.guard = Guard(allowed_private)
        messages = Guard(allowed_in_messages, setting="ALLOWED_PRIVATE_MEDIA_HOSTS", open_http=True)
        # A connection that was opened for one list is never used for the other.
        self._pools = {False: _pools(self.guard), True: _pools(messages)}

    def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        fields: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
        max_bytes: int = 4 * 1024 * 1024,
        follow: int = 0,
        harmless: bool | None = None,
        from_message: bool = False,
    ) -> Response:
        """One request; its answer whatever the status.

        json: any JSON value; content: bytes to send as they are; fields: name → (file name, bytes, type) of a multipart upload;
        follow: how many redirects of a GET.
        harmless: repeating it changes nothing (default: a GET), so that a lost answer is no riddle.
        from_message: the address was found in a message or an agent's answer, not in what staff entered.
        Raises ChannelError: CONFIG "address_…"; RETRY "connect"; "timeout", "reset" and "too_large" are UNKNOWN, or RETRY
        (too_large: PERMANENT) for a harmless request.
        """
        lost = Action.RETRY if (method == "GET" if harmless is None else harmless) else Action.UNKNOWN
        body, sent = (content, dict(headers or {})) if content is not None else _body(json, fields, headers or {})
        deadline = time.monotonic() + BODY_SECONDS
        with _named_errors(url, lost):
            for _hop in range(follow + 1):
                answer = self._open(self._pools[from_message], method, url, body, sent, timeout or self._timeout)
                read = _read(answer, max_bytes, deadline, lost)
                if method != "GET" or answer.status not in REDIRECTS or "Location" not in answer.headers or not follow:
                    break
                url = _redirected(url, answer.headers["Location"])
            return Response(answer.status, answer.headers, read)

    @staticmethod
    def _open(
        pools: PoolManager,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: tuple[float, float],
    ) -> BaseHTTPResponse:
        """A kept connection that the other side closed before the request was written is replaced once."""
        if parse_url(url).scheme not in ("http", "https"):
            raise LocationValueError("only http and https")
        send = partial(
            pools.urlopen,
            method,
            url,
            body=body,
            headers=headers,
            timeout=Timeout(connect=timeout[0], read=timeout[1]),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            return send()
        except _Unsent:
            return send()


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:  # brackets round what is no IPv6 address
        raise LocationValueError("a redirect to what is no address") from error


def _body(
    json: Any, fields: Mapping[str, tuple[str, bytes, str]] | None, headers: Mapping[str, str]
) -> tuple[bytes | None, dict[str, str]]:
    """The bytes to send and their headers. File names go out as plain `filename="…"` in raw UTF-8 (urllib3 2 writes them so)."""
    if fields is not None:
        named = {name: (sendable_name(file), content, mime) for name, (file, content, mime) in fields.items()}
        encoded, content_type = encode_multipart_formdata(named)
        return encoded, {"Content-Type": content_type, **headers}
    if json is not None:
        return encode_json(sendable_json(json)), {"Content-Type": "application/json; charset=utf-8", **headers}
    return None, dict(headers)


def _read(answer: BaseHTTPResponse, max_bytes: int, deadline: float, lost: Action) -> bytes:
    """The whole body; the connection goes back to its pool only when it was read to the end."""
    parts, size = [], 0
    try:
        while part := answer.read1(CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                action = Action.PERMANENT if lost is Action.RETRY else lost
                raise WIRE.error("too_large", action, detail=f"> {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise ReadTimeoutError(None, "", f"no end after {BODY_SECONDS} s")  # type: ignore[arg-type]
    except BaseException:
        answer.close()
        raise
    return b"".join(parts)


@contextmanager
def _named_errors(url: str, lost: Action) -> Iterator[None]:
    """urllib3's failures as ChannelError: what they say about the request is the point, not their name."""
    try:
        yield
    except (LocationValueError, UnicodeError) as error:
        raise WIRE.error("address_invalid", detail=redact_query_secrets(url)) from error
    except (NewConnectionError, ConnectTimeoutError, _Unsent) as error:
        raise WIRE.error("connect", detail=_detail(url, error)) from error
    except ReadTimeoutError as error:
        raise WIRE.error("timeout", lost, detail=_detail(url, error)) from error
    except HTTPError as error:
        raise WIRE.error("reset", lost, detail=_detail(url, error)) from error


def _detail(url: str, error: Exception) -> str:
    """Host and path, and the innermost cause; urllib3's own text repeats the whole address."""
    place = parse_url(url)
    cause = error.__cause__ or error.__context__ or error
    return redact_query_secrets(f"{place.host}{place.path or ''}: {type(cause).__name__}: {cause}")[:300]


# --- what calls to every platform share


def with_token(
    tokens: TokenSource | None,
    once: Callable[[str], T],
    refused: frozenset[str],
    instead: Callable[[ChannelError], Callable[[str], T] | None] = lambda error: None,
) -> T:
    """once(token), and at most once more, for a call that was refused did nothing: with a renewed token where the answer is a code
    of `refused`, or another call where `instead` has one for the error."""
    if tokens is None:
        raise RuntimeError("this call needs a TokenSource")
    token = tokens.current()
    try:
        return once(token)
    except ChannelError as error:
        other = instead(error)
        if error.code not in refused and other is None:
            raise
    return other(token) if other else once(tokens.renew(token))


def error_for_status(response: Response, harmless: bool) -> ChannelError:
    """The error of an answer that is not the platform's JSON: a gateway, a proxy or a wrong address spoke.

    429 and 425 are said before a request is passed on: not done. Other 4xx and redirects: refused, the address is wrong. Any 5xx, a 408
    and a 200 with foreign content may come after the platform took the request (Envoy answers 503 when the connection breaks after
    it passed the request on): unknown, unless `harmless`.
    """
    status, wait = response.status, None
    code = f"http_{status}" if status >= 300 else "html"
    action = WIRE.row(code).action_for(harmless)
    if status == 429 or (status == 503 and harmless):
        action, wait = Action.WAIT, parse_retry_after(response.headers.get("Retry-After", "")) or WAIT_SECONDS
    return WIRE.error(code, action, detail=_in_words(response), params={"status": status}, retry_after=wait)


def _in_words(response: Response) -> str:
    """What came in the place of the platform's JSON. Of a web page its title and never its markup: staff read this."""
    text = response.body[:4000].decode(errors="replace").strip()
    if "html" not in response.headers.get("Content-Type", "") and not text.startswith("<"):
        return text[:200]
    found = TITLE.search(text)
    title = " ".join(unescape(found[1]).split())[:100] if found else ""
    title = title or f"HTTP {response.status} {_phrase(response.status)}".strip()
    return str(_("a web page: %(title)s") % {"title": title})


def _phrase(status: int) -> str:
    """The standard words for a status; empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def parse_retry_after(header: str) -> float | None:
    """Seconds from now, an hour at most; None where the header is not there or says nothing."""
    try:
        return Retry(retry_after_max=LONGEST_RETRY_AFTER).parse_retry_after(header)
    except (HTTPError, ValueError, TypeError, IndexError, OverflowError):  # as strange dates raise them
        return None


def file_name(disposition: str) -> str:
    """The file name in a Content-Disposition header, without a path; RFC 2231, or UTF-8 bytes as they stand on the wire."""
    with suppress(UnicodeError):
        disposition = disposition.encode("latin-1").decode()
    message = Message()
    message["Content-Disposition"] = clean(disposition)
    return clean(message.get_filename("")).replace("\\", "/").rpartition("/")[2][-255:]
