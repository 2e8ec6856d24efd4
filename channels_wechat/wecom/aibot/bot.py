"""What both modes of a WeCom AI bot (智能机器人) share: its form, its ids, and the files that people send to it."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Downloads
from channels_wechat.contract.filetypes import recognise, with_suffix
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Ability, Upload
from channels_wechat.contract.text import clean
from channels_wechat.contract.unreadable import read_or_kept
from channels_wechat.wecom import person_ids
from channels_wechat.wecom.aibot import parsing
from channels_wechat.wecom.aibot.credentials import WeComAIBotCredentials
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wire.callback_crypto import decrypt_media
from channels_wechat.wire.http import file_name
from channels_wechat.wire.platform_api import FILE_TIMEOUT, MAX_DOWNLOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.http_client import Response
    from channels_wechat.contract.messages import Inbound, MediaItem, Peer
    from channels_wechat.wecom.aibot.parsing import Node


# Lines of the table of abilities that both modes have.
RECEIVES = (
    Ability(_("Receive group messages"), True, _("only messages that mention the bot: text, pictures, quotes")),
    Ability(_("Receive messages of members"), True, _("text, pictures, voice as its transcript, files and video")),
    Ability(
        _("Receive messages of groups with people outside the company"),
        False,
        _("WeCom adds AI bots to internal groups only"),
    ),
)
STREAMS = Ability(_("Stream an answer"), True, _("for almost six minutes; up to 20,480 bytes, about 6,800 characters"))
FEEDBACK_AND_RECALL = (
    Ability(_("Know what people think of an answer"), True, _("their thumbs up or down, kept with the answer")),
    Ability(_("Recall a message"), False),
)


class AIBot(Downloads):
    kind = "wecom_aibot"
    names_files_by_id = False
    label = _("WeCom AI bot")
    Credentials = WeComAIBotCredentials
    explanations = WECOM_AIBOT
    receives_from = frozenset({"direct", "group"})
    ids_in_any_case = True
    content_kinds: ClassVar[tuple[str, ...]] = ("template_card",)
    kinds_with_text = ("template_card",)
    test_calls = False

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["bot_id"])

    @classmethod
    def person_id(cls, user_id: str) -> str:
        return person_ids.person_id(user_id)

    def _setting(self, name: str) -> str:
        return str(self.identity.credentials.get(name) or "")

    def read(self, node: Node, plain: bytes, reply_seconds: int, handle: Callable[[str], str] | None = None) -> Inbound:
        """Parse what WeCom says of this bot; what cannot be parsed is kept. handle: as `parsing.read` takes it."""
        names = {"bot_name": self._setting("bot_name"), "corp_id": self._setting("corp_id")}
        read = partial(parsing.read, node, plain, reply_seconds=reply_seconds, handle=handle, **names)
        return read_or_kept(read, plain)

    @property
    def secret(self) -> str:
        return self._setting("secret")

    def subscription(self, device_id: str) -> dict[str, str]:
        """Without a device that stays the same, the server may go on delivering to a connection that is dead."""
        return {"bot_id": self._setting("bot_id"), "secret": self.secret, "device_id": device_id}

    def welcome_text(self, inbound: Inbound) -> str:
        """Return what somebody is told who opens the chat, which is the only event that takes words; empty for all else."""
        return self.identity.sentences.get("welcome") if word(inbound.raw, "event", "eventtype") == "enter_chat" else ""

    # -- files (pages 100719 and 101463): good for five minutes, encrypted with the callback's key or one of their own ---------

    def download(self, item: MediaItem) -> Upload:
        response = self.http.request(
            "GET", item.handle, follow=3, max_bytes=MAX_DOWNLOAD + 32, timeout=FILE_TIMEOUT, from_message=True
        )
        _check_file(response)
        try:
            content = decrypt_media(self._file_key(item), response.body)
        except ValueError as error:
            raise WECOM_AIBOT.error("decrypt") from error
        name = _file_name(response.headers.get("Content-Disposition", "")) or item.name
        mime = recognise(content, name, item.mime).mime
        return Upload(item.kind, with_suffix(name or item.kind, mime), mime, content)

    def _file_key(self, item: MediaItem) -> bytes:
        """The file's own key; one that came by callback has none. Raises ValueError."""
        text = item.key or self._setting("encoding_aes_key")
        key = base64.b64decode(text + "=" * (-len(text) % 4))
        if len(key) != 32:
            raise ValueError("no key of 32 bytes")
        return key


def _check_file(response: Response) -> None:
    """Storage answers 403 or 404 once the five minutes are over; anything above is its own trouble."""
    if response.status != 200:
        code = "file_storage" if response.status >= 500 or response.status == 429 else "file_gone"
        raise WECOM_AIBOT.error(code, detail=f"HTTP {response.status}", params={"status": response.status})


def _file_name(disposition: str) -> str:
    """The name, also where it is percent-encoded inside the quotes; never a path."""
    name = file_name(disposition)
    try:
        return clean(unquote(name, errors="strict")).replace("\\", "/").rpartition("/")[2]
    except UnicodeDecodeError:
        return name


def describe_chat(peer: Peer) -> str:
    """Tell the agent, in English, where it is."""
    return "a group chat: you get only the messages that mention you" if peer.kind == "group" else "a one-to-one chat"
