"""What an AI bot says: rendering, frames of a stream, the reply address; and the files it fetches, from a loopback server."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, MediaItem, Outgoing, Payload, Peer, Upload
from channels_wechat.contract.text import utf8_len
from channels_wechat.simulator.core import crypto as platform
from channels_wechat.wire.http import Http
from tests.channels.wecom.aibot import KEY, TOKEN, bot, opened, query_for
from tests.fuzz.strangers import storable

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "0123456789abcdef0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n" + b"A" * 20
CARD = {
    "card_type": "text_notice",
    "main_title": {"title": "转人工?"},
    "card_action": {"type": 1, "url": "https://example.com/c/42"},
}


def picture(ref: str = "1", size: int = 100, mime: str = "image/png", name: str = "a.png") -> File:
    return File("image", name, mime, size, ref)


def markdown(text: str) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": text}}


def fenced(card: Any, info: str = "template_card") -> str:
    return f"```{info}\n{card if isinstance(card, str) else json.dumps(card, ensure_ascii=False)}\n```"


# --- rendering


def test_a_text_is_one_payload():
    assert bot().render(Content("**好**")) == [Payload(markdown("**好**"))]


@pytest.mark.parametrize(("length", "sizes"), [(20_480, [20_480]), (20_481, [20_480, 1]), (61_440, [20_480] * 3)])
def test_a_long_text_is_split_at_the_byte(length: int, sizes: list[int]):
    payloads = bot().render(Content("a" * length))
    assert [utf8_len(payload.body["markdown"]["content"]) for payload in payloads] == sizes


def test_every_part_of_a_long_table_has_its_head():
    rows = "".join(f"| {number} | {'字' * 40} |\n" for number in range(450))
    contents = [
        part.body["markdown"]["content"] for part in bot().render(Content(f"前\n\n| n | 值 |\n|---|---|\n{rows}"))
    ]
    assert len(contents) > 2
    assert all(part.startswith("| n | 值 |\n|---|---|\n| ") for part in contents[1:])
    assert all(utf8_len(part) <= 20_480 for part in contents)
    assert sum(part.count("字" * 40) for part in contents) == 450


def test_a_long_chinese_text_loses_nothing():
    text = "好" * 10_000
    contents = [payload.body["markdown"]["content"] for payload in bot().render(Content(text))]
    assert "".join(contents) == text
    assert [utf8_len(content) for content in contents] == [20_478, 9_522]


@pytest.mark.parametrize("content", [Content(""), Content(" \n\n "), Content(" \n" * 30_000)])
def test_an_empty_message_is_refused(content: Content):
    with pytest.raises(ContentRefused) as caught:
        bot().render(content)
    assert caught.value.field == "text"


def test_an_unknown_kind_is_refused():
    with pytest.raises(ContentRefused) as caught:
        bot().render(Content(kind="mpnews"))
    assert caught.value.field == "kind"


def test_pictures_go_with_the_first_part():
    payloads = bot().render(Content("a" * 20_481, (picture("7"), picture("8", mime="image/jpeg"))))
    assert [payload.images for payload in payloads] == [("7", "8"), ()]


def test_pictures_need_no_text():
    assert bot().render(Content(files=(picture(),))) == [Payload(markdown(""), images=("1",))]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            File("file", "报告.pdf", "application/pdf", 2_000_000, "1"),
            "[报告.pdf, 1.9\xa0MB: this chat cannot carry files]",
        ),
        (File("voice", "a.amr", "audio/amr", 10, "1"), "[a.amr, 10\xa0bytes: this chat cannot carry files]"),
        (File("file", "a.svg", "image/svg+xml", 10, "1"), "[a.svg, 10\xa0bytes: this chat shows at most ten pictures"),
        (File("image", "a", "", 10, "1"), "[a, 10\xa0bytes: this chat cannot carry files]"),
        (
            picture(mime="image/gif", name="a.gif"),
            "[a.gif, 100\xa0bytes: this chat shows at most ten pictures, JPG or PNG, ",
        ),
        (picture(size=10 * 1024 * 1024 + 1), "[a.png, 10.0\xa0MB: this chat shows at most ten pictures, JPG or PNG, "),
    ],
)
def test_what_cannot_be_sent_is_named(file: File, words: str):
    (payload,) = bot().render(Content("看附件", (file,)))
    assert payload.body["markdown"]["content"].startswith(f"看附件\n\n{words}")
    assert payload.images == ()


def test_ten_megabytes_and_ten_pictures_are_shown():
    files = tuple(picture(str(number), size=10 * 1024 * 1024) for number in range(11))
    (payload,) = bot().render(Content(files=files))
    assert payload.images == tuple(map(str, range(10)))
    assert payload.body["markdown"]["content"].startswith("[a.png, 10.0\xa0MB: ")


def test_a_card_in_the_agents_markdown_becomes_one():
    (payload,) = bot().render(Content(f"请选\n{fenced(CARD)}\n谢谢"))
    assert payload.body == {**markdown("请选\n谢谢"), "template_card": CARD}


def test_a_card_alone_is_a_card():
    assert bot().render(Content(fenced(CARD)))[0].body == {"msgtype": "template_card", "template_card": CARD}


@pytest.mark.parametrize("fence", ["~~~", "````", "~~~~~"])
def test_a_card_may_stand_in_any_fence(fence: str):
    block = f"{fence} template_card\n{json.dumps(CARD)}\n{fence}"
    (payload,) = bot().render(Content(f"请选\n{block}\n谢谢"))
    assert payload.body == {**markdown("请选\n谢谢"), "template_card": CARD}
    assert frame(text=f"看\n{block}")["stream"]["content"] == "看\n"


@pytest.mark.parametrize(
    "block",
    [
        fenced("{not json"),
        fenced("[1]"),
        fenced("[" * 5000),
        fenced({"card_type": "none"}),
        fenced({**CARD, "main_title": {"title": "长" * 27}}),
        fenced(CARD, "json"),
        fenced(CARD).removesuffix("```"),
    ],
)
def test_what_is_no_card_stays_to_be_seen(block: str):
    (payload,) = bot().render(Content(block))
    assert payload.body == markdown(block)


def test_only_the_first_card_is_taken():
    (payload,) = bot().render(Content(fenced("{broken") + "\n" + fenced(CARD) + "\n" + fenced(CARD)))
    assert payload.body == {**markdown(fenced("{broken") + "\n" + fenced(CARD)), "template_card": CARD}


def test_a_card_holds_only_what_can_be_stored_and_sent():
    odd = fenced(CARD).replace("{", '{"a\\u0000": "x\\u001b\\u202e\\ud800\\u0000", "n": NaN, "m": 1e999, ', 1)
    card = bot().render(Content(odd))[0].body["template_card"]
    assert storable(card)
    assert json.dumps(card, allow_nan=False)
    assert "\u202e" not in json.dumps(card, ensure_ascii=False)
    assert {name: card[name] for name in CARD} == CARD


def test_a_template_card_is_checked():
    assert bot().render(Content(kind="template_card", data=CARD))[0].body["template_card"] == CARD
    assert bot().render(Content("看", kind="template_card", data=CARD))[0].body == {
        **markdown("看"),
        "template_card": CARD,
    }
    with pytest.raises(ContentRefused):
        bot().render(Content(kind="template_card", data={"card_type": "none"}))


def test_what_is_no_utf_8_is_replaced():
    assert bot().render(Content("a\0\ud800"))[0].body == markdown("a\ufffd\ufffd")


# --- frames


def frame(payload: Payload | None = None, **more: Any) -> dict[str, Any]:
    query = query_for("x")
    return opened(bot().frame(query, STREAM, payload, **more), query)


def test_a_frame_without_text_shows_thinking():
    assert frame() == {"msgtype": "stream", "stream": {"id": STREAM, "finish": False, "content": "<think></think>"}}


def test_a_frame_shows_the_text_so_far():
    assert frame(text="你好")["stream"] == {"id": STREAM, "finish": False, "content": "你好"}


@pytest.mark.parametrize(
    ("text", "length"), [("a" * 20_481, 20_480), ("好" * 7000, 20_478), ("a" * 20_470 + "👨‍👩‍👧‍👦", 20_470)]
)
def test_the_text_so_far_is_cut_between_characters(text: str, length: int):
    content = frame(text=text)["stream"]["content"]
    assert text.startswith(content)
    assert utf8_len(content) == length


@pytest.mark.parametrize("text", ['看\n```template_card\n{"card', "看\n" + fenced(CARD), "看\n```template_card"])
def test_a_card_being_written_is_not_shown(text: str):
    assert frame(text=text)["stream"]["content"] == "看\n"


def test_the_last_frame_is_the_payload():
    assert frame(Payload(markdown("完")), text="ignored", finish=True) == {
        "msgtype": "stream",
        "stream": {"id": STREAM, "finish": True, "content": "完"},
    }


def test_a_frame_can_end_with_words_of_ours_or_none():
    assert frame(text="稍后", finish=True)["stream"] == {"id": STREAM, "finish": True, "content": "稍后"}
    assert frame(finish=True)["stream"] == {"id": STREAM, "finish": True, "content": ""}


def test_pictures_come_with_the_end_only():
    images = tuple(Upload("image", "a.png", "image/png", PNG) for _number in range(11))
    item = {
        "msgtype": "image",
        "image": {"base64": base64.b64encode(PNG).decode(), "md5": hashlib.md5(PNG).hexdigest()},
    }
    assert frame(Payload(markdown("图")), images=images, finish=True)["stream"]["msg_item"] == [item] * 10
    assert "msg_item" not in frame(Payload(markdown("图")), images=images)["stream"]


def test_a_card_comes_with_the_end_only():
    payload = Payload({**markdown("请选"), "template_card": CARD})
    assert frame(payload, finish=True) == {
        "msgtype": "stream_with_template_card",
        "stream": {"id": STREAM, "finish": True, "content": "请选"},
        "template_card": CARD,
    }
    assert frame(payload)["msgtype"] == "stream"
    alone = frame(Payload({"msgtype": "template_card", "template_card": CARD}), finish=True)
    assert alone["stream"]["content"] == ""
    assert alone["template_card"] == CARD


def test_text_that_is_no_utf_8_still_makes_a_frame():
    assert frame(text="a\ud800\0")["stream"]["content"] == "a"


@pytest.mark.parametrize("reason", ["skipped", "failed", "later", "silent", "stopped"])
def test_how_a_stream_ends_without_an_answer(reason: str):
    assert bot().closing_text(reason)
    name = {"skipped": "unmapped"}.get(reason, reason)
    assert bot(sentences={name: "自己的话"}).closing_text(reason) == "自己的话"


# --- the reply address and files, on a loopback server


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
    assert (receipt.remote_id, receipt.note) == ("", "")


def test_a_late_card_goes_too(server: Platform):
    body = {"msgtype": "template_card", "template_card": CARD}
    receipt = send(server, server.says(0), Payload(body))
    assert json.loads(server.asked[0][2]) == body
    assert receipt.note == ""


def test_the_receipt_says_what_was_left_out(server: Platform):
    payload = Payload({**markdown("图"), "template_card": CARD}, images=("1", "2"))
    receipt = send(server, server.says(0), payload)
    assert json.loads(server.asked[0][2]) == markdown("图")
    assert receipt.note.startswith("2 pictures were left out. The card was left out")


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
