"""An iLink account on the wire: headers, sending, files both ways, the sign "is typing", and who may talk."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, MediaItem, Outgoing, Peer, Receipt, Upload
from channels_wechat.ilink.credentials import IlinkCredentials
from channels_wechat.ilink.parsing import read_messages
from channels_wechat.wire.http import Http
from tests.channels.ilink.account import CREDENTIALS, channel
from tests.support.fake_ilink import ANN, BOT, TOKEN, FakeIlink, Scripted, fake_ilink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEER = Peer("direct", ANN, "CANARY-context")
FILE = bytes(range(256)) * 40 + b"end"


@pytest.fixture
def platform() -> Iterator[FakeIlink]:
    with fake_ilink() as running:
        yield running


def say(platform: FakeIlink, text: str = "hello", **fields: object) -> Receipt:
    (payload,) = channel(platform.url).render(Content(text=text))
    return channel(platform.url).send(replace(Outgoing(PEER, payload, key="key-1"), **fields))  # type: ignore[arg-type]


# --- what is sent


def test_a_message_is_one_request_as_the_protocol_says(platform: FakeIlink) -> None:
    receipt = say(platform)
    assert receipt.remote_id == "9223372036854775901"
    (request,) = platform.calls("sendmessage")
    assert request.json == {
        "msg": {
            "from_user_id": "",
            "to_user_id": ANN,
            "client_id": "key-1",
            "message_type": 2,
            "message_state": 2,
            "item_list": [{"type": 1, "text_item": {"text": "hello"}}],
            "context_token": "CANARY-context",
        },
        "base_info": {"channel_version": "2.4.9", "bot_agent": "WeChatOpenClawBridge/0.1"},
    }
    usual = {
        "Content-Type": "application/json",
        "AuthorizationType": "ilink_bot_token",
        "Authorization": f"Bearer {TOKEN}",
        "iLink-App-Id": "bot",
        "iLink-App-ClientVersion": "132105",
    }
    assert {name: request.headers[name] for name in usual} == usual


def test_the_number_in_the_header_is_another_one_each_time(platform: FakeIlink) -> None:
    for _ in range(4):
        say(platform)
    numbers = [int(base64.b64decode(request.headers["X-WECHAT-UIN"])) for request in platform.calls("sendmessage")]
    assert len(set(numbers)) == 4
    assert all(0 <= number < 2**32 for number in numbers)


@pytest.mark.parametrize(
    ("scripted", "code", "action"),
    [
        (Scripted({"ret": -2, "errmsg": "rate limited"}), "-2", Action.WINDOW),
        (Scripted({"ret": -14}), "-14", Action.WAIT),
        (Scripted({"ret": 7, "errmsg": "prepare failed"}), "7", Action.RETRY),
        (Scripted({"ret": 0, "errcode": -1}), "-1", Action.RETRY),
        (Scripted(b"<html>", 502), "http_502", Action.UNKNOWN),
        (Scripted(b"<html>", 404), "http_404", Action.CONFIG),
        (Scripted(b"hello", 200), "html", Action.UNKNOWN),
        (Scripted({"ret": -1}, 500), "-1", Action.RETRY),
        (Scripted({"ret": 0}, seconds=1.5), "timeout", Action.UNKNOWN),
    ],
)
def test_a_refusal_says_what_to_do(platform: FakeIlink, scripted: Scripted, code: str, action: Action) -> None:
    platform.script("sendmessage", scripted)
    with pytest.raises(ChannelError) as refused:
        say(platform)
    assert (refused.value.code, refused.value.action) == (code, action)
    assert len(platform.calls("sendmessage")) == 1


@pytest.mark.parametrize(
    ("peer", "code"), [(Peer("direct", ANN), "no_context"), (Peer("group", "g@chatroom", "c"), "no_groups")]
)
def test_what_cannot_be_answered_is_not_asked(platform: FakeIlink, peer: Peer, code: str) -> None:
    with pytest.raises(ChannelError) as refused:
        say(platform, peer=peer)
    assert refused.value.code == code
    assert platform.requests == []


def test_what_staff_entered_comes_before_what_the_platform_named() -> None:
    named = "https://sh.ilinkai.weixin.qq.com/"
    assert channel("http://127.0.0.1:9/", base_url=named).base_url == "http://127.0.0.1:9"
    assert channel(base_url=named).base_url == "https://sh.ilinkai.weixin.qq.com"
    assert channel().base_url == "https://ilinkai.weixin.qq.com"


# --- files


@pytest.mark.parametrize(
    ("file", "number", "kind"),
    [
        (Upload("file", "a.bin", "application/octet-stream", FILE), 3, 4),
        (Upload("image", "a.png", "image/png", FILE[:16]), 1, 2),
        (Upload("video", "a.mp4", "video/mp4", b"x"), 2, 5),
    ],
)
def test_a_file_goes_up_encrypted_and_arrives_whole(platform: FakeIlink, file: Upload, number: int, kind: int) -> None:
    account = channel(platform.url)
    (payload,) = account.render(Content(files=(File(file.kind, file.name, file.mime, len(file.content), "1"),)))
    account.send(Outgoing(PEER, payload, account.upload(file)))
    (asked,) = (request.json for request in platform.calls("getuploadurl"))
    padded = (len(file.content) + 16) // 16 * 16
    assert (asked["media_type"], asked["to_user_id"], asked["no_need_thumb"]) == (number, ANN, True)
    assert (asked["rawsize"], asked["filesize"]) == (len(file.content), padded)
    assert asked["rawfilemd5"] == hashlib.md5(file.content).hexdigest()
    assert (len(asked["filekey"]), len(asked["aeskey"])) == (32, 32)
    (item,) = platform.items()
    assert item["type"] == kind
    assert hashlib.sha256(platform.read_sent(item)).digest() == hashlib.sha256(file.content).digest()
    (stored,) = [request for request in platform.requests if request.path == "/c2c/upload"]
    assert (len(stored.body), stored.headers["Content-Type"]) == (padded, "application/octet-stream")
    assert "Authorization" not in stored.headers


@pytest.mark.parametrize("form", ["raw", "hex", ""])
def test_a_file_comes_down_and_is_decrypted(platform: FakeIlink, form: str) -> None:
    item = {"type": 4, "file_item": {"media": platform.keep(FILE, form), "file_name": "../报价.pdf"}}
    platform.say("", item)
    (message,) = read_messages({"msgs": platform.messages})
    found = channel(platform.url).download(message.media[0])
    assert hashlib.sha256(found.content).digest() == hashlib.sha256(FILE).digest()
    assert (found.kind, found.name, found.mime) == ("file", "报价.pdf", "application/pdf")
    (request,) = platform.requests
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("param", "key", "code", "action"),
    [
        ("unknown", "00" * 16, "file_gone", Action.PERMANENT),
        ("kept", "11" * 16, "decrypt", Action.PERMANENT),
    ],
)
def test_a_file_that_cannot_be_had(platform: FakeIlink, param: str, key: str, code: str, action: Action) -> None:
    platform.files["kept"] = b"\0" * 48
    item = MediaItem("file", f"{platform.url}/c2c/download?encrypted_query_param={param}", key=key)
    with pytest.raises(ChannelError) as refused:
        channel(platform.url).download(item)
    assert (refused.value.code, refused.value.action) == (code, action)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "scripted", "code"),
    [
        ("getuploadurl", Scripted({"ret": 0}), "no_upload_address"),
        ("getuploadurl", Scripted({"ret": -1}), "-1"),
        ("/c2c/upload", Scripted(b"", 500), "file_storage"),
        ("/c2c/upload", Scripted(b"", 200), "not_uploaded"),
    ],
)
def test_an_upload_that_fails_is_tried_again(platform: FakeIlink, path: str, scripted: Scripted, code: str) -> None:
    platform.script(path, scripted)
    with pytest.raises(ChannelError) as refused:
        channel(platform.url).upload(Upload("file", "a.bin", "application/octet-stream", FILE))
    assert (refused.value.code, refused.value.action) == (code, Action.RETRY)


@pytest.mark.parametrize("does", ["download", "upload"])
def test_an_address_that_stands_in_a_message_leads_to_no_private_network(platform: FakeIlink, does: str) -> None:
    """The API address may be private, because staff named it; the files' addresses may not."""
    account = channel(platform.url)
    account.http = Http(["127.0.0.1:*"])
    calls: dict[str, Callable[[], object]] = {
        "download": lambda: account.download(MediaItem("file", f"{platform.url}/c2c/download?x=1")),
        "upload": lambda: account.upload(Upload("file", "a.bin", "application/octet-stream", FILE)),
    }
    with pytest.raises(ChannelError) as refused:
        calls[does]()
    assert (refused.value.code, refused.value.params["setting"]) == ("address_private", "ALLOWED_PRIVATE_MEDIA_HOSTS")
    assert not [request for request in platform.requests if request.path.startswith("/c2c")]


