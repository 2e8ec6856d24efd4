"""What staff enter for a group robot: the address that WeCom shows, whose key is all there is to know."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.pasted import PastedField

API = "https://qyapi.weixin.qq.com"
SEND, UPLOAD = "cgi-bin/webhook/send", "cgi-bin/webhook/upload_media"
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")


class RobotAddress(NamedTuple):
    """base: without a slash at the end; key: the robot's, a secret."""

    base: str
    key: str


def read_address(address: str) -> RobotAddress | None:
    """A robot's webhook address taken apart; None for any other address."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return None
    keys = parse_qs(parts.query).get("key", [])
    base, slash, rest = parts.path.partition(f"/{SEND}")
    if not (
        parts.scheme in ("http", "https")
        and parts.netloc
        and slash
        and not rest
        and len(keys) == 1
        and _KEY.fullmatch(keys[0])
    ):
        return None
    return RobotAddress(f"{parts.scheme}://{parts.netloc}{base}", keys[0])


class KeyField(PastedField):
    """The whole address, or only its key; the key is kept."""

    def to_python(self, value: Any) -> str:
        text = super().to_python(value)
        if not text or _KEY.fullmatch(text):
            return text
        address = read_address(text)
        if address is None:
            raise ValidationError(
                _now("This is no robot's address: copy all of it, up to the end of what stands behind key=.")
            )
        if address.base != API:
            raise ValidationError(
                _now("The address does not lead to WeCom. Behind a proxy, enter only what stands behind key= here.")
            )
        return address.key


class WeComRobotCredentials(CredentialsForm):
    secrets = frozenset({"robot_key"})
    sent = frozenset({"robot_key"})

    robot_key = KeyField(
        label=_("Webhook address"),
        max_length=300,
        help_text=_(
            "The group in WeCom → group settings → Message push (消息推送, earlier 群机器人) → the robot → its address (Webhook 地址)."
            " Whoever knows it can write to the group."
        ),
    )
    format = forms.ChoiceField(
        label=_("Format of answers"),
        choices=[
            ("text", _("Plain text")),
            ("markdown", _("Markdown: headings, bold, links, quotes")),
            ("markdown_v2", _("Markdown with lists, tables and code")),
        ],
        initial="markdown_v2",
        help_text=_(
            "Lists, tables and code are shown from WeCom 4.1.36 on; an older client shows their marks. Mentions (<@userid>) work in"
            " the other two formats only."
        ),
    )
