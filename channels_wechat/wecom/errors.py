"""What WeCom's answers mean: one table, errcode → what to do and a sentence for staff (pages 90313 and 90454).

Each row says whether the answer can come after the deed (`Effect`). A message that met such an answer, or a code that is not in
the table, is uncertain and only a person repeats it; a call that sends nothing (a read, an upload, a token) is tried again.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import SHANGHAI, ChannelError, Rule, rest_of_day
from channels_wechat.contract.explanations import Action, Effect

if TYPE_CHECKING:
    from collections.abc import Mapping


# The access token was refused: fetch another, once. 41001 (no token in the address) is a safety net for our own mistakes.
TOKEN_REFUSED = frozenset({"40014", "42001", "41001"})
# The recipient is unknown, or out of the app's sight.
NO_SUCH_RECIPIENT = frozenset(map(str, (40003, 40031, 46004, 50002, 60011, 60021, 60111, 81013, 92000)))
# How often at most: WeCom's own hint for -1; a media id that ran out (40007) is repeated once, after a new upload.
MAX_TRIES = {-1: 3, 40007: 2}

R, W, C, P = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT
NOTHING, POSSIBLE = Effect.NOTHING, Effect.POSSIBLE

_NO_MEMBER = _(
    "WeCom knows no such member. Check the user ID in the address book (console 管理后台 → Contacts 通讯录)."
)
_OUT_OF_SCOPE = _(
    "The member is outside the app's visible scope. Add them: console → App management (应用管理) → the app → Visible to (可见范围)."
)
_BAD_MEDIA = _("WeCom does not take this file: its type or size is not allowed. Send it as a plain file, or smaller.")
_BAD_PARAMETER = _(
    "WeCom refused a parameter of the call. The words below say which; correct the message and send it again."
)
_TOKEN = _("WeCom refused the access token twice in a row; it is tried again later with a new one.")
_SECRET = _(
    "WeCom refuses the secret: it is wrong, was reset, or the app was stopped."
    " Copy it again: console → App management (应用管理) → the app → Secret."
)
_ADDRESS = _(
    "WeCom does not trust this server's IP address. Add it: console → App management (应用管理) → the app → trusted IP (企业可信IP);"
    " it takes effect in about a minute."
)
_NOBODY = _(
    "Nobody could receive this: every recipient is unknown or outside the app's visible scope."
    " Check: console → App management (应用管理) → the app → Visible to (可见范围)."
)
_LINKED = _(
    "This is a member of a linked company (互联企业), whom the app reaches only where it is shared with that company: console → App"
    " management → the app → Visible to → Linked companies. The message was not delivered."
)
_CORP_ID = _(
    "WeCom does not know this corp ID. Copy it from console → My company (我的企业) → 企业信息 → Company ID (企业ID)."
)
_SUITE = _("The authorisation of the third-party app ended. Authorise it again in the console.")
_AGENT = _(
    "The AgentId is not that of the app whose secret is stored. Compare both: console → App management (应用管理) → the app."
)
_NOT_PERMITTED = _(
    "The app may not call this interface. Grant it in the console on the page of that feature, under “Apps that may call” (可调用的应用)."
)
_GROUP_MEMBERS = _(
    "A member of the group is not valid: each must exist and be visible to the app, and the owner must be among them."
)
_BAD_TEXT = _("The message is empty, or a required part of it is missing.")
_TOO_LONG = _("The message, or a part of it, is longer than WeCom takes. Shorten it and send it again.")
_ROBOT = _(
    "The group robot's address is not valid any more: the robot was removed. Add one to the group and store its address."
)
_KF_STATE = _("The customer-service conversation does not allow this now. Wait for the customer to write again.")
_ARCHIVE = _(
    "The conversation archive is not in order: its licence, its switch or its IP list. See console → Security → Archive."
)

ERRORS: dict[int, Rule] = {
    -1: Rule(R, POSSIBLE, _("WeCom is busy. What was sent may have arrived all the same.")),
    6000: Rule(R, NOTHING, _("Someone changed the same data at the same time; the call is repeated.")),
    45033: Rule(R, NOTHING, _("Too many calls at the same moment; the call is repeated.")),
    45009: Rule(W, NOTHING, _("WeCom's limit for calls is reached. Nothing is sent until it lets us again; this goes on by itself.")),
    40007: Rule(R, NOTHING, _("The uploaded file is no longer at WeCom, which keeps them for three days; it is uploaded anew.")),
    40014: Rule(R, NOTHING, _TOKEN),
    42001: Rule(R, NOTHING, _TOKEN),
    41001: Rule(R, NOTHING, _TOKEN),
    40001: Rule(C, NOTHING, _SECRET),
    40013: Rule(C, NOTHING, _CORP_ID),
    2000002: Rule(C, NOTHING, _CORP_ID),
    40056: Rule(C, NOTHING, _AGENT),
    301002: Rule(C, NOTHING, _AGENT),
    40091: Rule(C, NOTHING, _("The secret belongs to another company than the corp ID. Copy both from the same console.")),
    42007: Rule(C, NOTHING, _SUITE),
    42008: Rule(C, NOTHING, _SUITE),
    42009: Rule(C, NOTHING, _SUITE),
    48002: Rule(C, NOTHING, _NOT_PERMITTED),
    48004: Rule(C, NOTHING, _("The permission for this interface was withdrawn. Grant it again in the console.")),
    50001: Rule(
        C, NOTHING, _("The redirect address is not on the app's trusted domain. Set it: console → the app → Web page authorisation."),
    ),
    50003: Rule(C, NOTHING, _("The app is disabled. Enable it: console → App management (应用管理) → the app.")),
    60020: Rule(C, NOTHING, _ADDRESS),
    85005: Rule(C, NOTHING, _("The mini program is not linked to the app. Link it: console → 应用管理 → Mini programs (小程序).")),
    93004: Rule(C, NOTHING, _("The group robot is disabled. Enable it in the group's settings.")),
    95000: Rule(C, NOTHING, _("The customer-service account ID is wrong. Compare it with console → 微信客服.")),
    95017: Rule(C, NOTHING, _("The interface of WeChat customer service is switched off. Switch it on in the console.")),
    301042: Rule(C, NOTHING, _ARCHIVE),
    301052: Rule(C, NOTHING, _ARCHIVE),
    301053: Rule(C, NOTHING, _ARCHIVE),
    301058: Rule(C, NOTHING, _("The archive was asked for more messages at once than it gives.")),
    40003: Rule(P, NOTHING, _NO_MEMBER),
    46004: Rule(P, NOTHING, _NO_MEMBER),
    60111: Rule(P, NOTHING, _NO_MEMBER),
    40031: Rule(P, NOTHING, _NO_MEMBER),
    40004: Rule(P, NOTHING, _BAD_MEDIA),
    40005: Rule(P, NOTHING, _BAD_MEDIA),
    40006: Rule(P, NOTHING, _BAD_MEDIA),
    40009: Rule(P, NOTHING, _BAD_MEDIA),
    40011: Rule(P, NOTHING, _BAD_MEDIA),
    45001: Rule(P, NOTHING, _BAD_MEDIA),
    45007: Rule(P, NOTHING, _("A voice message may last 60 seconds at most. Send it as a file.")),
    40008: Rule(P, NOTHING, _("WeCom does not know this type of message.")),
    40029: Rule(P, NOTHING, _("The login code was used already or is older than five minutes. Log in again.")),
    40033: Rule(P, NOTHING, _("WeCom refused characters of the message.")),
    40035: Rule(P, NOTHING, _BAD_PARAMETER),
    40058: Rule(P, NOTHING, _BAD_PARAMETER),
    40050: Rule(P, NOTHING, _("There is no group chat with this ID.")),
    40063: Rule(P, NOTHING, _BAD_TEXT),
    41006: Rule(P, NOTHING, _BAD_TEXT),
    44001: Rule(P, NOTHING, _BAD_TEXT),
    44004: Rule(P, NOTHING, _BAD_TEXT),
    40093: Rule(P, NOTHING, _("The signature of the page is wrong.")),
    41051: Rule(P, NOTHING, _("The two are in conversation already, so WeCom sends no welcome.")),
    42014: Rule(P, NOTHING, _("There is no card with this task ID.")),
    43004: Rule(P, NOTHING, _("The member has not linked WeChat: they do not follow the company's WeChat plugin.")),
    45002: Rule(P, NOTHING, _TOO_LONG),
    45004: Rule(P, NOTHING, _TOO_LONG),
    45008: Rule(P, NOTHING, _("A news message has at most eight articles.")),
    45034: Rule(P, NOTHING, _("An address in the message lacks http:// or https://.")),
    48005: Rule(P, NOTHING, _("WeCom has retired this interface.")),
    50002: Rule(P, NOTHING, _OUT_OF_SCOPE),
    60021: Rule(P, NOTHING, _OUT_OF_SCOPE),
    92000: Rule(P, NOTHING, _OUT_OF_SCOPE),
    60011: Rule(
        P, NOTHING, _("The app has no right over this member, department or tag. Add it to the app's visible scope in the console."),
    ),
    60140: Rule(P, NOTHING, _("The card was answered or updated already, or is older than 72 hours.")),
    81013: Rule(P, NOTHING, _NOBODY),
    81017: Rule(P, NOTHING, _("Too many recipients in one message: 1000 members, 100 departments or 100 tags at most.")),
    82001: Rule(P, NOTHING, _("The message names no recipient.")),
    84061: Rule(P, NOTHING, _("There is no contact between this member and this customer.")),
    86001: Rule(P, NOTHING, _("There is no group chat with this ID.")),
    86003: Rule(P, NOTHING, _GROUP_MEMBERS),
    86004: Rule(P, NOTHING, _("The group's name is too long: 50 characters at most.")),
    86005: Rule(P, NOTHING, _("A group chat with this ID exists already.")),
    86006: Rule(P, NOTHING, _("A group chat made by the app has 2 to 2000 members.")),
    86007: Rule(P, NOTHING, _("The app has no right in this group chat.")),
    86008: Rule(P, NOTHING, _("This group chat was not made by the app; it can write only to groups it made.")),
    86207: Rule(P, NOTHING, _GROUP_MEMBERS),
    86216: Rule(P, NOTHING, _GROUP_MEMBERS),
    86220: Rule(P, NOTHING, _BAD_PARAMETER),
    86224: Rule(P, NOTHING, _("This is not a group chat of the kind the call is for.")),
    93000: Rule(P, NOTHING, _ROBOT),
    93008: Rule(P, NOTHING, _ROBOT),
    95001: Rule(P, NOTHING, _("Five messages have followed the customer's last one, or 48 hours: the customer must write first.")),
    95007: Rule(P, NOTHING, _("The token of the customer-service notice is no longer valid.")),
    95013: Rule(P, NOTHING, _KF_STATE),
    95016: Rule(P, NOTHING, _KF_STATE),
    95018: Rule(P, NOTHING, _KF_STATE),
    95014: Rule(P, NOTHING, _("The member is no servicer of this customer-service account.")),
    301059: Rule(P, NOTHING, _("This is not an internal group.")),
    830002: Rule(P, NOTHING, _("The file is larger than 20 MB and was not fetched in pieces.")),
    846605: Rule(P, NOTHING, _("The AI bot's message can no longer be answered this way.")),
    846608: Rule(P, NOTHING, _("The AI bot's answer took longer than six minutes.")),
}  # fmt: skip
# Kind and code, where the code means something else to that kind of account.
ERRORS_OF_KIND: dict[tuple[str, int], Rule] = {
    ("wecom_robot", 93000): Rule(C, NOTHING, _ROBOT),
    ("wecom_robot", 93008): Rule(C, NOTHING, _ROBOT),
}
_UNKNOWN_CODE = _("WeCom refused the call with a code this program does not know; the words below are WeCom's.")
UNLISTED = Rule(R, POSSIBLE, _UNKNOWN_CODE)


def error_for(
    answer: Mapping[str, Any], now: datetime | None = None, *, harmless: bool = False, kind: str = ""
) -> ChannelError:
    """The error of a decoded answer whose `errcode` is not 0.

    now: for the length of a day's limit; harmless: as in `Http.request`; kind: of the account, to which a code may mean something else.
    """
    code, words = int(answer["errcode"]), str(answer.get("errmsg", ""))
    rule = ERRORS_OF_KIND.get((kind, code)) or ERRORS.get(code, UNLISTED)
    action = rule.action_for(harmless)
    pause = _pause(words, now or datetime.now(SHANGHAI)) if action is W else None
    return ChannelError(
        code,
        action,
        rule.text,
        detail=_seen_address(code, words) + words[:300],
        retry_after=pause,
        max_tries=MAX_TRIES.get(code) if rule.effect is NOTHING or not harmless else None,
        response=dict(answer),
    )


def for_linked_member(error: ChannelError) -> ChannelError:
    """The same error with the words and the cure for a member of a linked company, whose id is `<corp id>/<user id>`."""
    if error.code not in NO_SUCH_RECIPIENT:
        return error
    return ChannelError(error.code, error.action, _LINKED, detail=error.detail, response=error.response)


def _seen_address(code: int, words: str) -> str:
    """60020 tells in the middle of a long line which address the platform saw: it is what staff need."""
    found = re.search(r"from ip:\s*([0-9a-fA-F.:]+)", words) if code == 60020 else None
    return f"{found[1].rstrip('.:')} · " if found else ""


def _pause(words: str, now: datetime) -> float:
    """Seconds until the limit's window is over: a minute, an hour, or the rest of the day in Shanghai (page 90454)."""
    words = words.lower()
    if "hour" in words:
        return 3600
    if "minute" not in words and re.search(r"\bda(?:y|ily)\b|\bmonth", words):
        return rest_of_day(now)
    return 60
