"""What an Official Account or a Mini Program can say, as customer-service messages (facts 3.1 and 13.2). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.field_limits import Part, check, elements
from channels_wechat.contract.messages import HANDLE, Payload
from channels_wechat.contract.text import utf8_len
from channels_wechat.text.plain import plain
from channels_wechat.text.split import split
from channels_wechat.weixin.errors import WEIXIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

    Check = Callable[[Mapping[str, Any]], object]

# The platform names no number; a passive answer takes 2048, and 45002 is what too long a text gets.
TEXT_BYTES = 2000
MB = 1024 * 1024
MOST = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB}
FORMATS = {"image": ("jpg", "jpeg", "png", "gif"), "voice": ("amr", "mp3"), "video": ("mp4",)}
SUFFIXES = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "audio/amr": "amr",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "video/mp4": "mp4",
}
# Shown in grey under the message: written by an AI.
LABEL = "aimsgcontext"
# Where the handle of an uploaded file goes.
HANDLES = ("media_id", "thumb_media_id")

LINK = re.compile(r"<a\s[^<>]{0,2000}>[^<>]{0,500}</a>", re.IGNORECASE)
ADDRESS = re.compile(r"href\s*=\s*[\"']?(https?://[^\"'\s>]+)", re.IGNORECASE)
TAG = re.compile(r"<(?=/?a[\s>])", re.IGNORECASE)


def suffix_of(kind: str, name: str, mime: str) -> str:
    """The file's format, by its type or else its name, where WeChat takes it as this kind; else empty."""
    unnamed = mime in ("", "application/octet-stream")
    suffix = name.rpartition(".")[2].lower() if unnamed else SUFFIXES.get(mime, "")
    return suffix if suffix in FORMATS.get(kind, ()) else ""


@dataclass(frozen=True, slots=True)
class MessageTypes:
    """What one kind of account can say: kinds of files, and platform messages with the check of their data."""

    files: tuple[str, ...]
    checks: Mapping[str, Check]

    def render(self, content: Content, sentences: Sentences) -> list[Payload]:
        """sentences: how files that are left out are named. Raises ContentRefused."""
        if content.kind == "text":
            return self._conversation(content, sentences)
        if content.kind in self.files:
            return [self._one_file(content)]
        if content.kind not in self.checks:
            raise ContentRefused("kind", _("This account cannot send messages of type “%s”.") % content.kind)
        data, file = self._with_thumb(content)
        self.checks[content.kind](data)
        return [Payload({"msgtype": content.kind, content.kind: data}, file)]

    def _conversation(self, content: Content, sentences: Sentences) -> list[Payload]:
        """Text in parts, then the files. A file that cannot go becomes a line of the text: a message of its own would use up one
        of the few that the user's window allows."""
        refusals = [self._refusal(file) for file in content.files]
        if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
            raise WEIXIN.refused("files", first)
        named = zip(content.files, refusals, strict=True)
        lines = [
            escape_links(sentences.get(refusal.code, name=file.name, **refusal.params))
            for file, refusal in named
            if refusal
        ]
        payloads = _speech("\n\n".join(filter(str.strip, (shown(content), *lines))), content.ai)
        payloads += [_file(file) for file, refusal in zip(content.files, refusals, strict=True) if not refusal]
        if not payloads:
            raise WEIXIN.refused("text", Cause("message_empty"))
        return payloads

    def _refusal(self, file: File) -> Cause | None:
        """Why this file cannot be sent: the code of a row, and of the sentence that people read; None when it can."""
        if file.kind not in self.files:
            return Cause("file_kind")
        if not suffix_of(file.kind, file.name, file.mime):
            return Cause("file_format", {"formats": ", ".join(FORMATS[file.kind]).upper()})
        if not file.size:
            return Cause("file_empty")
        if file.size > MOST[file.kind]:
            return Cause(
                "file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST[file.kind] // MB} MB"}
            )
        return None

    def _one_file(self, content: Content) -> Payload:
        """An image, voice or video by itself: one file, or the media id of an earlier upload in `data`."""
        kind, data = content.kind, content.data
        names = ("title", "description", "thumb_media_id") if kind == "video" else ()
        words = {name: data[name] for name in names if data.get(name)}
        check(words, tuple(Part(name) for name in names))
        if data.get("media_id"):
            return Payload({"msgtype": kind, kind: {"media_id": str(data["media_id"]), **words}})
        file = _only(content)
        if file.kind != kind:
            raise ContentRefused("files", _("The file is not of this type."))
        if refusal := self._refusal(file):
            raise WEIXIN.refused("files", refusal)
        return _file(file, words)

    def _with_thumb(self, content: Content) -> tuple[dict[str, Any], str]:
        """A Mini Program's card shows a picture: a file, or the media id of an earlier upload."""
        if content.kind != "miniprogrampage" or not content.files:
            return dict(content.data), ""
        file = _only(content)
        if refusal := self._refusal(file):
            raise WEIXIN.refused("files", refusal)
        if file.kind != "image":
            raise ContentRefused("files", _("The picture of the card must be an image."))
        return {**content.data, "thumb_media_id": HANDLE}, file.ref


