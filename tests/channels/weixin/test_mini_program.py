"""A Mini Program on the wire: its customer-service messages, subscribe messages, and the check of content."""

from __future__ import annotations

import pytest

from channels_wechat import channel_class
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, Outgoing, Payload, Peer, Template, Upload, Verdict
from channels_wechat.weixin.mini_program import CHECK_CHARACTERS, MiniProgram
from tests.channels.harness import Recorder, Reply, fixture, recorder, says
from tests.channels.weixin.accounts import APP, CREDENTIALS, mini_program, sealed

USER = Peer("direct", "o1")
LINK = {"title": "t", "description": "d", "url": "https://a.cn", "thumb_url": "https://a.cn/p"}
SUBSCRIBE = {"template_id": "T1", "page": "index?a=b", "data": {"thing2": {"value": "你好"}}}


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def program(platform: Recorder) -> MiniProgram:
    return mini_program(platform.url, "program")


def refusal(call, *arguments) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments)
    return caught.value


def test_it_is_registered():
    assert channel_class("mini_program") is MiniProgram
    assert MiniProgram.external_id(CREDENTIALS) == APP
    assert MiniProgram.content_kinds == ("image", "link", "miniprogrampage", "subscribe")


@pytest.mark.parametrize(
    ("content", "handle", "path", "body"),
    [
        (Content("你好"), "", "custom/send", '{"touser": "o1", "msgtype": "text", "text": {"content": "你好"}}'),
        (
            Content(files=(File("image", "a.png", "image/png", 9, "7"),)),
            "m1",
            "custom/send",
            '{"touser": "o1", "msgtype": "image", "image": {"media_id": "m1"}}',
        ),
        (
            Content(kind="link", data=LINK),
            "",
            "custom/send",
            '{"touser": "o1", "msgtype": "link",'
            ' "link": {"title": "t", "description": "d", "url": "https://a.cn", "thumb_url": "https://a.cn/p"}}',
        ),
        (
            Content(
                kind="miniprogrampage",
                data={"title": "t", "pagepath": "p"},
                files=(File("image", "a.png", "image/png", 9, "7"),),
            ),
            "m1",
            "custom/send",
            '{"touser": "o1", "msgtype": "miniprogrampage",'
            ' "miniprogrampage": {"title": "t", "pagepath": "p", "thumb_media_id": "m1"}}',
        ),
        (
            Content(kind="subscribe", data=SUBSCRIBE),
            "",
            "subscribe/send",
            '{"touser": "o1", "template_id": "T1", "page": "index?a=b", "data": {"thing2": {"value": "你好"}}}',
        ),
    ],
)
def test_a_message_on_the_wire(platform: Recorder, program: MiniProgram, content, handle, path, body):
    (payload,) = program.render(content)
    program.send(Outgoing(USER, Payload.from_json(payload.as_json()), handle=handle))
    (sent,) = platform.requests
    assert (sent.method, sent.path) == ("POST", f"/cgi-bin/message/{path}")
    assert sent.body.decode() == body
    assert program.uses_window(payload) == (path == "custom/send")


@pytest.mark.parametrize(
    ("code", "action", "capability"),
    [
        (43101, Action.PERMANENT, ""),
        (41030, Action.PERMANENT, ""),
        (40037, Action.PERMANENT, ""),
        (47003, Action.PERMANENT, ""),
        (48001, Action.PERMANENT, "subscribe_send"),
        (45009, Action.WAIT, ""),
    ],
)
def test_a_subscribe_message_that_is_refused(platform: Recorder, program: MiniProgram, code, action, capability):
    platform.will(says(code, "argument invalid! data.thing2.value is empty"))
    (payload,) = program.render(Content(kind="subscribe", data=SUBSCRIBE))
    error = refusal(program.send, Outgoing(USER, payload))
    assert (error.action, error.capability, len(platform.requests)) == (action, capability, 1)
    assert "data.thing2.value" in str(error)


