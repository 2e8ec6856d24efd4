"""What a self-built app can say, as wire messages (message/send, page 90236). Pure. Limits in bytes of UTF-8 unless said otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.field_limits import Part, check, elements
from channels_wechat.contract.messages import Payload
from channels_wechat.contract.text import clean
from channels_wechat.text.plain import plain, simple
from channels_wechat.text.split import split
from channels_wechat.wecom.cards import check_card
from channels_wechat.wecom.errors import WECOM_APP
from channels_wechat.wecom.files import MOST, build_file, build_single_file, refusal_of
from channels_wechat.wecom.news import NEWS, articles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

TEXT_BYTES = 2048
SAFE = {"text": 1, "image": 1, "video": 1, "file": 1, "mpnews": 2}


def render(content: Content, markdown: bool, sentences: Sentences) -> list[Payload]:
    """Return the payloads of the requests, one for each message, when a message is queued.

    markdown: write the agent's Markdown as such, for members who use the WeCom client; sentences: how files that are left out are named.
    Raises ContentRefused.
    """
    if content.kind == "text":
        payloads = _conversation(content, markdown, sentences)
    elif content.kind in MOST:
        payloads = [build_single_file(content, WECOM_APP, takes_words=True)]
    elif content.kind in CHECKS:
        data = {name: value for name, value in content.data.items() if name != "safe"}
        CHECKS[content.kind](data)
        payloads = [Payload({"msgtype": content.kind, content.kind: data})]
    else:
        raise ContentRefused("kind", _("A WeCom app cannot send messages of type “%s”.") % content.kind)
    return _confidential(payloads, content.data.get("safe", 0))


def _confidential(payloads: list[Payload], safe: Any) -> list[Payload]:
    """`safe`: 1 = not to be forwarded; 2 (mpnews) = only within the company."""
    if safe in (0, False, None):
        return payloads
    for payload in payloads:
        if type(safe) is not int or not 0 < safe <= SAFE.get(payload.body["msgtype"], 0):
            raise ContentRefused("safe", _("A message of this type cannot be confidential in this way."))
    return [Payload({**payload.body, "safe": safe}, payload.file) for payload in payloads]


def _conversation(content: Content, markdown: bool, sentences: Sentences) -> list[Payload]:
    """Text in parts, then the files; a file that cannot go leaves a line in words, so that the reader knows of it."""
    refusals = [refusal_of(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise WECOM_APP.refused("files", first)
    payloads = _speech(content.text, markdown)
    for file, refusal in zip(content.files, refusals, strict=True):
        payloads += _left_out(file, refusal, sentences) if refusal else [build_file(file)]
    if not payloads:
        raise WECOM_APP.refused("text", Cause("message_empty"))
    return payloads


def _speech(text: str, markdown: bool) -> list[Payload]:
    """A text without any marks goes out as text also where Markdown is chosen: it can be read in WeChat too."""
    text = clean(text)
    shown = plain(text)
    style, source = ("markdown", simple(text)) if markdown and shown != text else ("text", shown)
    parts = [part for part in split(source, TEXT_BYTES) if part.strip()]
    return [Payload({"msgtype": style, style: {"content": part}}) for part in parts]


def _left_out(file: File, refusal: Cause, sentences: Sentences) -> list[Payload]:
    return _speech(sentences.get(refusal.code, name=file.name, **refusal.params), False)


TEXTCARD = (
    Part("title", 128, required=True),
    Part("description", 512, required=True),
    Part("url", 2048, required=True, url=True),
    Part("btntxt", 4, characters=True),
)
MPNEWS = (
    Part("title", 128, required=True),
    Part("thumb_media_id", required=True),
    Part("author", 64),
    Part("content_source_url", url=True),
    Part("content", 666 * 1024, required=True),
    Part("digest", 512),
)
NOTICE = (
    Part("appid", required=True),
    Part("title", 12, required=True, characters=True, least=4),
    Part("description", 12, characters=True, least=4),
)
NOTICE_ITEM = (Part("key", 10, required=True, characters=True), Part("value", 30, required=True, characters=True))


def _check_news(data: Mapping[str, Any]) -> None:
    for place, article in articles(data, NEWS):
        if not article.get("url") and not (article.get("appid") and article.get("pagepath")):
            raise ContentRefused(place + "url", _("An article needs an address, or a mini program with its page."))


def _check_notice(data: Mapping[str, Any]) -> None:
    check(data, NOTICE)
    for place, item in elements({"content_item": [], **data}, "content_item", 10):
        check(item, NOTICE_ITEM, place)


CHECKS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "markdown": lambda data: check(data, (Part("content", TEXT_BYTES, required=True),)),
    "textcard": lambda data: check(data, TEXTCARD),
    "news": _check_news,
    "mpnews": lambda data: articles(data, MPNEWS),
    "miniprogram_notice": _check_notice,
    "template_card": check_card,
}
