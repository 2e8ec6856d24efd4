"""What WeCom's answers mean: a table for each kind, errcode → what to do, the cause and the cure (pages 90313 and 90454).

Each row says whether the answer can come after the deed (`Effect`). A message that met such an answer, or a code that is not in
the table, is uncertain and only a person repeats it; a call that sends nothing (a read, an upload, a token) is tried again.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import SHANGHAI, Explanations, rest_of_day
from channels_wechat.contract.explanations import UNLISTED_CURE, Action, Effect, Explanation
from channels_wechat.wecom import places
from channels_wechat.wecom.codes import PLATFORM, ROBOT_REMOVED
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.errors import ChannelError

# The access token was refused: fetch another, once. 41001 (no token in the address) is a safety net for our own mistakes.
TOKEN_REFUSED = frozenset({"40014", "42001", "41001"})
# The recipient is unknown, or out of the app's sight.
NO_SUCH_RECIPIENT = frozenset(map(str, (40003, 40031, 46004, 50002, 60011, 60021, 60111, 81013, 92000)))
# How often at most: WeCom's own hint for -1; a media id that ran out (40007) is repeated once, after a new upload.
MAX_TRIES = {-1: 3, 40007: 2}

R, W, C, P = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT

# What a receipt says beside the message that went out. parts: causes.
LEFT_OUT = Explanation(P, "%(parts)s")
_NOT_REACHED = {
    "left_out": LEFT_OUT,
    "invaliduser": Explanation(
        P, _("Not delivered to these members, unknown or outside the app's visible scope: %(ids)s.")
    ),
    "invalidparty": Explanation(P, _("Not delivered to these departments: %(ids)s.")),
    "invalidtag": Explanation(P, _("Not delivered to these tags: %(ids)s.")),
    "unlicenseduser": Explanation(P, _("Not delivered to these members, who have no licence: %(ids)s.")),
}
# What all kinds share; each adds its own words, and rows of its own for numbers that mean something else to it.
WECOM = Explanations(
    {
        **WIRE,
        **{str(number): row for number, row in PLATFORM.items()},
        "unlisted": Explanation(
            R,
            _("WeCom refused the call with a code that is not known here yet; the words below are WeCom's."),
            UNLISTED_CURE,
            effect=Effect.POSSIBLE,
        ),
        "file_too_large": Explanation(P, _("The file is larger than 100 MB.")),
        # What is refused before it is sent; people read `contract.sentences` of the same names about files.
        "message_empty": Explanation(P, _("The message is empty."), shows_code=False),
        "file_empty": Explanation(P, _("WeCom takes no files under 5 bytes; this one is empty."), shows_code=False),
        "file_over_limit": Explanation(
            P, _("The file is too large to send: %(size)s, WeCom takes %(most)s."), shows_code=False
        ),
        "short": Explanation(R, _("The file ended before the size that WeCom had told.")),
    }
)
# What the app may read of each part of the directory. errcode: WeCom's own.
_VISIBLE_TO = _("Add the departments whose members staff are to see by name to the app's visible scope.")
_DIRECTORY = {
    "directory_departments": Explanation(
        P, _("WeCom does not show the departments of the company to this app (%(errcode)s)."), _VISIBLE_TO,
        place=places.ALLOWED_USERS,
    ),
    "directory_members": Explanation(
        P, _("WeCom does not show the members of the company to this app (%(errcode)s)."), _VISIBLE_TO,
        place=places.ALLOWED_USERS,
    ),
    "directory_customers": Explanation(
        P,
        _("WeCom does not show the members' customers to this app (%(errcode)s)."),
        _("Add the app there, and under 权限配置 → 使用范围 (Permissions → Scope) the members who have customers."),
        place=places.CUSTOMER_API,
    ),
    "directory_groups": Explanation(
        P,
        _("WeCom does not show the group chats with customers to this app (%(errcode)s)."),
        _("Add the app there; the owners of the groups must be visible to it."),
        place=places.CUSTOMER_GROUP_API,
    ),
}  # fmt: skip
WECOM_APP = Explanations(
    {
        **WECOM,
        **{code: row._replace(shows_code=False) for code, row in _DIRECTORY.items()},
        **{code: row._replace(shows_code=False) for code, row in _NOT_REACHED.items()},
        "customer_only_welcomed": Explanation(
            P,
            _(
                "WeCom lets an app say one text to a customer: the welcome, within 20 seconds of the event that told of them."
            ),
        ),
        "app_disabled": PLATFORM[50003],
        "group_id": Explanation(P, _("A chat ID has at most 32 letters and digits.")),
        "group_name_too_long": PLATFORM[86004],
        "group_size": PLATFORM[86006],
        "linked_member": Explanation(
            P,
            _(
                "This is a member of a linked company (互联企业), whom the app reaches only where it is shared with that company. The"
                " message was not delivered."
            ),
            _("Share the app with that company."),
            place=places.LINKED_COMPANIES,
        ),
        "no_cards_in_groups": Explanation(P, _("WeCom shows cards only one to one, not in group chats.")),
        "too_many_recipients": PLATFORM[81017],
    }
)
WECOM_ROBOT = Explanations(
    {
        **WECOM,
        # A robot that was removed will never work again; to others it is the matter of one message.
        **dict.fromkeys(("93000", "93008"), ROBOT_REMOVED._replace(action=C)),
        "own_group_only": Explanation(
            P,
            _("A group robot writes to its own group only, whose peer is of the kind “group” with the id “group”."),
        ),
    }
)

_KF_CUSTOMER = _("The answer is sent when the customer writes again.")
WECOM_KF = Explanations(
    {
        **WECOM,
        # What is not sent waits for the customer, whose next message opens the conversation anew.
        "95001": Explanation(
            Action.WINDOW,
            _("Five messages have followed the customer's last one, or 48 hours: the customer must write first."),
            _KF_CUSTOMER,
        ),
        "95013": Explanation(Action.WINDOW, _("The customer-service conversation has ended."), _KF_CUSTOMER),
        "95018": Explanation(
            Action.WINDOW,
            _("The conversation is with a human servicer, waits for one or has ended, so that this account may not write."),
            _("Take it back on the conversation's page, or wait for the customer to write again."),
        ),
        "95016": Explanation(
            P,
            _("WeCom does not allow this change of the conversation: what it is in now cannot become that."),
            _("Reload the page to see how the conversation stands."),
        ),
        "event_code": Explanation(P, _("By the code of an event only a text or a menu can be sent.")),
        "no_groups": Explanation(P, _("Customer service writes to single customers only.")),
        "no_account": Explanation(
            C,
            _("The secret's app does not manage this customer-service account."),
            _("Choose the app there, and then the account for it, and let the API manage its sessions."),
            place=places.KF_API,
        ),
        # What the event `msg_send_fail` tells of a message that the platform had accepted (kf.parsing.FAILURES).
        "fail_unknown": Explanation(P, _("WeCom accepted the message and could not deliver it; it does not say why.")),
        "fail_account_deleted": Explanation(P, _("Not delivered: the customer-service account was deleted.")),
        "fail_app_closed": Explanation(P, _("Not delivered: the app was closed."), _("Enable it."), place=places.APP),
        "fail_too_late": Explanation(P, _("Not delivered: the customer wrote more than 48 hours ago.")),
        "fail_closed": Explanation(P, _("Not delivered: the conversation was closed.")),
        "fail_too_many": Explanation(P, _("Not delivered: five messages had followed the customer's last one.")),
        "fail_no_channels": Explanation(
            P, _("Not delivered: no Channels account (视频号) is linked."), _("Link one."), place=places.KF_CHANNELS,
        ),
        "fail_not_verified": Explanation(P, _("Not delivered: the company is not verified."), _("Verify it."), place=places.VERIFICATION),
        "fail_neither": Explanation(
            P, _("Not delivered: the company is not verified and no Channels account (视频号) is linked."), _("Do both in the console."),
        ),
        "fail_refused": Explanation(P, _("Not delivered: the customer refuses messages of this account.")),
    }
)  # fmt: skip


def error_for(
    answer: Mapping[str, Any], now: datetime | None = None, *, harmless: bool = False, table: Explanations = WECOM
) -> ChannelError:
    """The error of a decoded answer whose `errcode` is not 0.

    now: for the length of a day's limit; harmless: as in `Http.request`; table: of the account's kind, where numbers mean something else
    to it.
    """
    code, words = int(answer["errcode"]), str(answer.get("errmsg", ""))
    row = table.row(str(code))
    action = row.action_for(harmless)
    pause = _pause(words, now or datetime.now(SHANGHAI)) if action is W else None
    return table.error(
        code,
        action,
        detail=_seen_address(code, words) + words[:300],
        retry_after=pause,
        max_tries=MAX_TRIES.get(code) if row.effect is Effect.NOTHING or not harmless else None,
        response=dict(answer),
    )


def for_linked_member(error: ChannelError) -> ChannelError:
    """The error for a member of a linked company, whose id is `<corp id>/<user id>`: the cure is another."""
    if error.code not in NO_SUCH_RECIPIENT:
        return error
    more = {"errcode": error.code}
    return WECOM_APP.error("linked_member", detail=error.detail, params=more, response=error.response)


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
