"""A self-built app on the wire: exact requests, what becomes of the answers, groups, media, and names."""

from __future__ import annotations

import pytest

from channels_wechat import channel_class
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Action, explain
from channels_wechat.contract.messages import HANDLE, Content, Group, MediaItem, Outgoing, Payload, Peer, Upload
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wecom.errors import WECOM_APP
from tests.channels.harness import Recorder, Reply, says
from tests.channels.wecom.app import CREDENTIALS, GROUP, ZHANG

HELLO = Payload({"msgtype": "text", "text": {"content": "你好"}})


def test_it_is_registered():
    assert channel_class("wecom_app") is WeComApp
    assert WeComApp.external_id(CREDENTIALS) == "ww1/1000002"


@pytest.mark.parametrize(
    ("peer", "payload", "options", "path", "body"),
    [
        (
            ZHANG,
            HELLO,
            {},
            "message/send",
            '{"touser": "zhangsan", "agentid": 1000002, "msgtype": "text", "text": {"content": "你好"}}',
        ),
        (
            Peer("direct", "zhangsan|lisi"),
            HELLO,
            {"check_repeats": True},
            "message/send",
            '{"touser": "zhangsan|lisi", "agentid": 1000002, "msgtype": "text", "text": {"content": "你好"},'
            ' "enable_duplicate_check": 1, "duplicate_check_interval": 1800}',
        ),
        (
            Peer("direct", "@all"),
            Payload({"msgtype": "image", "image": {"media_id": HANDLE}, "safe": 1}, file="7"),
            {"handle": "m1"},
            "message/send",
            '{"touser": "@all", "agentid": 1000002, "msgtype": "image", "image": {"media_id": "m1"}, "safe": 1}',
        ),
        (
            Peer("direct", "party:1|2"),
            Payload({"msgtype": "video", "video": {"media_id": HANDLE, "title": "t"}}, file="7"),
            {"handle": "m1"},
            "message/send",
            '{"toparty": "1|2", "agentid": 1000002, "msgtype": "video", "video": {"media_id": "m1", "title": "t"}}',
        ),
        (
            Peer("direct", "tag:2"),
            Payload({"msgtype": "miniprogram_notice", "miniprogram_notice": {"appid": "wx1"}}),
            {},
            "message/send",
            '{"totag": "2", "msgtype": "miniprogram_notice", "miniprogram_notice": {"appid": "wx1"}}',
        ),
        (
            GROUP,
            HELLO,
            {"check_repeats": True},
            "appchat/send",
            '{"chatid": "CHATID", "msgtype": "text", "text": {"content": "你好"}}',
        ),
        (
            GROUP,
            Payload({"msgtype": "file", "file": {"media_id": HANDLE}}, file="7"),
            {"handle": "m1"},
            "appchat/send",
            '{"chatid": "CHATID", "msgtype": "file", "file": {"media_id": "m1"}}',
        ),
    ],
)
def test_a_message_on_the_wire(platform: Recorder, app: WeComApp, peer, payload, options, path, body):
    app.send(Outgoing(peer, payload, **options))
    (sent,) = platform.requests
    assert (sent.method, sent.path, sent.query) == ("POST", f"/cgi-bin/{path}", {"access_token": "token1"})
    assert sent.body.decode() == body


def test_a_payload_sent_twice_is_the_same_byte_for_byte(platform: Recorder, app: WeComApp):
    (payload,) = app.render(Content("你好 👋"))
    app.send(Outgoing(ZHANG, payload))
    app.send(Outgoing(ZHANG, Payload.from_json(payload.as_json())))
    assert platform.requests[0].body == platform.requests[1].body


def test_a_text_that_reads_like_the_placeholder_stays(platform: Recorder, app: WeComApp):
    (payload,) = app.render(Content(HANDLE))
    app.send(Outgoing(ZHANG, payload))
    assert platform.requests[0].json["text"]["content"] == HANDLE


def test_the_receipt_has_the_message_id(platform: Recorder, app: WeComApp):
    platform.will(says(msgid="m-1", invaliduser="", response_code="r"))
    receipt = app.send(Outgoing(ZHANG, HELLO))
    assert (receipt.remote_id, receipt.note, receipt.response["response_code"]) == ("m-1", NO_CAUSE, "r")


def test_who_was_left_out_is_said(platform: Recorder, app: WeComApp):
    platform.will(says(msgid="m", invaliduser="lisi|wangwu", invalidparty="7", invalidtag="8", unlicenseduser="zhao"))
    receipt = app.send(Outgoing(Peer("direct", "zhangsan|lisi|wangwu"), HELLO))
    note = explain(app.explanations, *receipt.note)
    assert [part in note for part in ("lisi, wangwu", "departments: 7", "tags: 8", "licence: zhao")] == [True] * 4


