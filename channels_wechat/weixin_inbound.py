"""What people do with an Official Account or a Mini Program, from the decrypted body to `Inbound` (facts 2.5 to 2.7, 3.2, 13). Pure.

Everything here is said by one person to the account. XML and JSON look alike but for numbers. An event or type that is not known is
kept in `raw`, never an error. Names of events are compared in lower case: the platform's own samples drift.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, cast

from channels_wechat.messages import Inbound, MediaItem, Peer, Verdict, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Node = Mapping[str, Any]

Said = tuple[str, str, tuple[MediaItem, ...]]
# Who speaks where the platform itself does.
SYSTEM = "sys"
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
# From best to worst.
SUGGESTIONS = ("pass", "review", "risky")
# Where the events about subscribe messages keep their list.
LISTS = ("SubscribeMsgPopupEvent", "SubscribeMsgChangeEvent", "SubscribeMsgSentEvent")


def read(node: Node, app_id: str) -> Inbound:
    """app_id: part of the key of an event, which has no id of its own."""
    happened = _type(node) == "event"
    event = word(node, "Event").strip().lower() if happened else ""
    sender = (word(node, "OpenID") if event in ERASES else "") or word(node, "FromUserName")
    kind, text, media = _event(event, node) if happened else _message(node)
    return Inbound(
        key=word(node, "MsgId") or _event_key(node, app_id, sender, event),
        kind=kind,
        peer=Peer("direct", sender or SYSTEM),
        sender=sender,
        text=text,
        media=media,
        raw=_coarse(node) if event == "location" else dict(node),
        occurred_at=_number(word(node, "CreateTime")),
        window=WINDOWS.get(event) if happened else _window(node),
        follows=FOLLOWS.get(event),
        erase=event in ERASES,
        verdict=verdict(node) if event == "wxa_media_check" else None,
    )


def word(node: Any, name: str) -> str:
    """The text of a child, or its number as text; empty when it is absent or neither."""
    value = node.get(name) if isinstance(node, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _type(node: Node) -> str:
    return word(node, "MsgType").strip().lower()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _window(node: Node) -> Window | None:
    """An entry of a msgmenu arrives as text, and counts as a menu's click, not as a message."""
    if not _type(node):
        return None
    return MENU if "bizmsgmenuid" in node else MESSAGE


def _event_key(node: Node, app_id: str, sender: str, event: str) -> str:
    """Two different events of one person can share a second, so what they are about is part of the key."""
    about = [word(node, name) for name in ("EventKey", "MsgID", "trace_id", "KfAccount", "ToKfAccount")]
    about += [word(item, "TemplateId") for item in _listed(node)[:1]]
    parts = (app_id, sender, word(node, "CreateTime"), _type(node), event, next(filter(None, about), ""))
    return hashlib.sha256("|".join(parts).encode(errors="replace")).hexdigest()


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
    return Verdict(word(node, "trace_id"), known, _number(label))


# --- messages


def _message(node: Node) -> Said:
    """Kind, text and media; "unsupported" for a MsgType that is not known."""
    read_one = MESSAGES.get(_type(node))
    return read_one(node) if read_one else ("unsupported", "", ())


def _text(node: Node) -> Said:
    """An entry of a msgmenu: its label, for the ids are not reliable (real pushes bring 0 for all)."""
    return "text", word(node, "Content") or word(node, "bizmsgmenuid"), ()


def _image(node: Node) -> Said:
    return "image", "", (MediaItem("image", word(node, "MediaId")),)


def _voice(node: Node) -> Said:
    """The platform's transcript where it gives one, else the sound."""
    if transcript := word(node, "Recognition").strip():
        return "voice", transcript, ()
    mime = f"audio/{word(node, 'Format') or 'amr'}".lower()
    return "voice", "", (MediaItem("voice", word(node, "MediaId"), mime=mime),)


def _video(node: Node) -> Said:
    return "video", "", (MediaItem("video", word(node, "MediaId"), mime="video/mp4"),)


def _location(node: Node) -> Said:
    label, place = word(node, "Label"), f"{word(node, 'Location_X')}, {word(node, 'Location_Y')}"
    return "location", f"Location: {label} ({place})" if label else f"Location: {place}", ()


def _link(node: Node) -> Said:
    return "link", _lines(node, "Title", "Description", "Url"), ()


def _page(node: Node) -> Said:
    """A card of a Mini Program's page."""
    return "link", _lines(node, "Title", "AppId", "PagePath"), ()


def _lines(node: Node, *names: str) -> str:
    return "\n".join(filter(None, (word(node, name) for name in names)))


MESSAGES: dict[str, Callable[[Node], Said]] = {
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


def _event(event: str, node: Node) -> Said:
    """An action is a turn for the agent: the person chose something and waits. Everything else just happened."""
    if event == "click":
        return "action", f"Menu entry: {word(node, 'EventKey')}", ()
    if event in ("scancode_push", "scancode_waitmsg"):
        return "action", f"Scanned: {word(node.get('ScanCodeInfo'), 'ScanResult')}", ()
    details = [word(node, name) for name in ("EventKey", "Status", "SessionFrom", "KfAccount", "ToKfAccount")]
    details += [_agreement(item) for item in _listed(node)]
    details.append(word(node.get("result"), "suggest"))
    return "event", " ".join([event, *filter(None, details)]), ()


def _agreement(item: Any) -> str:
    """One template of an event about subscribe messages: what the person decided, or what became of the message."""
    status = word(item, "SubscribeStatusString") or word(item, "ErrorStatus")
    return " ".join(filter(None, (word(item, "TemplateId"), status)))


def _listed(node: Node) -> list[Any]:
    """The templates of such an event: `List` is an object where there is one, or an array, in XML as in JSON."""
    for name in LISTS:
        if isinstance(inner := node.get(name), dict):
            found = inner.get("List")
            return found if isinstance(found, list) else [found] if isinstance(found, dict) else []
    return []
