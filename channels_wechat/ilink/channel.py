"""iLink: an agent as a contact of a person's own WeChat, by Tencent's bot channel (facts 8). One to one; there are no groups.

Somebody logs in by scanning a code. The platform keeps what people write until it is fetched; an answer names the newest token that
came from its reader. A peer id is the id of a WeChat user.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Downloads, ReplyWindows, ScanToCreate, Typing
from channels_wechat.contract.connection import Connection
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Ability, Receipt
from channels_wechat.ilink import files, scan
from channels_wechat.ilink.addresses import API
from channels_wechat.ilink.api import IlinkApi
from channels_wechat.ilink.credentials import IlinkCredentials
from channels_wechat.ilink.errors import ILINK, LOGIN_LOST
from channels_wechat.ilink.parsing import REPLY_SECONDS
from channels_wechat.ilink.polling import Polling
from channels_wechat.ilink.rendering import FILE_KINDS, build_item, merge, render
from channels_wechat.wire.guarded_session import Target, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import Content, MediaItem, Outgoing, Payload, Peer, Scan, ScanCode, Upload

BOT, FINISHED, TYPING = 2, 2, 1
# What `show_typing` needs, by account and person: asked for anew after this time. At most so many are kept.
TICKET_SECONDS = 600.0
MOST_TICKETS = 10_000
_tickets: dict[tuple[str, str], tuple[float, str]] = {}


class Ilink(Connection, Downloads, ReplyWindows, Typing, ScanToCreate):
    kind = "ilink"
    label = _("Personal WeChat, one to one (iLink)")
    Credentials = IlinkCredentials
    explanations = ILINK
    default_api_base_url = API
    receives_from = frozenset({"direct"})
    content_kinds = FILE_KINDS
    max_parts = 10
    keeps_history = True
    keeps_replies = True
    login_codes = frozenset({LOGIN_LOST})
    reply_seconds = REPLY_SECONDS
    names_files_by_id = False
    # The platform does not say for how long it keeps a file that was uploaded.
    handle_seconds = 3600
    renews = True
    asks_address = True
    scan_pause_seconds = 1.0
    scan_text = _(
        "Whoever wants the agent as a contact scans the code with their own WeChat, and confirms on the phone."
    )
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(
            _("Receive messages of who scanned"),
            True,
            _("text, pictures, voice as its transcript where WeChat gives one, files, video and quotes"),
        ),
        Ability(_("Receive group messages"), False, _("this channel is one to one")),
        Ability(_("Work without an address on the internet"), True),
        Ability(_("Answer within 24 hours"), True, _("about ten messages after each of the person's")),
        Ability(_("Send first (proactive)"), False, _("WeChat takes messages only after the person wrote")),
        Ability(_("Send pictures, video and files"), True, _("up to 100 MB; sound goes out as a file")),
        Ability(_("Show that an answer is being written"), True),
        Ability(_("Know people's names"), False),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
    )

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        """A person has one bot at a time, so that whoever scans again meets the same account."""
        return str(credentials["user_id"])

    @property
    def base_url(self) -> str:
        """What staff entered comes before what the platform named."""
        return (self.identity.api_base_url or self._setting("base_url") or API).rstrip("/")

    def _setting(self, name: str) -> str:
        return str(self.identity.credentials.get(name) or "")

    @property
    def _api(self) -> IlinkApi:
        return IlinkApi(self.http, self.base_url, self._setting("bot_token"))

    def admits(self, user_id: str) -> bool:
        allowed = self._setting("allowed_people").split() or [self._setting("user_id")]
        return user_id in allowed

    def surface(self, peer: Peer) -> str:
        return (
            "You are a contact in a person's own WeChat, in a one-to-one chat. Only plain text is shown: Markdown marks are removed"
            " before sending. Long answers are cut into parts of 4000 characters, and about ten messages may follow each message of"
            " the person, so keep answers short. Files up to 100 MB can be sent; JPG, PNG and GIF are shown as pictures, MP4 as video."
        )

    # -- the login ------------------------------------------------------------------------------------------------------------

    @classmethod
    def fetch_scan_code(cls, http: HttpClient, base_url: str = "") -> ScanCode:
        return scan.fetch_code(http, base_url)

    @classmethod
    def find_scanned(cls, http: HttpClient, code: str, typed: str = "", base_url: str = "") -> Scan:
        return scan.find_scanned(http, code, typed, base_url)

    def test(self) -> list[str]:
        """Ask for what the sign "is typing" needs: it changes nothing, and a login that is not taken is refused."""
        self._api.call("getconfig", {"ilink_user_id": self._setting("user_id"), "context_token": ""})
        return [gettext("WeChat takes the login of this bot.")]

    # -- receiving ------------------------------------------------------------------------------------------------------------

    async def run(self, session: Session) -> None:
        target = Target(self.base_url, self.http.guard)
        await target.check_literal()
        async with open_session(target) as http:
            polling = Polling(http, session, self.base_url, self._setting("bot_id"), self._setting("bot_token"))
            await polling.serve(self._setting("user_id"))

    def download(self, item: MediaItem) -> Upload:
        return files.download(self.http, item)

    # -- sending: each message is a request of its own, which the sender's thread makes ---------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return render(content, self.identity.sentences)

    def merge(self, first: Payload, second: Payload, *, apart: bool) -> Payload | None:
        return merge(first, second, "\n\n" if apart else "")

    def send(self, outgoing: Outgoing) -> Receipt:
        peer = outgoing.peer
        if peer.kind != "direct":
            raise ILINK.error("no_groups")
        if not peer.reply:
            raise ILINK.error("no_context")
        message = {
            "from_user_id": "",
            "to_user_id": peer.id,
            "client_id": outgoing.key or secrets.token_hex(16),
            "message_type": BOT,
            "message_state": FINISHED,
            "item_list": [build_item(outgoing.payload, outgoing.handle)],
            "context_token": peer.reply,
        }
        answer = self._api.call("sendmessage", {"msg": message}, harmless=False, sends=True)
        return Receipt(word(answer, "message_id"), response=answer)

    def upload(self, file: Upload) -> str:
        return files.upload(self.http, self._api, self._setting("user_id"), file)

    def show_typing(self, peer: Peer) -> None:
        ticket = self._ticket(peer)
        try:
            self._api.call("sendtyping", {"ilink_user_id": peer.id, "typing_ticket": ticket, "status": TYPING})
        except ChannelError:
            _tickets.pop((self.identity.key, peer.id), None)
            raise

    def _ticket(self, peer: Peer) -> str:
        """Return what the sign needs, kept for some minutes. Raises ChannelError."""
        name, now = (self.identity.key, peer.id), time.monotonic()
        until, ticket = _tickets.get(name, (0.0, ""))
        if until > now:
            return ticket
        answer = self._api.call("getconfig", {"ilink_user_id": peer.id, "context_token": peer.reply})
        if len(_tickets) >= MOST_TICKETS:
            _tickets.clear()
        _tickets[name] = now + TICKET_SECONDS, word(answer, "typing_ticket")
        return _tickets[name][1]
