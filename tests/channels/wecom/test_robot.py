"""The group robot: what it says on the wire, what it refuses, and the simulator's word for all of it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat import channel_class
from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.explanations import Action, explain
from channels_wechat.contract.messages import Content, File, Identity, Outgoing, Payload, Peer, Upload
from channels_wechat.simulator import RunningSimulator
from channels_wechat.wecom.errors import WECOM_ROBOT
from channels_wechat.wecom.robot.channel import GROUP, WeComRobot, robot_at
from channels_wechat.wecom.robot.credentials import WeComRobotCredentials, read_address
from channels_wechat.wecom.robot.rendering import MOST_FILE
from channels_wechat.wire.http import Http
from tests.channels.harness import FIXTURES, Recorder, Reply, recorder, says

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "693a91f6-7a1b-4bc4-97a0-0ec2c1fa5aaa"
OFFICIAL = f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}"
SEND, UPLOAD = "/cgi-bin/webhook/send", "/cgi-bin/webhook/upload_media"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
AMR = b"#!AMR\n" + b"x" * 20
MB = 1024 * 1024


def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / "wecom_robot" / f"{name}.json").read_text())
    return found


def robot(base: str = "", style: str = "text", key: str = KEY) -> WeComRobot:
    identity = Identity("7d3e2f10-5a4b-4c3d-8e9f-0123456789ab", "x", {"robot_key": key, "format": style}, base)
    return WeComRobot(identity, Http(["127.0.0.1:*"]))


def file(kind: Any, name: str, mime: str, size: int = 9) -> File:
    return File(kind, name, mime, size, "7")


@pytest.fixture
def platform() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as running:
        running.client.member("zhangsan", "张三")
        running.client.group("wrGroup", "产品组", members=["zhangsan"])
        running.client.robot("wrGroup", key=KEY, name="通知")
        yield running


def refusal(call: Any, *arguments: Any) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments)
    return caught.value


def test_it_is_registered_and_its_public_name_tells_nothing_of_the_key() -> None:
    assert channel_class("wecom_robot") is WeComRobot
    name = WeComRobot.external_id({"robot_key": KEY})
    assert len(name) == 16
    assert name not in (KEY, WeComRobot.external_id({"robot_key": f"{KEY}x"}))


# -- what it says: each type of the platform's document, as the document has it


@pytest.mark.parametrize("name", ["text", "markdown", "markdown_v2", "news", "file", "voice", "template_card"])
def test_every_type_of_the_document_goes_out_as_it_stands_there(platform: Recorder, name: str) -> None:
    wanted = fixture(name)
    data = wanted[name]
    if name == "text":
        content = Content(data["content"], data={key: data[key] for key in data if key != "content"})
    else:
        content = Content(kind=name, data=data)
    (payload,) = robot().render(content)
    receipt = robot(platform.url).send(Outgoing(GROUP, Payload.from_json(payload.as_json())))
    (sent,) = platform.requests
    assert (sent.method, sent.path, sent.query) == ("POST", SEND, {"key": KEY})
    assert sent.json == wanted
    assert (receipt.remote_id, receipt.response["errcode"]) == ("", 0)


def test_a_picture_goes_with_its_bytes_and_their_checksum(platform: Recorder) -> None:
    (payload,) = robot().render(Content(files=(file("image", "a.png", "image/png"),)))
    assert (payload.file, payload.images) == ("", ("7",))
    robot(platform.url).send(Outgoing(GROUP, payload, images=(Upload("image", "a.png", "image/png", PNG),)))
    checksum = hashlib.md5(PNG, usedforsecurity=False).hexdigest()
    image = {"base64": base64.b64encode(PNG).decode(), "md5": checksum}
    assert platform.requests[0].json == {"msgtype": "image", "image": image}


@pytest.mark.parametrize(
    ("upload", "kind", "name"),
    [
        (Upload("file", "wework.txt", "text/plain", b"12345"), "file", "wework.txt"),
        (Upload("voice", "a.amr", "audio/amr", AMR), "voice", "a.amr"),
        (Upload("voice", "a.mp3", "audio/mpeg", AMR), "file", "a.mp3"),
        (Upload("voice", "a.amr", "", AMR), "voice", "a.amr"),
        (Upload("image", "a.gif", "image/gif", b"GIF89a"), "file", "a.gif"),
        (Upload("video", "a.mp4", "video/mp4", b"12345"), "file", "a.mp4"),
    ],
)
def test_a_file_is_uploaded_as_the_type_it_is_sent_as(platform: Recorder, upload: Upload, kind: str, name: str) -> None:
    platform.will(Reply(json.dumps(fixture("uploaded")).encode()))
    handle = robot(platform.url).upload(upload)
    (sent,) = platform.requests
    assert (sent.path, sent.query) == (UPLOAD, {"key": KEY, "type": kind})
    assert f'name="media"; filename="{name}"'.encode() in sent.body
    assert handle == fixture("uploaded")["media_id"]
    (payload,) = robot().render(Content(files=(File(upload.kind, upload.name, upload.mime, len(upload.content), "7"),)))
    robot(platform.url).send(Outgoing(GROUP, payload, handle))
    assert platform.requests[1].json == {"msgtype": kind, kind: {"media_id": handle}}


@pytest.mark.parametrize(
    ("style", "text", "said"),
    [
        ("text", "**fett**", {"msgtype": "text", "text": {"content": "fett"}}),
        ("markdown", "ohne Zeichen", {"msgtype": "text", "text": {"content": "ohne Zeichen"}}),
        ("markdown_v2", "ohne Zeichen", {"msgtype": "text", "text": {"content": "ohne Zeichen"}}),
        ("markdown", "**fett**", {"msgtype": "markdown", "markdown": {"content": "**fett**"}}),
        ("markdown_v2", "- **a**\n- b", {"msgtype": "markdown_v2", "markdown_v2": {"content": "- **a**\n- b"}}),
    ],
)
def test_text_is_written_in_the_chosen_format(style: str, text: str, said: dict[str, Any]) -> None:
    assert [payload.body for payload in robot(style=style).render(Content(text))] == [said]


@pytest.mark.parametrize(("style", "most"), [("text", 2048), ("markdown", 4096), ("markdown_v2", 4096)])
def test_a_long_text_is_cut_into_parts(style: str, most: int) -> None:
    text = "**字** " + "字" * 3000
    sizes = [len(each.body[style]["content"].encode()) for each in robot(style=style).render(Content(text))]
    assert len(sizes) == -(-9000 // most)
    assert max(sizes) <= most


def test_who_is_mentioned_stands_in_the_first_part_only() -> None:
    first, second = robot(style="markdown_v2").render(Content("**x**" + "x" * 2100, data={"mentioned_list": ["@all"]}))
    assert first.body["text"]["mentioned_list"] == ["@all"]
    assert set(second.body["text"]) == {"content"}
    assert (first.body["msgtype"], second.body["msgtype"]) == ("text", "text")


def test_a_file_that_cannot_go_leaves_a_line() -> None:
    files = (file("file", "big.zip", "application/zip", 21 * MB), file("file", "a.txt", "text/plain"))
    said = [payload.body for payload in robot().render(Content("hier", files=files))]
    assert [body["msgtype"] for body in said] == ["text", "text", "file"]
    assert said[1]["text"]["content"] == "[big.zip，21 MB：文件过大，无法发送，最大 20 MB]"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (Content(), "text"),
        (Content("x", data={"mentioned_list": "zhangsan"}), "mentioned_list"),
        (Content("x", data={"mentioned_mobile_list": [""]}), "mentioned_mobile_list"),
        (Content(data={"mentioned_list": ["zhangsan"]}), "text"),
        (Content(kind="video"), "kind"),
        (Content(kind="markdown", data={"content": "x" * 4097}), "content"),
        (Content(kind="markdown_v2", data={}), "content"),
        (Content(kind="news", data={"articles": []}), "articles"),
        (Content(kind="news", data={"articles": [{"title": "a", "url": "https://a"}] * 9}), "articles"),
        (Content(kind="news", data={"articles": [{"title": "a"}]}), "articles[1].url"),
        (Content(kind="news", data={"articles": [{"title": "字" * 43, "url": "https://a"}]}), "articles[1].title"),
        (Content(kind="template_card", data={"card_type": "button_interaction"}), "card_type"),
        (Content(kind="image", files=(file("image", "a.gif", "image/gif"),)), "files"),
        (Content(kind="image", files=(file("image", "a.png", "image/png", MOST_FILE["image"] + 1),)), "files"),
        (Content(kind="image", data={"media_id": "M"}), "files"),
        (Content(kind="voice", files=(file("voice", "a.mp3", "audio/mpeg"),)), "files"),
        (Content(kind="file"), "files"),
        (Content(files=(file("file", "empty", "", 4),)), "files"),
    ],
)
def test_what_can_never_be_sent_is_refused_at_its_field(content: Content, place: str) -> None:
    with pytest.raises(ContentRefused) as caught:
        robot().render(content)
    assert caught.value.field == place


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (Content(), "message_empty"),
        (Content(data={"mentioned_list": ["zhangsan"]}), "message_empty"),
        (Content(files=(file("file", "empty", "", 4),)), "file_empty"),
        (Content(files=(file("file", "a.zip", "", 20 * MB + 1),)), "file_over_limit"),
        (Content(kind="file", files=(file("file", "a.zip", "", 20 * MB + 1),)), "file_over_limit"),
    ],
)
def test_text_and_files_are_refused_with_a_code_of_the_table(content: Content, code: str) -> None:
    with pytest.raises(ContentRefused) as caught:
        robot().render(content)
    assert caught.value.cause.code == code
    assert str(caught.value) == explain(WeComRobot.explanations, *caught.value.cause)


@pytest.mark.parametrize(
    ("kind", "given", "kinds"),
    [
        ("image", file("image", "a.jpg", "image/jpeg", MOST_FILE["image"]), "image"),
        ("voice", file("voice", "a.amr", "audio/amr"), "voice"),
        ("file", file("file", "a.pdf", "application/pdf"), "file"),
        ("file", file("image", "a.png", "image/png"), "file"),
    ],
)
def test_a_file_by_itself_goes_as_the_type_asked_for(kind: str, given: File, kinds: str) -> None:
    (payload,) = robot().render(Content(kind=kind, files=(given,)))
    assert payload.body["msgtype"] == kinds


# -- to whom, and what the answers mean


@pytest.mark.parametrize("peer", [Peer("direct", "group"), Peer("group", "wrOther"), Peer("group", "")])
def test_it_writes_to_its_own_group_only(platform: Recorder, peer: Peer) -> None:
    assert robot().cannot_push(peer)
    error = refusal(robot(platform.url).send, Outgoing(peer, Payload(fixture("text"))))
    assert (error.code, error.action) == ("own_group_only", Action.PERMANENT)
    assert platform.requests == []
    assert robot().cannot_push(GROUP) == ""


@pytest.mark.parametrize(
    ("reply", "action", "wait"),
    [
        (says(93000, "invalid webhook url"), Action.CONFIG, None),
        (says(93008, "not in group"), Action.CONFIG, None),
        (says(93004, "robot disabled"), Action.CONFIG, None),
        (says(45009, "api freq out of limit"), Action.WAIT, 60),
        (says(40058, "invalid request parameter"), Action.PERMANENT, None),
        (says(44004, "empty content"), Action.PERMANENT, None),
        (says(45002, "content too long"), Action.PERMANENT, None),
        (says(40008, "invalid message type"), Action.PERMANENT, None),
        (says(-1, "system busy"), Action.UNKNOWN, None),
        (says(99999, "unheard of"), Action.UNKNOWN, None),
        (Reply(b"<html>", 502), Action.UNKNOWN, None),
        (Reply(b"", fault="reset"), Action.UNKNOWN, None),
    ],
)
def test_what_an_answer_means(platform: Recorder, reply: Reply, action: Action, wait: float | None) -> None:
    platform.will(reply)
    error = refusal(robot(platform.url).send, Outgoing(GROUP, Payload(fixture("text"))))
    assert (error.action, error.retry_after) == (action, wait)
    assert len(platform.requests) == 1


def test_the_key_stands_in_no_error(platform: Recorder) -> None:
    platform.will(says(93000, f"invalid webhook url {KEY}"))
    error = refusal(robot(platform.url).send, Outgoing(GROUP, Payload(fixture("text"))))
    assert KEY not in f"{error} {error!r} {error.response}"


def test_a_voice_of_more_than_a_minute_goes_as_a_file() -> None:
    (voice,) = robot().render(Content(files=(file("voice", "a.amr", "audio/amr"),)))
    too_long = WECOM_ROBOT.error("45007")
    other = robot().instead(voice, too_long)
    assert other is not None
    assert (other.body, other.file) == ({"msgtype": "file", "file": {"media_id": "{handle}"}}, "7")
    assert robot().instead(other, too_long) is None


def test_no_more_than_twenty_messages_a_minute_for_each_robot() -> None:
    (limit,) = robot().limits
    assert (limit.count, limit.per, limit.scope) == (20, 60, "account")


# -- the form


@pytest.mark.parametrize("given", [KEY, OFFICIAL, f" {OFFICIAL}\n", f"{OFFICIAL}&debug=1"])
def test_the_address_or_its_key_is_taken(given: str) -> None:
    form = WeComRobotCredentials({"robot_key": given, "format": "text"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["robot_key"] == KEY


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "required"),
        ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send", "no robot's address"),
        ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", "no robot's address"),
        (f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}&key=2", "no robot's address"),
        (f"https://qyapi.weixin.qq.com/cgi-bin/message/send?key={KEY}", "no robot's address"),
        (f"ftp://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}", "no robot's address"),
        (f"https://evil.example/cgi-bin/webhook/send?key={KEY}", "does not lead to WeCom"),
        (f"http://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}", "does not lead to WeCom"),
    ],
)
def test_another_address_is_refused_without_repeating_it(given: str, said: str) -> None:
    (error,) = WeComRobotCredentials({"robot_key": given, "format": "text"}).errors["robot_key"]
    assert said in error
    assert KEY not in error


@pytest.mark.parametrize(
    ("address", "base"),
    [
        (OFFICIAL, "https://qyapi.weixin.qq.com"),
        (f"http://127.0.0.1:9/proxy/cgi-bin/webhook/send?key={KEY}", "http://127.0.0.1:9/proxy"),
    ],
)
def test_an_address_is_taken_apart(address: str, base: str) -> None:
    assert read_address(address) == (base, KEY)
    found = robot_at(address, Http([]))
    assert found is not None
    assert found.base_url == base


@pytest.mark.parametrize("address", ["", "http://[", "https://hooks.example/robot", f"{OFFICIAL[:40]}x?key={KEY}"])
def test_any_other_address_is_no_robots(address: str) -> None:
    assert robot_at(address, Http([])) is None


# -- against the simulator, which knows the platform's rules and shares no code with it


def test_the_simulator_shows_what_is_said(simulator: RunningSimulator) -> None:
    speaker = robot(simulator.url)
    for name in ("text", "markdown", "markdown_v2", "news", "template_card"):
        speaker.send(Outgoing(GROUP, Payload(fixture(name))))
    for upload in (Upload("file", "a.txt", "text/plain", b"12345"), Upload("voice", "a.amr", "audio/amr", AMR)):
        given = File(upload.kind, upload.name, upload.mime, len(upload.content), "7")
        (payload,) = speaker.render(Content(files=(given,)))
        speaker.send(Outgoing(GROUP, payload, speaker.upload(upload)))
    (picture,) = speaker.render(Content(files=(file("image", "a.png", "image/png"),)))
    speaker.send(Outgoing(GROUP, picture, images=(Upload("image", "a.png", "image/png", PNG),)))
    shown = [entry["kind"] for entry in simulator.client.transcript("wrGroup")]
    assert shown == ["text", "markdown", "markdown_v2", "news", "template_card", "file", "voice", "image"]


def test_the_test_knows_a_wrong_key_and_posts_nothing(simulator: RunningSimulator) -> None:
    before = len(simulator.client.transcript("wrGroup"))
    assert len(robot(simulator.url).test()) == 2
    assert len(simulator.client.transcript("wrGroup")) == before
    error = refusal(robot(simulator.url, key="another-key").test)
    assert (error.code, error.action) == ("93000", Action.CONFIG)
