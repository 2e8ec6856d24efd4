"""What a card shows after its reader answered it: a notice with what they chose, in its place (pages 101032 and 101463)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import as_list, at, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from channels_wechat.contract.sentences import Sentences

Card = dict[str, Any]
# So many cards are remembered; the platform names an older one too, but not what it says.
KEEP = 1000
MOST_CHARACTERS = 112
# WeCom takes no update without an action (42045), and a notice's must lead somewhere.
NOWHERE = {"type": 1, "url": "https://work.weixin.qq.com/"}


class SentCards:
    """The cards that this connection sent, by their task id."""

    def __init__(self) -> None:
        self._cards: dict[str, Card] = {}

    def add(self, card: Card) -> None:
        if task_id := str(card.get("task_id") or ""):
            self._cards.pop(task_id, None)
            self._cards[task_id] = card
            if len(self._cards) > KEEP:
                del self._cards[next(iter(self._cards))]

    def answered(self, event: Mapping[str, Any], sentences: Sentences) -> Card | None:
        """Return the card as it is to be shown after this event; None for a card that is not known.

        event: the body of a `template_card_event`.
        """
        found = at(event, "event", "template_card_event")
        card = self._cards.get(word(found, "task_id"))
        if card is None:
            return None
        chosen = "、".join(_labels(card, found)) or word(found, "event_key")
        said = sentences.get("card_answered", choice=chosen)
        action = card.get("card_action") or {}
        shown = {name: card[name] for name in ("source", "main_title", "task_id") if card.get(name)}
        shown |= {"card_type": "text_notice", "sub_title_text": said[:MOST_CHARACTERS]}
        return {**shown, "card_action": action if action.get("type") in (1, 2) else NOWHERE}


def _labels(card: Card, event: Any) -> Iterator[str]:
    """The texts of the button and the options that were chosen; of a submitted form not that of its button."""
    keys = {str(option) for item in _chosen(event) for option in item}
    keys = keys or {word(event, "event_key")}
    lists = [card.get("button_list"), at(card, "checkbox", "option_list")]
    lists += [each.get("option_list") for each in as_list(card.get("select_list")) if isinstance(each, dict)]
    for each in (one for found in lists for one in as_list(found) if isinstance(one, dict)):
        if str(each.get("key") or each.get("id") or "") in keys and each.get("text"):
            yield str(each["text"])


def _chosen(event: Any) -> Iterator[list[Any]]:
    for item in as_list(at(event, "selected_items", "selected_item")):
        yield as_list(at(item, "option_ids", "option_id")) or as_list(at(item, "opiton_ids", "opiton_id"))