def with_handle(payload: Payload, handle: str) -> dict[str, Any]:
    """The body with the handle of the uploaded file in its place."""
    body = dict(payload.body)
    if payload.file:
        branch = body[body["msgtype"]]
        placed = {name: handle for name in HANDLES if branch.get(name) == HANDLE}
        body[body["msgtype"]] = {**branch, **placed}
    return body


def merged(first: Payload, second: Payload, between: str) -> Payload | None:
    """Two texts as one, marked as an AI's where either is; None where one is no text, or they are too long together."""
    if {first.body["msgtype"], second.body["msgtype"]} != {"text"}:
        return None
    text = f"{first.body['text']['content']}{between}{second.body['text']['content']}"
    if utf8_len(text) > TEXT_BYTES:
        return None
    return Payload({**second.body, **first.body, "text": {"content": text}})


# --- text


def shown(content: Content) -> str:
    """Plain text, for no client renders Markdown. Links by `<a>` are kept where staff or a program wrote them and one message holds
    the text, for no cut may go through one; in an AI's words they could hide where they lead."""
    if content.ai:
        return escape_links(plain(content.text))
    spoken = [escape_links(plain(piece)) for piece in LINK.split(content.text)]
    links = [*LINK.findall(content.text), ""]
    whole = "".join(part for pair in zip(spoken, links, strict=True) for part in pair)
    return whole if utf8_len(whole) <= TEXT_BYTES else escape_links(plain(LINK.sub(_in_words, content.text)))


def escape_links(text: str) -> str:
    """`<a` is shown as it is written: a zero-width space keeps clients from making a link of it."""
    return TAG.sub("<\u200b", text)


def _in_words(link: re.Match[str]) -> str:
    tag, _bracket, label = link[0][:-4].partition(">")
    address = ADDRESS.search(tag)
    return f"{label} ({address[1]})" if address else label


def _speech(text: str, ai: bool) -> list[Payload]:
    label = {LABEL: {"is_ai_msg": 1}} if ai else {}
    parts = [part for part in split(text, TEXT_BYTES) if part.strip()]
    return [Payload({"msgtype": "text", "text": {"content": part}, **label}) for part in parts]


def _file(file: File, more: Mapping[str, Any] | None = None) -> Payload:
    return Payload({"msgtype": file.kind, file.kind: {"media_id": HANDLE, **(more or {})}}, file=file.ref)


def _only(content: Content) -> File:
    if len(content.files) != 1:
        raise ContentRefused("files", _("A message of this type holds exactly one file."))
    return content.files[0]


# --- platform messages

TITLE = Part("title", required=True)
MUSIC = (
    Part("title"),
    Part("description"),
    Part("musicurl", required=True, url=True),
    Part("hqmusicurl", required=True, url=True),
    Part("thumb_media_id", required=True),
)
ARTICLE = (TITLE, Part("description"), Part("url", required=True, url=True), Part("picurl", url=True))
THUMB = Part("thumb_media_id", required=True)
LINK_CARD = (
    TITLE,
    Part("description", required=True),
    Part("url", required=True, url=True),
    Part("thumb_url", required=True, url=True),
)
CHOICE = (Part("id", required=True), Part("content", required=True))
STATES = ("developer", "trial", "formal")


def _checked(*parts: Part) -> Check:
    return lambda data: check(data, parts)


def _check_news(data: Mapping[str, Any]) -> None:
    """More than one article gets 45008."""
    articles = elements(data, "articles", 1)
    if not articles:
        raise ContentRefused("articles", _("A news message has one article."))
    for place, article in articles:
        check(article, ARTICLE, place)


def _check_menu(data: Mapping[str, Any]) -> None:
    """The label comes back, not always the id: two entries of one label could not be told apart."""
    check(data, (Part("head_content"), Part("tail_content")))
    choices = elements(data, "list", 100)
    if not choices:
        raise ContentRefused("list", _("A menu has at least one entry."))
    for place, choice in choices:
        check(choice, CHOICE, place)
    if len({choice["content"] for _place, choice in choices}) < len(choices):
        raise ContentRefused("list", _("Every entry of a menu needs its own label."))


def _check_subscribe(data: Mapping[str, Any]) -> None:
    check(data, (Part("template_id", required=True), Part("page"), Part("lang")))
    if data.get("miniprogram_state", "formal") not in STATES:
        raise ContentRefused("miniprogram_state", _("One of: %s.") % ", ".join(STATES))
    filled = data.get("data")
    if not isinstance(filled, dict) or not filled:
        raise ContentRefused("data", _("This must be an object: name of the line → {“value”: text}."))
    for name, line in filled.items():
        check(line if isinstance(line, dict) else {}, (Part("value", required=True),), f"data.{name}.")


OFFICIAL_ACCOUNT = MessageTypes(
    ("image", "voice", "video"),
    {
        "news": _check_news,
        "music": _checked(*MUSIC),
        "mpnewsarticle": _checked(Part("article_id", required=True)),
        "msgmenu": _check_menu,
        "miniprogrampage": _checked(TITLE, Part("appid", required=True), Part("pagepath", required=True), THUMB),
        "wxcard": _checked(Part("card_id", required=True)),
    },
)
MINI_PROGRAM = MessageTypes(
    ("image",),
    {
        "link": _checked(*LINK_CARD),
        "miniprogrampage": _checked(TITLE, Part("pagepath", required=True), THUMB),
        "subscribe": _check_subscribe,
    },
)
