"""What an account speaks through when its kind is no longer registered: what was said stays readable, and nothing more is heard or said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import Channel
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Cause, Explanation
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.messages import Content, Outgoing, Payload, Peer, Receipt

NO_LONGER_SUPPORTED = _("This kind of account is no longer supported.")
UNREGISTERED = Explanations(
    {**WIRE, "kind_unsupported": Explanation(Action.CONFIG, NO_LONGER_SUPPORTED, shows_code=False)}
)


class UnregisteredKind(Channel):
    """Has no kind of its own and is in no list to choose from."""

    explanations = UNREGISTERED
    test_calls = False

    def render(self, content: Content) -> list[Payload]:
        raise UNREGISTERED.refused("account", Cause("kind_unsupported"))

    def send(self, outgoing: Outgoing) -> Receipt:
        """What waits stays waiting with its stopped account, for the kind may come back."""
        raise UNREGISTERED.error("kind_unsupported")

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        return NO_LONGER_SUPPORTED