# --- the sign, the test, who may talk


def test_the_sign_asks_once_for_its_ticket(platform: FakeIlink) -> None:
    account = channel(platform.url, key=secrets.token_hex(8))
    for _ in range(2):
        account.show_typing(PEER)
    assert [request.json["context_token"] for request in platform.calls("getconfig")] == ["CANARY-context"]
    sign = {"ilink_user_id": ANN, "typing_ticket": "ticket-1", "status": 1}
    assert [{name: request.json[name] for name in sign} for request in platform.calls("sendtyping")] == [sign] * 2


def test_a_ticket_that_is_refused_is_asked_for_anew(platform: FakeIlink) -> None:
    account = channel(platform.url, key=secrets.token_hex(8))
    platform.script("sendtyping", Scripted({"ret": 3}))
    with pytest.raises(ChannelError):
        account.show_typing(PEER)
    account.show_typing(PEER)
    assert len(platform.calls("getconfig")) == 2


def test_the_test_sends_nothing(platform: FakeIlink) -> None:
    assert channel(platform.url).test() == ["WeChat takes the login of this bot."]
    assert [request.path for request in platform.requests] == ["/ilink/bot/getconfig"]
    platform.token = "another"
    with pytest.raises(ChannelError) as refused:
        channel(platform.url).test()
    assert refused.value.code == "-14"
    assert TOKEN not in f"{refused.value} {refused.value.params} {refused.value.response}"


