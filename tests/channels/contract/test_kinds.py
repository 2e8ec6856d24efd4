"""What each kind of account says of itself: what it hears, what it can do, and the figures that others go by."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import override

from accounts.forms import account_form
from channels_wechat import KINDS, can, channel_class
from channels_wechat.contract import capabilities, connection
from channels_wechat.contract.customer_messages import CustomerMessages
from channels_wechat.contract.directory import Directory
from channels_wechat.contract.messages import Identity, Peer, Token, Upload
from channels_wechat.wire.http import Http
from tests.channels.wecom.aibot import bot
from tests.channels.weixin.accounts import mini_program, official_account

BASES: dict[type[Any], set[str]] = {
    capabilities.Callbacks: {
        "wecom_kf",
        "wecom_app",
        "wecom_aibot",
        "official_account",
        "mini_program",
        "webhook_account",
    },
    capabilities.Streaming: {"wecom_aibot"},
    capabilities.Pull: {"wecom_kf"},
    capabilities.EventReplies: {"wecom_app", "wecom_kf"},
    Directory: {"wecom_app"},
    CustomerMessages: {"wecom_app"},
    capabilities.Passive: {"official_account"},
    capabilities.Tokens: {"wecom_kf", "wecom_app", "official_account", "mini_program"},
    capabilities.Uploads: {
        "wecom_kf",
        "wecom_app",
        "wecom_aibot",
        "wecom_robot",
        "official_account",
        "mini_program",
        "wechaty",
        "webhook_account",
        "ilink",
    },
    capabilities.Downloads: {
        "wecom_kf",
        "wecom_app",
        "wecom_aibot",
        "official_account",
        "mini_program",
        "webhook_account",
        "wechaty",
        "ilink",
    },
    capabilities.Names: {"wecom_kf", "wecom_app", "official_account"},
    capabilities.People: {"official_account"},
    capabilities.Forgets: {"official_account", "mini_program"},
    capabilities.Groups: {"wecom_app"},
    capabilities.Recall: {"wecom_app"},
    capabilities.ReplyWindows: {"wecom_kf", "official_account", "mini_program", "ilink"},
    capabilities.Typing: {"official_account", "mini_program", "ilink"},
    capabilities.Moderated: {"mini_program"},
    capabilities.Quotas: {"official_account", "mini_program"},
    capabilities.Templates: {"mini_program"},
    capabilities.ContactRequests: {"wechaty"},
    capabilities.Paced: {"wechaty"},
    connection.Login: {"wechaty"},
}
CANNOT = {
    "wecom_app": {
        "Receive group messages",
        "Receive messages of WeChat users outside the company",
        "Stream an answer",
        "Know whether a message was read",
    },
    "wecom_aibot": {
        "Receive messages of groups with people outside the company",
        "Recall a message",
    },
    "wecom_robot": {
        "Receive messages",
        "Send to other groups and to persons",
        "Recall a message",
        "Stream an answer",
    },
    "wecom_kf": {
        "Receive group messages",
        "Send first (proactive) to customers",
        "Recall a message",
        "Stream an answer",
    },
    "official_account": {
        "Receive group messages",
        "Send first (proactive) to followers",
        "Know followers' names",
        "Recall a message",
        "Stream an answer",
    },
    "mini_program": {
        "Receive group messages",
        "Send first (proactive) to users",
        "Know users' names",
        "Recall a message",
        "Stream an answer",
    },
    "wechaty": {
        "Receive what was written while the connection was away",
        "Stream an answer",
        "Recall a message",
        "Be used without breaking WeChat's rules",
    },
    "webhook_account": {"Recall a message", "Stream an answer"},
    "ilink": {
        "Receive group messages",
        "Send first (proactive)",
        "Know people's names",
        "Recall a message",
        "Stream an answer",
    },
}
FACTS: dict[str, dict[str, Any]] = {
    "wecom_app": {
        "receives_from": {"direct"},
        "ids_in_any_case": True,
        "test_calls": True,
        "max_parts": 20,
        "kinds_with_text": (),
        "text_options": ("safe",),
        "default_api_base_url": "https://qyapi.weixin.qq.com",
    },
    "wecom_aibot": {
        "receives_from": {"direct", "group"},
        "ids_in_any_case": True,
        "test_calls": False,
        "max_parts": 20,
        "content_kinds": ("template_card", "image", "voice", "video", "file"),
        "kinds_with_text": ("template_card",),
        "text_options": (),
        "default_api_base_url": "https://qyapi.weixin.qq.com",
    },
    "wecom_robot": {
        "receives_from": set(),
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 20,
        "only_peer": Peer("group", "group"),
        "inlines_images": True,
        "content_kinds": ("image", "voice", "file", "markdown", "markdown_v2", "news", "template_card"),
        "kinds_with_text": (),
        "text_options": ("mentioned_list", "mentioned_mobile_list"),
        "default_api_base_url": "https://qyapi.weixin.qq.com",
    },
    "wecom_kf": {
        "receives_from": {"direct"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 10,
        "knock_seconds": 600,
        "repeats_by_key": True,
        "content_kinds": ("image", "voice", "video", "file", "link", "miniprogram", "msgmenu", "location"),
        "kinds_with_text": (),
        "text_options": (),
        "default_api_base_url": "https://qyapi.weixin.qq.com",
    },
    "official_account": {
        "receives_from": {"direct"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 10,
        "kinds_with_text": (),
        "text_options": (),
        "passive_bytes": 2048,
        "hangs_up_seconds": 5.0,
        "deliveries": 3,
        "last_seconds": 4.5,
        "quota_paths": (
            "cgi-bin/message/custom/send",
            "cgi-bin/message/custom/typing",
            "cgi-bin/media/upload",
            "cgi-bin/media/get",
        ),
    },
    "mini_program": {
        "receives_from": {"direct"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 10,
        "kinds_with_text": (),
        "text_options": (),
        "quota_paths": (
            "cgi-bin/message/custom/send",
            "cgi-bin/message/custom/typing",
            "cgi-bin/media/upload",
            "cgi-bin/media/get",
            "cgi-bin/message/subscribe/send",
            "wxa/msg_sec_check",
            "wxa/media_check_async",
        ),
    },
    "wechaty": {
        "receives_from": {"direct", "group"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 20,
        "is_risky": True,
        "inlines_images": True,
        "keeps_history": False,
        "content_kinds": ("image", "voice", "video", "file"),
        "kinds_with_text": (),
        "text_options": ("mentions",),
        "default_api_base_url": "https://api.chatie.io",
    },
    "webhook_account": {
        "receives_from": {"direct", "group"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 20,
        "repeats_by_key": True,
        "names_files_by_id": False,
        "handle_seconds": 3600,
        "content_kinds": (),
        "text_options": ("mentions",),
        "default_api_base_url": "",
        "header_names": ("webhook-id", "webhook-timestamp", "webhook-signature"),
    },
    "ilink": {
        "receives_from": {"direct"},
        "ids_in_any_case": False,
        "test_calls": True,
        "max_parts": 10,
        "keeps_history": True,
        "keeps_replies": True,
        "names_files_by_id": False,
        "renews": True,
        "asks_address": True,
        "is_risky": False,
        "content_kinds": ("image", "video", "file"),
        "default_api_base_url": "https://ilinkai.weixin.qq.com",
    },
}

WECHATY_FIELDS = [
    "token",
    "endpoint",
    "tls",
    "ca",
    "server_name",
    "account_least",
    "account_most",
    "room_least",
    "room_most",
    "quiet_from",
    "quiet_to",
    "daily",
    "knows_risk",
]


@pytest.mark.parametrize("each", BASES)
def test_which_kinds_do_what(each: type[Any]) -> None:
    assert {kind for kind in KINDS if can(kind, each)} == BASES[each]
    assert not can("wecom_fax", each)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_cannot_do_is_said(kind: str) -> None:
    with override("en"):
        found = {str(ability.label) for ability in channel_class(kind).abilities if not ability.able}
    assert found == CANNOT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_go_by(kind: str) -> None:
    found = channel_class(kind)
    assert {name: getattr(found, name) for name in FACTS[kind]} == FACTS[kind]


@pytest.mark.parametrize(
    ("kind", "field", "initial"),
    [
        ("wecom_app", "format", "text"),
        ("wecom_robot", "format", "markdown_v2"),
        ("wecom_aibot", "mode", "callback"),
        ("official_account", "mode", "safe"),
        ("mini_program", "mode", "safe"),
        ("official_account", "answers", "automatic"),
        ("wechaty", "tls", "on"),
        ("wechaty", "room_least", 2.0),
        ("wechaty", "room_most", 6.0),
        ("wechaty", "account_least", 1.0),
        ("wechaty", "account_most", 3.0),
        ("wechaty", "daily", 300),
        ("wechaty", "quiet_from", "23:30"),
        ("wechaty", "quiet_to", "07:00"),
        ("wechaty", "knows_risk", None),
        ("webhook_account", "format", "text"),
        ("webhook_account", "text_bytes", 2000),
        ("webhook_account", "repetitions", "ask"),
    ],
)
def test_what_staff_need_not_choose(kind: str, field: str, initial: str) -> None:
    assert channel_class(kind).Credentials.base_fields[field].initial == initial


@pytest.mark.parametrize(
    ("kind", "optional"),
    [
        ("wecom_app", {"seats"}),
        ("wecom_aibot", {"mode", "secret", "token", "encoding_aes_key", "corp_id"}),
        ("wecom_robot", set()),
        ("wecom_kf", set()),
        ("official_account", {"encoding_aes_key"}),
        ("mini_program", {"encoding_aes_key"}),
        ("wechaty", {*WECHATY_FIELDS} - {"token", "knows_risk"}),
        ("webhook_account", {"own_id"}),
        ("ilink", {"base_url", "allowed_people"}),
    ],
)
def test_what_staff_may_leave_out(kind: str, optional: set[str]) -> None:
    fields = channel_class(kind).Credentials.base_fields
    assert {name for name, field in fields.items() if not field.required} == optional


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("wecom_app", ["corp_id", "agent_id", "secret", "token", "encoding_aes_key", "seats", "format"]),
        ("wecom_aibot", ["bot_id", "bot_name", "mode", "secret", "token", "encoding_aes_key", "corp_id"]),
        ("wecom_robot", ["robot_key", "format"]),
        ("wecom_kf", ["open_kfid", "corp_id", "secret", "token", "encoding_aes_key"]),
        ("official_account", ["app_id", "app_secret", "token", "encoding_aes_key", "mode", "answers"]),
        ("mini_program", ["app_id", "app_secret", "token", "encoding_aes_key", "mode"]),
        ("wechaty", WECHATY_FIELDS),
        (
            "webhook_account",
            [
                "connection",
                "address",
                "inbound_secret",
                "outbound_secret",
                "own_id",
                "format",
                "text_bytes",
                "repetitions",
            ],
        ),
        ("ilink", ["user_id", "bot_id", "bot_token", "base_url", "allowed_people"]),
    ],
)
def test_staff_enter_what_the_console_shows_in_its_order(kind: str, names: list[str]) -> None:
    """The first one is what the account is known by, so an identity that is taken is named at it."""
    assert list(account_form(kind).credential_names) == names


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("wecom_app", {"secret"}),
        ("wecom_aibot", {"secret"}),
        ("wecom_robot", {"robot_key"}),
        ("official_account", {"app_secret"}),
        ("mini_program", {"app_secret"}),
        ("wechaty", {"token"}),
        ("webhook_account", set()),
        ("ilink", {"bot_token"}),
    ],
)
def test_what_goes_to_the_api_address(kind: str, sent: set[str]) -> None:
    assert channel_class(kind).Credentials.sent == sent


def test_the_agent_is_told_what_its_surface_can_carry() -> None:
    app = channel_class("wecom_app")(Identity("key", "ww1/1", {"format": "markdown"}), Http())
    assert "Files up to 20 MB" in app.surface(Peer("direct", "z"))
    assert "MP4 up to 10 MB" in app.surface(Peer("direct", "z"))
    assert "below 6000 Chinese characters" in bot().surface(Peer("direct", "z"))
    assert "at most 600 Chinese characters" in official_account(answers="passive").surface(Peer("direct", "o"))
    for account in (official_account(), mini_program()):
        said = account.surface(Peer("direct", "o"))
        assert ("parts of 2000 bytes" in said, "at most five messages" in said) == (True, True)


@pytest.mark.parametrize(
    ("given", "called"),
    [("", "https://api.weixin.qq.com"), ("https://a.cn/", "https://a.cn"), ("https://a.cn/x//", "https://a.cn/x")],
)
def test_an_address_of_its_own_takes_the_place_of_the_platforms(given: str, called: str) -> None:
    assert official_account(given).base_url == called


def test_no_repr_tells_what_is_secret_or_large() -> None:
    told = [
        Token("SECRET"),
        Upload("file", "a", "b", b"SECRET"),
        Peer("group", "c", "SECRET"),
        Identity("k", "x", {"a": "SECRET"}),
    ]
    assert not [each for each in told if "SECRET" in repr(each)]
