"""An AI bot that somebody makes by scanning a code with WeCom: the bot and its secret come back (facts 6.3).

Tencent's own command line does it so. It stands in no public document, so whatever is answered otherwise is said, and nothing is assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import ScanCode
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.errors import error_for
from channels_wechat.wire.api_answers import decoded, whole
from channels_wechat.wire.http import error_for_status

if TYPE_CHECKING:
    from channels_wechat.contract.http_client import HttpClient

ADDRESS = "https://work.weixin.qq.com"
SOURCE = "wechat-openclaw-bridge"
# What the state says where nobody will scan the code any more.
ENDED = ("expire", "cancel", "fail", "refuse", "reject", "deny", "denied", "timeout")


def fetch_code(http: HttpClient) -> ScanCode:
    """Raises ChannelError."""
    data = _ask(http, "generate", source=SOURCE, plat="0")
    code, address = word(data, "scode"), word(data, "auth_url")
    if not code or not address.startswith("https://"):
        raise WECOM_AIBOT.error("scan_unreadable")
    return ScanCode(code, address)


def find_bot(http: HttpClient, code: str) -> dict[str, str] | None:
    """Return the bot's id and secret; None while the code is not scanned. Raises ChannelError."""
    data = _ask(http, "query_result", scode=code)
    status = word(data, "status").lower()
    if any(end in status for end in ENDED):
        raise WECOM_AIBOT.error("scan_ended", detail=status[:40])
    if status != "success":
        return None
    bot = {"bot_id": word(data, "bot_info", "botid"), "secret": word(data, "bot_info", "secret")}
    if not all(bot.values()):
        raise WECOM_AIBOT.error("scan_unreadable")
    return bot


def _ask(http: HttpClient, step: str, **query: str) -> dict[str, Any]:
    response = http.request("GET", f"{ADDRESS}/ai/qc/{step}?{urlencode(query)}", headers={"Accept": "application/json"})
    answer = decoded(response.body)
    code = whole(answer.get("errcode"), None)
    if code:
        raise error_for({"errcode": code, "errmsg": word(answer, "errmsg")}, harmless=True, table=WECOM_AIBOT)
    data = answer.get("data")
    if response.status != 200:
        raise error_for_status(response, harmless=True)
    if not isinstance(data, dict):
        raise WECOM_AIBOT.error("scan_unreadable")
    return data
