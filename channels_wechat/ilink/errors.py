"""What iLink's answers mean, and what else can go wrong with an account of the kind (facts 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import UNLISTED_CURE, Action, Explanation
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.text import HIDDEN
from channels_wechat.wire.api_answers import whole
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from channels_wechat.contract.errors import ChannelError

R, W, P = Action.RETRY, Action.WAIT, Action.PERMANENT
# Another login has taken the place of ours, or it was ended on the phone.
LOGIN_LOST = "-14"
WINDOW_USED = "-2"
# Tencent's own program rests so long after a lost login.
LOGIN_LOST_SECONDS = 3600.0
# A message waits shorter: none is sent while somebody has to log in, and after that it need not wait for the rest of the hour.
MESSAGE_SECONDS = 10.0
WORDS = 300

ILINK = Explanations(
    {
        **WIRE,
        LOGIN_LOST: Explanation(
            W,
            _("WeChat no longer takes this login: another program logged in, or it was ended in WeChat."),
            _("Log in again: scan a new code on the account's page. Nothing is asked of WeChat for an hour."),
        ),
        WINDOW_USED: Explanation(
            Action.WINDOW,
            _("WeChat takes no more messages to this person for now: about ten may follow each of theirs."),
            _("It is sent when they write again."),
        ),
        "unlisted": Explanation(
            R,
            _("WeChat refused the call with a code that is not known here yet; the words below are WeChat's."),
            UNLISTED_CURE,
        ),
        "no_context": Explanation(
            Action.WINDOW,
            _("This person has not written within a day, and WeChat takes messages only in answer."),
            _("It is sent when they write again."),
        ),
        "no_groups": Explanation(P, _("This account speaks one to one only: there are no groups.")),
        # What is refused before it is sent; people read `contract.sentences` of the same names about files.
        "message_empty": Explanation(P, _("The message is empty."), shows_code=False),
        "file_empty": Explanation(P, _("The file is empty."), shows_code=False),
        "file_over_limit": Explanation(
            P, _("The file is too large to send: %(size)s, WeChat takes %(most)s."), shows_code=False
        ),
        # Files.
        "no_upload_address": Explanation(
            R, _("WeChat took the file's description and gave no address to upload it to.")
        ),
        "not_uploaded": Explanation(R, _("WeChat's file storage took the file and gave no name for it.")),
        "decrypt": Explanation(
            P, _("The file cannot be decrypted: its key is not the one that came with the message.")
        ),
        "file_gone": Explanation(P, _("The file is gone from WeChat's storage.")),
        "file_storage": Explanation(R, _("WeChat's file storage failed; it is tried again.")),
        # The scan.
        "scan_ended": Explanation(P, _("The code has expired."), _("Begin again.")),
        "scan_blocked": Explanation(
            P, _("The number was typed wrong too often, and WeChat has ended this login."), _("Begin again later.")
        ),
        "scan_bound": Explanation(
            P,
            _("WeChat says that this person is bound to a bot of this server already, and gave no new login."),
            _("Enable the account that they have here; where it needs a login, end it in WeChat and begin again."),
        ),
        "scan_host": Explanation(
            P,
            _("WeChat sent the login on to an address that is not Tencent's, so it was not followed."),
            _("Begin again; check the API address where one was entered."),
        ),
        "scan_unreadable": Explanation(
            P, _("The answer to the QR code could not be read: WeChat may have changed this way."), _("Begin again.")
        ),
    }
)


def error_for(
    answer: dict[str, Any], token: str, *, sends: bool = False, lost_seconds: float = MESSAGE_SECONDS
) -> ChannelError | None:
    """Return the error that an answer tells; None for success. Any `ret` or `errcode` but 0 says that nothing was done.

    token: hidden wherever the platform repeats it. sends: whether the call sends a message, which alone can use a window up.
    lost_seconds: to wait where the login is lost.
    """
    code = whole(answer.get("ret")) or whole(answer.get("errcode"))
    if not code:
        return None
    words = word(answer, "errmsg")
    words = (words.replace(token, HIDDEN) if token else words)[:WORDS]
    is_lost = str(code) == LOGIN_LOST
    action = R if str(code) == WINDOW_USED and not sends else None
    told = {name: answer[name] for name in ("ret", "errcode") if name in answer}
    return ILINK.error(
        code,
        action,
        detail=words,
        retry_after=lost_seconds if is_lost else None,
        response={**told, "errmsg": words},
    )