def test_a_subscribe_message_may_have_an_id(platform: Recorder, program: MiniProgram):
    platform.will(says(msgid=1700827132819554304))
    (payload,) = program.render(Content(kind="subscribe", data=SUBSCRIBE))
    assert program.send(Outgoing(USER, payload)).remote_id == "1700827132819554304"


def test_templates_are_listed(platform: Recorder, program: MiniProgram):
    lines, filled = "会议时间:{{date2.DATA}}\n", "会议时间:2016年8月8日\n"
    row = {"priTmplId": "T1", "title": "报名结果通知", "content": lines, "example": filled, "type": 2}
    platform.will(says(data=[row, "odd"]), says(data=None), says(48001))
    assert program.templates() == [Template("T1", "报名结果通知", lines, filled)]
    assert program.templates() == []
    assert refusal(program.templates).capability == "templates"
    assert platform.requests[0].path == "/wxaapi/newtmpl/gettemplate"


# -- the check of content


def checked(suggest: str, label: int = 100, trace_id: str = "t1") -> Reply:
    return says(result={"suggest": suggest, "label": label}, detail=[], trace_id=trace_id)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (checked("pass"), Verdict("t1", "pass", 100)),
        (checked("review", 20001), Verdict("t1", "review", 20001)),
        (checked("risky", 20006), Verdict("t1", "risky", 20006)),
        (says(trace_id="t1"), Verdict("t1", "review")),
        (checked("fine"), Verdict("t1", "review", 100)),
    ],
)
def test_a_text_is_checked(platform: Recorder, program: MiniProgram, reply, verdict):
    """errcode 0 does not mean safe."""
    platform.will(reply)
    assert program.check_text("o1", "你好") == verdict
    (sent,) = platform.requests
    assert (sent.path, sent.json) == (
        "/wxa/msg_sec_check",
        {"version": 2, "openid": "o1", "scene": 2, "content": "你好"},
    )


@pytest.mark.parametrize(
    ("replies", "suggest", "calls"),
    [
        (("pass", "pass", "pass"), "pass", 3),
        (("pass", "review", "pass"), "review", 3),
        (("review", "pass", "risky"), "risky", 3),
        (("pass", "risky"), "risky", 2),
        (("risky",), "risky", 1),
    ],
)
def test_a_long_text_is_as_bad_as_its_worst_part(platform: Recorder, program: MiniProgram, replies, suggest, calls):
    platform.will(*(checked(each, trace_id=f"t{number}") for number, each in enumerate(replies)))
    text = "字" * CHECK_CHARACTERS + "👋" * CHECK_CHARACTERS + "x"
    assert program.check_text("o1", text).suggest == suggest
    contents = [request.json["content"] for request in platform.requests]
    assert contents == ["字" * CHECK_CHARACTERS, "👋" * CHECK_CHARACTERS, "x"][:calls]


def test_a_text_of_someone_who_is_not_there_is_not_checked(platform: Recorder, program: MiniProgram):
    platform.will(says(61010, "code is expired"), says(48001))
    assert refusal(program.check_text, "o1", "x").action == Action.PERMANENT
    assert refusal(program.check_text, "o1", "x").capability == "moderation"


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (2500, 1), (2501, 2), (5001, 3)])
def test_a_text_is_checked_in_parts_of_2500_characters(platform: Recorder, program: MiniProgram, count, calls):
    platform.will(*[checked("pass")] * calls)
    assert program.check_text("o1", "字" * count).suggest == "pass"
    assert "".join(request.json["content"] for request in platform.requests) == "字" * count
    assert len(platform.requests) == calls


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (lambda program: program.check_text("o1", "x"), Action.RETRY),
        (lambda program: program.check_media("o1", "https://a.cn/p", "image"), Action.RETRY),
        (lambda program: program.templates(), Action.RETRY),
        (
            lambda program: program.send(Outgoing(USER, program.render(Content(kind="subscribe", data=SUBSCRIBE))[0])),
            Action.UNKNOWN,
        ),
    ],
)
def test_a_call_whose_answer_was_lost_is_repeated_where_that_changes_nothing(
    platform: Recorder, program: MiniProgram, call, action
):
    platform.will(Reply(fault="reset"))
    assert refusal(call, program).action == action
    assert len(platform.requests) == 1