@pytest.mark.parametrize(
    ("reply", "action", "code", "retry_after"),
    [
        (says(-1, "system busy"), Action.UNKNOWN, "-1", None),
        (says(45009, "api freq out of limit"), Action.WAIT, "45009", 60),
        (says(60020, "not allow to access from your ip, from ip: 203.0.113.7, more"), Action.CONFIG, "60020", None),
        (says(81013, "all invalid"), Action.PERMANENT, "81013", None),
        (says(777777, "never seen"), Action.UNKNOWN, "777777", None),
        (Reply(b"<html>"), Action.UNKNOWN, "html", None),
        (Reply(b"<html>", 502), Action.UNKNOWN, "http_502", None),
        (Reply(b"<html>", 503), Action.UNKNOWN, "http_503", None),
        (Reply(b"<html>", 404), Action.CONFIG, "http_404", None),
        (Reply(fault="hang"), Action.UNKNOWN, "timeout", None),
        (Reply(fault="reset"), Action.UNKNOWN, "reset", None),
    ],
)
@pytest.mark.parametrize("peer", [ZHANG, GROUP])
def test_an_answer_becomes_an_error(platform: Recorder, app: WeComApp, peer, reply, action, code, retry_after):
    platform.will(reply)
    with pytest.raises(ChannelError) as caught:
        app.send(Outgoing(peer, HELLO))
    error = caught.value
    assert (error.action, error.code, error.retry_after) == (action, code, retry_after)
    assert "token1" not in f"{error} {error!r}"
    assert len(platform.requests) == 1


@pytest.mark.parametrize("code", [40003, 40031, 46004, 50002, 60011, 60021, 60111, 81013, 92000])
def test_a_member_of_a_linked_company_has_a_cure_of_its_own(platform: Recorder, app: WeComApp, code: int):
    platform.will(says(code, "no such user"), says(code, "no"))
    with pytest.raises(ChannelError) as caught:
        app.send(Outgoing(Peer("direct", "wwlinked0001/zhangsan"), HELLO))
    assert (caught.value.detail, caught.value.response["errmsg"]) == ("no such user", "no such user")
    assert caught.value.params == {"errcode": str(code), "detail": "no such user"}
    assert (caught.value.code, caught.value.action, "Linked companies" in str(caught.value)) == (
        "linked_member", Action.PERMANENT, True,
    )  # fmt: skip
    with pytest.raises(ChannelError, match="^(?!.*Linked companies)"):
        app.send(Outgoing(ZHANG, HELLO))


@pytest.mark.parametrize("kind", ["template_card", "miniprogram_notice"])
def test_a_card_does_not_go_to_a_group(platform: Recorder, app: WeComApp, kind):
    with pytest.raises(ChannelError) as caught:
        app.send(Outgoing(GROUP, Payload({"msgtype": kind, kind: {}})))
    assert (caught.value.action, platform.requests) == (Action.PERMANENT, [])


@pytest.mark.parametrize("kind", ["text", "markdown", "textcard", "news", "mpnews", "image", "voice", "video", "file"])
def test_everything_else_goes_to_a_group(platform: Recorder, app: WeComApp, kind):
    app.send(Outgoing(GROUP, Payload({"msgtype": kind, kind: {}})))
    assert platform.requests[0].path == "/cgi-bin/appchat/send"


@pytest.mark.parametrize("member", ["party", "tag", "parties:1", "touser:1"])
def test_only_a_known_prefix_names_departments_or_tags(platform: Recorder, app: WeComApp, member):
    app.send(Outgoing(Peer("direct", member), HELLO))
    assert platform.requests[0].json["touser"] == member


@pytest.mark.parametrize(("prefix", "most"), [("", 1000), ("party:", 100), ("tag:", 100)])
def test_too_many_recipients_are_not_tried(platform: Recorder, app: WeComApp, prefix, most):
    app.send(Outgoing(Peer("direct", prefix + "|".join(["1"] * most)), HELLO))
    with pytest.raises(ChannelError) as caught:
        app.send(Outgoing(Peer("direct", prefix + "|".join(["1"] * (most + 1))), HELLO))
    assert (caught.value.action, len(platform.requests)) == (Action.PERMANENT, 1)


def test_repetitions_are_swallowed_one_to_one_only(app: WeComApp):
    assert (app.repeat_window(ZHANG, HELLO), app.repeat_window(GROUP, HELLO)) == (1800, 0)


