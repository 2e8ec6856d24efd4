"""What customer service can say, as wire messages (kf/send_msg, page 94677). Pure. Limits in bytes of UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.field_limits import Part, check, elements
from channels_wechat.contract.messages import HANDLE, Payload
from channels_wechat.contract.text import clean, utf8_len
from channels_wechat.text.plain import plain
from channels_wechat.text.split import split
from channels_wechat.wecom.app.rendering import TEXT_BYTES
from channels_wechat.wecom.errors import WECOM_KF
from channels_wechat.wecom.files import MOST, build_file, build_single_file, media_type, refusal_of, take_only_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.messages import Content
    from channels_wechat.contract.sentences import Sentences

# Where the handle of an uploaded file goes.
HANDLES = ("media_id", "thumb_media_id")
WITH_THUMB = frozenset({"link", "miniprogram"})
THUMB = Part("thumb_media_id", required=True)
LINK = (Part("title", 128, required=True), Part("desc", 512), Part("url", 2048, required=True, url=True), THUMB)
MINI_PROGRAM = (
    Part("appid", required=True),
    Part("title", 64),
    Part("pagepath", 1024, required=True),
    THUMB,
)
MOST_ENTRIES = 10
ENTRIES = {
    "click": (Part("id", 128), Part("content", 128, required=True)),
    "view": (Part("url", 2048, required=True, url=True), Part("content", 1024, required=True)),
    "miniprogram": (
        Part("appid", 32, required=True),
        Part("pagepath", 1024, required=True),
        Part("content", 1024, required=True),
    ),
    "text": (Part("content", 256, required=True),),
}


def render(content: Content, sentences: Sentences) -> list[Payload]:
    """Return the payloads of the requests. sentences: how files that are left out are named. Raises ContentRefused."""
    if content.kind == "text":
        return _conversation(content, sentences)
    if content.kind in MOST:
        return [build_single_file(content, WECOM_KF, takes_words=False)]
    if content.kind not in CHECKS:
        raise ContentRefused("kind", _("Customer service cannot send messages of type “%s”.") % content.kind)
    data, file = _with_thumb(content)
    CHECKS[content.kind](data)
    return [Payload({"msgtype": content.kind, content.kind: data}, file)]


def with_handle(payload: Payload, handle: str) -> dict[str, Any]:
    """Return the body with the handle of the uploaded file in its place."""
    body = dict(payload.body)
    if payload.file:
        content = body[body["msgtype"]]
        body[body["msgtype"]] = {**content, **{name: handle for name in HANDLES if content.get(name) == HANDLE}}
    return body


def merge(first: Payload, second: Payload, between: str) -> Payload | None:
    """Return two texts as one; None where one is no text, or they are too long together."""
    if {first.body["msgtype"], second.body["msgtype"]} != {"text"}:
        return None
    text = f"{first.body['text']['content']}{between}{second.body['text']['content']}"
    return Payload({"msgtype": "text", "text": {"content": text}}) if utf8_len(text) <= TEXT_BYTES else None


def _conversation(content: Content, sentences: Sentences) -> list[Payload]:
    """Text in parts, then the files. A file that cannot go becomes a line of the text, because a message of its own would use up one of
    the five that the customer's message allows."""
    refusals = [refusal_of(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise WECOM_KF.refused("files", first)
    named = zip(content.files, refusals, strict=True)
    left_out = [sentences.get(refusal.code, name=file.name, **refusal.params) for file, refusal in named if refusal]
    text = "\n\n".join(filter(str.strip, (plain(clean(content.text)), *left_out)))
    parts = [part for part in split(text, TEXT_BYTES) if part.strip()]
    payloads = [Payload({"msgtype": "text", "text": {"content": part}}) for part in parts]
    payloads += [build_file(file) for file, refusal in zip(content.files, refusals, strict=True) if not refusal]
    if not payloads:
        raise WECOM_KF.refused("text", Cause("message_empty"))
    return payloads


def _with_thumb(content: Content) -> tuple[dict[str, Any], str]:
    """A link and a Mini Program show a picture: a file, or the media id of an earlier upload."""
    if content.kind not in WITH_THUMB or not content.files:
        return dict(content.data), ""
    file = take_only_file(content)
    if media_type(file.kind, file.name, file.mime, file.size) != "image":
        raise ContentRefused("files", _("The picture of the card must be an image."))
    return {**content.data, "thumb_media_id": HANDLE}, file.ref


def _check_menu(data: Mapping[str, Any]) -> None:
    check(data, (Part("head_content", 1024), Part("tail_content", 1024)))
    entries = elements(data, "list", MOST_ENTRIES)
    if not entries:
        raise ContentRefused("list", _("A menu has at least one entry."))
    for place, entry in entries:
        kind = entry.get("type")
        if not isinstance(kind, str) or kind not in ENTRIES:
            raise ContentRefused(f"{place}type", _("One of: %s.") % ", ".join(ENTRIES))
        inner = entry.get(kind)
        check(inner if isinstance(inner, dict) else {}, ENTRIES[kind], f"{place}{kind}.")


def _check_location(data: Mapping[str, Any]) -> None:
    check(data, (Part("name", 128), Part("address", 256)))
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
            raise ContentRefused(
                name, _("This must be a number from %(least)d to %(most)d.") % {"least": -most, "most": most}
            )


CHECKS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "link": lambda data: check(data, LINK),
    "miniprogram": lambda data: check(data, MINI_PROGRAM),
    "msgmenu": _check_menu,
    "location": _check_location,
}
