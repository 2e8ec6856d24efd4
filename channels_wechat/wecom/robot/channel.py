"""WeCom group robot (群机器人, now called 消息推送): it writes to the one group that it was added to, and hears nothing (page 99110).

Its key is all there is: no access token, no message id, no check for repetitions. The group has no id that the platform tells.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.filetypes import UNKNOWN, with_suffix
from channels_wechat.contract.messages import HANDLE, Ability, Identity, Limit, Payload, Peer, Receipt, Upload
from channels_wechat.wecom.api import check
from channels_wechat.wecom.errors import WECOM_ROBOT
from channels_wechat.wecom.robot.credentials import API, SEND, UPLOAD, WeComRobotCredentials, read_address
from channels_wechat.wecom.robot.rendering import CHECKS, MENTIONS, MOST_FILE, media_type, render
from channels_wechat.wire.platform_api import FILE_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import Content, Outgoing

VOICE_TOO_LONG = "45007"
GROUP = Peer("group", "group")


class WeComRobot(Uploads):
    kind = "wecom_robot"
    label = _("WeCom group robot (sends only)")
    Credentials = WeComRobotCredentials
    explanations = WECOM_ROBOT
    default_api_base_url = API
    only_peer = GROUP
    inlines_images = True
    content_kinds = (*MOST_FILE, *CHECKS)
    text_options = MENTIONS
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(_("Receive messages"), False, _("a robot only sends: use an AI bot to hear a group")),
        Ability(_("Send first (proactive) to its group"), True, _("20 messages a minute")),
        Ability(_("Mention people"), True, _("by user id or mobile number, in plain text")),
        Ability(
            _("Send to other groups and to persons"), False, _("add a robot to each group, and an account for each")
        ),
        Ability(_("Send pictures"), True, _("JPG and PNG up to 2 MB; larger ones as files")),
        Ability(_("Send voice and files"), True, _("AMR up to a minute and 2 MB; files up to 20 MB, video as a file")),
        Ability(_("Send cards"), True, _("text and picture notices, without buttons that answer")),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("messages arrive whole")),
    )

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        """The beginning of the key's digest: the key has no public part."""
        return hashlib.sha256(f"wecom_robot:{credentials['robot_key']}".encode()).hexdigest()[:16]

    @property
    def limits(self) -> tuple[Limit, ...]:
        return (Limit("minute", 20, 60, "account", _("messages a minute")),)

    @property
    def _key(self) -> str:
        return str(self.identity.credentials["robot_key"])

    def surface(self, peer: Peer) -> str:
        style = str(self.identity.credentials.get("format") or "text")
        shown = {
            "text": "Only plain text is shown: Markdown marks are removed before sending.",
            "markdown": "Markdown is shown, but only headings, bold, links, inline code and quotes: no tables, lists or pictures.",
            "markdown_v2": "Markdown is shown: headings, lists, tables, links, code.",
        }
        return (
            "You write to a group chat in WeCom (企业微信) as a robot that cannot hear what is said there."
            f" {shown[style]} Long messages are cut into parts, and at most 20 can be sent in a minute."
        )

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        return "" if _is_own_group(peer) else WECOM_ROBOT["own_group_only"].cause

    # -- sending ----------------------------------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return render(content, str(self.identity.credentials.get("format") or "text"), self.identity.sentences)

    def send(self, outgoing: Outgoing) -> Receipt:
        if not _is_own_group(outgoing.peer):
            raise WECOM_ROBOT.error("own_group_only")
        body = dict(outgoing.payload.body)
        kind = body["msgtype"]
        if outgoing.payload.file:
            body[kind] = {**body[kind], "media_id": outgoing.handle}
        if kind == "image":
            body[kind] = _inline(outgoing.images)
        address = f"{self.base_url}/{SEND}?{urlencode({'key': self._key})}"
        response = self.http.request("POST", address, json=body, harmless=False)
        return Receipt(response=check(response, False, self._key, WECOM_ROBOT))

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        """A voice message of more than a minute goes as a file."""
        too_long = error.code == VOICE_TOO_LONG and payload.file and payload.body.get("msgtype") == "voice"
        return Payload({"msgtype": "file", "file": {"media_id": HANDLE}}, payload.file) if too_long else None

    def upload(self, file: Upload) -> str:
        kind = "voice" if media_type(file.kind, file.name, file.mime, len(file.content)) == "voice" else "file"
        fields = {"media": (with_suffix(file.name or kind, file.mime), file.content, file.mime or UNKNOWN)}
        address = f"{self.base_url}/{UPLOAD}?{urlencode({'key': self._key, 'type': kind})}"
        response = self.http.request("POST", address, fields=fields, timeout=FILE_TIMEOUT, harmless=True)
        return str(check(response, True, self._key, WECOM_ROBOT).get("media_id", ""))

    def test(self) -> list[str]:
        """An upload is the only call that shows nothing to the group."""
        self.upload(Upload("file", "test.txt", "text/plain", b"test of the robot's key"))
        return [
            gettext("WeCom knows the robot's key: it took a small file, and nothing was posted to the group."),
            gettext("Whether the robot may write there shows with its first message."),
        ]


def robot_at(address: str, http: HttpClient) -> WeComRobot | None:
    """Return the channel that posts to this webhook address, if it is that of a WeCom group robot; else None."""
    found = read_address(address)
    return found and WeComRobot(Identity("", "", {"robot_key": found.key, "format": "text"}, found.base), http)


def _is_own_group(peer: Peer) -> bool:
    return (peer.kind, peer.id) == (GROUP.kind, GROUP.id)


def _inline(images: tuple[Upload, ...]) -> dict[str, str]:
    """The platform asks for MD5 as a checksum of the bytes."""
    (image,) = images
    digest = hashlib.md5(image.content, usedforsecurity=False).hexdigest()
    return {"base64": base64.b64encode(image.content).decode(), "md5": digest}
