"""A login by a code that somebody scans with their own WeChat: the bot of this person comes back, and its token (facts 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Scan, ScanCode
from channels_wechat.contract.text import utf8_len
from channels_wechat.ilink.addresses import API, redirected_base_url, trusted_base_url
from channels_wechat.ilink.api import address_of, headers_of_get, headers_of_post, read_answer
from channels_wechat.ilink.errors import ILINK

if TYPE_CHECKING:
    from channels_wechat.contract.http_client import HttpClient

BOT_TYPE = "3"
# The platform holds the question for half a minute; nothing is missed by asking again sooner.
TIMEOUT = (5.0, 4.0)
# More does not fit into a QR code that a phone reads from a screen.
MOST_BYTES = 1000
ENDED = frozenset({"expired", "verify_code_blocked", "binded_redirect"})


def fetch_code(http: HttpClient, base_url: str) -> ScanCode:
    """Raises ChannelError. base_url: the address that staff entered; empty: the platform's own."""
    address = f"{address_of(base_url.rstrip('/') or API, 'get_bot_qrcode')}?{urlencode({'bot_type': BOT_TYPE})}"
    # Without tokens of ours the platform makes a new login, also for somebody who has one here: theirs is renewed.
    response = http.request(
        "POST", address, json={"local_token_list": []}, headers=headers_of_post(""), timeout=(5.0, 20.0), harmless=True
    )
    answer = read_answer(response)
    code, picture = word(answer, "qrcode"), word(answer, "qrcode_img_content")
    if not code or " " in code or not 0 < utf8_len(picture) <= MOST_BYTES:
        raise ILINK.error("scan_unreadable")
    return ScanCode(code, picture)


def find_scanned(http: HttpClient, code: str, typed: str, base_url: str) -> Scan:
    """Return what became of the code. Raises ChannelError.

    code: as the last answer named it: behind a blank the host to ask, where the platform sent the login on to another one.
    """
    qrcode, _blank, host = code.partition(" ")
    where = redirected_base_url(host, base_url) if host else base_url.rstrip("/") or API
    if not where:
        raise ILINK.error("scan_host")
    answer = _ask(http, where, {"qrcode": qrcode, **({"verify_code": typed} if typed else {})})
    status = word(answer, "status")
    if status in ENDED:
        raise _error_of(status)
    if status == "scaned_but_redirect":
        return Scan("scanned", code=_redirected(qrcode, word(answer, "redirect_host"), base_url))
    if status == "confirmed":
        return Scan("done", _credentials(answer))
    if status == "need_verifycode":
        return Scan("asks")
    return Scan("scanned" if status == "scaned" else "waiting")


def _ask(http: HttpClient, where: str, query: dict[str, str]) -> dict[str, Any]:
    """Return the answer; an empty one where none came in time, which says that nothing has changed."""
    address = f"{address_of(where, 'get_qrcode_status')}?{urlencode(query)}"
    try:
        return read_answer(http.request("GET", address, headers=headers_of_get(), timeout=TIMEOUT, harmless=True))
    except ChannelError as error:
        if error.code == "timeout":
            return {}
        raise


def _error_of(status: str) -> ChannelError:
    if status == "verify_code_blocked":
        return ILINK.error("scan_blocked")
    return ILINK.error("scan_bound") if status == "binded_redirect" else ILINK.error("scan_ended")


def _redirected(qrcode: str, host: str, base_url: str) -> str:
    """Raises ChannelError: the host is the platform's word, and a login is worth a token."""
    if not redirected_base_url(host, base_url):
        raise ILINK.error("scan_host", detail=host[:100])
    return f"{qrcode} {host}"


def _credentials(answer: dict[str, Any]) -> dict[str, str]:
    """Raises ChannelError. An address that is not Tencent's is left out: then the usual one is called."""
    found = {
        "user_id": word(answer, "ilink_user_id"),
        "bot_id": word(answer, "ilink_bot_id"),
        "bot_token": word(answer, "bot_token"),
    }
    if not all(found.values()):
        raise ILINK.error("scan_unreadable")
    return {**found, "base_url": trusted_base_url(word(answer, "baseurl"))}