def test_only_who_scanned_may_talk_unless_staff_say_otherwise() -> None:
    assert channel().admits(ANN)
    assert not channel().admits("eve@im.wechat")
    shared = channel(allowed_people="bob@im.wechat\ncarol@im.wechat")
    assert [shared.admits(who) for who in ("bob@im.wechat", "carol@im.wechat", ANN, "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("address", "is_right"),
    [
        ("", True),
        ("https://sh.ilinkai.weixin.qq.com", True),
        ("https://ilinkai.wechat.com/x", True),
        ("http://ilinkai.weixin.qq.com", False),
        ("https://weixin.qq.com.evil.example", False),
        ("https://notqq.com", False),
        ("https://10.0.0.1", False),
        ("https://user@qq.com", False),
        ("ftp://qq.com", False),
    ],
)
def test_the_token_goes_only_to_tencent(address: str, is_right: bool) -> None:
    form = IlinkCredentials({**CREDENTIALS, "base_url": address})
    assert form.is_valid() is is_right
    assert list(form.errors) == ([] if is_right else ["base_url"])


def test_people_are_named_one_a_line() -> None:
    form = IlinkCredentials(
        {**CREDENTIALS, "allowed_people": " bob@im.wechat \r\n\n\u200bcarol@im.wechat\nbob@im.wechat"}
    )
    assert form.is_valid(), form.errors
    assert form.cleaned_data["allowed_people"] == "bob@im.wechat\ncarol@im.wechat"
    assert not IlinkCredentials({**CREDENTIALS, "allowed_people": "bob carol"}).is_valid()


def test_the_agent_is_told_what_its_surface_can_carry() -> None:
    told = channel().surface(PEER)
    assert "4000 characters" in told
    assert "one-to-one" in told
    assert BOT not in told