def test_a_picture_to_check_is_found_where_the_platform_shows_it(program: MiniProgram):
    shown = {"MsgType": "image", "PicUrl": "https://mmbiz.qpic.cn/p", "ThumbUrl": "https://mmbiz.qpic.cn/t"}
    assert program.file_address(shown) == "https://mmbiz.qpic.cn/p"
    assert program.file_address({"MsgType": "voice", "MediaId": "m"}) == ""


def test_every_label_of_a_verdict_has_words(program: MiniProgram):
    labels = (10001, 20001, 20002, 20003, 20006, 20008, 20012, 20013, 21000)
    assert [str(program.explanations[f"label_{label}"].cause) for label in labels] == [
        "advertising", "politics", "pornography", "abuse", "crime", "fraud", "vulgarity", "copyright", "something else",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("会议:{{thing1.DATA}}\n时间：{{ date2.DATA }}", (("会议", "thing1"), ("时间", "date2"))),
        ("{{thing1.DATA}}", (("", "thing1"),)),
        ("各位\n地点 : {{thing3.DATA}} 楼", (("地点", "thing3"),)),
        ("没有要填的", ()),
    ],
)
def test_a_template_says_what_is_to_be_filled_in(content, lines):
    assert Template("T1", "t", content).lines == lines


@pytest.mark.parametrize(("kind", "number"), [("image", 2), ("voice", 1)])
def test_a_file_is_checked_in_two_steps(platform: Recorder, program: MiniProgram, kind, number):
    platform.will(says(trace_id="60f96f1d-3845297a-1976a3ae"))
    trace = program.check_media("o1", "https://example.com/a", kind)
    (sent,) = platform.requests
    assert sent.path == "/wxa/media_check_async"
    assert sent.json == {
        "media_url": "https://example.com/a",
        "media_type": number,
        "version": 2,
        "scene": 2,
        "openid": "o1",
    }
    (found,) = program.parse(*sealed(fixture("mini_program", "wxa_media_check__risky"), form="json")).inbound
    assert trace == "60f96f1d-3845297a-1976a3ae"
    assert found.verdict == Verdict("60f96f1d-3845297a-1976a3af", "risky", 20002)


def test_a_video_cannot_be_checked(platform: Recorder, program: MiniProgram):
    assert refusal(program.check_media, "o1", "https://example.com/a", "video").code == "not_checkable"
    assert platform.requests == []


# -- what it shares with Official Accounts


def test_it_takes_only_pictures(platform: Recorder, program: MiniProgram):
    platform.will(says(media_id="m1"))
    assert program.upload(Upload("image", "a.png", "image/png", b"x")) == "m1"
    assert refusal(program.upload, Upload("voice", "a.amr", "audio/amr", b"x")).code == "file_not_taken"
    assert len(platform.requests) == 1


def test_it_answers_to_its_address_and_shows_typing(platform: Recorder, program: MiniProgram):
    query, body = sealed(fixture("mini_program", "text__plain"), form="json")
    assert program.acknowledge(query, program.parse(query, body)).body == b"success"
    program.show_typing(USER)
    assert platform.requests[0].json == {"touser": "o1", "command": "Typing"}


def test_the_agent_learns_where_it_speaks(program: MiniProgram):
    assert "小程序" in program.surface(USER)
    assert len(program.abilities) == 12


def test_it_is_tested_and_has_counters(platform: Recorder, program: MiniProgram):
    platform.will(says(quota={"daily_limit": 500000, "used": 1, "remain": 499999}))
    assert "499999 of 500000" in program.test()[1]
    assert "wxa/msg_sec_check" in program.quota_paths


@pytest.mark.parametrize(
    ("field", "value"), [("app_id", "1"), ("app_secret", ""), ("encoding_aes_key", ""), ("mode", "x")]
)
def test_the_form_refuses_what_cannot_be(field, value):
    assert MiniProgram.Credentials(CREDENTIALS).is_valid()
    assert list(MiniProgram.Credentials({**CREDENTIALS, field: value}).errors) == [field]
