"""The wire. One dict is the registry of channel kinds: kind → dotted path, imported when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.channel import Channel

KINDS = {
    "wecom_app": "channels_wechat.wecom.app.channel.WeComApp",
    "wecom_aibot": "channels_wechat.wecom.aibot.channel.WeComAIBot",
    "wecom_robot": "channels_wechat.wecom.robot.channel.WeComRobot",
    "wecom_kf": "channels_wechat.wecom.kf.channel.WeComKf",
    "official_account": "channels_wechat.weixin.official_account.OfficialAccount",
    "mini_program": "channels_wechat.weixin.mini_program.MiniProgram",
    "wechaty": "channels_wechat.wechaty.channel.Wechaty",
    "webhook_account": "channels_wechat.webhook_account.channel.WebhookAccount",
    "ilink": "channels_wechat.ilink.channel.Ilink",
}
UNREGISTERED = "channels_wechat.unregistered.UnregisteredKind"


def channel_class(kind: str, credentials: Mapping[str, Any] | None = None) -> type[Channel]:
    """The class of a kind, or of the mode that these credentials choose. Raises KeyError for a kind that is not registered."""
    found: type[Channel] = import_string(KINDS[kind])
    return found if credentials is None else found.mode_class(credentials)


def can(kind: str, base: type[Any]) -> bool:
    """Whether accounts of this kind, registered or not any more, do what the base stands for, in any mode; asks no account."""
    return kind in KINDS and any(issubclass(mode, base) for mode in channel_class(kind).modes())