def test_a_message_is_recalled(platform: Recorder, app: WeComApp):
    app.recall("m-1")
    assert (platform.requests[0].path, platform.requests[0].json) == ("/cgi-bin/message/recall", {"msgid": "m-1"})


@pytest.mark.parametrize(("users", "whom"), [((), {"atall": 1}), (("zhangsan",), {"userids": ["zhangsan"]})])
def test_a_card_is_updated(platform: Recorder, app: WeComApp, users, whom):
    platform.will(says(invaliduser=["lisi"]))
    receipt = app.update_template_card("rc", {"button": {"replace_name": "已接入"}}, users)
    sent = platform.requests[0]
    assert sent.path == "/cgi-bin/message/update_template_card"
    assert sent.json == {**whom, "agentid": 1000002, "response_code": "rc", "button": {"replace_name": "已接入"}}
    assert "lisi" in str(receipt.note)


@pytest.mark.parametrize(
    ("upload", "sent_as", "header"),
    [
        (Upload("image", "图.png", "image/png", b"\x89PNG1"), "image", 'filename="图.png"'),
        (Upload("image", "a.gif", "image/gif", b"GIF89"), "file", 'filename="a.gif"'),
        (Upload("voice", "a.mp3", "audio/mpeg", b"12345"), "file", 'filename="a.mp3"'),
        (Upload("voice", "", "audio/amr", b"#!AMR"), "voice", 'filename="voice.amr"'),
    ],
)
def test_a_file_is_uploaded_by_its_type(platform: Recorder, app: WeComApp, upload, sent_as, header):
    platform.will(says(type=sent_as, media_id="m-1", created_at="1380000000"))
    assert app.upload(upload) == "m-1"
    sent = platform.requests[0]
    assert (sent.path, sent.query) == ("/cgi-bin/media/upload", {"type": sent_as, "access_token": "token1"})
    assert f'Content-Disposition: form-data; name="media"; {header}\r\n'.encode() in sent.body
    assert upload.content in sent.body


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (lambda app: app.recall("m"), Action.RETRY),
        (lambda app: app.update_group("C", name="新"), Action.RETRY),
        (lambda app: app.get_group("C"), Action.RETRY),
        (lambda app: app.name_of("zhangsan"), Action.RETRY),
        (lambda app: app.create_group("新", ("a", "b")), Action.UNKNOWN),
        (lambda app: app.update_template_card("rc", {"button": {"replace_name": "x"}}), Action.UNKNOWN),
    ],
)
def test_a_call_whose_answer_was_lost_is_repeated_where_that_changes_nothing(
    platform: Recorder, app: WeComApp, call, action
):
    platform.will(Reply(fault="reset"))
    with pytest.raises(ChannelError) as caught:
        call(app)
    assert (caught.value.action, len(platform.requests)) == (action, 1)


@pytest.mark.parametrize(("mime", "sent"), [("image/png", "image/png"), ("", "application/octet-stream")])
def test_an_upload_says_its_type(platform: Recorder, app: WeComApp, mime, sent):
    app.upload(Upload("image", "a.png", mime, b"12345"))
    assert f"\r\nContent-Type: {sent}\r\n\r\n12345".encode() in platform.requests[0].body


def test_a_file_without_a_name_is_of_the_type_that_its_header_says(platform: Recorder, app: WeComApp):
    platform.will(*[Reply(b"?", headers=(("Content-Type", "audio/x-odd; a=b"),))] * 2, Reply(b"?", headers=()))
    assert app.download(MediaItem("voice", "m")) == Upload("voice", "", "audio/x-odd", b"?")
    assert app.download(MediaItem("voice", "m", mime="audio/amr")).mime == "audio/x-odd"
    assert app.download(MediaItem("voice", "m", mime="audio/amr")).mime == "audio/amr"


def test_an_upload_without_an_answer_is_repeated(platform: Recorder, app: WeComApp):
    """Nobody saw anything of it: an unused upload is forgotten by the platform after three days."""
    platform.will(Reply(fault="reset"))
    with pytest.raises(ChannelError) as caught:
        app.upload(Upload("file", "a", "text/plain", b"12345"))
    assert caught.value.action == Action.RETRY


def test_a_file_is_downloaded_with_its_name(platform: Recorder, app: WeComApp):
    headers = (("Content-Type", "audio/amr; x=y"), ("Content-Disposition", 'attachment; filename="v.amr"'))
    platform.will(Reply(b"#!AMR", headers=headers), Reply(b"#!AMR", headers=()))
    fetched = app.download(MediaItem("voice", "m-1"))
    assert (fetched.kind, fetched.name, fetched.mime, fetched.content) == ("voice", "v.amr", "audio/amr", b"#!AMR")
    fetched = app.download(MediaItem("voice", "m-1", "said.amr", "audio/amr"))
    assert (fetched.name, fetched.mime) == ("said.amr", "audio/amr")


