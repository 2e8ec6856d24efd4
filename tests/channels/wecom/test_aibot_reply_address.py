"""What an AI bot says late, to the reply address, and the files that it fetches; from a loopback server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Action, explain
from channels_wechat.contract.messages import MediaItem, Outgoing, Payload, Peer, Upload
from channels_wechat.simulator.core import crypto as platform
from channels_wechat.wecom.aibot.channel import WeComAIBot
from channels_wechat.wire.http import Http
from tests.channels.wecom.aibot import KEY, TOKEN, bot
from tests.channels.wecom.aibot_answers import CARD, PNG, markdown

if TYPE_CHECKING:
    from collections.abc import Iterator


class Platform(ThreadingHTTPServer):
    """Answers what a test put into `answers`: path → (status, headers, body), and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def says(self, errcode: int, errmsg: str = "ok") -> str:
        body = json.dumps({"errcode": errcode, "errmsg": errmsg}).encode()
        self.answers["/cgi-bin/aibot/response"] = (200, {"Content-Type": "application/json"}, body)
        return f"{self.url}/cgi-bin/aibot/response?response_code=TOPSECRET"

    def file(self, content: bytes, path: str = "/file", status: int = 200, **headers: str) -> str:
        self.answers[path] = (status, {key.replace("_", "-"): value for key, value in headers.items()}, content)
        return self.url + path


class Handler(BaseHTTPRequestHandler):
    server: Platform

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body))
        status, headers, content = self.server.answers.get(path, (404, {}, b"gone"))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Platform]:
    with Platform() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def send(server: Platform, address: str, payload: Payload) -> Any:
    return bot(api_base_url=server.url).send(Outgoing(Peer("group", "CHATID", address), payload))


def failure(server: Platform, address: str, payload: Payload | None = None) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        send(server, address, payload or Payload(markdown("晚了")))
    assert "TOPSECRET" not in str(caught.value) + repr(caught.value) + repr(caught.value.response)
    return caught.value


def test_a_late_answer_goes_to_the_reply_address_as_it_stands(server: Platform):
    receipt = send(server, server.says(0), Payload(markdown("晚了 😀")))
    assert server.asked == [
        (
            "POST",
            "/cgi-bin/aibot/response?response_code=TOPSECRET",
            json.dumps(markdown("晚了 😀"), ensure_ascii=False).encode(),
        )
    ]
    assert (receipt.remote_id, receipt.note) == ("", NO_CAUSE)


def test_a_late_card_goes_too(server: Platform):
    body = {"msgtype": "template_card", "template_card": CARD}
    receipt = send(server, server.says(0), Payload(body))
    assert json.loads(server.asked[0][2]) == body
    assert receipt.note == NO_CAUSE


def test_the_receipt_says_what_was_left_out(server: Platform):
    payload = Payload({**markdown("图"), "template_card": CARD}, images=("1", "2"))
    receipt = send(server, server.says(0), payload)
    assert json.loads(server.asked[0][2]) == markdown("图")
    assert explain(WeComAIBot.explanations, *receipt.note).startswith("Pictures left out: 2. The card was left out")


def test_pictures_alone_cannot_come_late(server: Platform):
    error = failure(server, server.says(0), Payload(markdown(""), images=("1",)))
    assert (error.code, error.action) == ("pictures_only", Action.PERMANENT)
    assert server.asked == []


def test_without_an_address_nothing_can_be_said(server: Platform):
    error = failure(server, "")
    assert (error.code, error.action) == ("no_reply_address", Action.PERMANENT)


@pytest.mark.parametrize(
    "address",
    [
        "http://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=TOPSECRET",
        "https://qyapi.weixin.qq.com.example/r",
        "https://qyapi.weixin.qq.com:8443/r",
        "https://qyapi.weixin.qq.com@example.invalid/r",
        "https://example.invalid\\@qyapi.weixin.qq.com/r",
        "https://example.invalid#@qyapi.weixin.qq.com/r",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:1/r",
        "file:///etc/passwd",
        "//qyapi.weixin.qq.com/r",
        "https://[::1/r",
        "qyapi.weixin.qq.com",
    ],
)
def test_an_address_that_leads_elsewhere_is_refused(server: Platform, address: str):
    error = failure(server, address)
    assert (error.code, error.action) == ("reply_host", Action.PERMANENT)
    assert server.asked == []


def test_the_platforms_own_host_is_let_through():
    """A payload that the address cannot carry is refused after the host was looked at and before anything leaves."""
    address = "https://QYAPI.weixin.qq.com:443/cgi-bin/aibot/response?response_code=TOPSECRET"
    with pytest.raises(ChannelError) as caught:
        bot(api_base_url="http://127.0.0.1:1").send(
            Outgoing(Peer("group", "C", address), Payload(markdown(""), images=("1",)))
        )
    assert caught.value.code == "pictures_only"


@pytest.mark.parametrize(
    ("errcode", "action"),
    [(60140, Action.PERMANENT), (45002, Action.PERMANENT), (999_999, Action.UNKNOWN), (-1, Action.UNKNOWN)],
)
def test_the_platforms_error_decides(server: Platform, errcode: int, action: Action):
    error = failure(server, server.says(errcode, "no: TOPSECRET"))
    assert (error.code, error.action) == (str(errcode), action)


