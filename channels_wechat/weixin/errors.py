"""What the answers of api.weixin.qq.com mean: one table, errcode → what to do, the cause and the cure (facts 1.3 and 1.4).

Each row says whether the answer can come after the deed (`Effect`). A message that met such an answer, or a code that is not in
the table, is uncertain and only a person repeats it; a call that sends nothing (a read, an upload, a token) is tried again.
An errmsg ends in `rid: …`, by which WeChat's support finds the call: it is kept.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import SHANGHAI, Explanations, rest_of_day
from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.weixin import places
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.errors import ChannelError

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

_SECRET = Explanation(
    C,
    _("WeChat refuses the AppSecret, or an access token that was just fetched with it."),
    _("Copy the AppSecret again, and see that no other program resets it."),
    place=places.KEYS,
)
_APP_ID = Explanation(
    C,
    _("WeChat does not know this AppID."),
    _("Copy it again."),
    place=places.KEYS,
)
_ADDRESS = Explanation(
    C,
    _("WeChat does not accept calls from this server's IP address, named below."),
    _("Add it to the whitelist, then press Test."),
    place=places.TRUSTED_ADDRESSES,
)
_CONFIRM = Explanation(
    C,
    _("WeChat asks the account's administrator to confirm this server's IP address."),
    _("Let them answer the notice in WeChat; then press Test."),
)
_PUNISHED = Explanation(
    C,
    _("WeChat has restricted or frozen this account."),
    _("The notices say why, and until when."),
    place=places.NOTICES,
)
_OURS = Explanation(
    P,
    _("WeChat does not understand the call."),
    _("This is a mistake of this program; report it with the words below."),
)
_BAD_PARAMETER = Explanation(
    P, _("WeChat refused a part of the message."), _("The words below say which; correct it and send it again.")
)
_BAD_MEDIA = Explanation(P, _("WeChat does not take this file: its type or size is not allowed."))
_TOO_LONG = Explanation(
    P, _("The message, or a part of it, is longer than WeChat takes."), _("Shorten it and send it again.")
)
_BAD_ADDRESS = Explanation(
    P,
    _("WeChat does not take an address in the message: it is too long, not valid, or its domain is not registered."),
)
_STRANGER = Explanation(
    P,
    _("WeChat knows no such user for this account: the OpenID belongs to another account, or never followed this one."),
)
_NOT_FOLLOWING = Explanation(
    P,
    _("The user does not follow the account any more."),
    _("They must follow it again before anything can be said."),
)
_WINDOW = Explanation(
    H, _("The user must write again before more can be said: the 48 hours or the number of messages are used up.")
)
_MINUTE = Explanation(W, _("Too many calls in this minute; it goes on by itself."))
_DAY = Explanation(
    W,
    _("WeChat's limit of calls for today is used up."),
    _("It goes on by itself at midnight in China; the account page shows the counters."),
)
_NOT_GRANTED = Explanation(
    P, _("WeChat does not grant this interface to the account: its type or missing verification excludes it.")
)
_LOGIN = Explanation(P, _("The login code was used already or is too old."), _("Log in again."))
_TYPING = Explanation(P, _("The sign “is typing” could not be shown; messages are not affected."))
_TAG = Explanation(
    P, _("WeChat does not accept this change of a tag: its name, its number or its members are not allowed.")
)
_MENU = Explanation(P, _("WeChat does not accept the menu."), _("The words below say which part."))
_SERVICER = Explanation(
    P,
    _("The customer-service person or their session does not allow this now."),
    _("The words below say what."),
    place=places.SERVICERS,
)
_STATISTICS = Explanation(P, _("WeChat does not give these figures: the dates are wrong or too far apart."))
_PUBLISH = Explanation(P, _("WeChat does not publish this."), _("The words below say why."))
_MASS = Explanation(P, _("The administrator refused the mass message, or did not confirm it within 30 minutes."))
_QUOTA_PATH = Explanation(P, _("WeChat has no counter for this interface."))
_SHORT_KEY = Explanation(P, _("The short key is too long, asks to live too long, or has ended."))
_MODERATED = Explanation(P, _("WeChat's content check refused the message."))
_CONSENT = Explanation(
    P,
    _("The user did not agree to this message, or used up their consent."),
    _("They must agree in the Mini Program again."),
)

PLATFORM: dict[int, Explanation] = {
    -1: Explanation(R, _("WeChat is busy. What was sent may have arrived all the same."), effect=Effect.POSSIBLE),
    45169: Explanation(R, _("Someone changed the same data at the same time; the call is repeated.")),
    40007: Explanation(R, _("The uploaded file is no longer at WeChat, which keeps them for three days; it is uploaded anew.")),
    40004: Explanation(R, _("WeChat does not know the uploaded file's type; it is uploaded anew once.")),
    45009: _DAY,
    45028: Explanation(W, _("The account has sent all its mass messages of this period.")),
    **dict.fromkeys((45011, 45066, 53501), _MINUTE),
    48006: Explanation(W, _("The counters were cleared ten times this month, which is all that WeChat allows.")),
    61503: Explanation(W, _("WeChat has these figures only after 8:00 the next morning.")),
    89506: Explanation(W, _("The administrator refused this server's IP address; WeChat lets it ask again after 24 hours.")),
    89507: Explanation(W, _("The administrator refused this server's IP address; WeChat lets it ask again after an hour.")),
    **dict.fromkeys((45015, 45047), _WINDOW),
    **dict.fromkeys((40001, 40014, 42001, 40125), _SECRET),
    40243: Explanation(C, _("The AppSecret is frozen."), _("Unfreeze it."), place=places.KEYS),
    40013: _APP_ID,
    **dict.fromkeys((40164, 61004), _ADDRESS),
    **dict.fromkeys((89501, 89503), _CONFIRM),
    **dict.fromkeys((50002, 50004, 50007), _PUNISHED),
    61024: Explanation(
        C, _("The account is managed by a third-party platform, which alone may fetch its access token."), _("End that authorisation."),
    ),
    87009: Explanation(C, _("WeChat refuses the signature of the call."), _("Switch off API signing."), place=places.API_SECURITY),
    43104: Explanation(P, _("The account may not use this template, or the user belongs to another account.")),
    40003: _STRANGER,
    **dict.fromkeys((40032, 40035, 40038, 47001), _BAD_PARAMETER),
    40008: Explanation(P, _("WeChat does not know this type of message.")),
    **dict.fromkeys((40002, 40033, 41001, 41002, 41004, 41005, 41006, 43002, 44002, 45067), _OURS),
    **dict.fromkeys((40005, 40006, 40009, 45001), _BAD_MEDIA),
    45007: Explanation(P, _("A voice message may last 60 seconds at most.")),
    40037: Explanation(P, _("There is no template with this ID any more."), _("Choose another from the list.")),
    **dict.fromkeys((40039, 40048, 40054, 40055), _BAD_ADDRESS),
    **dict.fromkeys((40029, 40163, 42003), _LOGIN),
    42007: Explanation(P, _("The user changed their password."), _("They must authorise again.")),
    **dict.fromkeys((40200, 48001), _NOT_GRANTED),
    40249: Explanation(P, _("WeChat forbids advertising in this template.")),
    43116: Explanation(P, _("WeChat has restricted this template.")),
    41030: Explanation(
        P, _("The page is not in the released version of the Mini Program."), _("Correct it, or release a version that has it."),
    ),
    **dict.fromkeys((43004, 50005), _NOT_FOLLOWING),
    43019: Explanation(P, _("The user is on the account's blacklist."), _("Take them off it first."), place=places.FOLLOWERS),
    43101: _CONSENT,
    44004: Explanation(P, _("The message is empty.")),
    **dict.fromkeys((45002, 45003, 45004, 45005, 45006), _TOO_LONG),
    45008: Explanation(P, _("A news message has one article at most.")),
    **dict.fromkeys((45056, 45057, 45058, 45059, 45157, 45158, 45159, 45171), _TAG),
    45064: Explanation(
        P, _("The Mini Program is not linked to the account."), _("Link it."), place=places.LINKED_PROGRAMS,
    ),
    **dict.fromkeys((45072, 45080, 45081), _TYPING),
    45166: Explanation(P, _("WeChat does not accept the content of the draft.")),
    46003: Explanation(P, _("The account has no menu.")),
    47003: Explanation(P, _("What was filled in does not fit the template."), _("The words below name the field.")),
    48002: Explanation(P, _("The user has switched off messages of this account.")),
    48003: Explanation(
        P, _("The rules for mass messages were not accepted."), _("The administrator must accept them first."), place=places.MASS_MESSAGES,
    ),
    48004: Explanation(
        P, _("WeChat has banned the account from this interface."), _("The notices say why, and until when."), place=places.NOTICES,
    ),
    48005: Explanation(P, _("The file is used by a menu or an automatic answer, so it cannot be deleted.")),
    48008: Explanation(P, _("WeChat does not let this account send messages of this type.")),
    50001: Explanation(P, _("The user did not authorise the account for this.")),
    **dict.fromkeys((53500, 53502, 53600), _PUBLISH),
    61010: Explanation(P, _("The user has not opened the Mini Program within the last two hours, so WeChat does not check their text.")),
    **dict.fromkeys((*range(61450, 61458), *range(65400, 65418)), _SERVICER),
    **dict.fromkeys((61500, 61501), _STATISTICS),
    **dict.fromkeys((*range(65301, 65318), 65320), _MENU),
    70000: Explanation(P, _("WeChat protects minors from this message; it is not sent again.")),
    **dict.fromkeys((76021, 76022), _QUOTA_PATH),
    87014: _MODERATED,
    **dict.fromkeys((89504, 89505), _MASS),
    **dict.fromkeys((9410010, 9410011, 9410012), _SHORT_KEY),
}  # fmt: skip

# Everything that an Official Account and a Mini Program can be told.
WEIXIN = Explanations(
    {
        **WIRE,
        **{str(number): row for number, row in PLATFORM.items()},
        "unlabelled": Explanation(
            P,
            _("Sent without the label “generated by AI”, which WeChat does not take from this account."),
            shows_code=False,
        ),
        "unlisted": Explanation(
            R,
            _("WeChat refused the call with a code this program does not know; the words below are WeChat's."),
            effect=Effect.POSSIBLE,
        ),
        # What is refused before it is sent; people read `contract.sentences` of the same names about files.
        "message_empty": Explanation(P, _("The message is empty."), shows_code=False),
        "file_kind": Explanation(P, _("WeChat takes no files of this kind here."), shows_code=False),
        "file_format": Explanation(P, _("WeChat takes only these formats here: %(formats)s."), shows_code=False),
        "file_empty": Explanation(P, _("The file is empty."), shows_code=False),
        "file_over_limit": Explanation(
            P, _("The file is too large to send: %(size)s, WeChat takes %(most)s."), shows_code=False
        ),
        "file_not_taken": Explanation(P, _("WeChat does not take files of this kind.")),
        "no_groups": Explanation(P, _("This account speaks one to one only: there are no groups.")),
        "no_media_id": Explanation(R, _("WeChat took the file and gave no ID for it.")),
        "not_checkable": Explanation(P, _("WeChat checks only pictures and voice.")),
        "passive_only": Explanation(
            P,
            _(
                "This account speaks only in the reply to a user's message: it is not verified, so WeChat takes no others."
            ),
        ),
        "video": Explanation(R, _("The video is not where WeChat said; it is asked again.")),
    }
)
# With what a verdict of the content check stands for (facts 13.5).
MINI_PROGRAM = Explanations(
    {
        **WEIXIN,
        "label_10001": Explanation(P, _("advertising"), shows_code=False),
        "label_20001": Explanation(P, _("politics"), shows_code=False),
        "label_20002": Explanation(P, _("pornography"), shows_code=False),
        "label_20003": Explanation(P, _("abuse"), shows_code=False),
        "label_20006": Explanation(P, _("crime"), shows_code=False),
        "label_20008": Explanation(P, _("fraud"), shows_code=False),
        "label_20012": Explanation(P, _("vulgarity"), shows_code=False),
        "label_20013": Explanation(P, _("copyright"), shows_code=False),
        "label_21000": Explanation(P, _("something else"), shows_code=False),
    }
)
RID = re.compile(r"rid:\s*([0-9a-f][0-9a-f-]{7,63})")
SEEN_ADDRESS = re.compile(r"\bip:?\s+([0-9a-fA-F.:]{3,45})|requestIP:\s*([0-9a-fA-F.:]{3,45})", re.IGNORECASE)


def error_for(
    answer: Mapping[str, Any], code: int, path: str = "", now: datetime | None = None, *, harmless: bool = False
) -> ChannelError:
    """The error of a decoded answer. path: of the call, which says what is withheld; now: for the length of a day's limit;
    harmless: as in `Http.request`."""
    words = str(answer.get("errmsg", ""))
    action = WEIXIN.row(str(code)).action_for(harmless)
    rid = RID.search(words)
    return WEIXIN.error(
        code,
        action,
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
