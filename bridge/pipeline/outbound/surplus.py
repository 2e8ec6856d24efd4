"""Finds fields of a message that its kind would ignore, so that it is refused before it is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Content


def find_surplus_fields(channel: Channel, content: Content) -> dict[str, str]:
    """Return name of a field of Content → why it would not be sent."""
    if content.kind != "text":
        beside = content.text.strip() and content.kind not in channel.kinds_with_text
        return {"text": _("A message of this type has no text beside its content.")} if beside else {}
    unknown = sorted(set(content.data) - set(channel.text_options))
    return {"data": _("A text has no such content: %s.") % ", ".join(unknown)} if unknown else {}
