"""Files of an AI bot's long connection: each with its own key on the way in, in chunks on the way out (facts: wecom.md 6.2)."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.simulator.bot_socket import BotSocket
from tests.simulator.platform import AMR, PNG
from tests.simulator.test_connection import ask, violations
from tests.simulator.test_connection_answers import RESPOND, SEND, asked

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

INIT, CHUNK, FINISH = (f"aibot_upload_media_{step}" for step in ("init", "chunk", "finish"))
KB = 1024
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 20


def fetched(found: dict[str, Any]) -> bytes:
    """A file as the platform's documents say to read it, with a third party's cipher."""
    body = requests.get(found["url"], timeout=10).content
    key = base64.b64decode(found["aeskey"] + "=" * (-len(found["aeskey"]) % 4))
    assert len(key) == 32
    opener = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    padded = opener.update(body) + opener.finalize()
    assert len(padded) % 32 == 0
    count = padded[-1]
    assert 1 <= count <= 32
    assert padded[-count:] == bytes([count]) * count
    return padded[:-count]


@pytest.mark.parametrize(("kind", "data"), [("image", PNG), ("file", b"x" * 64), ("video", MP4)])
def test_a_members_file_has_a_key_of_its_own(
    client: SimulatorClient, socket: BotSocket, kind: str, data: bytes
) -> None:
    bodies = []
    for _ in range(2):
        ask(client, kind=kind, data=data, name="报告.bin")
        bodies.append(socket.callback()["body"])
    assert [body["msgtype"] for body in bodies] == [kind, kind]
    keys = [body[kind]["aeskey"] for body in bodies]
    assert sorted(len(key) for key in keys) == [43, 44]
    assert len({key.rstrip("=") for key in keys}) == 2
    assert [fetched(body[kind]) for body in bodies] == [data, data]
    client.advance(301)
    assert requests.get(bodies[0][kind]["url"], timeout=10).status_code == 403


def test_files_in_mixed_and_quoted_messages_have_keys_too(client: SimulatorClient, socket: BotSocket) -> None:
    items = [{"kind": "text", "text": "看"}, {"kind": "image", "data": base64.b64encode(PNG).decode()}]
    quote = {"kind": "file", "data": base64.b64encode(b"quoted").decode(), "name": "q.txt"}
    ask(client, kind="mixed", items=items, quote=quote, chat="wrGroup")
    body = socket.callback()["body"]
    parts = body["mixed"]["msg_item"]
    assert parts[0]["text"]["content"] == "@Robot S 看"
    assert fetched(parts[1]["image"]) == PNG
    assert fetched(body["quote"]["file"]) == b"quoted"
    ask(client, "转写", kind="voice")
    assert socket.callback()["body"]["voice"] == {"content": "转写"}


def begin(socket: BotSocket, data: bytes, kind: str = "file", chunks: int = 1, **more: Any) -> dict[str, Any]:
    body = {"type": kind, "filename": "a.bin", "total_size": len(data), "total_chunks": chunks}
    return socket.ask(INIT, body | {"md5": hashlib.md5(data).hexdigest()} | more)


def add(socket: BotSocket, upload_id: str, index: int, data: bytes) -> int:
    encoded = base64.b64encode(data).decode()
    return socket.errcode(CHUNK, {"upload_id": upload_id, "chunk_index": index, "base64_data": encoded})


def upload(socket: BotSocket, data: bytes, kind: str = "file") -> dict[str, Any]:
    upload_id = begin(socket, data, kind)["body"]["upload_id"]
    assert add(socket, upload_id, 0, data) == 0
    return socket.ask(FINISH, {"upload_id": upload_id})


@pytest.mark.parametrize(("kind", "data"), [("image", PNG), ("file", b"12345"), ("voice", AMR), ("video", MP4)])
def test_an_uploaded_file_is_sent_by_its_id(client: SimulatorClient, socket: BotSocket, kind: str, data: bytes) -> None:
    finished = upload(socket, data, kind)
    media_id = finished["body"]["media_id"]
    assert finished["body"]["type"] == kind
    assert finished["body"]["created_at"].isdigit()
    said, req_id = asked(client, socket)
    assert socket.errcode(RESPOND, {"msgtype": kind, kind: {"media_id": media_id}}, req_id) == 0
    pushed = {"chatid": "zhangsan", "chat_type": 1, "msgtype": kind, kind: {"media_id": media_id}}
    assert socket.errcode(SEND, pushed) == 0
    answer = client.answers(said)[0]
    assert (answer["kind"], answer["data"]["name"], answer["data"]["size"]) == (kind, "a.bin", len(data))
    assert requests.get(client.url + answer["data"]["url"], timeout=10).content == data
    wrong = "file" if kind != "file" else "image"
    assert socket.errcode(RESPOND, {"msgtype": wrong, wrong: {"media_id": media_id}}, req_id) == 40007
    client.advance(3 * 86400 + 1)
    assert socket.errcode(SEND, pushed) == 40007


def test_another_bot_can_neither_send_nor_finish_an_upload(client: SimulatorClient, socket: BotSocket) -> None:
    media_id = upload(socket, PNG, "image")["body"]["media_id"]
    begun = begin(socket, b"12345")["body"]["upload_id"]
    client.bot("OTHER", mode="connection", secret="other")
    with BotSocket(client.websocket_url, "OTHER") as other:
        other.subscribe("other")
        assert add(other, begun, 0, b"12345") == 40058
        client.say("?", bot="OTHER", from_="zhangsan")
        req_id = other.callback()["headers"]["req_id"]
        assert other.errcode(RESPOND, {"msgtype": "image", "image": {"media_id": media_id}}, req_id) == 40007


def test_chunks_come_in_any_order_more_than_once_and_over_another_connection(
    client: SimulatorClient, socket: BotSocket
) -> None:
    data = random.Random(11).randbytes(1200 * KB)
    pieces = [data[: 512 * KB], data[512 * KB : 1024 * KB], data[1024 * KB :]]
    upload_id = begin(socket, data, chunks=3)["body"]["upload_id"]
    assert add(socket, upload_id, 2, pieces[2]) == 0
    assert socket.errcode(FINISH, {"upload_id": upload_id}) == 40058
    assert add(socket, upload_id, 0, pieces[0]) == 0
    assert add(socket, upload_id, 0, pieces[0]) == 0
    client.end_connection("SOCKETBOT", "abort")
    with BotSocket(client.websocket_url) as again:
        again.subscribe()
        assert add(again, upload_id, 1, pieces[1]) == 0
        first = again.ask(FINISH, {"upload_id": upload_id})
        assert first["errcode"] == 0
        assert again.ask(FINISH, {"upload_id": upload_id})["body"] == first["body"]
        _said, req_id = asked(client, again)
        again.ask(RESPOND, {"msgtype": "file", "file": {"media_id": first["body"]["media_id"]}}, req_id)
    (entry,) = [one for one in client.transcript("bot:SOCKETBOT:zhangsan") if one["kind"] == "file"]
    assert requests.get(client.url + entry["data"]["url"], timeout=10).content == data
    assert violations(client) == []


@pytest.mark.parametrize(
    ("more", "errcode"),
    [
        ({"type": "movie"}, 40004),
        ({"filename": ""}, 40063),
        ({"total_size": 20 * KB * KB + 1, "total_chunks": 41}, 45001),
        ({"type": "image", "total_size": 10 * KB * KB + 1, "total_chunks": 21}, 45001),
        ({"type": "voice", "total_size": 2 * KB * KB + 1, "total_chunks": 5}, 45001),
        ({"total_size": 4}, 40006),
        ({"total_size": "10"}, 40035),
        ({"total_chunks": 101}, 40058),
        ({"total_size": 512 * KB + 1, "total_chunks": 1}, 40058),
    ],
)
def test_an_upload_that_cannot_be_is_refused_at_its_beginning(
    client: SimulatorClient, socket: BotSocket, more: dict[str, Any], errcode: int
) -> None:
    assert begin(socket, b"1234567890", **more)["errcode"] == errcode
    assert begin(socket, b"1234567890")["errcode"] == 0


def test_wrong_chunks_are_refused(client: SimulatorClient, socket: BotSocket) -> None:
    data = b"1234567890"
    upload_id = begin(socket, data)["body"]["upload_id"]
    assert add(socket, upload_id, 1, data) == 40058
    assert add(socket, "made-up", 0, data) == 40058
    assert add(socket, upload_id, 0, b"x" * (512 * KB + 1)) == 45001
    assert socket.errcode(CHUNK, {"upload_id": upload_id, "chunk_index": 0, "base64_data": "%"}) == 40035
    assert add(socket, upload_id, 0, b"123456789") == 0
    assert socket.errcode(FINISH, {"upload_id": upload_id}) == 40006
    assert add(socket, upload_id, 0, b"123456789x") == 0
    assert violations(client) == ["chunk_changed"]
    assert socket.errcode(FINISH, {"upload_id": upload_id}) == 40058
    assert add(socket, upload_id, 0, data) == 0
    client.advance(1801)
    assert socket.errcode(FINISH, {"upload_id": upload_id}) == 40058


@pytest.mark.parametrize(("kind", "errcode"), [("image", 40005), ("voice", 40005), ("video", 40005), ("file", 0)])
def test_the_bytes_must_be_of_their_kind(client: SimulatorClient, socket: BotSocket, kind: str, errcode: int) -> None:
    assert upload(socket, b"1234567890", kind)["errcode"] == errcode


@pytest.mark.parametrize(("setting", "seconds"), [("bot_uploads_per_minute", 60), ("bot_uploads_per_hour", 3600)])
def test_uploads_are_limited(client: SimulatorClient, socket: BotSocket, setting: str, seconds: int) -> None:
    client.settings(**{setting: 3})
    assert [begin(socket, b"12345")["errcode"] for _ in range(4)] == [0] * 3 + [45009]
    client.advance(seconds + 1)
    assert begin(socket, b"12345")["errcode"] == 0


def test_many_chunks_at_once_are_a_system_error(client: SimulatorClient, socket: BotSocket) -> None:
    data = b"1234567890"
    upload_id = begin(socket, data, chunks=4)["body"]["upload_id"]
    client.settings(frames_at_once=2, ack_seconds=3600)  # no acknowledgement comes in between
    for index in range(3):
        body = {"upload_id": upload_id, "chunk_index": index, "base64_data": base64.b64encode(b"12").decode()}
        socket.send(CHUNK, body)
    client.wait_for(lambda: [call["errcode"] for call in client.calls(CHUNK)] == [0, 0, -1], 10)
