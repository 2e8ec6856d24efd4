"""What members do with a self-built app, from the decrypted XML to `Inbound` (pages 90239 and 90240). Pure.

There is no chat id and no file: everything here is said by one member to the app. An event or type that is not known is
kept in `raw`, never an error. A card's answer has the code for `update_template_card` in `Peer.reply`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import answered, describe_place, labelled, message_id
from channels_wechat.contract.messages import Inbound, MediaItem, Peer
from channels_wechat.contract.unreadable import NOT_PASSED_ON, SYSTEM, is_placeholder, mark, readable_values
from channels_wechat.wecom.person_ids import person_id
from channels_wechat.wire.xml import Node, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.messages import MediaKind

Content = tuple[str, str, tuple[MediaItem, ...]]
# What is good for one use for a while: kept out of `raw`. A card's code becomes the message's reply address.
SECRETS = ("ResponseCode", "WelcomeCode", "Token")
CARD_SECONDS = 72 * 3600
# What says nothing to a reader of a message of unknown type.
HIDDEN = frozenset(
    {*SECRETS, "ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "AgentID", "MediaId", "ThumbMediaId"}
)
# How the keys of menu entries begin that WeCom answers itself, with a message that its console keeps.
ANSWERED_BY_WECOM = "#sendmsg#"


def read(node: Node, plain: bytes) -> Inbound:
    """node: the parsed message; plain: its bytes, whose SHA-256 is the key of whatever has no id of its own."""
    sender, code = person_id(word(node, "FromUserName")), word(node, "ResponseCode")
    happened = _type(node) == "event"
    kind, text, media = _event(node) if happened else _message(node)
    return Inbound(
        key=("" if happened else message_id(word(node, "MsgId"))) or hashlib.sha256(plain).hexdigest(),
        kind=kind,
        peer=Peer("direct", sender or SYSTEM, code),
        sender=sender,
        text=text,
        media=media,
        raw={name: value for name, value in node.items() if name not in SECRETS},
        reply_seconds=CARD_SECONDS if code else 0,
        occurred_at=_seconds(word(node, "CreateTime")),
        contacts=_contacts(node),
        is_unread=kind == "unsupported" and bool(text),
    )


def word(node: Any, name: str) -> str:
    """The text of a child; empty when it is absent or not text."""
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, str) else ""


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _type(node: Node) -> str:
    return word(node, "MsgType").lower()


def _message(node: Node) -> Content:
    """Kind, text and media; "unsupported" for what WeCom does not pass on, and for a MsgType that is not known."""
    kind = _type(node)
    if read_one := MESSAGES.get(kind):
        return read_one(node)
    found = readable_values(node, HIDDEN)
    return "unsupported", mark(kind, found) if kind or found else "", ()


def _text(node: Node) -> Content:
    content = word(node, "Content")
    return ("unsupported", NOT_PASSED_ON, ()) if is_placeholder(content) else ("text", content, ())


def _image(node: Node) -> Content:
    return "image", "", _files("image", node)


def _voice(node: Node) -> Content:
    return "voice", "", _files("voice", node, f"audio/{word(node, 'Format') or 'amr'}".lower())


def _video(node: Node) -> Content:
    return "video", "", _files("video", node)


def _files(kind: MediaKind, node: Node, mime: str = "") -> tuple[MediaItem, ...]:
    """No file where the message names none. A picture can be fetched by its address as well."""
    address = word(node, "PicUrl") if kind == "image" else ""
    sources = [source for source in (word(node, "MediaId"), address) if source]
    return (MediaItem(kind, sources[0], mime=mime, fallback="".join(sources[1:])),) if sources else ()


def _location(node: Node) -> Content:
    return "location", describe_place(word(node, "Label"), word(node, "Location_X"), word(node, "Location_Y")), ()


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
    if word(node, "EventKey").startswith(ANSWERED_BY_WECOM):
        return "event", f"{name} {word(node, 'EventKey')}", ()
    if act := ACTIONS.get(name.lower()):
        return "action", act(node), ()
    names = (name, word(node, "ChangeType"), word(node, "UpdateDetail"))
    members = ", ".join(map(str, listed(node.get("MemChangeList"))))
    return "event", " ".join(part for part in names if part) + (f": {members}" if members else ""), ()


def _click(node: Node) -> str:
    return labelled("Menu entry", word(node, "EventKey"))


def _card(node: Node) -> str:
    """The button and the answers, by the keys and ids that the card gave them."""
    task, key = word(node, "TaskId"), word(node, "EventKey")
    head = [f"Card {task}: {key}"] if task or key else []
    items = listed(node.get("SelectedItems"), "SelectedItem")
    lines = [*head, *(answered(word(item, "QuestionKey"), _chosen(item)) for item in items)]
    return "\n".join(filter(None, lines))


def _chosen(item: Any) -> list[str]:
    """Ids of the options; the platform's own samples spell their element in two ways."""
    for outer, inner in (("OptionIds", "OptionId"), ("OpitonIds", "OpitonId"), ("OpitonIds", "OptionId")):
        if isinstance(item, dict) and (found := listed(item.get(outer), inner)):
            return [str(each) for each in found]
    return []


def _scan(node: Node) -> str:
    return labelled("Scanned", word(node.get("ScanCodeInfo"), "ScanResult"))


ACTIONS: dict[str, Callable[[Node], str]] = {
    "click": _click,
    "template_card_event": _card,
    "template_card_menu_event": _card,
    "scancode_push": _scan,
    "scancode_waitmsg": _scan,
}


def _contacts(node: Node) -> dict[str, str]:
    """A member's name, where a change of the address book tells it. NewUserID: the id was changed with it."""
    if word(node, "Event").lower() != "change_contact" or word(node, "ChangeType") not in (
        "create_user",
        "update_user",
    ):
        return {}
    user, name = word(node, "NewUserID") or word(node, "UserID"), word(node, "Name")
    return {person_id(user): name} if user and name else {}
