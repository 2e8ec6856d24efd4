"""What the answers of api.weixin.qq.com mean: one table, errcode → what to do and a sentence for staff (facts 1.3 and 1.4).

Each row says whether the answer can come after the deed (`Effect`). A message that met such an answer, or a code that is not in
the table, is uncertain and only a person repeats it; a call that sends nothing (a read, an upload, a token) is tried again.
An errmsg ends in `rid: …`, by which WeChat's support finds the call: it is kept.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import SHANGHAI, ChannelError, Rule, rest_of_day
from channels_wechat.contract.explanations import Action, Effect

if TYPE_CHECKING:
    from collections.abc import Mapping


# The access token was refused: fetch another, once.
TOKEN_REFUSED = frozenset({"40001", "40014", "42001"})
# 45065: the same mass message was sent before; the answer has its id.
FINE = frozenset({0, 45065})
# Parts of a message that this account's version of the interface does not know.
NOT_UNDERSTOOD = frozenset({"40035", "47001"})
# How often at most: a media id that ran out is uploaded anew once.
MAX_TRIES = {40004: 2, 40007: 2}
# These say that the account may not use an interface at all; which one follows from the call (`CAPABILITIES`).
WITHHELD = frozenset({40200, 48001, 48004})
# These say that a person can no longer be reached.
GONE = frozenset({43004, 50005})
# Beginning of the path → the capability that WITHHELD switches off.
CAPABILITIES = {
    "cgi-bin/message/custom/send": "custom_send",
    "cgi-bin/message/custom/typing": "typing",
    "cgi-bin/message/subscribe/": "subscribe_send",
    "cgi-bin/media/": "media",
    "cgi-bin/user/": "user_info",
    "cgi-bin/openapi/quota/": "quota",
    "cgi-bin/clear_quota": "quota",
    "wxaapi/newtmpl/": "templates",
    "wxa/msg_sec_check": "moderation",
    "wxa/media_check_async": "moderation",
}

R, W, C, P, H = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT, Action.WINDOW
NOTHING, POSSIBLE = Effect.NOTHING, Effect.POSSIBLE

_SECRET = _(
    "WeChat refuses the AppSecret, or an access token that was just fetched with it. Copy the AppSecret again (Official Account:"
    " 设置与开发 → 基本配置; Mini Program: 开发管理 → 开发设置), and see that no other program resets it."
)
_APP_ID = _(
    "WeChat does not know this AppID. Copy it from the WeChat console (Official Account: 设置与开发 → 基本配置; Mini Program:"
    " 开发管理 → 开发设置)."
)
_ADDRESS = _(
    "WeChat does not accept calls from this server's IP address, named below. Add it: WeChat console → Settings and development"
    " (设置与开发) → API management (开发接口管理) → IP whitelist (IP白名单); then press Test."
)
_CONFIRM = _(
    "WeChat asks the account's administrator to confirm this server's IP address. Let them answer the notice in WeChat; then press Test."
)
_PUNISHED = _("WeChat has restricted or frozen this account. See the notices in the WeChat console.")
_OURS = _("WeChat does not understand the call. This is a mistake of this program; report it with the words below.")
_BAD_PARAMETER = _("WeChat refused a part of the message. The words below say which; correct it and send it again.")
_BAD_MEDIA = _("WeChat does not take this file: its type or size is not allowed.")
_TOO_LONG = _("The message, or a part of it, is longer than WeChat takes. Shorten it and send it again.")
_BAD_ADDRESS = _(
    "WeChat does not take an address in the message: it is too long, not valid, or its domain is not registered."
)
_STRANGER = _(
    "WeChat knows no such user for this account: the OpenID belongs to another account, or never followed this one."
)
_NOT_FOLLOWING = _(
    "The user does not follow the account any more. They must follow it again before anything can be said."
)
_WINDOW = _("The user must write again before more can be said: the 48 hours or the number of messages are used up.")
_MINUTE = _("Too many calls in this minute; it goes on by itself.")
_DAY = _(
    "WeChat's limit of calls for today is used up. It goes on by itself at midnight in China; the account page shows the counters."
)
_NOT_GRANTED = _("WeChat does not grant this interface to the account: its type or missing verification excludes it.")
_LOGIN = _("The login code was used already or is too old. Log in again.")
_TYPING = _("The sign “is typing” could not be shown; messages are not affected.")
_TAG = _("WeChat does not accept this change of a tag: its name, its number or its members are not allowed.")
_MENU = _("WeChat does not accept the menu. The words below say which part.")
_SERVICER = _(
    "The customer-service person or their session does not allow this now. See WeChat console → Customer service."
)
_STATISTICS = _("WeChat does not give these figures: the dates are wrong or too far apart.")
_PUBLISH = _("WeChat does not publish this. The words below say why.")
_MASS = _("The administrator refused the mass message, or did not confirm it within 30 minutes.")
_QUOTA_PATH = _("WeChat has no counter for this interface.")
_MODERATED = _("WeChat's content check refused the message.")
_CONSENT = _(
    "The user did not agree to this message, or used up their consent. They must agree in the Mini Program again."
)

ERRORS: dict[int, Rule] = {
    -1: Rule(R, POSSIBLE, _("WeChat is busy. What was sent may have arrived all the same.")),
    45169: Rule(R, NOTHING, _("Someone changed the same data at the same time; the call is repeated.")),
    40007: Rule(R, NOTHING, _("The uploaded file is no longer at WeChat, which keeps them for three days; it is uploaded anew.")),
    40004: Rule(R, NOTHING, _("WeChat does not know the uploaded file's type; it is uploaded anew once.")),
    45009: Rule(W, NOTHING, _DAY),
    45028: Rule(W, NOTHING, _("The account has sent all its mass messages of this period.")),
    45011: Rule(W, NOTHING, _MINUTE),
    45066: Rule(W, NOTHING, _MINUTE),
    48006: Rule(W, NOTHING, _("The counters were cleared ten times this month, which is all that WeChat allows.")),
    53501: Rule(W, NOTHING, _MINUTE),
    61503: Rule(W, NOTHING, _("WeChat has these figures only after 8:00 the next morning.")),
    89506: Rule(W, NOTHING, _("The administrator refused this server's IP address; WeChat lets it ask again after 24 hours.")),
    89507: Rule(W, NOTHING, _("The administrator refused this server's IP address; WeChat lets it ask again after an hour.")),
    45015: Rule(H, NOTHING, _WINDOW),
    45047: Rule(H, NOTHING, _WINDOW),
    40001: Rule(C, NOTHING, _SECRET),
    40014: Rule(C, NOTHING, _SECRET),
    42001: Rule(C, NOTHING, _SECRET),
    40125: Rule(C, NOTHING, _SECRET),
    40243: Rule(C, NOTHING, _("The AppSecret is frozen. Unfreeze it: console (设置与开发 → 基本配置; 开发管理 → 开发设置).")),
    40013: Rule(C, NOTHING, _APP_ID),
    40164: Rule(C, NOTHING, _ADDRESS),
    61004: Rule(C, NOTHING, _ADDRESS),
    89501: Rule(C, NOTHING, _CONFIRM),
    89503: Rule(C, NOTHING, _CONFIRM),
    50002: Rule(C, NOTHING, _PUNISHED),
    50004: Rule(C, NOTHING, _PUNISHED),
    50007: Rule(C, NOTHING, _PUNISHED),
    61024: Rule(
        C, NOTHING, _("The account is managed by a third-party platform, which alone may fetch its access token. End that authorisation."),
    ),
    87009: Rule(C, NOTHING, _("WeChat refuses the signature of the call. Switch off API signing in the WeChat console.")),
    43104: Rule(P, NOTHING, _("The account may not use this template, or the user belongs to another account.")),
    40003: Rule(P, NOTHING, _STRANGER),
    40032: Rule(P, NOTHING, _BAD_PARAMETER),
    40035: Rule(P, NOTHING, _BAD_PARAMETER),
    40038: Rule(P, NOTHING, _BAD_PARAMETER),
    44002: Rule(P, NOTHING, _OURS),
    47001: Rule(P, NOTHING, _BAD_PARAMETER),
    40002: Rule(P, NOTHING, _OURS),
    40008: Rule(P, NOTHING, _("WeChat does not know this type of message.")),
    40033: Rule(P, NOTHING, _OURS),
    41001: Rule(P, NOTHING, _OURS),
    41002: Rule(P, NOTHING, _OURS),
    41004: Rule(P, NOTHING, _OURS),
    41005: Rule(P, NOTHING, _OURS),
    41006: Rule(P, NOTHING, _OURS),
    43002: Rule(P, NOTHING, _OURS),
    40005: Rule(P, NOTHING, _BAD_MEDIA),
    40006: Rule(P, NOTHING, _BAD_MEDIA),
    40009: Rule(P, NOTHING, _BAD_MEDIA),
    45001: Rule(P, NOTHING, _BAD_MEDIA),
    45007: Rule(P, NOTHING, _("A voice message may last 60 seconds at most.")),
    40037: Rule(P, NOTHING, _("There is no template with this ID any more. Choose another from the list.")),
    40039: Rule(P, NOTHING, _BAD_ADDRESS),
    40048: Rule(P, NOTHING, _BAD_ADDRESS),
    40054: Rule(P, NOTHING, _BAD_ADDRESS),
    40055: Rule(P, NOTHING, _BAD_ADDRESS),
    40029: Rule(P, NOTHING, _LOGIN),
    40163: Rule(P, NOTHING, _LOGIN),
    42003: Rule(P, NOTHING, _LOGIN),
    42007: Rule(P, NOTHING, _("The user changed their password; they must authorise again.")),
    40200: Rule(P, NOTHING, _NOT_GRANTED),
    40249: Rule(P, NOTHING, _("WeChat forbids advertising in this template.")),
    43116: Rule(P, NOTHING, _("WeChat has restricted this template.")),
    41030: Rule(
        P, NOTHING, _("The page is not in the released version of the Mini Program. Correct it, or release a version that has it."),
    ),
    43004: Rule(P, NOTHING, _NOT_FOLLOWING),
    50005: Rule(P, NOTHING, _NOT_FOLLOWING),
    43019: Rule(P, NOTHING, _("The user is on the account's blacklist. Take them off it in the WeChat console first.")),
    43101: Rule(P, NOTHING, _CONSENT),
    44004: Rule(P, NOTHING, _("The message is empty.")),
    45002: Rule(P, NOTHING, _TOO_LONG),
    45003: Rule(P, NOTHING, _TOO_LONG),
    45004: Rule(P, NOTHING, _TOO_LONG),
    45005: Rule(P, NOTHING, _TOO_LONG),
    45006: Rule(P, NOTHING, _TOO_LONG),
    45008: Rule(P, NOTHING, _("A news message has one article at most.")),
    **dict.fromkeys((45056, 45057, 45058, 45059, 45157, 45158, 45159, 45171), Rule(P, NOTHING, _TAG)),
    45064: Rule(P, NOTHING, _("The Mini Program is not linked to the account. Link it: WeChat console → Mini Program management.")),
    45067: Rule(P, NOTHING, _OURS),
    45072: Rule(P, NOTHING, _TYPING),
    45080: Rule(P, NOTHING, _TYPING),
    45081: Rule(P, NOTHING, _TYPING),
    45166: Rule(P, NOTHING, _("WeChat does not accept the content of the draft.")),
    46003: Rule(P, NOTHING, _("The account has no menu.")),
    47003: Rule(P, NOTHING, _("What was filled in does not fit the template. The words below name the field.")),
    48001: Rule(P, NOTHING, _NOT_GRANTED),
    48002: Rule(P, NOTHING, _("The user has switched off messages of this account.")),
    48003: Rule(P, NOTHING, _("The administrator must accept the rules for mass messages in the WeChat console first.")),
    48004: Rule(P, NOTHING, _("WeChat has banned the account from this interface. See the notices in the WeChat console.")),
    48005: Rule(P, NOTHING, _("The file is used by a menu or an automatic answer, so it cannot be deleted.")),
    48008: Rule(P, NOTHING, _("WeChat does not let this account send messages of this type.")),
    50001: Rule(P, NOTHING, _("The user did not authorise the account for this.")),
    **dict.fromkeys((53500, 53502, 53600), Rule(P, NOTHING, _PUBLISH)),
    61010: Rule(P, NOTHING, _("The user has not opened the Mini Program within the last two hours, so WeChat does not check their text.")),
    **dict.fromkeys((*range(61450, 61458), *range(65400, 65418)), Rule(P, NOTHING, _SERVICER)),
    61500: Rule(P, NOTHING, _STATISTICS),
    61501: Rule(P, NOTHING, _STATISTICS),
    **dict.fromkeys((*range(65301, 65318), 65320), Rule(P, NOTHING, _MENU)),
    70000: Rule(P, NOTHING, _("WeChat protects minors from this message; it is not sent again.")),
    76021: Rule(P, NOTHING, _QUOTA_PATH),
    76022: Rule(P, NOTHING, _QUOTA_PATH),
    87014: Rule(P, NOTHING, _MODERATED),
    89504: Rule(P, NOTHING, _MASS),
    89505: Rule(P, NOTHING, _MASS),
    **dict.fromkeys((9410010, 9410011, 9410012), Rule(P, NOTHING, _("The short key is too long, asks to live too long, or has ended."))),
}  # fmt: skip
_UNKNOWN_CODE = _("WeChat refused the call with a code this program does not know; the words below are WeChat's.")
UNLISTED = Rule(R, POSSIBLE, _UNKNOWN_CODE)
RID = re.compile(r"rid:\s*([0-9a-f][0-9a-f-]{7,63})")
SEEN_ADDRESS = re.compile(r"\bip:?\s+([0-9a-fA-F.:]{3,45})|requestIP:\s*([0-9a-fA-F.:]{3,45})", re.IGNORECASE)


def error_for(
    answer: Mapping[str, Any], code: int, path: str = "", now: datetime | None = None, *, harmless: bool = False
) -> ChannelError:
    """The error of a decoded answer. path: of the call, which says what is withheld; now: for the length of a day's limit;
    harmless: as in `Http.request`."""
    words = str(answer.get("errmsg", ""))
    rule = ERRORS.get(code, UNLISTED)
    action = rule.action_for(harmless)
    rid = RID.search(words)
    return ChannelError(
        code,
        action,
        rule.text,
        detail=_seen_address(code, words) + _told(words, rid[0] if rid else ""),
        retry_after=_pause(code, now or datetime.now(SHANGHAI)) if action is W else None,
        max_tries=MAX_TRIES.get(code),
        response={"rid": rid[1], **answer} if rid else dict(answer),  # first: what is stored may be cut
        capability=capability_of(path) if code in WITHHELD else "",
        gone=code in GONE,
    )


def _told(words: str, rid: str) -> str:
    """What the platform said, cut, but never without its rid."""
    return words if len(words) <= 300 else f"{words[:300]} {rid}".rstrip()


def capability_of(path: str) -> str:
    return next((name for start, name in CAPABILITIES.items() if path.startswith(start)), "")


def _seen_address(code: int, words: str) -> str:
    """Which address the platform saw is what staff need: it stands in the middle of its words."""
    found = SEEN_ADDRESS.search(words) if code in (40164, 61004) else None
    return f"{(found[1] or found[2]).rstrip('.:')} · " if found else ""


def _pause(code: int, now: datetime) -> float:
    """Seconds until the limit's window is over."""
    here = now.astimezone(SHANGHAI)
    if code == 48006:
        month = (here.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (month - now).total_seconds()
    if code == 61503:
        return (here.replace(hour=8, minute=0, second=0, microsecond=0) - now).total_seconds() % (24 * 3600)
    if code in (45009, 45028):
        return rest_of_day(now)
    return {89506: 24 * 3600.0, 89507: 3600.0}.get(code, 60.0)
