"""One's own connection to WeChat: whoever runs another gateway posts signed messages here and takes signed deliveries.

Both directions follow https://www.standardwebhooks.com; docs/connect/webhook_account.openapi.yaml describes the bodies.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Callbacks, Downloads, Uploads
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.filetypes import recognise, with_suffix
from channels_wechat.contract.inbound_fields import at, word
from channels_wechat.contract.messages import Ability, Answer, Receipt, Reception, Upload
from channels_wechat.contract.text import sendable_json
from channels_wechat.webhook_account import parsing, signing
from channels_wechat.webhook_account.credentials import WebhookAccountCredentials, split_secrets
from channels_wechat.webhook_account.errors import WEBHOOK_ACCOUNT
from channels_wechat.webhook_account.rendering import MENTIONS, complete, render
from channels_wechat.wire.http import encode_json, error_for_status, file_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.http_client import Response
    from channels_wechat.contract.messages import Content, MediaItem, Outgoing, Payload, Peer

# For so long a receiver must know a webhook-id again, where staff say that it does.
REPEAT_SECONDS = 24 * 3600
# Seconds to connect, and without a byte of the answer.
TIMEOUT, FILE_TIMEOUT = (5.0, 20.0), (5.0, 60.0)
MOST_DOWNLOAD = 100 * 1024 * 1024
# What a proxy says before it passes a request on, and what says nothing of this one message.
OF_THE_WAY = frozenset({408, 413, 425, 429})
MOST_WORDS = 200


class WebhookAccount(Callbacks, Uploads, Downloads):
    kind = "webhook_account"
    label = _("Your own connection (signed webhooks)")
    Credentials = WebhookAccountCredentials
    explanations = WEBHOOK_ACCOUNT
    header_names = signing.HEADERS
    receives_from = frozenset({"direct", "group"})
    repeats_by_key = True
    # Its addresses are of its own making, and nobody says how long they are good.
    names_files_by_id = False
    handle_seconds = 3600
    text_options = (MENTIONS,)
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(_("Receive messages of groups and persons"), True, _("as your gateway posts them")),
        Ability(_("Receive files"), True, _("by their address, or within the message up to some 700 kB")),
        Ability(_("Send first (proactive)"), True, _("as far as your gateway can")),
        Ability(_("Send files"), True, _("up to 20 MB")),
        Ability(_("Mention people"), True, _("by their IDs at your gateway")),
        Ability(_("Know people's names"), True, _("those that come with messages")),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
    )

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["connection"])

    @property
    def _address(self) -> str:
        return self.base_url or str(self.identity.credentials["address"])

    @property
    def _style(self) -> str:
        return str(self.identity.credentials.get("format") or "text")

    def _secrets(self, way: str) -> list[str]:
        return split_secrets(self.identity.credentials[f"{way}_secret"])

    def surface(self, peer: Peer) -> str:
        where = "a group chat" if peer.kind == "group" else "a one-to-one chat"
        marks = "Markdown is passed on as you write it" if self._style == "markdown" else "Markdown marks are removed"
        return (
            f"You write to {where} in WeChat through a gateway of the company's own. {marks}. Long answers are cut into parts."
            " Files up to 20 MB can be sent."
        )

    # -- messages -------------------------------------------------------------------------------------------------------

    def challenge(self, query: Mapping[str, str]) -> Answer:
        """A signed GET shows whoever sets a gateway up that address and secret are right."""
        signing.check_signature(query, b"", self._secrets("inbound"))
        return Answer(b"ok")

    def parse(self, query: Mapping[str, str], body: bytes) -> Reception:
        signing.check_signature(query, body, self._secrets("inbound"))
        own_id = str(self.identity.credentials.get("own_id") or "")
        return Reception((parsing.read(body, query[signing.ID], own_id),))

    def download(self, item: MediaItem) -> Upload:
        if item.handle.startswith(parsing.INLINE):
            content, name, declared = base64.b64decode(item.handle.removeprefix(parsing.INLINE)), item.name, item.mime
        else:
            options: dict[str, Any] = {"follow": 3, "max_bytes": MOST_DOWNLOAD, "timeout": FILE_TIMEOUT}
            answer = self.http.request("GET", item.handle, **options, from_message=True)
            if answer.status != 200:
                raise error_for_status(answer, harmless=True)
            name = item.name or file_name(answer.headers.get("Content-Disposition", ""))
            content, declared = answer.body, item.mime or answer.headers.get("Content-Type", "")
        mime = recognise(content, name, declared).mime
        return Upload(item.kind, with_suffix(name or item.kind, mime), mime, content)

    # -- deliveries -----------------------------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        text_bytes = int(self.identity.credentials.get("text_bytes") or 2000)
        return render(content, self._style, text_bytes, self.identity.sentences)

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        """Only what staff say of the receiver proves that a repetition is safe."""
        return REPEAT_SECONDS if self.identity.credentials.get("repetitions") == "repeat" else 0

    def send(self, outgoing: Outgoing) -> Receipt:
        """The id by which the message may be reported as failed: the receiver's, or ours where it gives none."""
        body = complete(outgoing.payload, outgoing.handle, outgoing.peer.kind, outgoing.peer.id)
        key = outgoing.key or uuid4().hex
        answer = self._post(key, body)
        found = _id_in(answer)
        return Receipt(found or key, response={"status": answer.status, **({"id": found} if found else {})})

    def upload(self, file: Upload) -> str:
        body = {"type": "file", "kind": file.kind, "name": file.name, "mime": file.mime}
        content = base64.b64encode(file.content).decode()
        answer = self._post(uuid4().hex, {**body, "content": content}, timeout=FILE_TIMEOUT, harmless=True)
        found = _id_in(answer)
        if not found:
            raise WEBHOOK_ACCOUNT.error("no_file_id", response={"status": answer.status})
        return found

    def test(self) -> list[str]:
        self._post(uuid4().hex, {"type": "test"}, harmless=True)
        return [
            gettext("Your receiver accepts a signed delivery of the type test."),
            gettext("Whether messages come in shows with the first one that your gateway posts."),
        ]

    def _post(
        self,
        webhook_id: str,
        body: Mapping[str, Any],
        *,
        timeout: tuple[float, float] = TIMEOUT,
        harmless: bool = False,
    ) -> Response:
        """Post one delivery, signed when it leaves, so that a late attempt is not refused as old. Raises ChannelError."""
        content = encode_json(sendable_json(body))
        headers = signing.sign(webhook_id, content, self._secrets("outbound"))
        headers["Content-Type"] = "application/json; charset=utf-8"
        try:
            answer = self.http.request(
                "POST", self._address, content=content, headers=headers, timeout=timeout, harmless=harmless
            )
        except ChannelError as error:  # its detail holds the path, in which some receivers have a secret
            origin = _origin(self._address)
            raise WEBHOOK_ACCOUNT.error(error.code, error.action, detail=origin, params=error.params) from error
        _check(answer, harmless)
        return answer


