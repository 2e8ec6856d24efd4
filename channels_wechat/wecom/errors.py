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
from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.wecom import places
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

_NO_MEMBER = Explanation(
    P,
    _("WeCom knows no such member."),
    _("Compare the user ID with the member's account in the address book."),
    place=places.MEMBERS,
)
_OUT_OF_SCOPE = Explanation(
    P,
    _("The member is outside the app's visible scope."),
    _("Add them to the app's visible scope."),
    place=places.ALLOWED_USERS,
)
_BAD_MEDIA = Explanation(
    P,
    _("WeCom does not take this file: its type or size is not allowed."),
    _("Send it as a plain file, or smaller."),
)
_BAD_PARAMETER = Explanation(
    P,
    _("WeCom refused a parameter of the call."),
    _("The words below say which; correct the message and send it again."),
)
_TOKEN = Explanation(R, _("WeCom refused the access token twice in a row; it is tried again later with a new one."))
_SECRET = Explanation(
    C,
    _("WeCom refuses the secret: it is wrong, was reset, or the app was stopped."),
    _("Copy it again, and see that the app is enabled."),
    place=places.APP_SECRET,
)
_ADDRESS = Explanation(
    C,
    _("WeCom does not trust this server's IP address."),
    _("Add the address that is named below; it takes effect in about a minute."),
    place=places.TRUSTED_ADDRESSES,
)
_NOBODY = Explanation(
    P,
    _("Nobody could receive this: every recipient is unknown or outside the app's visible scope."),
    _("Check who is in the app's visible scope."),
    place=places.ALLOWED_USERS,
)
_CORP_ID = Explanation(
    C,
    _("WeCom does not know this corp ID."),
    _("Copy it again."),
    place=places.CORP_ID,
)
_SUITE = Explanation(
    C, _("The authorisation of the third-party app ended."), _("Authorise it again."), place=places.THIRD_PARTY_APPS
)
_AGENT = Explanation(
    C,
    _("The AgentId is not that of the app whose secret is stored."),
    _("Copy AgentId and secret from the same app's page."),
    place=places.APP,
)
_NOT_PERMITTED = Explanation(
    C,
    _("The app may not call this interface."),
    _("Choose the app among those that may call that feature's interface."),
    place=places.CALLABLE_APPS,
)
_NO_GROUP = Explanation(P, _("There is no group chat with this ID."))
_GROUP_MEMBERS = Explanation(
    P,
    _(
        "A member of the group is not valid: each must exist and be visible to the app, and the owner must be among them."
    ),
)
_BAD_TEXT = Explanation(P, _("The message is empty, or a required part of it is missing."))
_TOO_LONG = Explanation(
    P, _("The message, or a part of it, is longer than WeCom takes."), _("Shorten it and send it again.")
)
_ROBOT = Explanation(
    P,
    _("The group robot's address is not valid any more: the robot was removed."),
    _("Add one to the group and store its address."),
    place=places.ROBOT,
)
_KF_STATE = Explanation(
    P,
    _("The customer-service conversation does not allow this now."),
    _("Wait for the customer to write again."),
)
_DISABLED = Explanation(C, _("The app is disabled."), _("Enable it."), place=places.APP)
_ARCHIVE = Explanation(
    C,
    _("The conversation archive is not in order: its licence, its switch or its IP list."),
    _("Check whether it is licensed and switched on, and whether its list has the address named below."),
    place=places.ARCHIVE,
)

