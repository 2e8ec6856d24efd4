"""What a group robot can say, as wire messages (page 99110). Pure. Limits in bytes of UTF-8 unless said otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.field_limits import Part, check
from channels_wechat.contract.messages import HANDLE, Payload
from channels_wechat.contract.text import clean
from channels_wechat.text.plain import plain, simple
from channels_wechat.text.split import split
from channels_wechat.wecom.cards import NOTICES, check_card
from channels_wechat.wecom.errors import WECOM_ROBOT
from channels_wechat.wecom.news import articles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.messages import Content, File, MediaKind
    from channels_wechat.contract.sentences import Sentences

MB = 1024 * 1024
MOST_TEXT = {"text": 2048, "markdown": 4096, "markdown_v2": 4096}
MOST_FILE = {"image": 2 * MB, "voice": 2 * MB, "file": 20 * MB}
LEAST_FILE = 5
SUFFIXES = {"image": (".jpg", ".jpeg", ".png"), "voice": (".amr",)}
MIMES = {"image": ("image/jpeg", "image/png"), "voice": ("audio/amr",)}
MENTIONS = ("mentioned_list", "mentioned_mobile_list")
NEWS = (
    Part("title", 128, required=True),
    Part("description", 512),
    Part("url", 2048, required=True, url=True),
    Part("picurl", url=True),
)
CHECKS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "markdown": lambda data: check(data, (Part("content", MOST_TEXT["markdown"], required=True),)),
    "markdown_v2": lambda data: check(data, (Part("content", MOST_TEXT["markdown_v2"], required=True),)),
    "news": lambda data: articles(data, NEWS),
    "template_card": lambda data: check_card(data, NOTICES),
}


def media_type(file_kind: MediaKind, name: str, mime: str, size: int) -> str:
    """What the robot sends this file as: its own kind where format and size are right, else a plain file.

    Used by `render` for the message and by `upload` for the file, so that the two agree.
    """
    if file_kind not in SUFFIXES or size > MOST_FILE[file_kind]:
        return "file"
    known = mime not in ("", "application/octet-stream")
    fits = mime in MIMES[file_kind] if known else name.lower().endswith(SUFFIXES[file_kind])
    return file_kind if fits else "file"


def render(content: Content, style: str, sentences: Sentences) -> list[Payload]:
    """Return the payloads of the requests, one for each message, when a message is queued.

    style: what text is written as: "text", "markdown" or "markdown_v2"; sentences: how files that are left out are named.
    Raises ContentRefused.
    """
    if content.kind == "text":
        return _conversation(content, style, sentences)
    if content.kind in MOST_FILE:
        return [_one_file(content)]
    if content.kind in CHECKS:
        CHECKS[content.kind](content.data)
        return [Payload({"msgtype": content.kind, content.kind: dict(content.data)})]
    raise ContentRefused("kind", _("A group robot cannot send messages of type “%s”.") % content.kind)


def _conversation(content: Content, style: str, sentences: Sentences) -> list[Payload]:
    """Text in parts, then the files; a file that cannot go leaves a line in words, so that the reader knows of it."""
    refusals = [_refusal(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise WECOM_ROBOT.refused("files", first)
    payloads = _mentioning(content.text, content.data) or _speech(content.text, style)
    for file, refusal in zip(content.files, refusals, strict=True):
        payloads += _left_out(file, refusal, sentences) if refusal else [_file(file)]
    if not payloads:
        raise WECOM_ROBOT.refused("text", Cause("message_empty"))
    return payloads


def _mentioning(text: str, data: Mapping[str, Any]) -> list[Payload]:
    """Plain text whose first part mentions people, for Markdown cannot; empty where nobody is mentioned."""
    mentions = {name: _ids(name, data[name]) for name in MENTIONS if data.get(name)}
    if not mentions:
        return []
    parts = _speech(text, "text")
    if not parts:
        raise WECOM_ROBOT.refused("text", Cause("message_empty"))
    first, *rest = parts
    return [Payload({"msgtype": "text", "text": {**first.body["text"], **mentions}}), *rest]


def _ids(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ContentRefused(name, _("This must be a list of texts."))
    return value


def _speech(text: str, style: str) -> list[Payload]:
    """A text without any marks goes out as text also where Markdown is chosen: every client shows that."""
    text = clean(text)
    shown = plain(text)
    if style == "text" or shown == text:
        style, source = "text", shown
    else:
        source = simple(text) if style == "markdown" else text
    parts = [part for part in split(source, MOST_TEXT[style]) if part.strip()]
    return [Payload({"msgtype": style, style: {"content": part}}) for part in parts]


def _left_out(file: File, refusal: Cause, sentences: Sentences) -> list[Payload]:
    return _speech(sentences.get(refusal.code, name=file.name, **refusal.params), "text")


def _refusal(file: File) -> Cause | None:
    """Why this file cannot be sent at all: the code of a row, and of the sentence that people read; None when it can."""
    if file.size < LEAST_FILE:
        return Cause("file_empty")
    if file.size > MOST_FILE["file"]:
        return Cause("file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST_FILE['file'] // MB} MB"})
    return None


def _file(file: File) -> Payload:
    kind = media_type(file.kind, file.name, file.mime, file.size)
    if kind == "image":
        return Payload({"msgtype": "image", "image": {}}, images=(file.ref,))
    return Payload({"msgtype": kind, kind: {"media_id": HANDLE}}, file=file.ref)


def _one_file(content: Content) -> Payload:
    """An image, voice or file by itself; of a voice or file also the media id of an earlier upload in `data`."""
    kind = content.kind
    if content.data.get("media_id") and kind != "image":
        return Payload({"msgtype": kind, kind: {"media_id": str(content.data["media_id"])}})
    if len(content.files) != 1:
        raise ContentRefused("files", _("A message of this type holds exactly one file."))
    file = content.files[0]
    if refusal := _refusal(file):
        raise WECOM_ROBOT.refused("files", refusal)
    shown_as = media_type(file.kind, file.name, file.mime, file.size)
    if kind == "file" and shown_as == "image":
        return Payload({"msgtype": "file", "file": {"media_id": HANDLE}}, file=file.ref)
    if kind not in ("file", shown_as):
        formats = {"image": "JPG/PNG, 2 MB", "voice": "AMR, 2 MB, 60 s"}
        text = _("WeCom does not take this file as this type (%s). Send it as a plain file.")
        raise ContentRefused("files", text % formats[kind])
    return _file(file)
