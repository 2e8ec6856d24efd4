"""An Official Account on the wire: exact requests, the AI label, what each error becomes, media, people, the form."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from channels_wechat import channel_class
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Action, Cause
from channels_wechat.contract.messages import HANDLE, Content, File, MediaItem, Outgoing, Payload, Peer, Person, Upload
from channels_wechat.contract.sentences import ENGLISH, Sentences
from channels_wechat.weixin.account import WeixinAccount
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.weixin.official_account import OfficialAccount
from tests.channels.harness import Recorder, Reply, recorder, says
from tests.channels.weixin.accounts import APP, CREDENTIALS, KEY, SECRET, TOKEN, official_account, tokens_of

USER = Peer("direct", "o1")
HELLO = Payload({"msgtype": "text", "text": {"content": "你好"}})
LABELLED = Payload({**HELLO.body, "aimsgcontext": {"is_ai_msg": 1}})
SEND = "/cgi-bin/message/custom/send"
# The AI label is remembered by the account's key.
KEYS = map("account-{}".format, itertools.count())


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def account(platform: Recorder) -> OfficialAccount:
    return official_account(platform.url + "/", next(KEYS))


def refusal(call, *arguments, **named) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments, **named)
    return caught.value


def test_it_is_registered():
    assert channel_class("official_account") is OfficialAccount
    assert OfficialAccount.external_id(CREDENTIALS) == APP


# -- sending


@pytest.mark.parametrize(
    ("content", "handle", "body"),
    [
        (Content("你好"), "", '{"touser": "o1", "msgtype": "text", "text": {"content": "你好"}}'),
        (
            Content("你好", ai=True),
            "",
            '{"touser": "o1", "msgtype": "text", "text": {"content": "你好"}, "aimsgcontext": {"is_ai_msg": 1}}',
        ),
        (
            Content(files=(File("image", "a.png", "image/png", 9, "7"),)),
            "m1",
            '{"touser": "o1", "msgtype": "image", "image": {"media_id": "m1"}}',
        ),
        (
            Content(kind="msgmenu", data={"head_content": "满意吗", "list": [{"id": "1", "content": "满意"}]}),
            "",
            '{"touser": "o1", "msgtype": "msgmenu", "msgmenu": {"head_content": "满意吗", "list": [{"id": "1", "content": "满意"}]}}',
        ),
    ],
)
def test_a_message_on_the_wire(platform: Recorder, account: OfficialAccount, content, handle, body):
    (payload,) = account.render(content)
    receipt = account.send(Outgoing(USER, Payload.from_json(payload.as_json()), handle=handle))
    (sent,) = platform.requests
    assert (sent.method, sent.path, sent.query) == ("POST", SEND, {"access_token": "token1"})
    assert sent.body.decode() == body
    assert (receipt.remote_id, receipt.note, receipt.response["errcode"]) == ("", NO_CAUSE, 0)


@pytest.mark.parametrize("code", [40035, 47001])
def test_a_label_that_is_not_taken_is_left_out_from_then_on(platform: Recorder, code):
    key = next(KEYS)
    platform.will(says(code, "invalid parameter"))
    receipt = official_account(platform.url, key).send(Outgoing(USER, LABELLED))
    assert receipt.note == Cause("unlabelled")
    again = official_account(platform.url, key).send(Outgoing(USER, LABELLED))
    assert again.note == NO_CAUSE
    official_account(platform.url, next(KEYS)).send(Outgoing(USER, LABELLED))
    assert ["aimsgcontext" in request.json for request in platform.requests] == [True, False, False, True]


def test_a_label_is_not_blamed_for_another_mistake(platform: Recorder, account: OfficialAccount):
    platform.will(says(40035), says(40035))
    assert refusal(account.send, Outgoing(USER, LABELLED)).code == "40035"
    account.send(Outgoing(USER, LABELLED))
    assert ["aimsgcontext" in request.json for request in platform.requests] == [True, False, True]


def test_there_are_no_groups(platform: Recorder, account: OfficialAccount):
    assert refusal(account.send, Outgoing(Peer("group", "g"), HELLO)).action == Action.PERMANENT
    assert platform.requests == []


@pytest.mark.parametrize(
    ("reply", "code", "action", "calls"),
    [
        (
            says(45015, "response out of time limit or subscription is canceled rid: 6172-6126f6f9"),
            "45015",
            Action.WINDOW,
            1,
        ),
        (says(45047, "out of response count limit"), "45047", Action.WINDOW, 1),
        (says(48001, "api unauthorized"), "48001", Action.PERMANENT, 1),
        (says(40001, "invalid credential"), "40001", Action.CONFIG, 2),
        (says(42001, "access_token expired"), "42001", Action.CONFIG, 2),
        (says(40164, "invalid ip 203.0.113.7"), "40164", Action.CONFIG, 1),
        (says(43004, "require subscribe"), "43004", Action.PERMANENT, 1),
        (says(40003, "invalid openid"), "40003", Action.PERMANENT, 1),
        (says(45009, "reach max api daily quota limit"), "45009", Action.WAIT, 1),
        (says(45011, "api minute-quota reach limit"), "45011", Action.WAIT, 1),
        (says(-1, "system error"), "-1", Action.UNKNOWN, 1),
        (says(70000, "minor"), "70000", Action.PERMANENT, 1),
        (says(45002, "content size out of limit"), "45002", Action.PERMANENT, 1),
        (says(47001, "data format error"), "47001", Action.PERMANENT, 1),
        (Reply(fault="hang"), "timeout", Action.UNKNOWN, 1),
        (Reply(fault="reset"), "reset", Action.UNKNOWN, 1),
        (Reply(b"<html>", 502), "http_502", Action.UNKNOWN, 1),
        (Reply(b"<html>", 503), "http_503", Action.UNKNOWN, 1),
    ],
)
def test_an_error_says_what_becomes_of_the_message(
    platform: Recorder, account: OfficialAccount, reply, code, action, calls
):
    platform.will(*[reply] * 9)
    error = refusal(account.send, Outgoing(USER, HELLO))
    assert (error.code, error.action, len(platform.requests)) == (code, action, calls)
    assert len(tokens_of(account).refused) == calls - 1
    assert error.capability == ("custom_send" if code == "48001" else "")
    assert error.gone == (code == "43004")
    assert not [
        secret for secret in (SECRET, KEY, TOKEN, "token1", "token2") if secret in f"{error} {error!r} {error.response}"
    ]


def test_nobody_listening_is_tried_again(account: OfficialAccount):
    error = refusal(official_account("http://127.0.0.1:1").send, Outgoing(USER, HELLO))
    assert (error.code, error.action) == ("connect", Action.RETRY)


def test_typing_is_shown(platform: Recorder, account: OfficialAccount):
    account.show_typing(USER)
    (sent,) = platform.requests
    assert (sent.path, sent.json) == ("/cgi-bin/message/custom/typing", {"touser": "o1", "command": "Typing"})
    platform.will(says(45081, "already typing"), says(48001))
    assert refusal(account.show_typing, USER).action == Action.PERMANENT
    assert refusal(account.show_typing, USER).capability == "typing"


# -- media


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        (Upload("image", "张三的照片.JPG", "image/jpeg", b"\xff\xd8"), "image", "file.jpg"),
        (Upload("voice", "a.amr", "", b"#!AMR"), "voice", "file.amr"),
        (Upload("video", "a", "video/mp4", b"mp4"), "video", "file.mp4"),
    ],
)
def test_a_file_is_uploaded_under_a_plain_name(platform: Recorder, account: OfficialAccount, file, kind, name):
    platform.will(Reply(b'{"type":"x","media_id":"m1","created_at":1}'))
    assert account.upload(file) == "m1"
    (sent,) = platform.requests
    assert (sent.path, sent.query) == ("/cgi-bin/media/upload", {"type": kind, "access_token": "token1"})
    assert f'name="media"; filename="{name}"'.encode() in sent.body
    assert file.content in sent.body
    assert "张三".encode() not in sent.body


@pytest.mark.parametrize(("mime", "sent"), [("image/png", "image/png"), ("", "application/octet-stream")])
def test_an_upload_says_its_type(platform: Recorder, account: OfficialAccount, mime, sent):
    platform.will(says(media_id="m1"))
    account.upload(Upload("image", "a.png", mime, b"12345"))
    assert f"\r\nContent-Type: {sent}\r\n\r\n12345".encode() in platform.requests[0].body


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (lambda account: account.upload(Upload("image", "a.png", "image/png", b"x")), Action.RETRY),
        (lambda account: account.show_typing(USER), Action.RETRY),
        (lambda account: account.person("o1"), Action.RETRY),
        (lambda account: account.quota("cgi-bin/x"), Action.RETRY),
        (lambda account: account.send(Outgoing(USER, LABELLED)), Action.UNKNOWN),
        (lambda account: account.clear_quotas(), Action.UNKNOWN),
    ],
)
def test_a_call_whose_answer_was_lost_is_repeated_where_that_changes_nothing(
    platform: Recorder, account: OfficialAccount, call, action
):
    platform.will(Reply(fault="reset"))
    assert refusal(call, account).action == action
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("file", "reply", "code"),
    [
        (Upload("file", "a.pdf", "application/pdf", b"x"), None, "file_not_taken"),
        (Upload("voice", "a.wav", "audio/wav", b"x"), None, "file_not_taken"),
        (Upload("image", "a.png", "image/png", b"x"), says(), "no_media_id"),
        (Upload("image", "a.png", "image/png", b"x"), says(40006), "40006"),
        (Upload("image", "a.png", "image/png", b"x"), says(48001), "48001"),
    ],
)
def test_a_file_that_is_not_taken(platform: Recorder, account: OfficialAccount, file, reply, code):
    platform.will(*[reply] if reply else [])
    error = refusal(account.upload, file)
    assert (error.code, len(platform.requests)) == (code, 1 if reply else 0)
    assert error.capability == ("media" if code == "48001" else "")
    assert error.max_tries == (2 if code == "no_media_id" else None)


def test_a_file_without_a_name_is_of_the_type_that_its_header_says(platform: Recorder, account: OfficialAccount):
    platform.will(*[Reply(b"?", headers=(("Content-Type", "audio/x-odd; a=b"),))] * 2, Reply(b"?", headers=()))
    assert account.download(MediaItem("voice", "m")) == Upload("voice", "", "audio/x-odd", b"?")
    assert account.download(MediaItem("voice", "m", mime="audio/amr")).mime == "audio/x-odd"
    assert account.download(MediaItem("voice", "m", mime="audio/amr")).mime == "audio/amr"


def test_a_file_is_downloaded(platform: Recorder, account: OfficialAccount):
    platform.will(
        Reply(
            b"#!AMR",
            headers=(("Content-Type", "audio/amr; x=y"), ("Content-disposition", 'attachment; filename="M.amr"')),
        )
    )
    assert account.download(MediaItem("voice", "m1")) == Upload("voice", "M.amr", "audio/amr", b"#!AMR")


def test_a_video_is_downloaded_where_it_lies(platform: Recorder, account: OfficialAccount):
    platform.will(Reply(f'{{"video_url":"{platform.url}/v"}}'.encode()), Reply(b"mp4", headers=()))
    assert account.download(MediaItem("video", "m1", mime="video/mp4")) == Upload("video", "", "video/mp4", b"mp4")


# -- people and the account


@pytest.mark.parametrize(
    ("answer", "person"),
    [
        (
            {"subscribe": 1, "openid": "o1", "nickname": "", "remark": "老张", "unionid": "u1"},
            Person("老张", True, "u1"),
        ),
        ({"subscribe": "1", "openid": "o1", "nickname": "", "remark": ""}, Person("", True)),
        ({"subscribe": 0, "openid": "o1"}, Person("", False)),
        ({"subscribe": 1, "nickname": "Zhang"}, Person("Zhang", True)),
        ({"subscribe": 1, "nickname": "Zhang", "remark": "老张"}, Person("老张", True)),
        ({"openid": "o1"}, Person("", None)),
    ],
)
def test_a_person_is_told(platform: Recorder, account: OfficialAccount, answer, person):
    platform.will(says(**answer), says(**answer))
    assert account.person("o1") == person
    assert account.name_of("o1") == person.name
    assert platform.requests[0].path == "/cgi-bin/user/info"
    assert platform.requests[0].query == {"openid": "o1", "lang": "zh_CN", "access_token": "token1"}


def test_a_stranger_has_no_name(platform: Recorder, account: OfficialAccount):
    platform.will(says(40003, "invalid openid"), says(48001, "api unauthorized"))
    assert account.name_of("o1") == ""
    assert refusal(account.name_of, "o1").capability == "user_info"


def test_the_token_is_fetched_for_the_account(platform: Recorder, account: OfficialAccount):
    platform.will(Reply(b'{"access_token":"t","expires_in":7200}'))
    assert account.fetch_token().value == "t"
    assert platform.requests[0].json["appid"] == APP
    assert platform.requests[0].json["secret"] == SECRET


def test_quotas_are_told_and_cleared(platform: Recorder, account: OfficialAccount):
    platform.will(says(quota={"daily_limit": 10, "used": 4, "remain": 6}))
    quota = account.quota(account.quota_paths[0])
    assert (quota.path, quota.limit, quota.used, quota.left) == ("cgi-bin/message/custom/send", 10, 4, 6)
    account.clear_quotas()
    assert platform.requests[1].json == {"appid": APP}


@pytest.mark.parametrize(
    ("msgtype", "code", "words"),
    [
        ("voice", "45007", "[The voice"),
        ("voice", "45001", ""),
        ("video", "45007", ""),
        ("text", "45007", ""),
    ],
)
def test_only_a_voice_message_that_is_too_long_is_told_in_words(account: OfficialAccount, msgtype, code, words):
    own = Sentences(ENGLISH)
    told = replace(account.identity, sentences=own)
    payload = Payload({"msgtype": msgtype, msgtype: {"media_id": HANDLE}}, file="7")
    found = OfficialAccount(told, account.http).instead(payload, WEIXIN.error(code))
    expected = Payload({"msgtype": "text", "text": {"content": own.get("voice_too_long")}})
    assert found == (expected if words else None)


@pytest.mark.parametrize(("apart", "joined"), [(True, "a\n\nb"), (False, "ab")])
def test_parts_of_one_text_are_joined_as_they_were(account: OfficialAccount, apart, joined):
    first, second = (Payload({"msgtype": "text", "text": {"content": words}}) for words in "ab")
    assert account.merge(first, second, apart=apart) == Payload({"msgtype": "text", "text": {"content": joined}})


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (says(quota={"daily_limit": 500000, "used": 1, "remain": 499999}), "499999 of 500000"),
        (says(76022, "could not use this cgi_path"), "76022"),
        (says(48001, "api unauthorized"), "48001"),
    ],
)
def test_the_account_is_tested(platform: Recorder, account: OfficialAccount, reply, words):
    platform.will(reply)
    works, messages = account.test()
    assert "AppSecret" in works
    assert words in messages


def test_the_test_shows_which_address_to_allow(platform: Recorder, account: OfficialAccount):
    platform.will(says(40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 6172-6126f6f9"))
    error = refusal(account.test)
    assert error.action == Action.CONFIG
    assert "IP白名单" in str(error)
    assert "(40164: 203.0.113.7 · " in str(error)


@pytest.mark.parametrize("answers", ["automatic", "messages", "passive"])
def test_the_agent_learns_where_it_speaks(answers):
    account = official_account(answers=answers)
    assert account.answers == answers
    text = account.surface(USER)
    assert "Markdown marks are removed" in text
    assert ("sending 1" in text) == (answers == "passive")
    assert bool(account.cannot_push(USER)) == (answers == "passive")


def test_every_message_but_none_else_uses_a_window():
    assert official_account().uses_window(HELLO)
    assert [(limit.name, limit.count, limit.per, limit.scope) for limit in official_account().limits] == [
        ("day", 500_000, 24 * 3600, "account")
    ]
    assert official_account().max_parts == 10  # two windows of five
    assert official_account().base_url == WeixinAccount.default_api_base_url == "https://api.weixin.qq.com"


# -- the form

FORM = {**CREDENTIALS, "answers": "automatic"}


def test_the_form_takes_what_the_console_gives():
    form = OfficialAccount.Credentials({**FORM, "app_id": f" {APP} "})
    assert form.is_valid(), form.errors
    assert form.cleaned_data == FORM
    assert form.secrets == {"app_secret", "token", "encoding_aes_key"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("app_id", ""),
        ("app_id", "gh_97417a04a28d"),
        ("app_secret", ""),
        ("token", "ab"),
        ("token", "a" * 33),
        ("app_id", "wx" + "a" * 31),
        ("token", "a-b"),
        ("encoding_aes_key", ""),
        ("encoding_aes_key", "a" * 42),
        ("mode", "clear"),
        ("mode", ""),
        ("answers", "never"),
    ],
)
def test_the_form_refuses_what_cannot_be(field, value):
    assert list(OfficialAccount.Credentials({**FORM, field: value}).errors) == [field]


@pytest.mark.parametrize(
    ("field", "value"), [("token", "abc"), ("token", "aZ09" * 8), ("app_id", "wx1"), ("app_id", "wx" + "aZ0" * 10)]
)
def test_the_form_takes_every_shape_of_an_id(field, value):
    assert not OfficialAccount.Credentials({**FORM, field: value}).errors


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
def test_only_plaintext_does_without_a_key(mode):
    form = OfficialAccount.Credentials({**FORM, "mode": mode, "encoding_aes_key": ""})
    assert form.is_valid() == (mode == "plaintext")
    assert official_account(mode="plaintext", encoding_aes_key="").challenge is not None


def test_no_secret_is_shown():
    shown = repr(official_account().identity)
    assert not any(secret in shown for secret in (SECRET, KEY, TOKEN))
