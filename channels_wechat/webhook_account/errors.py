"""What a connection of one's own can answer, and what is done about it."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.wire.errors import WIRE

WEBHOOK_ACCOUNT = Explanations(
    {
        **WIRE,
        "redirected": Explanation(
            Action.CONFIG,
            _("The receiver answers with a redirect, which is not followed."),
            _("Enter the address to which it leads."),
        ),
        "signature_refused": Explanation(
            Action.CONFIG,
            _("The receiver refuses the signature of deliveries."),
            _("Compare the secret of deliveries on both sides, and their clocks."),
        ),
        "receiver_closed": Explanation(
            Action.CONFIG,
            _("The receiver says that this address takes no deliveries any more."),
            _("Enter the address that takes them now, or disable the account."),
        ),
        "refused": Explanation(
            Action.PERMANENT,
            _("The receiver refuses this delivery."),
            _("Its own words stand below; correct what they name and send it again."),
            shows_code=False,
        ),
        "no_file_id": Explanation(
            Action.PERMANENT,
            _("The receiver took the file and named no ID for it, so that no message can name the file."),
            _("Its answer to a delivery of the type file must be a JSON object with an id."),
            Effect.POSSIBLE,
        ),
        "not_delivered": Explanation(
            Action.PERMANENT,
            _("The connection reported afterwards that the message did not arrive."),
            shows_code=False,
        ),
        "message_empty": Explanation(Action.PERMANENT, _("The message is empty."), shows_code=False),
        "file_empty": Explanation(Action.PERMANENT, _("The file is empty."), shows_code=False),
        "file_over_limit": Explanation(
            Action.PERMANENT,
            _("The file is too large to send: %(size)s, at most %(most)s go to a receiver."),
            shows_code=False,
        ),
    }
)
