"""Messages to customers and customer groups (page 92135), which WeCom sends only when the named member confirms them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.field_limits import Part, check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.customer_messages import CustomerMessage
    from channels_wechat.contract.messages import PeerKind

MOST_ATTACHMENTS = 9
TEXT = (Part("text", 4000),)
MEDIA = (Part("media_id", required=True),)
ATTACHMENTS = {
    "image": MEDIA,
    "video": MEDIA,
    "file": MEDIA,
    "link": (
        Part("title", 128, required=True),
        Part("url", 2048, required=True, url=True),
        Part("picurl", 2048, url=True),
        Part("desc", 512),
    ),
    "miniprogram": (
        Part("title", 64, required=True),
        Part("pic_media_id", required=True),
        Part("appid", required=True),
        Part("page", required=True),
    ),
}
MOST_RECIPIENTS: dict[PeerKind, int] = {"direct": 10_000, "group": 2_000}


def check_message(message: CustomerMessage, files: int) -> None:
    """Raises ContentRefused."""
    if not message.sender:
        raise ContentRefused("sender", _("Name the member who is to confirm and send it."))
    most = MOST_RECIPIENTS[message.peer_kind]
    if not 1 <= len(message.recipients) <= most:
        raise ContentRefused("recipients", _("Name 1 to %(most)d recipients.") % {"most": most})
    check({"text": message.text}, TEXT)
    count = len(message.attachments) + files
    if not message.text.strip() and not count:
        raise ContentRefused("text", _("Write something, or attach something."))
    if count > MOST_ATTACHMENTS:
        raise ContentRefused("attachments", _("At most %(most)d attachments.") % {"most": MOST_ATTACHMENTS})
    for number, attachment in enumerate(message.attachments, 1):
        _check_attachment(f"attachments[{number}].", attachment)


def _check_attachment(place: str, attachment: Mapping[str, Any]) -> None:
    kind = attachment.get("msgtype")
    if kind not in ATTACHMENTS:
        raise ContentRefused(f"{place}msgtype", _("One of: %(kinds)s.") % {"kinds": ", ".join(ATTACHMENTS)})
    if set(attachment) != {"msgtype", kind} or not isinstance(attachment[kind], dict):
        raise ContentRefused(f"{place}{kind}", _("An attachment has a msgtype, and an object of that name."))
    check(attachment[kind], ATTACHMENTS[kind], f"{place}{kind}.")


def build_request(message: CustomerMessage) -> dict[str, Any]:
    to_groups = message.peer_kind == "group"
    body: dict[str, Any] = {"chat_type": "group" if to_groups else "single", "sender": message.sender}
    body["chat_id_list" if to_groups else "external_userid"] = list(message.recipients)
    if message.text.strip():
        body["text"] = {"content": message.text}
    if message.attachments:
        body["attachments"] = [dict(one) for one in message.attachments]
    return body
