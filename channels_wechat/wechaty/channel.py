"""WeChat (微信) with an ordinary person's account, through a puppet service of Wechaty: groups and one-to-one chats. Off by default."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import ContactRequests, Downloads, Paced
from channels_wechat.contract.connection import Login
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import Ability, Limit
from channels_wechat.wechaty import files, pacing, rendering
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.credentials import WechatyCredentials
from channels_wechat.wechaty.endpoint import find_target
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wechaty.protocol import ACCEPT_FRIENDSHIP, ACCEPT_INVITATION, LOGOUT, VERSION
from channels_wechat.wechaty.puppet import Puppet, open_calls
from channels_wechat.wechaty.serving import PuppetConnection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.messages import Content, MediaItem, Pace, Payload, Peer, Upload
    from channels_wechat.wechaty.endpoint import Target
    from channels_wechat.wechaty.puppet import PuppetCalls

DAY = 24 * 3600
# The pauses before a service is asked again whose events another program receives: the first is short, because it may be a connection of
# ours that the service has not missed yet.
TAKEN_SECONDS = (10.0, 30.0, 120.0)


class Wechaty(Login, Downloads, ContactRequests, Paced):
    kind = "wechaty"
    label = _("Personal WeChat account (Wechaty; forbidden by WeChat)")
    Credentials = WechatyCredentials
    explanations = WECHATY
    default_api_base_url = "https://api.chatie.io"
    receives_from = frozenset({"direct", "group"})
    is_risky = True
    inlines_images = True
    content_kinds = rendering.FILE_KINDS
    text_options = (rendering.MENTIONS,)
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(_("Receive group messages"), True, _("all of them; an agent is asked as its mapping says")),
        Ability(
            _("Receive messages of persons"),
            True,
            _("text, pictures, voice, files, video, places, cards, links, quotes"),
        ),
        Ability(_("Receive what was written while the connection was away"), False, _("the transcript shows the gap")),
        Ability(_("Send first (proactive)"), True),
        Ability(_("Mention members of a group"), True, _("@name in an answer; everybody at once cannot be mentioned")),
        Ability(_("Send pictures, voice, video and files"), True, _("up to 100 MB, as far as the puppet can")),
        Ability(_("Stream an answer"), False, _("messages arrive whole, as slowly as a person writes")),
        Ability(_("Recall a message"), False),
        Ability(_("Be used without breaking WeChat's rules"), False, _("WeChat can ban the account for ever")),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._times_taken = 0

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        """The beginning of the token's digest: a token has no public part that names one account."""
        return hashlib.sha256(f"wechaty:{credentials['token']}".encode()).hexdigest()[:16]

    @property
    def _token(self) -> str:
        return str(self.identity.credentials["token"])

    # --- how slowly it writes

    @property
    def limits(self) -> tuple[Limit, ...]:
        daily = self.identity.credentials.get("daily")
        return (Limit("day", int(daily), DAY, "account", _("messages in 24 hours")),) if daily else ()

    @property
    def paces(self) -> tuple[Pace | None, Pace | None]:
        read = self.identity.credentials
        return pacing.read_pace(read, "account_least", "account_most"), pacing.read_pace(
            read, "room_least", "room_most"
        )

    def quiet_until(self, now: datetime) -> datetime | None:
        return pacing.find_quiet_end(self.identity.credentials, now)

    def last_quiet_end(self, now: datetime) -> datetime | None:
        return pacing.find_last_quiet_end(self.identity.credentials, now)

    # --- what it says

    def surface(self, peer: Peer) -> str:
        where = "a group chat" if peer.kind == "group" else "a one-to-one chat"
        mention = " Write @name to mention a member." if peer.kind == "group" else ""
        return (
            f"You are in WeChat (微信), in {where}, and write as an ordinary person's account. Only plain text is shown: Markdown marks "
            f"are removed. Pictures, voice, video and files can be sent.{mention} Messages are sent seconds apart, so keep an answer in "
            "one message, below 2000 Chinese characters."
        )

    def render(self, content: Content) -> list[Payload]:
        return rendering.render(content, self.identity.sentences)

    # --- the connection

    async def run(self, session: Session) -> None:
        puppet = Puppet(await asyncio.to_thread(self._find_target), self._token)
        try:
            await PuppetConnection(session, puppet).serve()
        except ChannelError as error:
            if error.code == "taken":
                raise self._wait_until_free() from error
            self._times_taken = 0
            raise
        finally:
            await puppet.close()
        self._times_taken = 0

    def _wait_until_free(self) -> ChannelError:
        pause = TAKEN_SECONDS[min(self._times_taken, len(TAKEN_SECONDS) - 1)]
        self._times_taken += 1
        return WECHATY.error("taken", retry_after=pause)

    def _find_target(self) -> Target:
        return find_target(self.identity.credentials, self.base_url, self.http)

    # --- calls from any process

    def _open(self) -> AbstractContextManager[PuppetCalls]:
        return open_calls(self._find_target(), self._token)

    def test(self) -> list[str]:
        with self._open() as calls:
            version = calls.ask(VERSION, pb.Empty()).value
        return [
            gettext("The puppet service answers and takes the token (version %(version)s).")
            % {"version": version[:50]},
            gettext("Whether somebody is logged in stands under Connection on the account's page."),
        ]

    def log_out(self) -> None:
        with self._open() as calls:
            calls.ask(LOGOUT, pb.Empty())

    def accept_request(self, kind: Literal["group", "friend"], request_id: str) -> None:
        rpc = ACCEPT_INVITATION if kind == "group" else ACCEPT_FRIENDSHIP
        with self._open() as calls:
            calls.ask(rpc, pb.Id(id=request_id), seconds=30.0, harmless=False)

    def download(self, item: MediaItem) -> Upload:
        with self._open() as calls:
            return files.fetch(calls, self.http, item)
