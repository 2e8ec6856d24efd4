"""What WeCom's answers mean to an AI bot, and what else can go wrong with one."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Explanation
from channels_wechat.wecom import places
from channels_wechat.wecom.errors import LEFT_OUT, WECOM

R, C, P = Action.RETRY, Action.CONFIG, Action.PERMANENT

_LEFT_OUT_OF_REPLY = {
    "left_out": LEFT_OUT,
    "pictures_left_out": Explanation(P, _("Pictures left out: %(count)s.")),
    "card_left_out": Explanation(
        P, _("The card was left out: text and card go together only while the stream is open.")
    ),
}

WECOM_AIBOT = Explanations(
    {
        **WECOM,
        "60140": Explanation(
            P,
            _("The reply address of this message was used already, or its hour is over."),
            _("Wait for another message, or write first by the long connection."),
        ),
        "kicked": Explanation(
            C,
            _("Another program connected with this bot's ID and secret, and WeCom ended this connection."),
            _("Stop the other program, or give it a bot of its own; then enable this account again with Test."),
            shows_code=False,
            place=places.AI_BOT,
        ),
        "scan_ended": Explanation(P, _("WeCom says that the code was refused or has expired."), _("Begin again.")),
        "scan_unreadable": Explanation(
            P,
            _("WeCom's answer to the QR code could not be read: it may have changed this way."),
            _("Make the bot in WeCom and enter its ID and secret in the form."),
            place=places.AI_BOT,
        ),
        "no_heartbeat": Explanation(R, _("WeCom did not answer two heartbeats; the connection is opened again.")),
        "push_refused": Explanation(
            P,
            _(
                "WeCom does not let the bot write to this chat on its own, and there is no message here that it could answer."
            ),
            _("Somebody must write to the bot first, in a group by mentioning it; then send this again."),
        ),
        **{code: row._replace(shows_code=False) for code, row in _LEFT_OUT_OF_REPLY.items()},
        "decrypt": Explanation(
            P, _("The file cannot be decrypted: the EncodingAESKey differs, or it is no file of this bot.")
        ),
        "file_gone": Explanation(P, _("The file is gone: WeCom keeps the address of a file for five minutes.")),
        "file_storage": Explanation(R, _("The platform's file storage failed; the file is fetched again.")),
        "no_reply_address": Explanation(
            P,
            _(
                "By callback URL this bot speaks only in answer to a message: there is none here that can still be answered."
            ),
        ),
        "pictures_only": Explanation(P, _("Pictures can only be shown while the stream is open.")),
        "reply_host": Explanation(
            P, _("The reply address does not lead to WeCom nor to the API address of this account.")
        ),
    }
)
