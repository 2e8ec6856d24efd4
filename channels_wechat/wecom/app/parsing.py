"""What members do with a self-built app, from the decrypted XML to `Inbound` (pages 90239 and 90240). Pure.

There is no chat id and no file: everything here is said by one member to the app. An event or type that is not known is
kept in `raw`, never an error. A card's answer has the code for `update_template_card` in `Peer.reply`, the event of a new customer
the code for a welcome.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import (
    describe_card,
    files,
    inbound_key,
    link_text,
    location_text,
    menu_entry,
    message_type,
    scanned_code,
    voice_mime,
    whole_number,
    word,
)
from channels_wechat.contract.messages import Inbound, Peer
from channels_wechat.contract.unreadable import NOT_PASSED_ON, SYSTEM, is_placeholder, mark_unknown
from channels_wechat.wecom.app.changes import find_welcome, list_changes
from channels_wechat.wecom.person_ids import person_id
from channels_wechat.wire.xml import Node, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.inbound_fields import ReadMessage

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
    code_seconds = CARD_SECONDS if code else 0
    happened = message_type(node) == "event"
    customer, welcome_code, welcome_seconds = find_welcome(node, time.time())
    if customer:  # the event is told in the conversation with the customer, because the welcome is said there
        sender, code, code_seconds = customer, welcome_code, welcome_seconds
    kind, text, media = _event(node) if happened else _message(node)
    return Inbound(
        key=inbound_key(plain, "" if happened else word(node, "MsgId")),
        kind=kind,
        peer=Peer("direct", sender or SYSTEM, code),
        sender=sender,
        text=text,
        media=media,
        raw={name: value for name, value in node.items() if name not in SECRETS},
        reply_seconds=code_seconds,
        occurred_at=whole_number(word(node, "CreateTime")),
        contacts=_contacts(node),
        greets=bool(customer),
        changes=list_changes(node) if happened else (),
        is_unread=kind == "unsupported" and bool(text),
    )


def _message(node: Node) -> ReadMessage:
    """Kind, text and media; "unsupported" for what WeCom does not pass on, and for a MsgType that is not known."""
    kind = message_type(node)
    if read_one := MESSAGES.get(kind):
        return read_one(node)
    return "unsupported", mark_unknown(kind, node, HIDDEN), ()


def _text(node: Node) -> ReadMessage:
    content = word(node, "Content")
    return ("unsupported", NOT_PASSED_ON, ()) if is_placeholder(content) else ("text", content, ())


def _image(node: Node) -> ReadMessage:
    """A picture can be fetched by its address as well."""
    return "image", "", files("image", word(node, "MediaId"), word(node, "PicUrl"))


def _voice(node: Node) -> ReadMessage:
    return "voice", "", files("voice", word(node, "MediaId"), mime=voice_mime(node))


def _video(node: Node) -> ReadMessage:
    return "video", "", files("video", word(node, "MediaId"))


def _location(node: Node) -> ReadMessage:
    return "location", location_text(node), ()


def _link(node: Node) -> ReadMessage:
    return "link", link_text(node), ()


MESSAGES: dict[str, Callable[[Node], ReadMessage]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "location": _location,
    "link": _link,
}


def _event(node: Node) -> ReadMessage:
    """An action is a turn for the agent: the member chose something and waits. Everything else just happened."""
    name = word(node, "Event")
    if word(node, "EventKey").startswith(ANSWERED_BY_WECOM):
        return "event", f"{name} {word(node, 'EventKey')}", ()
    if act := ACTIONS.get(name.lower()):
        return "action", act(node), ()
    names = (name, word(node, "ChangeType"), word(node, "UpdateDetail"))
    members = ", ".join(map(str, listed(node.get("MemChangeList"))))
    return "event", " ".join(part for part in names if part) + (f": {members}" if members else ""), ()


def _card(node: Node) -> str:
    items = listed(node.get("SelectedItems"), "SelectedItem")
    answers = ((word(item, "QuestionKey"), _chosen(item)) for item in items)
    return describe_card(word(node, "TaskId"), word(node, "EventKey"), answers)


def _chosen(item: Any) -> list[str]:
    """Ids of the options; the platform's own samples spell their element in two ways."""
    for outer, inner in (("OptionIds", "OptionId"), ("OpitonIds", "OpitonId"), ("OpitonIds", "OptionId")):
        if isinstance(item, dict) and (found := listed(item.get(outer), inner)):
            return [str(each) for each in found]
    return []


ACTIONS: dict[str, Callable[[Node], str]] = {
    "click": menu_entry,
    "template_card_event": _card,
    "template_card_menu_event": _card,
    "scancode_push": scanned_code,
    "scancode_waitmsg": scanned_code,
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
