"""What a person sees of the answers in the HTTP answer itself (facts: official_account.md 2.7, 2.8)."""

from dataclasses import dataclass
from typing import Any

from channels_wechat.simulator.core.callbacks import Reply
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.crypto import CryptoError
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.weixin.accounts import OfficialAccount, Person, WeixinAccount
from channels_wechat.simulator.weixin.envelopes import reply_fields
from channels_wechat.simulator.weixin.world import single_chat

HANDED_OVER = "transfer_customer_service"  # to the platform's own desk: nothing is shown
MEDIA = {"image": "Image", "voice": "Voice", "video": "Video"}
EVENTS = frozenset({"subscribe", "scan", "click", "scancode_waitmsg", "user_enter_tempsession"})


@dataclass
class Asked:
    """One message or event of a person, and whether its deliveries have come to an end. `awaits`: the person looks for an answer."""

    account: WeixinAccount
    person: Person
    msgid: str
    awaits: bool
    tries: int  # 0: without end
    ended: bool = False

    @property
    def chat(self) -> str:
        return single_chat(self.account, self.person.openid)


class PassiveReplies:
    def __init__(self, world: World) -> None:
        self._world = world

    def heard(self, asked: Asked, reply: Reply, number: int) -> None:
        """The first valid answer is what the person sees; copies and retries after it change nothing."""
        if asked.ended:
            return
        asked.ended = reply.ok or number == asked.tries
        if reply.ok and not reply.error:
            try:
                self._show(asked, reply.plain, number)
            except CryptoError as error:
                self._violation("bad_reply", asked, str(error))
                self._fail(asked, number)
        elif asked.ended:
            self._fail(asked, number)

    def _violation(self, what: str, asked: Asked, detail: str) -> None:
        self._world.record.violation(what, asked.msgid, detail)

    def _fail(self, asked: Asked, number: int) -> None:
        if asked.awaits:
            self._add(asked, "failure", asked.account.failure, {}, number)

    def _add(self, asked: Asked, kind: str, text: str, data: JSON, number: int) -> None:
        data = data | {"delivery": number}
        self._world.add(asked.chat, asked.account.id, kind, text=text, data=data, answers=asked.msgid, via="passive")

    def _show(self, asked: Asked, plain: bytes, number: int) -> None:
        if not plain:
            return
        fields = reply_fields(asked.account, plain)
        self._check_head(asked, fields)
        kind = str(fields.get("MsgType"))
        if kind == HANDED_OVER:
            return
        if not isinstance(asked.account, OfficialAccount):
            self._violation("passive_reply_to_a_mini_program", asked, kind)
        elif kind == "text":
            self._show_text(asked, fields, number)
        else:
            text, data = self._content(asked, kind, fields)
            self._add(asked, kind, text, data, number)

    def _check_head(self, asked: Asked, fields: JSON) -> None:
        if (fields.get("ToUserName"), fields.get("FromUserName")) != (asked.person.openid, asked.account.original_id):
            raise CryptoError("ToUserName and FromUserName are not swapped")
        if not str(fields.get("CreateTime")).isdigit():
            raise CryptoError("CreateTime is not a number of seconds")

    def _show_text(self, asked: Asked, fields: JSON, number: int) -> None:
        text = str(fields.get("Content") or "")
        if not text.strip():
            raise CryptoError("Content is empty")
        if len(text.encode()) > self._world.settings.passive_text_bytes:
            self._violation("passive_reply_too_long", asked, f"{len(text.encode())} bytes: nothing is shown")
            return
        self._add(asked, "text", text, {}, number)

    def _content(self, asked: Asked, kind: str, fields: JSON) -> tuple[str, JSON]:
        if kind == "news":
            return self._articles(fields)
        if kind == "music" and isinstance(fields.get("Music"), dict):
            return str(fields["Music"].get("Title", "")), {"url": fields["Music"].get("MusicUrl", "")}
        part: Any = fields.get(MEDIA.get(kind, ""))
        media = (
            self._world.find_media(str(part.get("MediaId")), asked.account.appid) if isinstance(part, dict) else None
        )
        if media is None or media.kind != kind:
            raise CryptoError(f"{kind} cannot be shown")
        return str(part.get("Title", "")), media_facts(media)

    def _articles(self, fields: JSON) -> tuple[str, JSON]:
        article: Any = (fields.get("Articles") or {}).get("item")
        if str(fields.get("ArticleCount")) != "1" or not isinstance(article, dict):
            raise CryptoError("news must hold one article")
        names = {"title": "Title", "description": "Description", "url": "Url", "picurl": "PicUrl"}
        shown = {ours: str(article.get(theirs) or "") for ours, theirs in names.items()}
        return shown["title"], {"articles": [shown]}
