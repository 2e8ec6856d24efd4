"""Media, contacts, app groups and group robots (facts: wecom.md 4, 5, 7, 8.1)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.platform import AMR, PNG

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform

MB = 2**20


@pytest.mark.parametrize(
    ("kind", "name", "data", "errcode"),
    [
        ("image", "a.png", PNG, 0),
        ("image", "a.png", b"GIF89a....", 40005),
        ("image", "a.png", PNG + b"x" * 10 * MB, 45001),
        ("voice", "a.amr", AMR, 0),
        ("voice", "a.mp3", b"ID3......", 40005),
        ("voice", "a.amr", b"#!AMR\n" + (b"\x3c" + b"\0" * 31) * 3000, 0),
        ("voice", "a.amr", b"#!AMR\n" + (b"\x3c" + b"\0" * 31) * 3001, 45007),
        ("video", "a.mp4", b"\0\0\0\x18ftypmp42", 0),
        ("video", "a.avi", b"RIFF........", 40005),
        ("file", "a.txt", b"12345", 0),
        ("file", "a.txt", b"1234", 40006),
        ("file", "a.txt", b"", 44001),
        ("poem", "a.txt", b"12345", 40004),
    ],
)
def test_uploads(platform: Platform, kind: str, name: str, data: bytes, errcode: int) -> None:
    assert platform.upload(kind, name, data)["errcode"] == errcode


def test_what_is_uploaded_can_be_fetched_for_three_days(client: SimulatorClient, platform: Platform) -> None:
    media_id = platform.upload("file", "报告.pdf", b"%PDF-1.7")["media_id"]
    answer = platform.look("media/get", media_id=media_id)
    assert answer.content == b"%PDF-1.7"
    assert "filename*=UTF-8''%E6%8A%A5%E5%91%8A.pdf" in answer.headers["Content-Disposition"]
    client.advance(3 * 86400 + 1)
    answer = platform.look("media/get", media_id=media_id)
    assert (answer.status_code, answer.json()["errcode"]) == (200, 40007)


def test_a_big_file_comes_only_in_pieces(client: SimulatorClient, platform: Platform) -> None:
    said = client.say(app=1, from_="zhangsan", kind="video", data=b"x" * (20 * MB + 5), name="v.mp4")
    entry = next(e for e in client.transcript(said["chat"]) if e["msgid"] == said["id"])
    media_id = entry["data"]["media"][0]["url"].rsplit("/", 1)[1]
    assert platform.look("media/get", media_id=media_id).json()["errcode"] == 830002
    pieces = [part(platform, media_id, "bytes=0-20971519"), part(platform, media_id, "bytes=20971520-")]
    assert [len(piece) for piece in pieces] == [20 * MB, 5]


def part(platform: Platform, media_id: str, span: str) -> bytes:
    params = {"access_token": platform.token(), "media_id": media_id}
    answer = platform.http.get(f"{platform.url}media/get", params=params, headers={"Range": span}, timeout=10)
    assert answer.status_code == 206
    return answer.content


def test_uploadimg_gives_a_lasting_address(client: SimulatorClient, platform: Platform) -> None:
    url = platform.upload("image", "a.png", PNG, "media/uploadimg")["url"]
    client.advance(10 * 86400)
    assert platform.http.get(url, timeout=10).content == PNG
    big = PNG + b"x" * 2 * MB
    assert platform.upload("image", "a.png", big, "media/uploadimg")["errcode"] == 45001


def test_a_body_that_is_no_form(platform: Platform) -> None:
    assert platform.raw("media/upload", b"{}", access_token=platform.token(), type="file")["errcode"] == 40035


def test_members_and_departments(client: SimulatorClient, platform: Platform) -> None:
    assert platform.look("user/get", userid="LISI").json()["name"] == "李四"
    assert platform.look("user/get", userid="nobody").json()["errcode"] == 60111
    listed = platform.look("user/simplelist", department_id=2).json()["userlist"]
    assert [member["userid"] for member in listed] == ["lisi"]
    departments = platform.look("department/list").json()["department"]
    assert [d["id"] for d in departments] == [1, 2]
    assert platform.look("department/list", id=9).json()["errcode"] == 60003
    client.app(1, members=["zhangsan"])
    assert platform.look("user/get", userid="lisi").json()["errcode"] == 60011


def test_open_ids_are_translated(client: SimulatorClient, platform: Platform) -> None:
    open_id = client.member("lisi", "李四")["open_userid"]
    answer = platform.call("batch/openuserid_to_userid", {"open_userid_list": [open_id, "wox"], "source_agentid": 1})
    assert answer["userid_list"] == [{"open_userid": open_id, "userid": "lisi"}]
    assert answer["invalid_open_userid_list"] == ["wox"]
    assert platform.call("batch/openuserid_to_userid", {"open_userid_list": []})["errcode"] == 40058


def create(platform: Platform, **change: Any) -> dict[str, Any]:
    body = {"name": "群", "owner": "zhangsan", "userlist": ["zhangsan", "lisi"], "chatid": "group1"} | change
    return platform.call("appchat/create", body)


def test_an_app_makes_a_group_and_writes_there(client: SimulatorClient, platform: Platform) -> None:
    assert create(platform)["chatid"] == "group1"
    change = {"chatid": "group1", "name": "新名", "add_user_list": ["WangWu"], "del_user_list": ["lisi"]}
    assert platform.call("appchat/update", change)["errcode"] == 0
    info = platform.look("appchat/get", chatid="group1").json()["chat_info"]
    assert info == {"chatid": "group1", "name": "新名", "owner": "zhangsan", "userlist": ["zhangsan", "WangWu"]}
    sent = {"chatid": "group1", "msgtype": "text", "text": {"content": "大家好"}}
    assert "msgid" not in platform.call("appchat/send", sent)
    assert [e["text"] for e in client.transcript("group1")] == ["大家好"]
    client.settings(appchat_member_per_minute=1)
    assert platform.call("appchat/send", sent)["errcode"] == 0
    assert len(client.transcript("group1")) == 1
    assert client.record()["counters"]["dropped"] == 1


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"name": "名" * 50}, 0),
        ({"name": "名" * 51}, 86004),
        ({"userlist": ["zhangsan"]}, 86006),
        ({"userlist": ["zhangsan", "nobody"]}, 86003),
        ({"owner": "WangWu"}, 86207),
        ({"chatid": "with-dash"}, 86001),
        ({"chatid": "wrGroup"}, 86005),
    ],
)
def test_a_group_that_cannot_be(platform: Platform, change: dict[str, Any], errcode: int) -> None:
    assert create(platform, **change)["errcode"] == errcode


def test_groups_of_others(client: SimulatorClient, platform: Platform) -> None:
    text = {"msgtype": "text", "text": {"content": "x"}}
    assert platform.call("appchat/send", {"chatid": "wrGroup", **text})["errcode"] == 86008
    assert platform.call("appchat/send", {"chatid": "none", **text})["errcode"] == 40050
    client.app(1, members=["zhangsan", "lisi"])
    assert create(platform)["errcode"] == 60011


def test_no_card_in_an_app_group(platform: Platform) -> None:
    create(platform)
    body = {"chatid": "group1", "msgtype": "template_card", "template_card": {}}
    assert platform.call("appchat/send", body)["errcode"] == 40008


@pytest.fixture
def key(client: SimulatorClient) -> str:
    return client.robot("wrGroup", name="通知")["key"]


def test_a_robot_speaks_in_its_group(client: SimulatorClient, platform: Platform, key: str) -> None:
    for msgtype in ("text", "markdown", "markdown_v2"):
        body = {"msgtype": msgtype, msgtype: {"content": "广州今日天气"}}
        assert platform.call("webhook/send", body, key=key)["errcode"] == 0
    media_id = platform.upload("file", "a.txt", b"12345", "webhook/upload_media", key=key)["media_id"]
    sent = platform.call("webhook/send", {"msgtype": "file", "file": {"media_id": media_id}}, key=key)
    assert sent["errcode"] == 0
    image = {"base64": base64.b64encode(PNG).decode(), "md5": hashlib.md5(PNG).hexdigest()}
    assert platform.call("webhook/send", {"msgtype": "image", "image": image}, key=key)["errcode"] == 0
    wrong = {"msgtype": "image", "image": image | {"md5": "0" * 32}}
    assert platform.call("webhook/send", wrong, key=key)["errcode"] == 40035
    kinds = [entry["kind"] for entry in client.transcript("wrGroup")]
    assert kinds == ["text", "markdown", "markdown_v2", "file", "image"]
    assert key not in str(client.calls())


def test_limits_of_a_robot(client: SimulatorClient, platform: Platform, key: str) -> None:
    client.settings(robot_per_minute=4)
    markdown = {"msgtype": "markdown", "markdown": {"content": "x" * 4096}}
    card = {"msgtype": "template_card", "template_card": {"card_type": "button_interaction"}}
    assert platform.call("webhook/send", markdown, key=key)["errcode"] == 0
    markdown["markdown"] = {"content": "x" * 4097}
    assert platform.call("webhook/send", markdown, key=key)["errcode"] == 45002
    assert platform.call("webhook/send", card, key=key)["errcode"] == 40058
    assert platform.call("webhook/send", {"msgtype": "video", "video": {}}, key=key)["errcode"] == 40008
    assert platform.call("webhook/send", markdown, key=key)["errcode"] == 45009
    assert platform.call("webhook/send", markdown, key="unknown")["errcode"] == 93000