def test_a_name_is_looked_up(platform: Recorder, app: WeComApp):
    platform.will(says(userid="zhangsan", name="张三"))
    assert app.name_of("zhangsan") == "张三"
    assert platform.requests[0].query == {"userid": "zhangsan", "access_token": "token1"}


@pytest.mark.parametrize("code", [60111, 50002, 60011])
def test_a_name_that_is_not_told_is_empty(platform: Recorder, app: WeComApp, code):
    platform.will(says(code, "no"))
    assert app.name_of("zhangsan") == ""


def test_a_name_that_cannot_be_asked_for_is_an_error(platform: Recorder, app: WeComApp):
    platform.will(says(60020, "from ip: 1.2.3.4"))
    with pytest.raises(ChannelError):
        app.name_of("zhangsan")


def test_a_group_is_made_changed_and_read(platform: Recorder, app: WeComApp):
    info = {"chatid": "C", "name": "售后", "owner": "a", "userlist": ["a", "b"]}
    platform.will(says(chatid="C"), says(), says(chat_info=info))
    assert app.create_group("售后", ("a", "b"), owner="a", group_id="C") == "C"
    app.update_group("C", name="新", add=("c",), remove=("b",))
    assert app.get_group("C") == Group("C", "售后", "a", ("a", "b"))
    create, update, get = platform.requests
    assert (create.path, create.json) == (
        "/cgi-bin/appchat/create",
        {"name": "售后", "owner": "a", "userlist": ["a", "b"], "chatid": "C"},
    )
    assert (update.path, update.json) == (
        "/cgi-bin/appchat/update",
        {"chatid": "C", "name": "新", "add_user_list": ["c"], "del_user_list": ["b"]},
    )
    assert (get.method, get.path, get.query["chatid"]) == ("GET", "/cgi-bin/appchat/get", "C")


@pytest.mark.parametrize(
    ("name", "members", "group_id", "code"),
    [
        ("x" * 51, ("a", "b"), "", "group_name_too_long"),
        ("x", ("a",), "", "group_size"),
        ("x", ("a",) * 2001, "", "group_size"),
        ("x", ("a", "b"), "no-dash", "group_id"),
        ("x", ("a", "b"), "a" * 33, "group_id"),
    ],
)
def test_a_group_that_cannot_be_is_not_tried(platform: Recorder, app: WeComApp, name, members, group_id, code):
    with pytest.raises(ChannelError) as caught:
        app.create_group(name, members, group_id=group_id)
    assert (caught.value.code, caught.value.action, platform.requests) == (code, Action.PERMANENT, [])


@pytest.mark.parametrize(("name", "count", "group_id"), [("一" * 50, 2, "a" * 32), ("", 2000, ""), ("x", 3, "Az09")])
def test_a_group_at_the_border_is_tried(platform: Recorder, app: WeComApp, name, count, group_id):
    app.create_group(name, ("a",) * count, group_id=group_id)
    assert len(platform.requests[0].json["userlist"]) == count


@pytest.mark.parametrize(("name", "group_id"), [("x" * 51, "C"), ("x", "no-dash")])
def test_a_group_is_not_changed_to_what_cannot_be(platform: Recorder, app: WeComApp, name, group_id):
    with pytest.raises(ChannelError) as caught:
        app.update_group(group_id, name=name)
    assert (caught.value.action, platform.requests) == (Action.PERMANENT, [])


@pytest.mark.parametrize(
    ("payload", "code", "instead"),
    [
        (
            Payload({"msgtype": "voice", "voice": {"media_id": HANDLE}}, file="7"),
            "45007",
            Payload({"msgtype": "file", "file": {"media_id": HANDLE}}, file="7"),
        ),
        (
            Payload({"msgtype": "voice", "voice": {"media_id": HANDLE}, "safe": 1}, file="7"),
            "45007",
            Payload({"msgtype": "file", "file": {"media_id": HANDLE}, "safe": 1}, file="7"),
        ),
        (Payload({"msgtype": "voice", "voice": {"media_id": HANDLE}}, file="7"), "45001", None),
        (Payload({"msgtype": "voice", "voice": {"media_id": "m"}}), "45007", None),  # nothing to upload anew
        (Payload({"msgtype": "video", "video": {"media_id": HANDLE}}, file="7"), "45007", None),
    ],
)
def test_only_a_voice_message_that_is_too_long_goes_as_a_file(app: WeComApp, payload, code, instead):
    assert app.instead(payload, WECOM_APP.error(code)) == instead
