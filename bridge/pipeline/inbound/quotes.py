"""Quotes of which the platform tells only the id (`Inbound.quotes`): their text is that of the message as it is stored here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import Delivery, Message, Target
from channels_wechat.contract.text import as_quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.pipeline.inbound.batch import RoutingContext

# So much of a quoted message is repeated: the agent has read all of it, or written it.
MOST_CHARACTERS = 1000
UNKNOWN = "[quoted message]"


def fill_quotes(cases: Iterable[RoutingContext]) -> None:
    """Put the quoted message before the text, in the row and in the message of each case; in the router's transaction."""
    for case in cases:
        if key := case.facts.get("quotes"):
            quoted = as_quote(_find_text(case.message, str(key))[:MOST_CHARACTERS] or UNKNOWN)
            case.message.text = "\n\n".join(filter(None, (quoted, case.message.text)))
            Message.objects.filter(pk=case.message.pk).update(text=case.message.text)


def _find_text(message: Message, key: str) -> str:
    """Return the text of the message with this id in the same conversation, the person's or ours; empty where it is not known.

    One without a text is named by its kind.
    """
    here = {"account": message.account_id, "peer_kind": message.peer_kind, "peer_id": message.peer_id}
    quoted = Message.objects.filter(**here, direction=Message.Direction.IN, idempotency_key=key).first()
    if quoted is None:
        ours = {f"message__{name}": value for name, value in here.items()}
        sent = Delivery.objects.filter(**ours, target=Target.CHANNEL, remote_id=key).select_related("message").first()
        quoted = sent.message if sent else None
    return (quoted.text or f"[{quoted.kind}]") if quoted else ""