def _check(answer: Response, harmless: bool) -> None:
    """Raises ChannelError, unless the receiver took it. A web page is no receiver's answer, whatever its status."""
    status = answer.status
    if status < 300 and not answer.body.lstrip().startswith(b"<"):
        return
    if 300 <= status < 400:
        raise WEBHOOK_ACCOUNT.error("redirected", params={"status": status})
    if status in OF_THE_WAY or not 400 <= status < 500:
        raise error_for_status(answer, harmless)
    params = {"status": status}
    if status == 401:
        raise WEBHOOK_ACCOUNT.error("signature_refused", detail=_words(answer), params=params, response=params)
    if status == 410:
        raise WEBHOOK_ACCOUNT.error("receiver_closed", detail=_words(answer), params=params, response=params)
    raise WEBHOOK_ACCOUNT.error("refused", detail=_words(answer), params=params, response=params)


def _words(answer: Response) -> str:
    """What the receiver says of its refusal, with its status before it."""
    said = next((text for name in ("error", "message", "detail") if (text := word(_json(answer), name))), "")
    return f"HTTP {answer.status}: {said or error_for_status(answer, harmless=True).detail}"[:MOST_WORDS]


def _json(answer: Response) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None


def _id_in(answer: Response) -> str:
    found = _json(answer)
    return word(found, "id")[:200] if at(found, "id") is not None else ""


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
