"""The login by a code that somebody scans: every state, a number to type, and a platform that sends us elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Scan, ScanCode
from channels_wechat.ilink import scan
from channels_wechat.ilink.addresses import redirected_base_url
from channels_wechat.ilink.channel import Ilink
from tests.channels.ilink.account import http
from tests.support.fake_ilink import ANN, BOT, TOKEN, FakeIlink, Scripted, fake_ilink

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIRMED = {
    "status": "confirmed", "bot_token": TOKEN, "ilink_bot_id": BOT, "ilink_user_id": ANN,
    "baseurl": "https://sh.ilinkai.weixin.qq.com/",
}  # fmt: skip


@pytest.fixture
def platform() -> Iterator[FakeIlink]:
    with fake_ilink() as running:
        yield running


def look(platform: FakeIlink, answer: dict[str, Any] | None = None, code: str = "qr-1", typed: str = "") -> Scan:
    if answer is not None:
        platform.script("get_qrcode_status", Scripted(answer))
    return Ilink.find_scanned(http(), code, typed, platform.url)


def test_a_code_is_asked_for_without_a_token(platform: FakeIlink) -> None:
    assert Ilink.fetch_scan_code(http(), platform.url) == ScanCode("qr-1", "https://liteapp.weixin.qq.com/q/qr-1")
    (request,) = platform.requests
    assert (request.path, request.query) == ("/ilink/bot/get_bot_qrcode", {"bot_type": "3"})
    assert request.json == {"local_token_list": []}
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"qrcode": "a"},
        {"qrcode": "a b", "qrcode_img_content": "x"},
        {"qrcode": "a", "qrcode_img_content": "x" * 1001},
    ],
)
def test_a_code_that_cannot_be_shown_is_said(platform: FakeIlink, answer: dict[str, Any]) -> None:
    platform.script("get_bot_qrcode", Scripted(answer))
    with pytest.raises(ChannelError) as refused:
        Ilink.fetch_scan_code(http(), platform.url)
    assert refused.value.code == "scan_unreadable"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("wait", "waiting"),
        ("scaned", "scanned"),
        ("need_verifycode", "asks"),
        ("brand_new", "waiting"),
        ("", "waiting"),
    ],
)
def test_the_states_before_the_end(platform: FakeIlink, status: str, state: str) -> None:
    assert look(platform, {"status": status}) == Scan(state)  # type: ignore[arg-type]
    (request,) = platform.requests
    assert (request.query, request.body) == ({"qrcode": "qr-1"}, b"")
    assert {"iLink-App-Id", "iLink-App-ClientVersion"} <= set(request.headers)
    assert not {"Authorization", "AuthorizationType", "X-WECHAT-UIN"} & set(request.headers)


def test_a_question_that_is_held_means_waiting(platform: FakeIlink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "TIMEOUT", (2.0, 0.2))
    platform.script("get_qrcode_status", Scripted({"status": "confirmed"}, seconds=0.6))
    assert look(platform) == Scan("waiting")


def test_the_login_comes_back(platform: FakeIlink) -> None:
    found = look(platform, CONFIRMED)
    assert found == Scan(
        "done",
        {"user_id": ANN, "bot_id": BOT, "bot_token": TOKEN, "base_url": "https://sh.ilinkai.weixin.qq.com"},
    )
    assert TOKEN not in repr(found)
    assert Ilink.external_id(found.credentials) == ANN
    assert Ilink.Credentials(found.credentials).is_valid()


@pytest.mark.parametrize(
    "address", ["http://ilinkai.weixin.qq.com", "https://evil.example", "https://127.0.0.1", "x", ""]
)
def test_an_address_that_is_not_tencents_is_left_out(platform: FakeIlink, address: str) -> None:
    assert look(platform, {**CONFIRMED, "baseurl": address}).credentials["base_url"] == ""


@pytest.mark.parametrize("missing", ["bot_token", "ilink_bot_id", "ilink_user_id"])
def test_half_a_login_is_none(platform: FakeIlink, missing: str) -> None:
    with pytest.raises(ChannelError) as refused:
        look(platform, {**CONFIRMED, missing: ""})
    assert refused.value.code == "scan_unreadable"
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": "expired"}, "scan_ended"),
        ({"status": "verify_code_blocked"}, "scan_blocked"),
        ({"status": "binded_redirect"}, "scan_bound"),
        ({"status": "scaned_but_redirect"}, "scan_host"),
        ({"status": "scaned_but_redirect", "redirect_host": "evil.example"}, "scan_host"),
        ({"status": "scaned_but_redirect", "redirect_host": "qq.com@evil.example"}, "scan_host"),
        ({"status": "scaned_but_redirect", "redirect_host": "evil.example/.qq.com"}, "scan_host"),
        ({"status": "scaned_but_redirect", "redirect_host": "127.0.0.1:1"}, "scan_host"),
    ],
)
def test_what_ends_a_login(platform: FakeIlink, answer: dict[str, Any], code: str) -> None:
    with pytest.raises(ChannelError) as refused:
        look(platform, answer)
    assert (refused.value.code, refused.value.action) == (code, Action.PERMANENT)


def test_a_number_is_typed(platform: FakeIlink) -> None:
    assert look(platform, {"status": "scaned"}, typed="42").state == "scanned"
    assert platform.requests[0].query == {"qrcode": "qr-1", "verify_code": "42"}


def test_a_login_that_is_sent_on_is_followed_where_staff_entered_the_host(platform: FakeIlink) -> None:
    host = platform.url.removeprefix("http://")
    found = look(platform, {"status": "scaned_but_redirect", "redirect_host": host})
    assert found == Scan("scanned", code=f"qr-1 {host}")
    assert look(platform, CONFIRMED, code=found.code).state == "done"
    assert platform.requests[1].query == {"qrcode": "qr-1"}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("sh.ilinkai.weixin.qq.com", "https://sh.ilinkai.weixin.qq.com"),
        ("sh.ilinkai.weixin.qq.com:8443", "https://sh.ilinkai.weixin.qq.com:8443"),
        ("proxy.example", ""),
        ("", ""),
        ("a/b", ""),
    ],
)
def test_a_host_is_tencents_or_none(host: str, address: str) -> None:
    assert redirected_base_url(host, "") == address
    assert redirected_base_url(host, "https://proxy.example/x") == (
        address or ("https://proxy.example/x" if host == "proxy.example" else "")
    )


def test_a_code_with_a_host_of_somebody_else_is_not_asked_for(platform: FakeIlink) -> None:
    with pytest.raises(ChannelError) as refused:
        look(platform, code="qr-1 evil.example")
    assert refused.value.code == "scan_host"
    assert platform.requests == []
