"""What people do with an Official Account or a Mini Program, from the decrypted body to `Inbound` (facts 2.5 to 2.7, 3.2, 13). Pure.

Everything here is said by one person to the account. XML and JSON look alike but for numbers. An event or type that is not known is
kept in `raw`, never an error. Names of events are compared in lower case: the platform's own samples drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from channels_wechat.contract.inbound_fields import (
    as_list,
    files,
    inbound_key,
    lines,
    link_text,
    location_text,
    menu_entry,
    message_type,
    scanned_code,
    voice_mime,
    whole_number,
    word,
)
from channels_wechat.contract.messages import Inbound, Peer, Verdict, Window
from channels_wechat.contract.unreadable import NOT_PASSED_ON, SYSTEM, is_placeholder, mark_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.inbound_fields import ReadMessage

    Node = Mapping[str, Any]

# What each deed lets us say (facts 3.2, in force since 2023-06-12).
MESSAGE, MENU, SESSION = Window(5, 48 * 3600), Window(3, 60), Window(2, 60)
WINDOWS = {
    "subscribe": MENU,
    "scan": MENU,
    "click": MENU,
    "scancode_push": MENU,
    "scancode_waitmsg": MENU,
    "user_enter_tempsession": SESSION,
}
FOLLOWS = {"subscribe": True, "unsubscribe": False}
# Whoever leaves, or withdraws what they granted, must be forgotten.
ERASES = frozenset({"unsubscribe", "user_authorization_revoke", "user_authorization_cancellation"})
# What says nothing to a reader of a message of unknown type.
HIDDEN = frozenset(
    {"ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "MsgDataId", "Idx", "MediaId", "ThumbMediaId"}
)
# By these a person comes in: follows, scans a code with a parameter, opens the chat.
ENTRANCES = frozenset({"subscribe", "scan", "user_enter_tempsession"})
# From best to worst.
SUGGESTIONS = ("pass", "review", "risky")


def read(node: Node, plain: bytes) -> Inbound:
    """node: the parsed message; plain: its bytes, whose SHA-256 is the key of whatever has no id of its own."""
    happened = message_type(node) == "event"
    event = word(node, "Event").lower() if happened else ""
    sender = (word(node, "OpenID") if event in ERASES else "") or word(node, "FromUserName")
    kind, text, media = _event(event, node) if happened else _message(node)
    return Inbound(
        key=inbound_key(plain, "" if happened else word(node, "MsgId")),
        kind=kind,
        peer=Peer("direct", sender or SYSTEM),
        sender=sender,
        text=text,
        media=media,
        raw=_coarse(node) if event == "location" else dict(node),
        occurred_at=whole_number(word(node, "CreateTime")),
        window=WINDOWS.get(event) if happened else _window(node),
        follows=FOLLOWS.get(event),
        erase=event in ERASES and bool(sender),
        greets=event in ENTRANCES,
        is_unread=kind == "unsupported" and bool(text),
        verdict=verdict(node) if event == "wxa_media_check" else None,
    )


def _window(node: Node) -> Window | None:
    """An entry of a msgmenu arrives as text, and counts as a menu's click, not as a message."""
    if not message_type(node):
        return None
    return MENU if "bizmsgmenuid" in node else MESSAGE


def _coarse(node: Node) -> dict[str, Any]:
    """A place that a client reports by itself is kept to about a kilometre."""
    rounded = {name: _rounded(word(node, name)) for name in ("Latitude", "Longitude")}
    return {**node, **rounded}


def _rounded(degrees: str) -> str:
    try:
        return f"{float(degrees):.2f}"
    except ValueError:
        return ""


def verdict(node: Node) -> Verdict:
    """Of a check's answer or its event. What is not said clearly is for a person to look at: errcode 0 alone means nothing."""
    suggest, label = (word(node.get("result"), name) for name in ("suggest", "label"))
    known = cast("Literal['pass', 'review', 'risky']", suggest if suggest in SUGGESTIONS else "review")
    return Verdict(word(node, "trace_id"), known, whole_number(label))


# --- messages


def _message(node: Node) -> ReadMessage:
    """Kind, text and media; "unsupported" for what the platform does not pass on, and for a MsgType that is not known."""
    kind = message_type(node)
    if read_one := MESSAGES.get(kind):
        return read_one(node)
    return "unsupported", mark_unknown(kind, node, HIDDEN), ()


def _text(node: Node) -> ReadMessage:
    """An entry of a msgmenu: its label, for the ids are not reliable (real pushes bring 0 for all)."""
    content = word(node, "Content")
    if is_placeholder(content):
        return "unsupported", NOT_PASSED_ON, ()
    return "text", content or word(node, "bizmsgmenuid"), ()


def _image(node: Node) -> ReadMessage:
    return "image", "", files("image", word(node, "MediaId"), word(node, "PicUrl"))


def _voice(node: Node) -> ReadMessage:
    """The platform's transcript where it gives one, else the sound."""
    if transcript := word(node, "Recognition"):
        return "voice", transcript, ()
    return "voice", "", files("voice", word(node, "MediaId"), word(node, "MediaId16K"), voice_mime(node))


def _video(node: Node) -> ReadMessage:
    return "video", "", files("video", word(node, "MediaId"), mime="video/mp4")


def _location(node: Node) -> ReadMessage:
    return "location", location_text(node), ()


def _link(node: Node) -> ReadMessage:
    return "link", link_text(node), ()


def _page(node: Node) -> ReadMessage:
    """A card of a Mini Program's page."""
    return "link", lines(node, "Title", "AppId", "PagePath"), ()


MESSAGES: dict[str, Callable[[Node], ReadMessage]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "shortvideo": _video,
    "location": _location,
    "link": _link,
    "miniprogrampage": _page,
}


# --- events


def _event(event: str, node: Node) -> ReadMessage:
    """An action is a turn for the agent: the person chose something and waits. Everything else just happened."""
    if event == "click":
        return "action", menu_entry(node), ()
    if event in ("scancode_push", "scancode_waitmsg"):
        return "action", scanned_code(node), ()
    details = [word(node, name) for name in ("EventKey", "Status", "SessionFrom", "KfAccount", "ToKfAccount")]
    details += [_agreement(item) for item in _listed(node)]
    details.append(word(node.get("result"), "suggest"))
    return "event", " ".join([event, *filter(None, details)]), ()


def _agreement(item: Any) -> str:
    """One template of an event about subscribe messages: what the person decided, or what became of the message."""
    status = word(item, "SubscribeStatusString") or word(item, "ErrorStatus")
    return " ".join(filter(None, (word(item, "TemplateId"), status)))


def _listed(node: Node) -> list[Any]:
    """The templates of such an event: `List`, an object or an array, at the top or in the object that has the event's name."""
    event = word(node, "Event").replace("_", "").lower()
    inner = [value for name, value in node.items() if event and name.replace("_", "").lower() == event]
    found = [
        item for place in (*inner, node) for item in as_list(place.get("List") if isinstance(place, dict) else None)
    ]
    return [item for item in found if isinstance(item, dict)]