# As most kinds are to understand them.
PLATFORM: dict[int, Explanation] = {
    -1: Explanation(R, _("WeCom is busy. What was sent may have arrived all the same."), effect=Effect.POSSIBLE),
    6000: Explanation(R, _("Someone changed the same data at the same time; the call is repeated.")),
    45033: Explanation(R, _("Too many calls at the same moment; the call is repeated.")),
    45009: Explanation(
        W, _("WeCom's limit for calls is reached."), _("Nothing is sent until it lets us again; this goes on by itself."),
    ),
    40007: Explanation(R, _("The uploaded file is no longer at WeCom, which keeps them for three days; it is uploaded anew.")),
    **dict.fromkeys((40014, 42001, 41001), _TOKEN),
    40001: _SECRET,
    **dict.fromkeys((40013, 2000002), _CORP_ID),
    **dict.fromkeys((40056, 301002), _AGENT),
    40091: Explanation(
        C, _("The secret belongs to another company than the corp ID."), _("Copy both from the same console."), place=places.CORP_ID,
    ),
    **dict.fromkeys((42007, 42008, 42009), _SUITE),
    48002: _NOT_PERMITTED,
    48004: Explanation(
        C, _("The permission for this interface was withdrawn."), _("Grant it again."), place=places.CALLABLE_APPS,
    ),
    50001: Explanation(
        C, _("The redirect address is not on the app's trusted domain."), _("Enter the domain of the address."), place=places.WEB_LOGIN,
    ),
    50003: _DISABLED,
    60020: _ADDRESS,
    85005: Explanation(
        C, _("The mini program is not linked to the app."), _("Link it."), place=places.MINI_PROGRAMS,
    ),
    93004: Explanation(C, _("The group robot is disabled."), _("Enable it in the group's settings."), place=places.ROBOT),
    95000: Explanation(C, _("The customer-service account ID is wrong."), _("Copy it again."), place=places.KF_ACCOUNT),
    95017: Explanation(
        C, _("The interface of WeChat customer service is switched off."), _("Switch it on, and choose the app there."),
        place=places.KF_API,
    ),
    **dict.fromkeys((301042, 301052, 301053), _ARCHIVE),
    301058: Explanation(C, _("The archive was asked for more messages at once than it gives.")),
    **dict.fromkeys((40003, 40031, 46004, 60111), _NO_MEMBER),
    **dict.fromkeys((40004, 40005, 40006, 40009, 40011, 45001), _BAD_MEDIA),
    45007: Explanation(P, _("A voice message may last 60 seconds at most."), _("Send it as a file.")),
    40008: Explanation(P, _("WeCom does not know this type of message.")),
    40029: Explanation(P, _("The login code was used already or is older than five minutes."), _("Log in again.")),
    40033: Explanation(P, _("WeCom refused characters of the message.")),
    **dict.fromkeys((40035, 40058, 86220), _BAD_PARAMETER),
    **dict.fromkeys((40050, 86001), _NO_GROUP),
    **dict.fromkeys((40063, 41006, 44001, 44004), _BAD_TEXT),
    40093: Explanation(P, _("The signature of the page is wrong.")),
    40096: Explanation(P, _("WeCom knows no such customer.")),
    41051: Explanation(P, _("The two are in conversation already, so WeCom sends no welcome.")),
    42014: Explanation(P, _("There is no card with this task ID.")),
    43004: Explanation(P, _("The member has not linked WeChat: they do not follow the company's WeChat plugin.")),
    **dict.fromkeys((45002, 45004), _TOO_LONG),
    45008: Explanation(P, _("A news message has at most eight articles.")),
    45034: Explanation(P, _("An address in the message lacks http:// or https://.")),
    48005: Explanation(P, _("WeCom has retired this interface.")),
    **dict.fromkeys((50002, 60021, 92000), _OUT_OF_SCOPE),
    60003: Explanation(P, _("There is no department with this ID, or the app may not see it.")),
    60011: Explanation(
        P, _("The app has no right over this member, department or tag."), _("Add it to the app's visible scope."),
        place=places.ALLOWED_USERS,
    ),
    60140: Explanation(P, _("The card was answered or updated already, or is older than 72 hours.")),
    81013: _NOBODY,
    81017: Explanation(P, _("Too many recipients in one message: 1000 members, 100 departments or 100 tags at most.")),
    82001: Explanation(P, _("The message names no recipient.")),
    84061: Explanation(P, _("There is no contact between this member and this customer.")),
    **dict.fromkeys((86003, 86207, 86216), _GROUP_MEMBERS),
    86004: Explanation(P, _("The group's name is too long: 50 characters at most.")),
    86005: Explanation(P, _("A group chat with this ID exists already.")),
    86006: Explanation(P, _("A group chat made by the app has 2 to 2000 members.")),
    86007: Explanation(P, _("The app has no right in this group chat.")),
    86008: Explanation(P, _("This group chat was not made by the app; it can write only to groups it made.")),
    86224: Explanation(P, _("This is not a group chat of the kind the call is for.")),
    **dict.fromkeys((93000, 93008), _ROBOT),
    95001: Explanation(P, _("Five messages have followed the customer's last one, or 48 hours: the customer must write first.")),
    95007: Explanation(P, _("The token of the customer-service notice is no longer valid.")),
    **dict.fromkeys((95013, 95016, 95018), _KF_STATE),
    95014: Explanation(P, _("The member is no servicer of this customer-service account.")),
    301059: Explanation(P, _("This is not an internal group.")),
    830002: Explanation(P, _("The file is larger than 20 MB and was not fetched in pieces.")),
    42045: Explanation(P, _("WeCom updates a card only by one that has a card_action.")),
    45003: Explanation(P, _("The title is longer than WeCom takes."), _("Shorten it and send it again.")),
    93006: Explanation(
        P,
        _("WeCom does not let the bot write to this chat: nobody there has written to it yet."),
        _("Somebody must write to the bot first, in a group by mentioning it; then send this again."),
    ),
    600039: Explanation(
        P,
        _("WeCom does not take this sort of message in this chat, for example because of a member's client."),
        _("It is sent in another way where there is one; the account's page shows what was learned."),
    ),
    846605: Explanation(P, _("The message that this answers can no longer be answered; it goes as a message of its own.")),
    846607: Explanation(
        W,
        _("This chat has had its messages: WeCom takes 30 a minute and 1000 an hour, frames of streams among them."),
        _("Nothing is sent there until it lets us again; this goes on by itself."),
    ),
    846608: Explanation(P, _("The stream of this answer is over, after six minutes; it goes as a message of its own.")),
    846609: Explanation(R, _("WeCom does not take the connection for subscribed; this is tried again.")),
    853000: Explanation(
        C,
        _("WeCom refuses the bot ID or the secret: one is wrong, or the bot is not set to the long connection."),
        _("Copy both from the bot's page, and see that the long connection is chosen there."),
        place=places.AI_BOT,
    ),
}  # fmt: skip

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
            _("WeCom refused the call with a code this program does not know; the words below are WeCom's."),
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
        "app_disabled": _DISABLED,
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
        **dict.fromkeys(("93000", "93008"), _ROBOT._replace(action=C)),
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
