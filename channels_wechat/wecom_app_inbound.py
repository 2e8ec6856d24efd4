"""What members do with a self-built app, from the decrypted XML to `Inbound` (pages 90239 and 90240). Pure.

There is no chat id and no file: everything here is said by one member to the app. An event or type that is not known is
kept in `raw`, never an error. A card's answer has the code for `update_template_card` in `Peer.reply`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from channels_wechat.messages import Inbound, MediaItem, Peer
from channels_wechat.xml import Node, listed

if TYPE_CHECKING:
    from collections.abc import Callable

Content = tuple[str, str, tuple[MediaItem, ...]]
# What is good for one use for a while: kept out of `raw`. A card's code becomes the message's reply address.
SECRETS = ("ResponseCode", "WelcomeCode", "Token")
CARD_SECONDS = 72 * 3600
# Who speaks where the platform itself does.
SYSTEM = "sys"


def read(node: Node, plain: bytes) -> Inbound:
    """node: the parsed message; plain: its bytes, whose SHA-256 is the key of an event, which has no id of its own."""
    sender, code = word(node, "FromUserName"), word(node, "ResponseCode")
    kind, text, media = _event(node) if word(node, "MsgType") == "event" else _message(node)
    return Inbound(
        key=word(node, "MsgId") or hashlib.sha256(plain).hexdigest(),
        kind=kind,
        peer=Peer("direct", sender or SYSTEM, code),
        sender=sender,
        text=text,
        media=media,
        raw={name: value for name, value in node.items() if name not in SECRETS},
        reply_seconds=CARD_SECONDS if code else 0,
        occurred_at=_seconds(word(node, "CreateTime")),
        contacts=_contacts(node),
    )


def word(node: Any, name: str) -> str:
    """The text of a child; empty when it is absent or not text."""
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, str) else ""


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _message(node: Node) -> Content:
    """Kind, text and media; "unsupported" for a MsgType that is not known."""
    read_one = MESSAGES.get(word(node, "MsgType"))
    return read_one(node) if read_one else ("unsupported", "", ())


def _text(node: Node) -> Content:
    return "text", word(node, "Content"), ()


def _image(node: Node) -> Content:
    return "image", "", (MediaItem("image", word(node, "MediaId")),)


def _voice(node: Node) -> Content:
    mime = f"audio/{word(node, 'Format') or 'amr'}".lower()
    return "voice", "", (MediaItem("voice", word(node, "MediaId"), mime=mime),)


def _video(node: Node) -> Content:
    return "video", "", (MediaItem("video", word(node, "MediaId")),)


def _location(node: Node) -> Content:
    label, place = word(node, "Label"), f"{word(node, 'Location_X')}, {word(node, 'Location_Y')}"
    return "location", f"Location: {label} ({place})" if label else f"Location: {place}", ()


def _link(node: Node) -> Content:
    lines = (word(node, "Title"), word(node, "Description"), word(node, "Url"))
    return "link", "\n".join(line for line in lines if line), ()


MESSAGES: dict[str, Callable[[Node], Content]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "location": _location,
    "link": _link,
}


def _event(node: Node) -> Content:
    """An action is a turn for the agent: the member chose something and waits. Everything else just happened."""
    name = word(node, "Event")
    if act := ACTIONS.get(name):
        return "action", act(node), ()
    names = (name, word(node, "ChangeType"), word(node, "UpdateDetail"))
    members = ", ".join(map(str, listed(node.get("MemChangeList"))))
    return "event", " ".join(part for part in names if part) + (f": {members}" if members else ""), ()


def _click(node: Node) -> str:
    return f"Menu entry: {word(node, 'EventKey')}"


def _card(node: Node) -> str:
    """The button and the answers, by the keys and ids that the card gave them."""
    lines = [f"Card {word(node, 'TaskId')}: {word(node, 'EventKey')}"]
    for item in listed(node.get("SelectedItems"), "SelectedItem"):
        chosen = listed(item.get("OptionIds"), "OptionId") if isinstance(item, dict) else []
        lines.append(f"{word(item, 'QuestionKey')}: {', '.join(map(str, chosen))}")
    return "\n".join(lines)


def _scan(node: Node) -> str:
    return f"Scanned: {word(node.get('ScanCodeInfo'), 'ScanResult')}"


ACTIONS: dict[str, Callable[[Node], str]] = {
    "click": _click,
    "template_card_event": _card,
    "template_card_menu_event": _card,
    "scancode_push": _scan,
    "scancode_waitmsg": _scan,
}


def _contacts(node: Node) -> dict[str, str]:
    """A member's name, where a change of the address book tells it. NewUserID: the id was changed with it."""
    if word(node, "Event") != "change_contact" or word(node, "ChangeType") not in ("create_user", "update_user"):
        return {}
    user, name = word(node, "NewUserID") or word(node, "UserID"), word(node, "Name")
    return {user: name} if user and name else {}
