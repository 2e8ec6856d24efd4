"""Removes from an agent's text what its mapping does not allow: mentions of everybody, cards, links with a text of their own. Pure.

It runs before rendering: what is not allowed stays in the text as plain text. A plain address is always allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from channels_wechat.contract.text import sendable

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.models import Route

MENTION_ALL, CARDS, LINKS, HANDOVER = "mention_all", "cards", "links", "handover"
_INVISIBLE = r"\s\u200b-\u200f\u2060\ufeff"
_GAP = rf"[{_INVISIBLE}]*"
_ALL = rf"[aａ]{_GAP}[lｌ]{_GAP}[lｌ](?!_*[a-z0-9]|[.-][a-z0-9])|所{_GAP}有{_GAP}人|全{_GAP}体{_GAP}成{_GAP}员|everyone(?!_*[a-z0-9])"
# Channels without Markdown remove such marks later.
_MARKS = r"*_~`\\\[\]"
_EVERYBODY = re.compile(
    rf"(?:[<＜]{_GAP})?(?<![a-z0-9._%+-])[@＠](?P<before>[{_INVISIBLE}{_MARKS}]*)(?P<word>(?:{_ALL})[{_MARKS}]*)(?:{_GAP}[>＞])?",
    re.IGNORECASE,
)
_CARD = re.compile(r"^([ \t>]*(?:`{3,}|~{3,})[ \t]*)template_card\b", re.MULTILINE | re.IGNORECASE)
_CODE = re.compile(r"(`{3,}.*?(?:`{3,}|\Z)|~{3,}.*?(?:~{3,}|\Z)|`[^`\n]*`)", re.DOTALL)
_ANCHOR = re.compile(
    r"[<＜]\s*a\s[^>＞]*?href\s*=\s*(?P<quote>[\"']?)(?P<address>[^\"'>＞\s]*)(?P=quote)[^>＞]*[>＞](?P<label>.*?)[<＜]\s*/\s*a\s*[>＞]",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<(?=\s*/?\s*a(?:[\s>/]|\Z))", re.IGNORECASE)
# An address has a scheme, or a form that a browser may complete; `&` begins a character that is written by its number or name.
_ADDRESS = r"(?:[a-z][a-z0-9+.-]*:|[/\\]|www\.|(?:[a-z0-9-]+\.)+[a-z]{2,}(?![a-z0-9_-])|[a-z]{0,8}&[#a-z])[^)\s>]*"
_INLINE = re.compile(
    rf"!?\[(?P<label>[^\[\]\n]*)\]\(\s*<?(?P<address>{_ADDRESS})>?(?:\s+[\"'(][^)\n]*)?\s*\)", re.IGNORECASE
)
# A link with brackets or a backslash in its text is not found by `_INLINE`, so its remainder is broken up.
_LINK_REMAINDER = re.compile(rf"\]\((?=\s*<?{_ADDRESS})", re.IGNORECASE)
_DEFINITION = re.compile(
    rf"^(\s{{0,3}})\[(?P<label>[^\]\n]+)\]:\s*<?(?P<address>{_ADDRESS})>?.*$", re.IGNORECASE | re.MULTILINE
)


def rights_of(route: Route) -> list[str]:
    """Return the names of what this mapping allows its agent."""
    allowed = {
        MENTION_ALL: route.allow_mention_all,
        CARDS: route.allow_cards,
        LINKS: route.allow_links,
        HANDOVER: route.allow_handover,
    }
    return [name for name, is_allowed in allowed.items() if is_allowed]


def restrict(text: str, allowed: Collection[str]) -> str:
    """Return an agent's text without what its mapping does not allow. allowed: names as in `rights_of`.

    Control characters are removed first, because one within a mark would hide the mark here and be removed when it is sent.
    """
    text = sendable(text)
    if MENTION_ALL not in allowed:
        text = _EVERYBODY.sub(lambda found: re.sub(_GAP, "", found["before"]) + found["word"], text)
    if CARDS not in allowed:
        text = _CARD.sub(r"\1json", text)
    return text if LINKS in allowed else _show_addresses(text)


def _show_addresses(text: str) -> str:
    """Show the addresses of anchors, also in code, where a platform may read them too, and of Markdown links outside code."""
    text = _TAG.sub("＜", _ANCHOR.sub(_format_link, text))
    pieces = _CODE.split(text)
    pieces[::2] = [_show_markdown_links(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _show_markdown_links(text: str) -> str:
    text = _LINK_REMAINDER.sub("] (", _INLINE.sub(_format_link, text))
    return _DEFINITION.sub(r"\1\g<label>: \g<address>", text)


def _format_link(link: re.Match[str]) -> str:
    label, address = link["label"].strip(), link["address"]
    return f"{label} ({address})" if label and label != address else address