def test_a_late_answer_whose_reply_was_lost_is_unknown(server: Platform):
    """The address may be spent by it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        http = Http(["127.0.0.1:*"], (2, 0.2), allowed_in_messages=["127.0.0.1:*"])
        with pytest.raises(ChannelError) as caught:
            bot(http, api_base_url=address).send(
                Outgoing(Peer("group", "C", f"{address}/r"), Payload(markdown("晚了")))
            )
    assert (caught.value.code, caught.value.action) == ("timeout", Action.UNKNOWN)


@pytest.mark.parametrize(
    ("base", "address", "same"),
    [
        ("http://api.example", "http://api.example:80/r", True),
        ("http://api.example:80", "http://API.example/r", True),
        ("https://api.example", "https://api.example:443/r", True),
        ("https://api.example", "http://api.example:443/r", False),
        ("http://api.example", "http://api.example:443/r", False),
    ],
)
def test_a_port_that_is_the_usual_one_need_not_be_written(base: str, address: str, same: bool):
    with pytest.raises(ChannelError) as caught:
        bot(api_base_url=base).send(Outgoing(Peer("group", "C", address), Payload(markdown(""), images=("1",))))
    assert caught.value.code == ("pictures_only" if same else "reply_host")


def test_a_spent_address_is_explained(server: Platform):
    assert "used already" in str(failure(server, server.says(60140, "invalid response_code")))


def test_an_answer_that_is_not_the_platforms_is_unknown(server: Platform):
    address = server.file(b"<html>", "/r", 200, Content_Type="text/html")
    assert failure(server, address).action == Action.UNKNOWN


def encrypted(content: bytes) -> bytes:
    return platform.encrypt_media(KEY, content)


@pytest.mark.parametrize(
    ("content", "disposition", "name", "mime"),
    [
        (PNG, 'attachment; filename="a.png"', "a.png", "image/png"),
        (PNG, 'attachment; filename="a.jpg"', "a.jpg", "image/png"),
        (b"\xff\xd8\xff\xe0", "", "image.jpg", "image/jpeg"),
        (b"GIF89a", "", "image.gif", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "", "image.webp", "image/webp"),
        (b"\0\0\0\x20ftypisom", "attachment; filename=film.mp4", "film.mp4", "video/mp4"),
        (b"%PDF-1.7", "attachment; filename*=UTF-8''%E6%8A%A5%E5%91%8A.pdf", "报告.pdf", "application/pdf"),
        (b"text", 'attachment; filename="%E6%8A%A5%E5%91%8A.txt"', "报告.txt", "text/plain"),
        (b"text", 'attachment; filename="100%.txt"', "100%.txt", "text/plain"),
        (b"text", 'attachment; filename="%FF.txt"', "%FF.txt", "text/plain"),
        (b"text", 'attachment; filename="..%2F..%5Cetc%2Fpasswd"', "passwd", "application/octet-stream"),
        (b"PK\x03\x04", 'attachment; filename="a.zip"', "a.zip", "application/zip"),
        (b"?", "", "image", "application/octet-stream"),
        (b"", 'attachment; filename="empty.txt"', "empty.txt", "text/plain"),
    ],
)
def test_a_file_is_fetched_and_decrypted(server: Platform, content: bytes, disposition: str, name: str, mime: str):
    headers = {"Content_Disposition": disposition} if disposition else {}
    address = server.file(encrypted(content), **headers)
    upload = bot().download(MediaItem("image", address))
    assert upload == Upload("image", name, mime, content)


def test_what_the_message_told_is_used_where_the_file_tells_nothing(server: Platform):
    item = MediaItem("file", server.file(encrypted(b"?")), "notes", "text/x-notes")
    assert bot().download(item) == Upload("file", "notes", "text/x-notes", b"?")


def test_three_redirects_are_followed(server: Platform):
    server.file(encrypted(PNG))
    for number in (3, 2, 1):
        target = f"/{number + 1}" if number < 3 else "/file"
        address = server.file(b"", f"/{number}", 302, Location=target)
    assert bot().download(MediaItem("image", address)).content == PNG
    server.file(b"", "/0", 302, Location="/1")
    with pytest.raises(ChannelError):
        bot().download(MediaItem("image", f"{server.url}/0"))


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (403, "file_gone", Action.PERMANENT),
        (404, "file_gone", Action.PERMANENT),
        (302, "file_gone", Action.PERMANENT),
        (500, "file_storage", Action.RETRY),
        (503, "file_storage", Action.RETRY),
        (429, "file_storage", Action.RETRY),
    ],
)
def test_a_file_that_is_gone_or_late(server: Platform, status: int, code: str, action: Action):
    address = server.file(b"<Error/>", "/file", status, Location="/file")
    with pytest.raises(ChannelError) as caught:
        bot().download(MediaItem("image", address))
    error = caught.value
    assert (error.code, error.action, error.params) == (code, action, {"status": status, "detail": f"HTTP {status}"})


@pytest.mark.parametrize("body", [b"", b"plain, not encrypted", platform.encrypt_media("A" * 43, PNG)])
def test_a_file_of_another_key_is_refused(server: Platform, body: bytes):
    with pytest.raises(ChannelError) as caught:
        bot().download(MediaItem("image", server.file(body)))
    assert (caught.value.code, caught.value.action) == ("decrypt", Action.PERMANENT)
    assert KEY not in str(caught.value)


def test_a_file_on_a_private_address_is_not_fetched(server: Platform):
    with pytest.raises(ChannelError):
        bot(Http()).download(MediaItem("image", server.file(encrypted(PNG))))
    assert server.asked == []


def test_no_repr_tells_a_secret():
    text = repr(bot()) + repr(bot().identity) + repr(Peer("group", "C", "https://x/?response_code=TOPSECRET"))
    assert not any(secret in text for secret in (KEY, TOKEN, "TOPSECRET"))
