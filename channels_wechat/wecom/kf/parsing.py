"""What sync_msg gives of a customer-service account, from its JSON to `Inbound` (page 94670). Pure.

Every message has an id of its own, so a page that is read twice stores nothing twice. What an event's code is good for stands in
`Peer.reply`; no code is kept in `raw`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.inbound_fields import (
    as_list,
    at,
    describe_place,
    files,
    inbound_key,
    labelled,
    lines,
    word,
)
from channels_wechat.contract.messages import FailedMessage, Inbound, Peer, Window
from channels_wechat.contract.unreadable import SYSTEM, mark_unknown, read_or_kept, readable_values
from channels_wechat.wire.api_answers import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.inbound_fields import ReadMessage
    from channels_wechat.contract.messages import MediaKind

    Node = dict[str, Any]

# After each message of a customer (page 94677).
WINDOW = Window(5, 48 * 3600)
WELCOME_SECONDS = 20
SERVICER = 5
SECRETS = ("welcome_code", "msg_code")
# What says nothing to a reader of a message of unknown type.
HIDDEN = frozenset({*SECRETS, "media_id", "thumb_media_id", "pic_url", "head_image", "shop_head_image", "image_url"})
# fail_type of msg_send_fail: the cause, by its code in the table of errors.
FAILURES = {
    0: Cause("fail_unknown"),
    1: Cause("fail_account_deleted"),
    2: Cause("fail_app_closed"),
    4: Cause("fail_too_late"),
    5: Cause("fail_closed"),
    6: Cause("fail_too_many"),
    7: Cause("fail_no_channels"),
    8: Cause("fail_not_verified"),
    9: Cause("fail_neither"),
    10: Cause("fail_refused"),
}


def read_page(answer: Node, now: float) -> tuple[Inbound, ...]:
    """Return the messages of an answer of sync_msg, in their order; one that cannot be read is kept as it is. now: Unix seconds."""
    found = []
    for node in as_list(answer.get("msg_list")):
        plain = json.dumps(node, ensure_ascii=False, sort_keys=True).encode(errors="replace")
        found.append(read_or_kept(lambda node=node, plain=plain: _read(node, plain, now), plain))  # type: ignore[misc]
    return tuple(found)


def _read(node: Node, plain: bytes, now: float) -> Inbound:
    if word(node, "msgtype") == "event":
        return _read_event(node, plain, now)
    customer, by_servicer = word(node, "external_userid"), whole(node.get("origin")) == SERVICER
    kind, text, media = _read_content(node)
    return Inbound(
        key=inbound_key(plain, word(node, "msgid")),
        kind=kind,
        peer=Peer("direct", customer or SYSTEM),
        sender=word(node, "servicer_userid") if by_servicer else customer,
        text=text,
        media=media,
        raw=node,
        occurred_at=whole(node.get("send_time")),
        window=None if by_servicer else WINDOW,
        own=by_servicer,
        is_unread=kind == "unsupported" and bool(text),
    )


# --- messages


def _read_content(node: Node) -> ReadMessage:
    """Kind, text and files; "unsupported" for a type that is not known."""
    kind = word(node, "msgtype")
    found = node.get(kind)
    content: Node = found if isinstance(found, dict) else {}
    if read_one := MESSAGES.get(kind):
        return read_one(content)
    if kind in DESCRIBED:
        return "text", labelled(DESCRIBED[kind], readable_values(content, HIDDEN)), ()
    return "unsupported", mark_unknown(kind, content, HIDDEN), ()


def _file(kind: MediaKind, mime: str = "") -> Callable[[Node], ReadMessage]:
    return lambda content: (kind, "", files(kind, word(content, "media_id"), mime=mime))


def _location(content: Node) -> ReadMessage:
    name = ", ".join(filter(None, (word(content, "name"), word(content, "address"))))
    return "location", describe_place(name, word(content, "latitude"), word(content, "longitude")), ()


def _mini_program(content: Node) -> ReadMessage:
    where = " ".join(filter(None, (word(content, "appid"), word(content, "pagepath"))))
    return "link", "\n".join(filter(None, (labelled("Mini Program", word(content, "title")), where))), ()


def _menu(content: Node) -> ReadMessage:
    """A menu that was sent to the customer: its words, one entry a line."""
    entries = [word(entry, word(entry, "type"), "content") for entry in as_list(content.get("list"))]
    return "text", "\n".join(filter(None, (word(content, "head_content"), *entries, word(content, "tail_content")))), ()


def _merged(content: Node) -> ReadMessage:
    """Messages of another chat that the customer passes on together; the content of each is JSON in a text."""
    said = [_forwarded(item) for item in as_list(content.get("item"))]
    return "text", "\n".join(filter(None, (labelled("Chat history", word(content, "title")), *said))), ()


def _forwarded(item: Any) -> str:
    try:
        inner = json.loads(word(item, "msg_content"))
    except ValueError:
        inner = {}
    kind = word(item, "msgtype")
    node = {"msgtype": kind, **inner} if isinstance(inner, dict) else {"msgtype": kind}
    read_kind, text, _media = _read_content(node)
    return labelled(word(item, "sender_name") or "?", text or f"[{kind or read_kind}]")


MESSAGES: dict[str, Callable[[Node], ReadMessage]] = {
    "text": lambda content: ("text", word(content, "content"), ()),
    "image": _file("image"),
    "voice": _file("voice", "audio/amr"),
    "video": _file("video"),
    "file": _file("file"),
    "location": _location,
    "link": lambda content: ("link", lines(content, "title", "desc", "url"), ()),
    "business_card": lambda content: ("text", labelled("Business card", word(content, "userid")), ()),
    "miniprogram": _mini_program,
    "msgmenu": _menu,
    "merged_msg": _merged,
}
# Types that are shown by what stands in them.
DESCRIBED = {
    "channels": "Channels post",
    "channels_shop_product": "Product",
    "channels_shop_order": "Order",
    "meeting": "Meeting",
    "schedule": "Schedule",
    "note": "Note",
}


# --- events


def _read_event(node: Node, plain: bytes, now: float) -> Inbound:
    event: Node = at(node, "event") or {}
    name = word(event, "event_type")
    customer = word(event, "external_userid") or word(node, "external_userid")
    happened = whole(node.get("send_time"))
    code, left = _welcome(event, name, happened, now)
    return Inbound(
        key=inbound_key(plain, word(node, "msgid")),
        kind="event",
        peer=Peer("direct", customer or SYSTEM, code),
        sender=customer,
        text=_describe_event(name, event),
        raw={**node, "event": {key: value for key, value in event.items() if key not in SECRETS}},
        reply_seconds=left,
        occurred_at=happened,
        greets=bool(code),
        failed=_failed(event) if name == "msg_send_fail" else None,
        servicer=_servicer(name, event),
        recalls=word(event, "recall_msgid") if name in RECALLS else "",
    )


def _welcome(event: Node, name: str, happened: int, now: float) -> tuple[str, int]:
    """Return the code for a welcome, and the seconds that are left to use it; both empty where none are."""
    code, left = word(event, "welcome_code"), WELCOME_SECONDS - max(0, int(now) - happened)
    return (code, left) if name == "enter_session" and code and left > 0 else ("", 0)


def _failed(event: Node) -> FailedMessage | None:
    message = word(event, "fail_msgid")
    return FailedMessage(message, FAILURES.get(whole(event.get("fail_type")), FAILURES[0])) if message else None


def _servicer(name: str, event: Node) -> str | None:
    """change_type: 1 a servicer took it from the pool, 2 another servicer has it, 3 it ended."""
    kind = whole(event.get("change_type"))
    if name != "session_status_change" or kind not in (1, 2, 3):
        return None
    return "" if kind == 3 else word(event, "new_servicer_userid") or UNNAMED


def _describe_event(name: str, event: Node) -> str:
    """The event and the fields that say something about it, for the transcript."""
    shown = {key: value for key, value in event.items() if key not in ("event_type", "open_kfid", "external_userid")}
    details = readable_values(shown, frozenset(SECRETS)).replace("\n", ", ")
    return f"{name}: {details}" if details else name


# Stands for a servicer whom an event does not name.
UNNAMED = "?"
RECALLS = frozenset({"user_recall_msg", "servicer_recall_msg"})
